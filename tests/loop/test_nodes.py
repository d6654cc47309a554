"""A node is said to be under maintenance: in every cluster that has a member there, and in no other."""

from __future__ import annotations

import anyio
import pytest

from pgswarm.core.record import Place
from pgswarm.errors import Again, Refused
from pgswarm.loop import nodes, shelf
from tests.configs import Configs
from tests.core.builders import document, record

pytestmark = pytest.mark.anyio


async def stored() -> Configs:
    """`main` on the nodes of a, b and c, its primary on the first; `other` on the node of c alone."""
    configs = Configs()
    records = configs.records()
    for name, of in (
        ("main", record(revision=1)),
        ("other", record("c", 1, "", members="c", revision=1, primary="c/1")),
    ):
        made = await records.create(name, document(), edited_at=1.0, source="m1:x.yaml")
        await records.write(made, record=of)
    return configs


async def test_every_cluster_with_a_member_there_is_told_and_no_other() -> None:
    records = (await stored()).records()
    place, clusters = await nodes.concerned(records, "node-b")
    assert [(one.cluster, one.members) for one in clusters] == [("main", ("b",))]
    await nodes.put(records, clusters, place, "ann", on=True)
    told = (await shelf.one(records, "main")).record
    assert told is not None
    assert [str(one) for one in told.maintenance] == ["node-b is under maintenance, says ann"]
    other = (await shelf.one(records, "other")).record
    assert other is not None
    assert other.maintenance == ()
    assert [one.cluster for one in (await nodes.concerned(records, "id-c"))[1]] == ["main", "other"]


async def test_saying_it_twice_writes_once_and_off_takes_it_away() -> None:
    configs = await stored()
    records = configs.records()
    place, clusters = await nodes.concerned(records, "node-b")
    await nodes.put(records, clusters, place, "ann", on=True)
    before = configs.writes
    await nodes.put(records, clusters, place, "bob", on=True)
    assert configs.writes == before
    await nodes.put(records, clusters, place, "bob", on=False)
    over = (await shelf.one(records, "main")).record
    assert over is not None
    assert over.maintenance == ()
    assert over.reason == "the maintenance of node-b is over, says bob"


async def test_a_node_without_members_and_a_name_that_two_nodes_bear_are_refused() -> None:
    configs = await stored()
    records = configs.records()
    with pytest.raises(Refused, match="no member lives on a node 'node-x'; nodes with members: node-a, node-b, node-c"):
        await nodes.concerned(records, "node-x")

    twin = Place(member="c", node_id="id-twin", node_name="node-a", volume="v")
    await shelf.amended(records, "other", lambda of: of.amended("moved", places=(twin,)))
    with pytest.raises(Refused, match="several nodes are called 'node-a'; say the id of one: id-a, id-twin"):
        await nodes.concerned(records, "node-a")


async def test_it_is_waited_until_nobody_there_is_primary_and_no_longer_than_that() -> None:
    records = (await stored()).records()
    place, clusters = await nodes.concerned(records, "node-a")
    assert clusters[0].is_primary_there
    with pytest.raises(Again, match=r"still primary on node-a: main \(a\); `pgswarm explain` says why"):
        await nodes.moved(records, clusters, place, 0.1)
    assert await nodes.moved(records, clusters, place, None) == {"main": "a"}
    elsewhere = await nodes.concerned(records, "node-b")
    assert await nodes.moved(records, elsewhere[1], elsewhere[0], 5.0) == {"main": "a"}
    await anyio.lowlevel.checkpoint()


async def test_what_it_means_is_said_before() -> None:
    records = (await stored()).records()
    _, clusters = await nodes.concerned(records, "node-a")
    assert list(clusters[0].lines(on=True)) == [
        "main: a is primary there; another is made primary first: open sessions end"
    ]
    _, standbys = await nodes.concerned(records, "node-b")
    assert list(standbys[0].lines(on=True)) == ["main: b is a standby there; while it is away, it is not missed"]
    assert list(standbys[0].lines(on=False)) == ["main: b may be primary again, and is missed when it is away"]
