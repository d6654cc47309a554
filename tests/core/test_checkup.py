"""`doctor` finds what is wrong: every check is provoked once, and says nothing bad of a healthy site."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pgswarm import settings
from pgswarm.core import checkup
from pgswarm.core.findings import Facts, Finding
from pgswarm.core.inspection import Inspection, Path
from pgswarm.core.reports import Kept, Problem, RouterReport
from pgswarm.core.sightings import Sighting
from pgswarm.core.swarmview import Network, Node, Service, SwarmView, Task
from pgswarm.core.wal import Position
from pgswarm.core.wish import Fence, Maintenance, Pause
from pgswarm.core.world import Unknown, World
from pgswarm.settings import CONTROL_NETWORK
from tests.core import builders as b

ROOM = {"disk_free": 50 << 30, "disk_total": 100 << 30}
NODES = tuple(Node(id=f"id-{n}", name=f"node-{n}", role="manager", state="ready", engine="26.1.5") for n in "abc")
SWARM = b.SWARM.model_copy(update={"nodes": NODES})
RECORD = b.record("abc", 2, "bc")
FINE = Inspection(wall=0.0, mtus={"eth0": 1450, "eth1": 1500}, shm=1 << 30)


def router(name: str, of: Any, **changes: Any) -> Sighting[RouterReport]:
    fields = {"cluster": "main", "router": name, "boot": "1", "sequence": 1, "haproxy": "running", **changes}
    said = RouterReport(primary=fields.pop("primary", of.primary), **fields)
    return Sighting(address="10.0.0.1", report=said, heard_at=b.NOW, connected=True, why="")


def site(**changes: Any) -> World:
    """Three members that stream, two routers; `record` and `reports` change it."""
    of = changes.pop("record", None) or b.record("abc", 2, "bc")
    slots = changes.pop("slots", ("b", "c"))
    said = changes.pop("reports", None) or (
        b.primary(of, "bc", slots=slots, **ROOM),
        b.standby(of, "b", **ROOM),
        b.standby(of, "c", **ROOM),
    )
    routers = {name: router(name, of) for name in ("r1", "r2")}
    return b.world(of, *said, **{"swarm": SWARM, "routers": routers, **changes})


def facts(world: World | None = None, **changes: Any) -> Facts:
    paths = tuple(
        Path(router=name, writes=w, recovery=not w, seconds=0.01) for name in ("r1", "r2") for w in (True, False)
    )
    inspections = {f"main/{name}": FINE for name in "bc"}
    inspections["main/a"] = FINE.model_copy(update={"paths": paths})
    inspections["main/r1"] = FINE.model_copy(update={"names": {"postgres-ha": ("10.0.1.2", "10.0.1.3")}})
    fields: dict[str, Any] = {
        "view": SWARM,
        "heartbeat": 5.0,
        "worlds": {"main": world or site()},
        "inspections": inspections,
        "offsets": {"main/a": 0.0, "main/b": 0.1},
        "operators": 3,
        "now": b.NOW,
    }
    return Facts(**{**fields, **changes})


def inspected(name: str, **changes: Any) -> dict[str, Inspection | Unknown]:
    known = dict(facts().inspections)
    before = known.get(name, FINE)
    assert isinstance(before, Inspection)
    return {**known, name: before.model_copy(update=changes)}


def nodes(**changes: Any) -> SwarmView:
    """The Swarm with its first node changed."""
    return SWARM.model_copy(update={"nodes": (NODES[0].model_copy(update=changes), *NODES[1:])})


def three(a: dict[str, Any] | None = None, c: dict[str, Any] | None = None) -> Facts:
    """All three are heard; of the primary and of c something is otherwise."""
    first = b.primary(RECORD, "bc", **{"slots": ("b", "c"), **(a or {})})
    return facts(site(reports=(first, b.standby(RECORD, "b"), b.standby(RECORD, "c", **(c or {})))))


def of_check(found: tuple[Finding, ...], check: str) -> list[Finding]:
    return [one for one in found if one.check == check and one.level != "good"]


def test_a_healthy_site_has_nothing_but_the_note_that_there_are_no_backups() -> None:
    found = checkup.checkup(facts())
    assert [(one.check, one.level) for one in found if one.level != "good"] == [("backups", "note")]
    assert {one.check for one in found} >= {
        "swarm-quorum", "nodes", "engine-version", "heartbeat", "clocks", "networks", "mtu", "secrets", "operators",
        "documents", "placement", "replication", "slots", "volumes", "routers-agree", "dns", "application-path",
    }  # fmt: skip


STRANGE = "Swarm has a config named pgswarm.main, but it does not say which cluster it is of: look at it"
TAKEN = SWARM.model_copy(
    update={
        "services": (
            Service(
                id="r",
                version=1,
                name="main_postgres-ha",
                labels={settings.LABEL_CLUSTER: "main", settings.LABEL_KIND: "router"},
            ),
        ),
        "tasks": (
            Task(id="1", service_id="r", node_id="id-a", state="running", desired="running"),
            Task(id="2", service_id="r", node_id="id-b", state="ready", desired="ready", created=2.0),
            Task(
                id="3",
                service_id="r",
                node_id="id-b",
                state="failed",
                desired="shutdown",
                error="driver failed programming external connectivity: port is already allocated",
                created=1.0,
            ),
        ),
    }
)
"""Somebody else has the routers' port on node-b."""

