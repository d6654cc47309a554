"""A document from a person's shell: stored as an operator would, refused where it cannot be, and gone back from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgswarm.core.editions import editions
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.wish import Pause
from pgswarm.errors import Conflict, Refused
from pgswarm.loop import applying, shelf
from pgswarm.ports import documents
from pgswarm.ports.documents_write import as_yaml
from tests.configs import Configs
from tests.core.builders import document, record

pytestmark = pytest.mark.anyio

ONE, TWO, THREE = (document("ab", postgres={"parameters": {"work_mem": n}}) for n in (1, 2, 3))


def other(**router: object) -> PostgresCluster:
    return PostgresCluster.model_validate({**document("ab", router=router).model_dump(), "metadata": {"name": "other"}})


async def test_a_new_cluster_is_created_and_a_known_one_is_changed() -> None:
    configs = Configs()
    records = configs.records()
    made = await applying.applied(records, ONE, "applied by ann")
    assert made.is_new
    changed = await applying.applied(records, TWO, "applied by ann")
    assert [str(one) for one in changed.changes] == ["spec.postgres.parameters.work_mem: 1 → 2"]
    stored = await shelf.one(records, "main")
    assert stored.document == TWO
    assert stored.source == "applied by ann"
    assert stored.edited_at > 1.7e9


async def test_what_is_in_force_already_is_not_written_again() -> None:
    configs = Configs()
    await applying.applied(configs.records(), ONE, "applied by ann")
    before = configs.writes
    same = await applying.applied(configs.records(), ONE, "applied by bob")
    assert not same.changes
    assert configs.writes == before


async def test_an_edit_is_never_older_than_the_one_it_replaces_whatever_the_clocks_say() -> None:
    configs = Configs()
    records = configs.records()
    ahead = 4_000_000_000.0
    await records.create("main", ONE, edited_at=ahead, source="m2:/etc/main.yaml")
    await applying.applied(records, TWO, "applied by ann")
    assert (await shelf.one(records, "main")).edited_at == ahead


async def test_somebody_who_was_first_is_seen_and_the_edit_is_still_made() -> None:
    configs = Configs()
    records = configs.records()
    await applying.applied(records, ONE, "applied by ann")
    waiting = [configs.touched]

    def first() -> None:
        while waiting:
            waiting.pop()()

    configs.before_write = first
    await applying.applied(records, TWO, "applied by ann")
    assert (await shelf.one(records, "main")).document == TWO
    configs.before_write = configs.touched
    with pytest.raises(Conflict):
        await applying.applied(records, THREE, "applied by ann")


async def test_a_paused_cluster_takes_no_document() -> None:
    configs = Configs()
    records = configs.records()
    made = await records.create("main", ONE, edited_at=1.0, source="m1:main.yaml")
    await records.write(made, record=record(revision=1, pause=Pause(by="ann", since=1.0)))
    with pytest.raises(Refused, match="main is paused by ann; `pgswarm resume` first"):
        await applying.applied(records, TWO, "applied by bob")


async def test_going_back_takes_the_one_before_or_the_one_that_is_named() -> None:
    configs = Configs()
    records = configs.records()
    for one in (ONE, TWO, THREE):
        await applying.applied(records, one, "applied by ann")
    stored = await shelf.one(records, "main")
    assert applying.to_go_back_to(stored, None).document == TWO
    assert applying.to_go_back_to(stored, 1).document == ONE
    with pytest.raises(Refused, match="edition 9 is not kept; there is: 1, 2, 3"):
        applying.to_go_back_to(stored, 9)
    await applying.applied(records, applying.to_go_back_to(stored, 1).document, "edition 1 again, by ann")
    back = await shelf.one(records, "main")
    assert back.document == ONE
    assert [one.number for one in editions(back.editions)] == [1, 2, 3, 4]
    assert applying.to_go_back_to(back, None).document == THREE


async def test_where_nothing_was_in_force_before_there_is_nothing_to_go_back_to() -> None:
    configs = Configs()
    await applying.applied(configs.records(), ONE, "applied by ann")
    with pytest.raises(Refused, match="nothing to go back to"):
        applying.to_go_back_to(await shelf.one(configs.records(), "main"), None)


async def test_a_document_that_clashes_with_another_cluster_in_force_is_named_with_its_place(tmp_path: Path) -> None:
    configs = Configs()
    records = configs.records()
    await applying.applied(records, ONE, "applied by ann")
    file = tmp_path / "other.yaml"
    file.write_text(as_yaml(other(name="other-ha")))
    found = documents.read(file)
    assert not found.errors
    lines = applying.hindrances(found.clusters, await records.by_cluster())
    assert (
        f"{file}:1: spec.router.port: port 5432 is published on the same nodes by 'main', whose document is in force"
        in lines
    )
    own = tmp_path / "main.yaml"
    own.write_text(as_yaml(TWO))
    assert not applying.hindrances(documents.read(own).clusters, await records.by_cluster())


async def test_what_would_change_is_told_and_nothing_written() -> None:
    configs = Configs()
    records = configs.records()
    await applying.applied(records, ONE, "applied by ann")
    before = configs.writes
    told = await applying.compared(records, [TWO, other(name="other-ha")])
    assert [(one.cluster, one.is_new) for one in told] == [("main", False), ("other", True)]
    assert configs.writes == before


def test_a_document_that_was_printed_can_be_read_again(tmp_path: Path) -> None:
    whole = document(
        "ab",
        postgres={"parameters": {"work_mem": "64MB", "jit": "off", "log_line_prefix": "%m [%p] ", "x.y": "yes"}},
        durability="required",
        isolationTimeout="7s",
    )
    file = tmp_path / "main.yaml"
    file.write_text(as_yaml(whole))
    found = documents.read(file)
    assert not found.errors
    assert found.clusters[0].cluster == whole
