"""What pgswarm takes when nothing happens: CPU and memory of operator, member's agent and router's agent.

On the lab, with one cluster of three members and with ten clusters of one member each (a router on one node only):
after a while at rest, the CPU that each of our Python processes has used over a span (`drill/cost`), and its resident
and proportional memory. PostgreSQL and HAProxy are not counted, they are not ours. Processes are found by the control
group of their container, so nothing has to be installed in it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgswarm.drill.cost import Cost, Meter
from pgswarm.drill.stage import Broken, LabStage
from pgswarm.drill.tally import median
from pgswarm.drill.whole import MEMBERS, Whole
from tests.bench.bench import Bench, Json

SETTLE, SPAN = 20.0, 60.0
"""Seconds at rest before, and of the measurement."""

MB = 1e6

SMALL = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {name}}}
spec:
  postgres: {{parameters: {{shared_buffers: 16MB, max_connections: 20}}}}
  instances: [{{name: pg-a, node: {node}}}]
  router: {{name: front-{name}, network: webnet, nodes: [{router}], publish: false}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One of our processes, as the machine numbers it."""

    kind: str
    pid: int


def run(bench: Bench) -> Json:
    bench.close()
    stage = bench.stage()
    span = 20.0 if bench.quick else SPAN
    Whole(stage, "").remove()
    whole = Whole(stage, stage.owner_password())
    stage.write_document(whole.document(members=MEMBERS, base="shared_buffers: 64MB"))
    stage.install()
    stage.wait_healthy("main", members=3)
    figures = {"one": _measure(stage, span)}
    bench.tell(f"one cluster: {_words(figures['one'])}")
    whole.remove()
    names = [f"ten{number}" for number in range(10)]
    where = {name: stage.nodes[index % len(stage.nodes)] for index, name in enumerate(names)}
    stage.write_document("---\n".join(SMALL.format(name=name, node=where[name], router=where[name]) for name in names))
    stage.install()
    try:
        for name in names:
            stage.wait_healthy(name, members=1, deadline=400)
        figures["ten"] = _measure(stage, span)
        bench.tell(f"ten clusters: {_words(figures['ten'])}")
    finally:
        stage.lab("exec", "1", "--", "rm", "-f", "/etc/pgswarm/main.yaml")
        whole.remove()
    return figures


def _measure(stage: LabStage, span: float) -> Json:
    threading.Event().wait(SETTLE)  # start-up is over; caches are warm
    found = {f"{one.kind} {one.pid}": one for one in _processes(stage)}
    meter = Meter({name: one.pid for name, one in found.items()})
    threading.Event().wait(span)
    costs = meter.read()
    if gone := sorted(found.keys() - costs.keys()):
        raise Broken(f"nothing was at rest: {', '.join(gone)} ended meanwhile")
    rows: dict[str, list[Cost]] = {}
    for name, cost in costs.items():
        rows.setdefault(found[name].kind, []).append(cost)
    return {
        kind: {
            "n": len(some),
            "cpu": median(one.share for one in some),
            "cpu_most": max(one.share for one in some),
            "rss": max(one.rss for one in some) / MB,
            "pss": median(one.pss for one in some) / MB,
        }
        for kind, some in sorted(rows.items())
    }


def _processes(stage: LabStage) -> Iterable[Process]:
    """Every Python process of our containers on all nodes."""
    shown = '{{.ID}} {{.Label "com.docker.swarm.service.name"}}'
    for node in range(1, len(stage.nodes) + 1):
        for row in stage.docker("ps", "--no-trunc", "--format", shown, node=node).splitlines():
            ident, service = row.split()
            kind = "operator" if service == "pgswarm_operator" else None
            for pid in _in_group(ident):
                words = _command(pid)
                if not words or "python" not in os.path.basename(words[0]):
                    continue
                role = next((word for word in words if word in ("operator", "member", "router")), kind)
                if role is not None:
                    yield Process(kind=role, pid=pid)


def _in_group(container: str) -> set[int]:
    """The processes in a container's control group, in either layout."""
    found: set[int] = set()
    for folder in Path("/sys/fs/cgroup").glob(f"**/{container}"):
        for file in folder.rglob("cgroup.procs"):
            found.update(int(line) for line in file.read_text().split())
    return found


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:  # it has just ended
        return []


def _words(figures: Json) -> str:
    return "; ".join(
        f"{kind} ({row['n']}) {row['cpu']:.1%} of a core, at most {row['cpu_most']:.1%}, {row['rss']:.0f} MB"
        for kind, row in figures.items()
    )