WITHOUT_WEBNET = SWARM.model_copy(update={"networks": SWARM.networks[:1]})

PROVOKED: list[tuple[str, str, str, Facts]] = [
    ("swarm-quorum", "bad", "cannot be observed", facts(view=Unknown(why="no leader"))),
    ("swarm-quorum", "bad", "node-a cannot be reached", facts(view=nodes(reachability="unreachable"))),
    ("swarm-quorum", "warn", "1 manager", facts(view=SWARM.model_copy(update={"nodes": NODES[:1]}), operators=1)),
    ("swarm-quorum", "warn", "2 managers", facts(view=SWARM.model_copy(update={"nodes": NODES[:2]}), operators=2)),
    (
        "swarm-quorum",
        "note",
        "even number",
        facts(
            view=SWARM.model_copy(update={"nodes": (*NODES, NODES[0].model_copy(update={"id": "d", "name": "d"}))}),
            operators=4,
        ),
    ),
    ("nodes", "bad", "node-a is down", facts(view=nodes(state="down"))),
    ("nodes", "note", "node-a is drained", facts(view=nodes(availability="drain"))),
    ("engine-version", "bad", "Docker 19.3.1", facts(view=nodes(engine="19.3.1"))),
    ("engine-version", "note", "node-a: 24.0.7", facts(view=nodes(engine="24.0.7"))),
    ("heartbeat", "warn", "is 30 s", facts(heartbeat=30.0)),
    ("heartbeat", "warn", "not known", facts(heartbeat=Unknown(why="it hangs"))),
    ("clocks", "warn", "main/b is +70.0 s off", facts(offsets={"main/a": 0.0, "main/b": 70.0})),
    ("clocks", "warn", "no agent", facts(offsets={})),
    ("networks", "bad", "no network webnet", facts(view=WITHOUT_WEBNET)),
    (
        "networks",
        "bad",
        "is a bridge network",
        facts(
            view=SWARM.model_copy(
                update={
                    "networks": (
                        Network(name=CONTROL_NETWORK, id="1", scope="swarm", driver="overlay"),
                        Network(name="webnet", id="2", scope="swarm", driver="bridge"),
                    )
                }
            )
        ),
    ),
    (
        "networks",
        "bad",
        "of this node alone",
        facts(view=WITHOUT_WEBNET, local={"bridge": "bridge", "webnet": "bridge"}),
    ),
    ("mtu", "warn", "1200, 1450, 1500", facts(inspections=inspected("main/b", mtus={"eth0": 1200}))),
    ("secrets", "bad", "no Swarm secret", facts(view=SWARM.model_copy(update={"secrets": ()}))),
    ("secrets", "bad", "owner of main", facts(inspections=inspected("main/b", weak=("owner",)))),
    ("operators", "bad", "no operator", facts(operators=0)),
    ("operators", "warn", "2 of 3", facts(operators=2)),
    ("operators", "warn", "cannot be counted", facts(operators=Unknown(why="Swarm is silent"))),
    ("documents", "bad", "broken.yaml:1:1", facts(document_errors=("broken.yaml:1:1: is wrong",))),
    ("documents", "warn", "has read them", facts(document_errors=Unknown(why="no operator that has read them"))),
    ("document", "warn", "no document", facts(replace(site(), document=None))),
    ("durability", "note", "wait for nobody", facts(site(document=b.document("abc", durability="async")))),
    ("placement", "bad", "does not say which cluster", facts(replace(site(), record=Unknown(why=STRANGE)))),
    (
        "placement",
        "warn",
        "cannot be read: no leader",
        facts(replace(site(), record=Unknown(why="no leader")), view=Unknown(why="no leader")),
    ),
    ("placement", "warn", "there is none yet", facts(replace(site(), record=None))),
    (
        "placement",
        "warn",
        "there is one member",
        facts(site(record=(one := b.record("a", 1, "", members="a")), reports=(b.primary(one, "", **ROOM),))),
    ),
    (
        "placement",
        "warn",
        "a, b are both on node-a",
        facts(
            site(
                record=RECORD.amended(
                    "moved",
                    places=(
                        *(
                            one.model_copy(update={"node_id": "id-a", "node_name": "node-a"})
                            for one in RECORD.places[:2]
                        ),
                        RECORD.places[2],
                    ),
                )
            )
        ),
    ),
    ("raft-leader", "note", "leads Swarm's Raft", facts(site(swarm=nodes(is_raft_leader=True)))),
    (
        "replication",
        "bad",
        "c has not been heard",
        facts(site(reports=(b.primary(RECORD, "b", slots=("b", "c")), b.standby(RECORD, "b")))),
    ),
    ("replication", "bad", "c does not stream", three(c={"upstream": None})),
    (
        "replication",
        "bad",
        "c: full, so",
        three(c={"problem": Problem(code="x", text="full, so transactions are read-only")}),
    ),
    ("replication", "warn", "c is 60 s behind", three(c={"lag": 60.0})),
    ("copies", "warn", "only a is known", facts(site(record=b.record("a", 1, "")))),
    ("slots", "warn", "no log for c", facts(site(slots=("b",)))),
    ("volumes", "bad", "a: 1 % of its volume", three(a={"disk_free": 1 << 30, "disk_total": 100 << 30})),
    ("volumes", "warn", "a: 10 % of its volume", three(a={"disk_free": 10 << 30, "disk_total": 100 << 30})),
    ("volumes", "warn", "no member has told", three()),
    ("shared-memory", "note", "/dev/shm of b", facts(inspections=inspected("main/b", shm=64 << 20))),
    ("routers-agree", "bad", "no router", facts(site(routers={}))),
    (
        "routers-agree",
        "warn",
        "r2 is not heard",
        facts(site(routers={"r1": router("r1", RECORD), "r2": Sighting(address="x")})),
    ),
    (
        "routers-agree",
        "bad",
        "HAProxy of r2 is down",
        facts(site(routers={"r1": router("r1", RECORD), "r2": router("r2", RECORD, haproxy="down")})),
    ),
    (
        "routers-agree",
        "bad",
        "sends writers to b",
        facts(site(routers={"r1": router("r1", RECORD), "r2": router("r2", RECORD, primary="b/1")})),
    ),
    (
        "routers-agree",
        "bad",
        "sends writers nowhere",
        facts(site(routers={"r1": router("r1", RECORD), "r2": router("r2", RECORD, primary=None)})),
    ),
    ("routers", "warn", "there is one router", facts(site(routers={"r1": router("r1", RECORD)}))),
    (
        "routers",
        "warn",
        "the router on node-b does not run: a published port is already taken",
        facts(site(swarm=TAKEN)),
    ),
    ("dns", "bad", "has no address", facts(inspections=inspected("main/r1", names={"postgres-ha": ()}))),
    ("dns", "warn", "could look up", facts(inspections={"main/a": FINE})),
    (
        "application-path",
        "bad",
        "r1 to writers: refused",
        facts(inspections=inspected("main/a", paths=(Path(router="r1", writes=True, why="refused"),))),
    ),
    (
        "application-path",
        "warn",
        "r1 to readers: refused",
        facts(inspections=inspected("main/a", paths=(Path(router="r1", writes=False, why="refused"),))),
    ),
    (
        "application-path",
        "bad",
        "leads writers to a standby",
        facts(inspections=inspected("main/a", paths=(Path(router="r1", writes=True, recovery=True),))),
    ),
    (
        "application-path",
        "warn",
        "takes 3.0 s",
        facts(inspections=inspected("main/a", paths=(Path(router="r1", writes=True, recovery=False, seconds=3.0),))),
    ),
    (
        "application-path",
        "warn",
        "a could not be asked",
        facts(inspections={**facts().inspections, "main/a": Unknown(why="silent")}),
    ),
    ("application-path", "warn", "no member could try", facts(inspections={"main/r1": FINE})),
    ("pause", "warn", "paused by ann", facts(site(record=RECORD.amended("x", pause=Pause(by="ann", since=0.0))))),
    (
        "maintenance",
        "note",
        "under maintenance",
        facts(
            site(record=RECORD.amended("x", maintenance=(Maintenance(node_id="id-b", node_name="node-b", since=0.0),)))
        ),
    ),
    ("fence", "note", "c is fenced", facts(site(record=RECORD.amended("x", fences=(Fence(member="c", since=0.0),))))),
    ("pending-restart", "note", "max_connections", three(a={"pending_restart": ("max_connections",)})),
    (
        "kept-log",
        "note",
        "c has 1 piece",
        three(
            c={
                "kept": (
                    Kept(
                        folder="kept/1",
                        incarnation="c/0",
                        since=Position(timeline=1, lsn=1),
                        until=Position(timeline=1, lsn=2),
                        at="then",
                    ),
                )
            }
        ),
    ),
    ("backups", "note", "none configured", facts()),
]


