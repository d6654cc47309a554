"""`make soak MINUTES=60`: random faults on the lab under a writing client, and a table at the end.

Ctrl-C ends it early, with the table so far. The exit code is 0 only if nothing acknowledged is missing and the
cluster came to rest after every fault.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from rich.console import Console

from pgswarm.drill import faults
from pgswarm.drill.soak import Soak, soak
from pgswarm.drill.stage import TOP, LabStage, run
from pgswarm.drill.tally import soak_table
from pgswarm.drill.whole import install
from pgswarm.errors import Failure

say = Console(highlight=False, soft_wrap=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--minutes", type=float, default=60.0)
    arguments.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of the choices (default: chance)"
    )
    arguments.add_argument("--only", default="", help="kinds that contain one of these words, separated by commas")
    arguments.add_argument("--file", type=Path, default=TOP / "artefacts" / "soak.json")
    asked = arguments.parse_args()
    words = [word for word in asked.only.split(",") if word]
    chosen = [one for one in faults.FAULTS if not words or any(word in one.kind for word in words)]
    if not chosen:
        say.print(f"no kind of fault contains {asked.only}; there are: {', '.join(one.kind for one in faults.FAULTS)}")
        return 2
    say.print(f"seed {asked.seed}, {asked.minutes:g} minutes, {len(chosen)} kinds of fault; Ctrl-C ends it")
    began = time.monotonic()

    def tell(text: str) -> None:
        say.print(f"[{time.monotonic() - began:7.1f} s] {text}", markup=False)

    try:
        run([str(TOP / "stack" / "lab" / "lab"), "up"], text=None, deadline=900, environment=None)
        whole = install(LabStage(), tell)
    except Failure as failure:
        say.print(f"the soak could not begin: {failure}", markup=False)
        return 1
    done = soak(whole, asked.minutes, asked.seed, chosen, asked.file, tell)
    code = report(done)
    if code == 0:
        whole.remove()
    else:
        say.print(f"all is left as it is; logs are in {asked.file.with_suffix('.evidence')}, if it broke")
    return code


def report(done: Soak) -> int:
    """Print the table; the exit code."""
    if done.blows:
        say.print(soak_table(done.blows), markup=False)
    say.print(
        f"{len(done.blows)} faults in {done.minutes:.0f} minutes, seed {done.seed}; "
        f"acknowledged writes {done.acknowledged}, missing {done.missing}"
    )
    if done.broke:
        say.print(f"it broke: {done.broke.partition(chr(10))[0]}", markup=False)
    return 0 if done.blows and not done.broke and done.missing == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
