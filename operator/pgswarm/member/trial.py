"""Would PostgreSQL run with this configuration? It is asked itself, beside the one that runs and without touching it.

A postmaster is started in an empty house: a folder with the data directory's version and control file and nothing
else. It reads the whole configuration, loads the libraries, takes its shared memory, reads pg_hba.conf, and only then
looks for a log to recover, of which there is none: whoever has come so far has found nothing wrong with the settings.
So everything is judged by the very code that would refuse the next start, on the machine where that would be, with
its memory and its libraries; `postgres -C` alone sees neither a missing library, nor too little memory, nor a rule
of pg_hba.conf. It takes about a tenth of a second.

Before this: `tuning` has heard of new settings. After it: they are kept as tried, or PostgreSQL's words are told.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from pgswarm.member import state, tools
from pgswarm.member.config import Config, system_user
from pgswarm.render import postgres as render

DEADLINE = 30.0
"""Seconds for the whole trial; a machine that swaps takes its time."""

_STARTUP = re.compile(r'startup process \(PID \d+\) exited|required WAL directory "pg_wal" does not exist')
"""What the postmaster says when there was nothing left to complain of."""

_HEAD = re.compile(r"^.*?\b(?P<level>FATAL|PANIC|ERROR|WARNING|LOG|HINT|DETAIL|CONTEXT): +(?P<words>.*)$")
_HBA_LINE = re.compile(r'^line (\d+) of configuration file ".*hba"$')
_IN_FILE = re.compile(r' in file "[^"]*"(?: line \d+)?')
_NOISE = (
    "skipping missing",
    "starting PostgreSQL",
    "listening on",
    "is shut down",
    "contains errors",
    "could not load",
)

_NEEDED = ("base", "global", "pg_dynshmem", "pg_notify", "pg_stat_tmp", "pg_tblspc")
_FIXED = (
    "listen_addresses=", "huge_pages=try", "lc_messages=C", "log_min_messages=warning", "logging_collector=off",
    "log_destination=stderr",
)  # fmt: skip


async def objections(config: Config, wanted: render.Configuration, rules: Sequence[str]) -> str:
    """PostgreSQL's words against this configuration; empty if it would run with it. Raises Again if it hangs."""
    house = Path(await to_thread.run_sync(_furnish, config, wanted, tuple(rules)))
    try:
        argv = [config.program("postgres"), "-D", str(house), "-c", f"config_file={house / 'conf'}"]
        for setting in (*_FIXED, f"unix_socket_directories={house}"):
            argv += ["-c", setting]
        output = await tools.run(argv, deadline=DEADLINE, keep=60)
        if any(_STARTUP.search(line) for line in output.lines):
            return ""
        hba = (house / "hba").read_text().splitlines()
        return in_words(output.lines, hba) or f"PostgreSQL ended with exit code {output.code} and said nothing"
    finally:
        await to_thread.run_sync(lambda: shutil.rmtree(house, ignore_errors=True))


def in_words(lines: Sequence[str], hba: Sequence[str] = ()) -> str:
    """What PostgreSQL objects to, without what it says at every start; a line of pg_hba.conf in place of its number."""
    said: list[str] = []
    for line in lines:
        found = _HEAD.match(line)
        level, words = (found["level"], found["words"]) if found else ("", line)
        at = _HBA_LINE.match(words) if level == "CONTEXT" else None
        if at is not None and said and int(at[1]) <= len(hba):
            said[-1] = f"{said[-1]} (in {hba[int(at[1]) - 1]!r})"
        elif not any(noise in words for noise in _NOISE):
            said.append(_IN_FILE.sub("", words.removeprefix("postgres: ")).strip())
    return "; ".join(dict.fromkeys(said))


def _furnish(config: Config, wanted: render.Configuration, rules: tuple[str, ...]) -> str:
    house = Path(tempfile.mkdtemp(prefix="pgswarm-trial-"))
    for name in _NEEDED:
        (house / name).mkdir(mode=0o700)
    shutil.copyfile(config.pgdata / "PG_VERSION", house / "PG_VERSION")
    shutil.copyfile(config.pgdata / "global" / "pg_control", house / "global" / "pg_control")
    own = replace(
        wanted, listen="", socket_dir=str(house), hba_file=str(house / "hba"), ident_file=str(house / "ident"),
        sync="", upstream="", slot="",
    )  # fmt: skip
    state.write(house / "conf", render.configuration(own))
    state.write(house / "hba", render.hba(open_to_clients=True, rules=rules))
    state.write(house / "ident", render.ident(system_user()))
    return str(house)
