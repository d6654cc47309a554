"""What is written to Swarm's store is read back as it was, and what is not understood is never absent."""

from __future__ import annotations

import json
import re

import pytest

from pgswarm import settings
from pgswarm.core import stored
from pgswarm.core.claim import Claim
from pgswarm.core.record import Place, Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Identity, Stored
from pgswarm.core.wal import Reign
from pgswarm.core.wish import Wish
from pgswarm.errors import Refused

RECORD = Record(
    revision=4,
    term=2,
    primary="pg-1/0000aaaa",
    claim=Claim(members=("pg-1/0000aaaa",), r=1),
    lineage=(Reign(term=2, incarnation="pg-1/0000aaaa", timeline=2, fork=100),),
    places=(Place(member="pg-1", node_id="n", node_name="node1", volume="v"),),
    system_id="7",
)
DOCUMENT = PostgresCluster.model_validate(
    {
        "apiVersion": "pgswarm/v1",
        "kind": "PostgresCluster",
        "metadata": {"name": "main"},
        "spec": {"postgres": {"parameters": {"shared_buffers": "1GB", "work_mem": 64, "jit": False}}, "instances": 3},
    }
)
WHOLE = Stored(
    config_id="c1",
    version_index=9,
    identity=Identity(cluster="main", id="ab12", createdAt="2026-01-02T03:04:05Z"),
    record=RECORD,
    document=DOCUMENT,
    edited_at=1234.5,
    source="node1:/etc/pgswarm/main.yaml",
    chronicle='[{"at":1.0,"term":1,"primary":"pg-1","kind":"began"}]',
    others={"team": "payments"},
)


def read(labels: dict[str, str], *, name: str = "pgswarm.main", data: bytes | None = None) -> Stored:
    content = stored.identity_bytes(WHOLE.identity) if data is None else data
    return stored.understand(name=name, config_id="c1", version_index=9, data=content, labels=labels)


def test_what_is_written_is_what_is_read() -> None:
    assert read(stored.labels_of(WHOLE)) == WHOLE
    young = WHOLE.model_copy(update={"record": None})
    assert read(stored.labels_of(young)) == young
    assert settings.LABEL_RECORD not in stored.labels_of(young)


def test_the_document_is_kept_as_it_was_written_without_defaults() -> None:
    spec = json.loads(stored.labels_of(WHOLE)[settings.LABEL_SPEC])
    assert spec["document"]["spec"] == {
        "postgres": {"parameters": {"shared_buffers": "1GB", "work_mem": 64, "jit": False}},
        "instances": 3,
    }


@pytest.mark.parametrize("text", ["", "{}", "null", "not json", '{"revision": 1, "term": "many"}'])
@pytest.mark.parametrize("label", [settings.LABEL_RECORD, settings.LABEL_SPEC])
def test_a_label_that_cannot_be_read_is_refused_with_directions(label: str, text: str) -> None:
    with pytest.raises(Refused, match=f"label {re.escape(label)} of config pgswarm.main cannot be read"):
        read({**stored.labels_of(WHOLE), label: text})


def test_a_record_of_a_newer_version_is_refused_and_not_cut_short() -> None:
    newer = json.dumps({**json.loads(RECORD.model_dump_json()), "quorum_of_the_future": 1})
    with pytest.raises(Refused, match="written by a newer pgswarm"):
        read({**stored.labels_of(WHOLE), settings.LABEL_RECORD: newer})


def test_an_object_that_is_not_of_the_cluster_it_is_named_for_is_refused() -> None:
    with pytest.raises(Refused, match="put them back"):
        read(stored.labels_of(WHOLE), name="pgswarm.other")
    with pytest.raises(Refused, match="does not say which cluster"):
        read(stored.labels_of(WHOLE), data=b"something else")


def test_an_object_is_ours_by_name_and_content_also_when_its_labels_are_gone() -> None:
    identity = stored.identity_bytes(WHOLE.identity)
    assert stored.is_ours(name="pgswarm.main", data=identity, labels={})
    assert stored.is_ours(name="pgswarm.main", data=b"broken", labels=stored.labels_of(WHOLE))
    assert not stored.is_ours(name="pgswarm.main", data=b"listen 80", labels={})
    assert not stored.is_ours(name="other", data=identity, labels=stored.labels_of(WHOLE))


def test_the_same_is_the_same_in_any_version() -> None:
    assert WHOLE.says_the_same(WHOLE.model_copy(update={"version_index": 99}))
    assert not WHOLE.says_the_same(WHOLE.model_copy(update={"edited_at": 0.0}))


def test_a_record_without_a_wish_is_written_as_before_wishes_and_one_of_before_is_read() -> None:
    label = stored.labels_of(WHOLE)[settings.LABEL_RECORD]
    assert "wish" not in label
    assert "answered" not in label
    wished = RECORD.model_copy(update={"wish": Wish(id="w", kind="failover", term=2, until=9.0)})
    assert read(stored.labels_of(WHOLE.model_copy(update={"record": wished}))).record == wished


def test_a_chronicle_that_was_edited_into_nonsense_hides_neither_record_nor_document() -> None:
    spoilt = read({**stored.labels_of(WHOLE), settings.LABEL_CHRONICLE: "nonsense"})
    assert spoilt.record == RECORD
    assert spoilt.document == DOCUMENT
