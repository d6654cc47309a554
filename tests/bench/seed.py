"""From a document to a cluster: how long until the first member is a writable primary's, and the second streams
and counts.

The operator runs and the images are on the nodes, as when somebody adds a document to a Swarm that has pgswarm. At rest
means more than streaming: the standby is in the claim, and everybody has been told.
"""

from __future__ import annotations

import time

import psycopg

from pgswarm.drill.stage import Broken, LabStage, wait_for
from pgswarm.drill.whole import CLUSTER, DATABASE, MEMBERS, OWNER, Whole
from tests.bench.bench import Bench, Json


def run(bench: Bench) -> Json:
    bench.close()
    stage, samples = bench.stage(), []
    for _ in range(bench.times(3)):
        samples.append(_once(stage))
        bench.tell(
            "writable after {writable:.1f} s, streaming {streaming:.1f} s, at rest {rest:.1f} s".format(**samples[-1])
        )
    stage.uninstall(CLUSTER)
    return {"samples": samples}


def _once(stage: LabStage) -> Json:
    Whole(stage, "").remove()
    whole = Whole(stage, stage.owner_password())
    stage.lab("exec", "1", "--", "rm", "-f", "/etc/pgswarm/main.yaml")
    stage.install()
    wait_for(lambda: True if len(stage.operators()) == len(stage.nodes) else None, "operators on all managers", 90)
    wait_for(lambda: _answers(stage), "operators that answer", 60)
    began = time.monotonic()
    stage.write_document(whole.document(members=MEMBERS[:2], base="shared_buffers: 64MB"))
    wait_for(lambda: _writes(whole), "the first write", 120, every=0.05)
    written = time.monotonic() - began
    wait_for(lambda: _streams(whole), "a streaming standby", 120, every=0.05)
    streaming = time.monotonic() - began
    stage.wait_healthy(CLUSTER, members=2)
    return {"writable": written, "streaming": streaming, "rest": time.monotonic() - began}


def _answers(stage: LabStage) -> bool | None:
    return True if stage.pgswarm("status") is not None else None


def _writes(whole: Whole) -> bool | None:
    try:
        with psycopg.connect(
            whole.stage.target(whole.password, 5432, DATABASE, OWNER).conninfo(), autocommit=True
        ) as c:
            c.execute("CREATE TABLE IF NOT EXISTS first (n int)")
    except psycopg.Error:
        return None
    return True


def _streams(whole: Whole) -> bool | None:
    """Does the read-only port lead to a standby that receives?"""
    try:
        with psycopg.connect(
            whole.stage.target(whole.password, 5433, DATABASE, OWNER).conninfo(), autocommit=True
        ) as c:
            row = c.execute("SELECT pg_is_in_recovery()").fetchone()
    except (psycopg.Error, Broken):
        return None
    return True if row is not None and row[0] else None
