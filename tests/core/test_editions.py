"""The last documents are kept, two differ where their meaning does, and a file that was only copied is no edit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core import editions
from pgswarm.core.editions import Edition
from pgswarm.core.plan import plan
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import StoreDocument
from pgswarm.core.world import FoundDocument, World
from tests.core.builders import NOW, document, primary, record, standby, world

FILE = "m1:/etc/pgswarm/main.yaml"
PAIR = record("ab", 2, "b", members="ab")


def parameters(**values: Any) -> PostgresCluster:
    return document("ab", postgres={"parameters": values})


def edition(of: PostgresCluster, at: float = 1.0, source: str = FILE) -> Edition:
    return Edition(number=1, document=of, edited_at=at, source=source)


def kept(*many: Edition) -> str:
    text, before = "", None
    for one in many:
        text, before = editions.continued(text, before, one), one
    return text


def test_each_document_that_comes_into_force_is_kept_under_a_number_that_only_grows() -> None:
    text = kept(*(edition(parameters(work_mem=n), float(n)) for n in range(1, 14)))
    found = editions.editions(text)
    assert [one.number for one in found] == list(range(4, 14))
    assert found[-1].document == parameters(work_mem=13)
    assert found[-1].edited_at == 13.0


def test_writing_the_same_document_again_is_no_edition() -> None:
    text = kept(edition(parameters(work_mem=1)))
    assert editions.continued(text, edition(parameters(work_mem=1)), edition(parameters(work_mem=1), 2.0)) == text


def test_a_document_from_before_editions_were_kept_is_the_first_of_them() -> None:
    text = editions.continued("", edition(parameters(work_mem=1)), edition(parameters(work_mem=2), 2.0))
    assert [(one.number, one.document) for one in editions.editions(text)] == [
        (1, parameters(work_mem=1)),
        (2, parameters(work_mem=2)),
    ]


def test_large_documents_are_kept_for_as_many_as_there_is_room() -> None:
    large = [edition(parameters(**{f"pgswarm.x{n}": "x" * 90_000})) for n in range(5)]
    text = kept(*large)
    assert len(text) <= editions.MOST_BYTES
    assert [one.number for one in editions.editions(text)] == [4, 5]


@pytest.mark.parametrize("broken", ["nonsense", "{}", '[{"number": 1}]'])
def test_editions_that_cannot_be_read_stop_nothing(broken: str) -> None:
    assert editions.editions(broken) == ()
    assert len(editions.editions(editions.continued(broken, None, edition(parameters())))) == 1


def test_differences_are_named_by_path_with_both_values() -> None:
    before = document("ab", postgres={"parameters": {"work_mem": "4MB", "jit": False}})
    after = document(
        "abc", postgres={"parameters": {"work_mem": "64MB", "max_connections": 200}}, durability="required"
    )
    assert {str(one) for one in editions.differences(before, after)} == {
        "spec.postgres.parameters.work_mem: 4MB → 64MB",
        "spec.postgres.parameters.max_connections: 200 (new)",
        "spec.postgres.parameters.jit: off is taken away",
        "spec.durability: preferred → required",
        "spec.instances.c: anywhere (new)",
    }


def test_a_default_that_is_written_out_and_the_order_of_members_are_no_difference() -> None:
    assert not editions.differences(document("ab"), document("ba", durability="preferred", detectionTimeout="3s"))
    listed = document(2).model_copy(update={"spec": document(2).spec})
    assert not editions.differences(parameters(jit=False), parameters(jit="off"))
    assert not editions.differences(listed, document(2, instances=[{"name": "pg-1"}, {"name": "pg-2"}]))


def found(of: PostgresCluster, at: float, source: str = FILE) -> FoundDocument:
    return FoundDocument(document=of, edited_at=at, source=source)


def seen(text: str, there: FoundDocument, in_force: PostgresCluster) -> World:
    whole = world(PAIR, primary(PAIR, "b"), standby(PAIR, "b"))
    return replace(whole, document=in_force, stored_edited_at=20.0, editions=text, found=there)


def taken(of: World) -> list[str]:
    return [step.source for step in plan(of, NOW).steps if isinstance(step, StoreDocument)]


APPLIED = edition(parameters(work_mem=2), 20.0, "applied by ann@m1")
TEXT = kept(edition(parameters(work_mem=1), 10.0), APPLIED)


def test_a_file_that_was_written_again_does_not_undo_what_was_applied_since() -> None:
    same = parameters(work_mem=1)
    assert taken(seen(TEXT, found(same, 30.0), APPLIED.document)) == []
    copied = found(same, 30.0, "m2:/etc/pgswarm/main.yaml")
    assert taken(seen(TEXT, copied, APPLIED.document)) == []


def test_a_file_that_was_edited_after_it_wins() -> None:
    other = parameters(work_mem=3)
    assert taken(seen(TEXT, found(other, 30.0), APPLIED.document)) == [FILE]
    assert taken(seen(TEXT, found(other, 15.0), APPLIED.document)) == []


def test_a_file_at_another_path_was_never_taken_over_so_the_newest_edit_wins() -> None:
    elsewhere = found(parameters(work_mem=1), 30.0, "m1:/srv/main.yaml")
    assert taken(seen(TEXT, elsewhere, APPLIED.document)) == ["m1:/srv/main.yaml"]
