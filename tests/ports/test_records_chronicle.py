"""A write of the record notes in the same write what people would call an event."""

from __future__ import annotations

import base64

import pytest
from tests.configs import Configs
from tests.core.builders import document, record, wish

from pgswarm.core import chronicle

pytestmark = pytest.mark.anyio


async def test_an_event_is_noted_with_the_record_and_nothing_else_is() -> None:
    store = Configs()
    records = store.records()
    made = await records.create("main", document(), edited_at=1.0, source="node1:main.yaml")
    assert made.chronicle == ""
    first = await records.write(made, record=record(revision=1))
    assert [one.kind for one in chronicle.events(first.chronicle)] == ["began"]
    assert first.record is not None
    wished = await records.write(first, record=first.record.amended("ann wishes", wish=wish("switchover", "b")))
    assert wished.chronicle == first.chronicle
    assert wished.record is not None
    refused = await records.write(wished, record=wished.record.answering("refused: b is away"))
    noted = chronicle.events(refused.chronicle)
    assert [one.text for one in noted][-1] == "refused: b is away"
    assert all(one.at is not None and one.at > 1.7e9 for one in noted)
    assert base64.b64decode(store.raw[0]["Spec"]["Data"])


async def test_editing_the_document_leaves_the_chronicle_as_it_is() -> None:
    store = Configs()
    records = store.records()
    made = await records.create("main", document(), edited_at=1.0, source="node1:main.yaml")
    first = await records.write(made, record=record(revision=1))
    edited = await records.write(first, document=document(2), edited_at=2.0)
    assert edited.chronicle == first.chronicle
