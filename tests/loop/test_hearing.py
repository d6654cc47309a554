"""Whose log is meant, and that many nodes' lines become one story."""

from __future__ import annotations

import pytest

from pgswarm import settings
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.errors import Refused
from pgswarm.loop.hearing import newest, speakers
from pgswarm.ports.service_logs import Line, lines


def service(name: str, kind: str, cluster: str = "", member: str = "") -> Service:
    labels = {settings.LABEL_KIND: kind, settings.LABEL_CLUSTER: cluster, settings.LABEL_MEMBER: member}
    return Service(id=f"id-{name}", version=1, name=name, labels={key: one for key, one in labels.items() if one})


ONE = (
    service("pgswarm_operator", "operator"),
    service("main_pg-1", "member", "main", "pg-1"),
    service("main_pg-2", "member", "main", "pg-2"),
    service("main_postgres-ha", "router", "main"),
    Service(id="id-x", version=1, name="somebody-else"),
)
TWO = (*ONE, service("other_pg-1", "member", "other", "pg-1"))


def frame(text: str, stream: int = 1) -> bytes:
    body = text.encode()
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


def line(who: str, at: str, text: str = "x") -> Line:
    return Line(who=who, at=at, node_id="n1", text=text)


def test_without_a_name_members_and_routers_speak_and_the_operator_only_when_asked() -> None:
    view = SwarmView(services=ONE)
    assert list(speakers(view, None, None)) == ["pg-1", "pg-2", "router"]
    assert speakers(view, None, "pg-2") == {"pg-2": "id-main_pg-2"}
    assert speakers(view, None, "operator") == {"operator": "id-pgswarm_operator"}


def test_several_routers_are_told_apart_and_heard_under_one_name() -> None:
    view = SwarmView(services=(*ONE, service("main_postgres-ha-2", "router", "main")))
    assert list(speakers(view, None, "router")) == ["router main_postgres-ha", "router main_postgres-ha-2"]


def test_who_is_not_there_is_refused_with_those_who_are() -> None:
    with pytest.raises(Refused, match="nobody here is called 'pg-9'; there is: pg-1, pg-2, router, operator"):
        speakers(SwarmView(services=ONE), None, "pg-9")
    with pytest.raises(Refused, match="there is no service of a cluster 'mian' in this Swarm; there is: main"):
        speakers(SwarmView(services=ONE), "mian", None)


def test_of_several_clusters_one_must_be_named_but_they_share_the_operator() -> None:
    view = SwarmView(services=TWO)
    with pytest.raises(Refused, match="say which cluster: --cluster NAME; there is: main, other"):
        speakers(view, None, "pg-1")
    assert speakers(view, "other", "pg-1") == {"pg-1": "id-other_pg-1"}
    assert speakers(view, None, "operator") == {"operator": "id-pgswarm_operator"}


def test_lines_of_many_nodes_are_told_by_their_times_and_only_the_last_of_each() -> None:
    told = newest([line("b", "T3"), line("a", "T1"), line("a", "T2"), line("a", "T4"), line("b", "T0")], 2)
    assert [(one.who, one.at) for one in told] == [("b", "T0"), ("a", "T2"), ("b", "T3"), ("a", "T4")]
    assert newest([line("a", "T1")], 0) == []


def test_a_line_is_taken_out_of_dockers_frames_with_its_time_and_node() -> None:
    details = "com.docker.swarm.node.id=n7,com.docker.swarm.task.id=t1"
    raw = frame(f"2026-01-02T03:04:05.1Z {details} hello = world, twice\n") + frame(
        f"2026-01-02T03:04:06.1Z {details} \n", 2
    )
    cut = [raw[:5], raw[5:40], raw[40:]]
    assert list(lines("pg-1", cut)) == [
        Line(who="pg-1", at="2026-01-02T03:04:05.1Z", node_id="n7", text="hello = world, twice"),
        Line(who="pg-1", at="2026-01-02T03:04:06.1Z", node_id="n7", text=""),
    ]


def test_a_line_that_came_in_two_frames_is_one_and_the_last_needs_no_end() -> None:
    parts = [frame("2026-01-02T03:04:05.1Z node=1 one "), frame("line\n"), frame("2026-01-02T03:04:06.1Z node=1 cut")]
    assert [one.text for one in lines("pg-1", parts)] == ["one line", "cut"]
