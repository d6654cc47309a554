"""How a verb ends when it cannot do what was asked: one line on stderr, and a code that a script can judge.

    0   done
    1   failed: it was asked rightly and could not be had
    2   bad input: the words, the document or the place are wrong; nothing was tried

Task groups wrap what failed in them into groups; here they are taken apart again, because a person has no use for
the shape of our tasks.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable

from pgswarm.errors import Failure, leaves

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

PATIENCE = 1.0
"""Seconds from the end of a verb to the end of its process, at most."""

show_tracebacks = False
"""Set by --debug."""


class BadInput(Failure):
    """What was typed cannot be done by anybody."""


def ending_in_one_line(verb: Callable[[], object]) -> None:
    """Run a verb and leave with its code; whatever it raises becomes lines that a person can use."""
    try:
        verb()
    except KeyboardInterrupt:
        _say("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except Exception as error:
        causes = leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
        known = [cause for cause in causes if isinstance(cause, Failure)]
        if len(known) == len(causes):
            for cause in known:
                _say(cause.reason)
            raise SystemExit(BAD_INPUT if all(isinstance(cause, BadInput) for cause in known) else FAILED) from None
        if show_tracebacks:
            traceback.print_exc()
        else:
            strange = next(cause for cause in causes if not isinstance(cause, Failure))
            text = " ".join(str(strange).split()) or "no message"
            _say(f"unexpected {type(strange).__name__}: {text} (run `pgswarm --debug …` for the traceback)")
        raise SystemExit(FAILED) from None


def wait_for_no_thread(code: object) -> None:
    """Python waits at its end for threads that hang on a dead engine; nobody else does, so it gets `PATIENCE`."""
    status = code if isinstance(code, int) else FAILED if code else 0
    last = threading.Timer(PATIENCE, os._exit, [status])
    last.daemon = True
    last.start()


def _say(text: str) -> None:
    line = f"pgswarm: {text}"
    colourful = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\033[31m{line}\033[0m" if colourful else line, file=sys.stderr)
