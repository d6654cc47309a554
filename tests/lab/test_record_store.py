"""The record store on a real Swarm: who wins, who is told so, and that absent is not unknown."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from pgswarm import settings
from pgswarm.core.claim import Claim
from pgswarm.core.record import Place, Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Stored
from pgswarm.core.wal import Reign
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.swarm_http import Engine, Unknown

pytestmark = pytest.mark.lab


def document(cluster: str, **postgres: Any) -> PostgresCluster:
    return PostgresCluster.model_validate(
        {
            "apiVersion": "pgswarm/v1",
            "kind": "PostgresCluster",
            "metadata": {"name": cluster},
            "spec": {"postgres": {"database": "shop", **postgres}},
        }
    )


def record(revision: int = 1, reason: str = "made") -> Record:
    return Record(
        revision=revision,
        term=1,
        primary="pg-1/0000aaaa",
        claim=Claim(members=("pg-1/0000aaaa",), r=1),
        lineage=(Reign(term=1, incarnation="pg-1/0000aaaa", timeline=1, fork=0),),
        places=(Place(member="pg-1", node_id="n1", node_name="node1", volume="v"),),
        reason=reason,
    )


async def created(records: SwarmRecords, cluster: str) -> Stored:
    return await records.create(cluster, document(cluster), edited_at=12.5, source="node1:/etc/pgswarm/main.yaml")


async def test_what_was_never_stored_is_absent(records: SwarmRecords, cluster: str) -> None:
    assert await records.read(cluster) is None
    assert cluster not in await records.names()


async def test_a_store_that_cannot_be_asked_says_unknown_and_not_absent(cluster: str) -> None:
    nobody = SwarmRecords(Engine("tcp://127.0.0.1:9"))
    with pytest.raises(Again, match="does not answer"):
        await nobody.read(cluster)
    with pytest.raises(Again):
        await nobody.names()


async def test_what_was_stored_is_read_as_it_was(records: SwarmRecords, cluster: str) -> None:
    first = await created(records, cluster)
    again = await records.read(cluster)
    assert again == first
    assert again is not None
    assert (again.document, again.edited_at, again.source) == (document(cluster), 12.5, "node1:/etc/pgswarm/main.yaml")
    assert again.record is None
    assert cluster in await records.names()
    assert first in await records.list()


async def test_of_many_who_create_one_wins(sockets: tuple[str, ...], cluster: str) -> None:
    won: list[Stored] = []
    lost: list[Conflict] = []

    async def create(socket: str) -> None:
        engine = Engine(socket)
        try:
            won.append(await created(SwarmRecords(engine), cluster))
        except Conflict as conflict:
            lost.append(conflict)
        finally:
            engine.close()

    async with anyio.create_task_group() as group:
        for socket in (*sockets, *sockets):
            group.start_soon(create, socket)
    assert (len(won), len(lost)) == (1, 5)


async def test_of_many_who_write_over_one_version_one_wins(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    before = await created(records, cluster)
    won: list[Stored] = []
    lost: list[Conflict] = []

    async def write(socket: str, number: int) -> None:
        engine = Engine(socket)
        try:
            won.append(await SwarmRecords(engine).write(before, record=record(reason=f"writer {number}")))
        except Conflict as conflict:
            lost.append(conflict)
        finally:
            engine.close()

    async with anyio.create_task_group() as group:
        for number, socket in enumerate((*sockets, *sockets)):
            group.start_soon(write, socket, number)
    assert (len(won), len(lost)) == (1, 5)
    assert await records.read(cluster) == won[0]


async def test_a_write_over_a_version_of_yesterday_is_a_conflict(records: SwarmRecords, cluster: str) -> None:
    before = await created(records, cluster)
    after = await records.write(before, record=record())
    assert after.version_index > before.version_index
    with pytest.raises(Conflict):
        await records.write(before, record=record(reason="late"))
    assert await records.read(cluster) == after


async def test_document_and_record_change_apart_from_each_other(records: SwarmRecords, cluster: str) -> None:
    first = await records.write(await created(records, cluster), record=record())
    second = await records.write(first, document=document(cluster, database="other"), edited_at=20.0, source="n:/x")
    third = await records.write(second, record=record(2, "grown"))
    assert second.record == first.record
    assert (third.document, third.edited_at) == (document(cluster, database="other"), 20.0)
    assert third.record == record(2, "grown")


async def test_writing_what_is_there_writes_nothing(records: SwarmRecords, cluster: str) -> None:
    first = await records.write(await created(records, cluster), record=record())
    assert await records.write(first, record=record(), document=document(cluster)) == first
    assert (await records.read(cluster)) == first


async def test_a_revision_that_does_not_follow_is_a_bug_and_never_written(records: SwarmRecords, cluster: str) -> None:
    first = await records.write(await created(records, cluster), record=record())
    with pytest.raises(AssertionError, match="must not follow"):
        await records.write(first, record=record(3))
    assert await records.read(cluster) == first


class Losing(Engine):
    """An engine whose answer to a write is lost on the way back, or whose write never arrives."""

    def __init__(self, base_url: str, *, arrives: bool, then_deaf: bool = False) -> None:
        super().__init__(base_url)
        self.arrives = arrives
        self.then_deaf = then_deaf
        self.lost = 0

    async def get(self, path: str, **how: Any) -> Any:
        if self.lost and self.then_deaf:
            raise Again("no answer")
        return await super().get(path, **how)

    async def post(self, path: str, body: Any, **how: Any) -> Any:
        if self.arrives:
            await super().post(path, body, **how)
        self.lost += 1
        raise Unknown("the answer was lost")


async def test_a_write_whose_answer_was_lost_is_found_to_have_happened(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    before = await created(records, cluster)
    losing = SwarmRecords(Losing(sockets[0], arrives=True))
    after = await losing.write(before, record=record())
    assert after == await records.read(cluster)
    assert after.record == record()


async def test_a_write_that_never_arrived_is_a_conflict(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    before = await created(records, cluster)
    with pytest.raises(Conflict):
        await SwarmRecords(Losing(sockets[0], arrives=False)).write(before, record=record())
    assert await records.read(cluster) == before


async def test_a_write_that_cannot_be_read_back_is_a_conflict(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    before = await created(records, cluster)
    with pytest.raises(Conflict, match="cannot be read back"):
        await SwarmRecords(Losing(sockets[0], arrives=True, then_deaf=True)).write(before, record=record())
    after = await records.read(cluster)
    assert after is not None
    assert after.record == record()  # it had happened: the caller reads, and sees it


async def test_a_creation_whose_answer_was_lost_is_found_to_have_happened(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    assert await created(SwarmRecords(Losing(sockets[0], arrives=True)), cluster) == await records.read(cluster)


class Overtaken(Engine):
    """An engine on whose way back somebody else has written, too."""

    read_back = 0
    """Reads after that."""

    async def get(self, path: str, **how: Any) -> Any:
        self.read_back += 1
        return await super().get(path, **how)

    async def post(self, path: str, body: Any, **how: Any) -> Any:
        answer = await super().post(path, body, **how)
        engine = Engine(self._base_url)
        theirs = SwarmRecords(engine)
        ours = await theirs.read(body["Labels"][settings.LABEL_CLUSTER])
        assert ours is not None
        assert ours.record is not None
        await theirs.write(ours, record=record(ours.record.revision + 1, "theirs"))
        engine.close()
        self.read_back = 0
        return answer


async def test_a_write_that_was_overtaken_is_a_conflict_at_once(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    before = await created(records, cluster)
    engine = Overtaken(sockets[0])
    with pytest.raises(Conflict, match="written, and changed again by somebody else"):
        await SwarmRecords(engine).write(before, record=record(reason="ours"))
    assert engine.read_back == 1, "what was seen once needs no second look"
    after = await records.read(cluster)
    assert after is not None
    assert after.record == record(2, "theirs")


async def test_a_lost_answer_is_not_taken_for_ours_when_somebody_else_wrote(
    sockets: tuple[str, ...], records: SwarmRecords, cluster: str
) -> None:
    before = await created(records, cluster)
    after = await records.write(before, record=record(reason="theirs"))
    with pytest.raises(Conflict):
        await SwarmRecords(Losing(sockets[0], arrives=False)).write(before, record=record(reason="ours"))
    assert await records.read(cluster) == after


def edit(client: Any, stored: Stored, **labels: str | None) -> None:
    """Change labels by hand, as a person with curl would."""
    raw = client.inspect_config(stored.config_id)
    spec = raw["Spec"]
    for label, value in labels.items():
        name = label.replace("_", ".")
        spec["Labels"] = {**spec["Labels"], name: value}
        if value is None:
            del spec["Labels"][name]
    url = f"{client.base_url}/v{client.api_version}/configs/{stored.config_id}/update"
    assert client.post(url, params={"version": raw["Version"]["Index"]}, json=spec).ok


async def test_a_record_that_cannot_be_read_is_refused_and_not_absent(
    records: SwarmRecords, client: Any, cluster: str
) -> None:
    stored = await records.write(await created(records, cluster), record=record())
    edit(client, stored, pgswarm_record='{"revision": 2}')
    with pytest.raises(Refused, match=r"pgswarm\.record of config .* cannot be read .*term.*put the label back"):
        await records.read(cluster)
    assert cluster in await records.names()
    assert isinstance((await records.by_cluster())[cluster], Refused)


async def test_an_edited_kind_does_not_make_a_cluster_absent(records: SwarmRecords, client: Any, cluster: str) -> None:
    stored = await created(records, cluster)
    edit(client, stored, pgswarm_kind=None)
    with pytest.raises(Refused, match="put them back"):
        await records.read(cluster)
    assert cluster in await records.names()


async def test_other_labels_on_the_object_are_kept(records: SwarmRecords, client: Any, cluster: str) -> None:
    edit(client, await created(records, cluster), team="payments")
    stored = await records.read(cluster)
    assert stored is not None
    after = await records.write(stored, record=record())
    assert client.inspect_config(after.config_id)["Spec"]["Labels"]["team"] == "payments"


async def test_a_config_of_somebody_else_with_our_name_is_refused(
    records: SwarmRecords, client: Any, cluster: str
) -> None:
    client.create_config(settings.record_name(cluster), b"listen 80", labels={})
    with pytest.raises(Refused, match="does not say which cluster"):
        await records.read(cluster)
    with pytest.raises((Conflict, Refused)):
        await created(records, cluster)
    assert cluster not in await records.names()
