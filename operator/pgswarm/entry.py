"""The program `pgswarm`: the entry of every container, and a person's command.

An agent lives for months beside a database, so it does not carry the command line with it (eight megabytes): `pgswarm
member` and `pgswarm router` alone go straight to what does the work. Everything else is the command line's.
"""

from __future__ import annotations

import sys

from pgswarm import logs


def main() -> None:
    """Be what the first word says."""
    words = sys.argv[1:]
    form = logs.chosen(words[1:])
    if words[:1] == ["member"] and form is not None:
        from pgswarm.member import main as member

        sys.exit(member.main(form))
    if words[:1] == ["router"] and form is not None:
        from pgswarm.router import main as router

        sys.exit(router.main(form))
    from pgswarm import cli

    cli.main()
