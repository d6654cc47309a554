"""Data made by hand: each reason against taking them over, and the record that begins with them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pgswarm.core import duty
from pgswarm.core.adoptable import objections
from pgswarm.core.ballot import health
from pgswarm.core.bootstrap import completed, first_record
from pgswarm.core.memory import Memory, accept
from pgswarm.core.orders import order_for
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, Found, Problem
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import WriteRecord
from pgswarm.core.strangers import beside_member
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.core.wal import Reign
from pgswarm.core.world import World
from tests.core import builders
from tests.core.builders import NOW, empty, primary, report, stopped, world

SYSTEM = "7712"
VOLUMES = {"a": "postgres_primary_data", "b": "new_b"}
PLACES = tuple(Place(member=m, node_id=f"id-{m}", node_name=f"node-{m}", volume=v) for m, v in VOLUMES.items())


def found(**changes: Any) -> Found:
    """The official image's directory, stopped in order."""
    fields = {"folder": ".", "major": "17", "system_id": SYSTEM, "state": "shut down", "timeline": 3}
    return Found(**{**fields, **changes})


def document(**bootstrap: Any) -> PostgresCluster:
    rows = [{"name": m, "node": f"node-{m}", "volume": v} for m, v in VOLUMES.items()]
    return builders.document(
        2, instances=rows, bootstrap={"adopt": "a", **bootstrap}, postgres={"passwords": {"owner": "x"}}
    )


def lying(**changes: Any) -> Any:
    """What the agent on the old volume says."""
    fields = {"data": Data.FOREIGN, "found": found(), "version": "17.6"}
    return report("a", **{**fields, **changes})


def unborn(*said: Any, **changes: Any) -> World:
    return world(None, *said, **{"places": PLACES, "document": document(), **changes})


def adopting(**changes: Any) -> Record:
    return builders.record("a", 1, sync="", members="ab", **{"adopting": True, "system_id": SYSTEM, **changes})


def refused(what: Found, *, accept_standby: bool = False) -> str:
    (text,) = objections(what, major="17", accept_standby=accept_standby)
    return text


# whether it may be


def test_a_directory_that_was_stopped_in_order_may_be_taken_over() -> None:
    assert objections(found(), major="17", accept_standby=False) == ()
    assert objections(found(folder="pgdata"), major="17", accept_standby=False) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"major": "16"}, "of PostgreSQL 16, older than this image's 17: upgrade it first"),
        ({"major": "18"}, "of PostgreSQL 18, newer than this image's 17: a member image of 18 is needed"),
        ({"major": "nine"}, "its PG_VERSION is 'nine'"),
        ({"lock_file": True}, "a PostgreSQL runs on it, or was killed"),
        ({"lock_file": True, "state": "in production"}, "a PostgreSQL runs on it, or was killed"),
        ({"state": "in production"}, "not shut down in order (pg_control says 'in production'): start the old service"),
        ({"state": "in crash recovery"}, "not shut down in order"),
        ({"backup_label": True}, "a copy that was never completed"),
        ({"standby": True, "state": "shut down in recovery"}, "say spec.bootstrap.acceptStandby: true"),
        ({"standby": True, "state": "in archive recovery"}, "it is a standby's"),
        ({"tablespaces": 2}, "tablespaces outside of the volume"),
        ({"linked_wal": True}, "its pg_wal is a link"),
        ({"logical_slots": ("cdc",)}, "logical replication slots (cdc)"),
        ({"others": ("backup",)}, "several data directories in it (., backup)"),
        ({"unreadable": "it cannot be read: it belongs to user 70"}, "it belongs to user 70"),
    ],
)
def test_what_makes_it_less_than_a_directory_at_rest_is_refused_with_what_to_do(
    changes: dict[str, Any], words: str
) -> None:
    assert words in refused(found(**changes))


def test_a_standby_s_is_taken_by_a_person_s_word_if_it_is_at_rest() -> None:
    standby = found(standby=True, state="shut down in recovery")
    assert objections(standby, major="17", accept_standby=True) == ()
    assert "not shut down in order" in refused(standby.model_copy(update={"state": "in archive recovery"}),
                                              accept_standby=True)  # fmt: skip
    assert "between timelines 1 and 2" in refused(
        standby.model_copy(update={"state": "shut down in recovery, between timelines 1 and 2"}), accept_standby=True
    )


