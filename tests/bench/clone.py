"""The rate of a clone: a new member's, against a bare `pg_basebackup` of the same database with the same options.

Three members are added to the third node one after the other, and before and after each of them a bare backup is
taken on that node, from the same primary, over the same network, on the same disk. A machine gets faster or slower
with time, so each of ours is compared with the mean of its two neighbours. Before every one of them the standbys have
replayed everything, the copy before is gone, and what was dirty is on the disk; the source is in memory for all.

Ours is what the member's agent logs of its own clone, from before pg_basebackup is started until after it has ended;
how long the new member took to be counted, from the document's change on, is told beside it.
"""

from __future__ import annotations

import re
import time

from pgswarm.drill.stage import Broken, LabStage, wait_for
from pgswarm.drill.whole import CLUSTER, MEMBERS, Whole
from pgswarm.settings import CONTROL_NETWORK, REPLICATION_PASSWORD_FILE, REPLICATION_ROLE
from tests.bench.bench import Bench, Json

GIB = 1.1
"""Of tables; the log and the catalogues come on top."""

ROWS_A_GIB = 7_300_000
VOLUME = "bench-bare-clone"
NODE = 3

BARE = """\
read -r password
umask 077
echo "*:*:*:*:$password" > /tmp/pgpass
export PGPASSFILE=/tmp/pgpass
began=$(date +%s%N)
pg_basebackup -d "host=$ADDRESS user=$ROLE application_name=bench-bare" -D /target/copy -X stream --checkpoint=fast \\
    --no-manifest --no-password
ended=$(date +%s%N)
du -sb /target/copy | cut -f1
echo $(((ended - began) / 1000000))
"""


def run(bench: Bench) -> Json:
    bench.close()
    stage = bench.stage()
    Whole(stage, "").remove()
    whole = Whole(stage, stage.owner_password())
    two, parameters = MEMBERS[:2], "shared_buffers: 128MB, max_wal_size: 2GB"
    stage.write_document(whole.document(members=two, base=parameters))
    stage.install()
    stage.wait_healthy(CLUSTER, members=2)
    gib = 0.2 if bench.quick else GIB
    _fill(whole, gib)
    samples, added = [], list[str]()
    try:
        size, before = _bare(whole, stage)
        for number in range(bench.times(3)):
            _come_to_rest(whole, stage)
            name = f"pg-new{number + 1}"
            added.append(name)
            began = time.monotonic()
            rows = "".join(f"    - {{name: {one}, node: {stage.nodes[NODE - 1]}}}\n" for one in added)
            document = whole.document(members=two, base=parameters).replace("  router:", f"{rows}  router:")
            stage.write_document(document)
            stage.wait_healthy(CLUSTER, members=2 + len(added), deadline=900)
            counted, ours = time.monotonic() - began, _ours(whole, name)
            size, after = _bare(whole, stage)
            sample = {"bytes": size, "bare": (before + after) / 2, "bares": [before, after], "ours": ours}
            samples.append({**sample, "counted": counted})
            bench.tell(
                f"bare {before:.1f} s, ours {ours:.1f} s, bare {after:.1f} s, counted after {counted:.1f} s "
                f"({size / 2**30:.2f} GiB)"
            )
            before = after
    finally:
        _remove(stage)
        stage.uninstall(CLUSTER)
    return {"samples": samples}


def _fill(whole: Whole, gib: float) -> None:
    """Text that does not compress away, in steps that leave the standbys time."""
    for _ in range(4):
        rows = round(gib * ROWS_A_GIB / 4)
        whole.sql(
            "CREATE TABLE IF NOT EXISTS bulk (n bigint, a text, b text); INSERT INTO bulk "
            f"SELECT n, md5(n::text), md5((n + 1)::text) || md5((n + 2)::text) FROM generate_series(1, {rows}) n"
        )
    whole.sql("CHECKPOINT")


def _come_to_rest(whole: Whole, stage: LabStage) -> None:
    wait_for(lambda: _is_quiet(whole), "standbys that have replayed everything", 300)
    stage.lab("exec", str(NODE), "--", "sync")


def _is_quiet(whole: Whole) -> bool | None:
    lag = whole.sql("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()").strip()
    return True if lag == "0" else None


def _bare(whole: Whole, stage: LabStage) -> tuple[int, float]:
    """Bytes and seconds of a bare backup, which is gone then."""
    _remove(stage)
    _come_to_rest(whole, stage)
    primary = stage.container(whole.service(whole.primary()))
    password = stage.docker("exec", primary.id, "cat", REPLICATION_PASSWORD_FILE, node=primary.node)
    shown = f'{{{{(index .NetworkSettings.Networks "{CONTROL_NETWORK}").IPAddress}}}}'
    address = stage.docker("inspect", primary.id, "--format", shown, node=primary.node).strip()
    image = f"{stage.environment['PGSWARM_REGISTRY']}pgswarm/member:dev"
    output = stage.docker(
        "run", "--rm", "--interactive", "--network", CONTROL_NETWORK, "--volume", f"{VOLUME}:/target", "--user", "root",
        "--env", f"ADDRESS={address}", "--env", f"ROLE={REPLICATION_ROLE}", "--entrypoint", "sh", image, "-ec", BARE,
        node=NODE, text=password.strip() + "\n", deadline=900,
    )  # fmt: skip
    _remove(stage)
    size, milliseconds = output.split()[-2:]
    return int(size), int(milliseconds) / 1000


def _ours(whole: Whole, member: str) -> float:
    """Seconds, as its agent says."""
    one = whole.stage.container(whole.service(member))
    found = re.findall(r"cloned .* in ([0-9.]+) s", whole.stage.docker_all("logs", one.id, node=one.node))
    if not found:
        raise Broken(f"{member} has not logged its clone")
    return float(found[-1])


def _remove(stage: LabStage) -> None:
    if VOLUME in stage.docker("volume", "ls", "-q", node=NODE).split():
        stage.docker("volume", "rm", VOLUME, node=NODE)
