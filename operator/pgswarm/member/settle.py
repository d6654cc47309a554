"""The end of the log: stop receiving, and find where the valid log on this disk ends (PROTOCOL, C8).

That nothing is received any more must be certain, not likely. Clearing primary_conninfo is not enough: the startup
process may just be starting another receiver with the old one. So first the password file that the old connection
string names is taken away - no stream can begin after that - and then every receiver there is must be gone.

The end is what has been replayed, once replay has reached it: at once if PostgreSQL says that it has replayed all it
received; after a restart it does not know what it had received, and then pg_waldump must find no further record.

A primary that was shut down in order needs no restart for this: the last record of its log is the checkpoint of that
shutdown, which pg_control names. It is believed only if pg_waldump finds that very record there and nothing after it;
of an unclean directory pg_control's checkpoint says nothing.
"""

from __future__ import annotations

import re
from typing import LiteralString

import anyio

from pgswarm.core.wal import Position, parse_lsn, show_lsn
from pgswarm.errors import Again
from pgswarm.member import tools, waldir
from pgswarm.member.config import Config
from pgswarm.member.facts import Observer

_RECORD = re.compile(r"len \(rec/tot\):\s*\d+/\s*(?P<length>\d+),.* lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+)")

POLL = 0.003
STILL = 0.01
"""Seconds between two looks at a replay that may still advance."""

_STATE: LiteralString = """
SELECT pg_is_in_recovery(), pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walreceiver'),
       greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                (SELECT min_recovery_end_timeline FROM pg_control_recovery())),
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')
"""


async def end_of_closed_log(config: Config) -> Position | None:
    """The final position of a primary's directory that was shut down in order; None if it was not, or is not sure."""
    control = await tools.control_data(config)
    if control["Database cluster state"] != "shut down":
        return None
    place, timeline = control["Latest checkpoint location"], int(control["Latest checkpoint's TimeLineID"])
    if control["Latest checkpoint's REDO location"] != place:
        return None
    argv = [config.program("pg_waldump"), "-p", str(config.wal), "-t", str(timeline), "-s", place, "-n", "2"]
    output = await tools.run(argv, deadline=10.0)
    records = [line for line in output.lines if line.startswith("rmgr:")]
    if len(records) != 1 or "CHECKPOINT_SHUTDOWN" not in records[0]:
        return None
    found = _RECORD.search(records[0])
    if found is None or parse_lsn(found["lsn"]) != parse_lsn(place):
        return None
    end = waldir.end_of_record(parse_lsn(place), int(found["length"]), int(control["Bytes per WAL segment"]))
    return Position(timeline=timeline, lsn=end)


async def end_of_log(config: Config, observer: Observer) -> Position:
    """The final position; the password file and primary_conninfo are gone already. Raises Again if it hangs.

    Asked over the connection that is kept: on a busy machine a new one alone took up to 0.2 s (measured).
    """
    before = -1
    while True:
        [row] = await observer.ask(_STATE)
        recovery, receive_text, replay_text, receivers, base, size = row
        if not recovery:
            raise Again("PostgreSQL is not in recovery", after=0.05)
        if receivers or replay_text is None:
            await anyio.sleep(POLL)
            continue
        replay = parse_lsn(replay_text)
        base = max(int(base or 1), 1)
        if receive_text is not None and parse_lsn(receive_text) == replay:
            return _position(config, base, replay, int(size))
        if replay == before and not await _has_more(config, base, replay, int(size)):
            return _position(config, base, replay, int(size))
        before = replay
        await anyio.sleep(STILL)


def _position(config: Config, base: int, replay: int, size: int) -> Position:
    return Position(timeline=waldir.timeline_at(config.wal, base, max(0, replay - 1), size), lsn=replay)


async def _has_more(config: Config, base: int, replay: int, size: int) -> bool:
    """Is there a valid record at or after `replay`?"""
    timeline = waldir.timeline_at(config.wal, base, replay, size)
    argv = [
        config.program("pg_waldump"),
        "-p", str(config.wal), "-t", str(timeline), "-s", show_lsn(replay), "-n", "1",
    ]  # fmt: skip
    output = await tools.run(argv, deadline=10.0)
    return output.code == 0 and any(line.startswith("rmgr:") for line in output.lines)
