"""One log format for every process: a line for each decision and each effect, on standard error.

Docker keeps what a container writes there; times are UTC, and what a line says is what status says.

For programs the same lines are JSON objects (`--log-format json`, or PGSWARM_LOG_FORMAT=json), one a line:

    {"at": "2026-01-02T03:04:05.678Z", "level": "info", "process": "operator", "text": "main: …", "cluster": "main"}

`text` is what the other format says, word for word; `cluster` is there where a line belongs to one; `error` is the
traceback of what nobody foresaw. PostgreSQL's own lines, which an agent passes on, are objects of the process
`postgres` with its line as `text`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message


class Format(StrEnum):
    """How lines are written."""

    TEXT = "text"
    JSON = "json"


_is_json = False
"""Of this process, from `begin` on."""


def begin(what: str, form: str = "") -> None:
    """Log as `what` (operator, member, router) from now on; PGSWARM_LOG_LEVEL chooses how much."""
    global _is_json
    level = os.environ.get("PGSWARM_LOG_LEVEL", "INFO").upper()
    logger.remove()
    _is_json = (form or os.environ.get("PGSWARM_LOG_FORMAT", "")) == Format.JSON
    if _is_json:
        logger.add(lambda message: _write(what, message), level=level, format="{message}")
        return
    logger.add(
        sys.stderr,
        level=level,
        format=f"{{time:YYYY-MM-DD HH:mm:ss.SSS!UTC}} {{level: <7}} {what} {{message}}",
        backtrace=False,
        diagnose=False,
    )


def pass_on(process: str, written: bytes, lines: list[bytes]) -> None:
    """What another program has written, and the lines that are whole by now: as it is, or as objects."""
    if not _is_json:
        sys.stderr.buffer.write(written)
        sys.stderr.buffer.flush()
        return
    at = _moment(datetime.now(UTC))
    for line in lines:
        _tell({"at": at, "level": "info", "process": process, "text": line.decode(errors="replace")})


def chosen(words: list[str]) -> str | None:
    """The format that the words of an agent choose; None if they are not all understood."""
    match words:
        case []:
            return ""
        case ["--log-format", ("text" | "json") as form] | [("--log-format=text" | "--log-format=json") as form]:
            return form.rpartition("=")[2]
        case _:
            return None


def _write(what: str, message: Message) -> None:
    record = message.record
    line: dict[str, Any] = {
        "at": _moment(record["time"]),
        "level": record["level"].name.lower(),
        "process": what,
        "text": record["message"],
        **{name: str(value) for name, value in record["extra"].items()},
    }
    if (raised := record["exception"]) is not None:
        line["error"] = "".join(traceback.format_exception(raised.type, raised.value, raised.traceback))
    _tell(line)


def _tell(line: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stderr.flush()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