# the document


def test_the_document_names_an_instance_its_place_and_the_password() -> None:
    rows = [{"name": "a", "node": "n1", "volume": "v"}, {"name": "b"}]
    owner = {"passwords": {"owner": "x"}}
    for bad, words in (
        ({"instances": rows, "bootstrap": {"adopt": "c"}, "postgres": owner}, "no instance is named 'c'"),
        ({"instances": 2, "bootstrap": {"adopt": "pg-1"}, "postgres": owner}, "no instance is named 'pg-1'"),
        ({"instances": rows, "bootstrap": {"adopt": "b"}, "postgres": owner}, "b needs its node and its volume"),
        ({"instances": rows, "bootstrap": {"adopt": "a"}}, "the owner's present password"),
    ):
        with pytest.raises(ValidationError, match=words):
            builders.document(2, **bad)


# the record


def written(seen: World) -> Record:
    (step,) = first_record(seen, NOW).steps
    assert isinstance(step, WriteRecord)
    return step.record


def test_the_first_record_is_of_the_system_that_was_found_and_of_its_timeline() -> None:
    new = written(unborn(lying(), empty(None, "b")))
    assert (new.revision, new.term, new.primary, new.claim.r) == (1, 1, "a/0f0f0f0f", 1)
    assert (new.system_id, new.adopting, new.timeline) == (SYSTEM, True, 3)
    assert "system 7712" in new.reason


def test_the_named_instance_is_the_primary_wherever_it_stands_in_the_list() -> None:
    assert written(unborn(lying(), empty(None, "b"), places=PLACES[::-1])).primary_member == "a"


def test_a_standby_s_directory_begins_the_next_timeline() -> None:
    standby = found(standby=True, state="shut down in recovery")
    seen = unborn(lying(found=standby), empty(None, "b"), document=document(acceptStandby=True))
    assert written(seen).timeline == 4
    assert not first_record(unborn(lying(found=standby), empty(None, "b")), NOW).steps


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (empty(None, "a"), "is empty: there is nothing to adopt"),
        (report("a", data=Data.READY, incarnation="a/2"), "holds data of pgswarm already (a/2)"),
        (lying(found=found(lock_file=True)), "is not adopted: a PostgreSQL runs on it"),
        (lying(found=None, problem=Problem(code="locked", text="locked by another")), "locked by another"),
        (lying(version="16.2"), "newer than this image's 16"),
    ],
)
def test_what_is_in_the_way_is_said_and_nothing_begins(said: Any, words: str) -> None:
    plan = first_record(unborn(said, empty(None, "b")), NOW)
    assert not plan.steps
    (text,) = plan.waits
    assert words in text
    assert "postgres_primary_data on node-a" in text


def test_the_others_begin_empty_and_an_old_standby_s_volume_is_not_touched() -> None:
    plan = first_record(unborn(lying(), report("b", data=Data.FOREIGN)), NOW)
    assert not plan.steps
    assert "already holds data" in plan.waits[0]
    assert "only the volume of a is adopted" in plan.waits[0]


def test_without_the_word_foreign_data_stay_foreign() -> None:
    plan = first_record(unborn(lying(), empty(None, "b"), document=builders.document("ab")), NOW)
    assert not plan.steps
    assert "already holds data" in plan.waits[0]


def old(name: str, volume: str, replicas: int = 0) -> Service:
    mounts = [{"Type": "volume", "Source": volume, "Target": "/var/lib/postgresql/data"}]
    template = {"ContainerSpec": {"Mounts": mounts}}
    return Service(id=name, version=1, name=name, replicas=replicas, spec={"TaskTemplate": template})