@pytest.mark.parametrize(("check", "level", "text", "given"), PROVOKED, ids=[f"{c}: {t}" for c, _, t, _ in PROVOKED])
def test_what_is_wrong_is_found_with_why_it_matters_and_what_mends_it(
    check: str, level: str, text: str, given: Facts
) -> None:
    found = of_check(checkup.checkup(given), check)
    matching = [one for one in found if text in one.what or text in one.why]
    assert matching, found
    assert matching[0].level == level
    assert matching[0].why
    assert matching[0].mend


def test_what_mends_it_says_which_cluster_and_asks_for_logs_of_somebody_who_has_some() -> None:
    """As it stands it is typed where there are several clusters, and a router is in nobody's log by its node's name."""
    said = {
        command
        for _, _, _, given in PROVOKED
        for one in checkup.checkup(given)
        if one.where
        for command in re.findall(r"`pgswarm ([^`]*)`", one.mend)
    }
    general = {"apply -f FILE", "delete", "status", "status -o json", "maintenance node-b off"}
    assert {"resume main", "logs router --cluster main", "logs c --cluster main", "explain main"} <= said
    assert general <= said
    assert {one for one in said - general if not one.endswith(" main")} == set()


def test_every_check_that_can_find_something_is_provoked_here() -> None:
    import ast
    from pathlib import Path as File

    said: set[str] = set()
    for module in ("swarmcheck", "clustercheck"):
        tree = ast.parse((File(checkup.__file__).parent / f"{module}.py").read_text())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
                first = call.args[0]
                is_finding = call.func.id in ("note", "warn", "bad", "unknown", "found", "level")
                if is_finding and isinstance(first, ast.Constant):
                    said.add(str(first.value))
    assert said == {check for check, _, _, _ in PROVOKED}
