"""Rolling a change out: who may take it, and when.

New settings go to every member at once, but only to be *tried*: each has its own PostgreSQL read them on its own
machine, beside the one that runs. They are taken once everybody who is there would take them; if one would not, nobody
does, PostgreSQL's own words are in the status, and everything goes on with the settings before. Who is away meanwhile
tries them when it comes back.

Before this: a document in force. After it: `telling` sends the word, `member/tuning` tries and takes.
"""

from __future__ import annotations

from pgswarm.core.record import Record
from pgswarm.core.reports import Data
from pgswarm.core.world import World


def may_adopt(world: World, record: Record, digest: str, now: float) -> bool:
    """Would everybody who is there, and runs with other settings, run with these?"""
    reports = [world.present(member, now) for member in record.members]
    there = [
        report
        for report in reports
        if report is not None and report.data is Data.READY and not record.keeps_down(report.member)
    ]
    return all(not report.settings_digest or digest in (report.settings_digest, report.tried) for report in there)