def test_in_a_folder_the_old_service_must_be_gone_and_not_only_scaled_down() -> None:
    swarm = SwarmView(services=(old("stack_pg", "postgres_primary_data"),))
    assert first_record(unborn(lying(), empty(None, "b"), swarm=swarm), NOW).steps
    plan = first_record(unborn(lying(found=found(folder="pgdata")), empty(None, "b"), swarm=swarm), NOW)
    assert not plan.steps
    assert "`docker service rm stack_pg`" in plan.waits[0]


def test_the_volume_of_an_old_standby_is_refused_before_a_member_is_made_on_it() -> None:
    swarm = SwarmView(services=(old("stack_standby", "new_b"),))
    (text,) = beside_member(document(), PLACES[1], swarm)
    assert "stack_standby" in text
    assert "name another volume" in text
    assert beside_member(document(), PLACES[0], swarm) == ()
    assert beside_member(builders.document("ab"), PLACES[1], swarm) == ()


def test_once_it_has_been_taken_over_the_record_says_so() -> None:
    of = adopting()
    (step,) = completed(world(of, primary(of, system_id=SYSTEM), document=document(), places=PLACES), of, NOW).steps
    assert isinstance(step, WriteRecord)
    assert (step.record.adopting, step.record.system_id) == (False, SYSTEM)
    for other in (stopped(of, "a", system_id="1"), report("a", data=Data.BUILDING, incarnation="a/1")):
        assert not completed(world(of, other, document=document(), places=PLACES), of, NOW).steps


@pytest.mark.parametrize("data", [Data.FOREIGN, Data.BUILDING])
def test_a_primary_that_is_taking_over_is_on_its_way(data: Data) -> None:
    of = adopting()
    judged = health(world(of, report("a", data=data)), of, NOW)
    assert (judged.lost, judged.coming) == (False, True)
    assert "taking over" in judged.reason


# the agent


ORDER = order_for("main", adopting(), "a")


def test_the_order_to_take_over_is_for_the_primary_alone() -> None:
    assert (ORDER.adopt, ORDER.create, ORDER.incarnation) == (True, False, "a/1")
    assert not order_for("main", adopting(), "b").adopt
    assert not order_for("main", adopting(adopting=False), "a").adopt


def test_foreign_data_take_that_order_and_no_other() -> None:
    foreign = Memory(cluster="main", member="a", data=Data.FOREIGN)
    assert accept(foreign, ORDER).ok
    assert not accept(foreign, order_for("main", adopting(adopting=False), "a")).ok
    assert not accept(foreign, order_for("main", adopting(system_id="", adopting=False), "a")).ok
    assert not accept(Memory(cluster="main", member="a"), ORDER).ok, "an empty volume is not made up for"


def test_half_way_only_the_same_incarnation_goes_on() -> None:
    half = Memory(cluster="main", member="a", data=Data.BUILDING, incarnation="a/1", adopting=".")
    assert accept(half, ORDER).ok
    assert not accept(half.model_copy(update={"incarnation": "a/2"}), ORDER).ok
    assert not accept(half.model_copy(update={"adopting": ""}), ORDER).ok


def decided(memory: Memory, *, heeded: bool = True) -> duty.Action:
    return duty.duty(duty.Facts(memory=memory, heeded=heeded), NOW)


@pytest.mark.parametrize(("data", "folder"), [(Data.FOREIGN, ""), (Data.BUILDING, ".")])
def test_it_is_done_on_an_operator_s_word(data: Data, folder: str) -> None:
    memory = Memory(cluster="main", member="a", data=data, order=ORDER, promised=1, adopting=folder)
    assert isinstance(decided(memory), duty.Adopt)
    assert isinstance(decided(memory, heeded=False), duty.Rest)


def test_what_was_half_taken_over_is_never_cloned_away() -> None:
    reign = Reign(term=1, incarnation="b/1", timeline=1, fork=0)
    of = builders.record("b", 1, sync="", members="ab", primary="b/1", lineage=(reign,))
    order = order_for("main", of, "a")
    half = Memory(cluster="main", member="a", data=Data.BUILDING, incarnation="a/1", adopting=".", order=order,
                  promised=1)  # fmt: skip
    action = decided(half)
    assert isinstance(action, duty.Rest)
    assert action.problem is not None
    assert action.problem.code == "half-adopted"
