"""New settings, told as lives: tried by everybody before anybody takes them."""

from __future__ import annotations

import pytest

from pgswarm.core.spec import PostgresCluster
from pgswarm.sim.play import Play
from pgswarm.sim.tuning import WRONG


def edited(play: Play, **parameters: str) -> PostgresCluster:
    document = play.site.document
    assert document is not None
    spec = document.spec
    postgres = spec.postgres.model_copy(update={"parameters": parameters})
    return document.model_copy(update={"spec": spec.model_copy(update={"postgres": postgres})})


def in_effect(play: Play, name: str) -> set[str | None]:
    """What the members run with, of one parameter."""
    settings = [play.agent(member).memory.settings for member in play.site.volumes]
    return {one.parameters.get(name) if one is not None else None for one in settings}


@pytest.mark.parametrize("members", [1, 2, 3])
def test_settings_are_taken_by_everybody_and_nobody_restarts(play: Play, members: int) -> None:
    play.begin(members=members)
    play.site.edit(edited(play, work_mem="7MB"))
    play.until("taken", lambda: in_effect(play, "work_mem") == {"7MB"}, within=5)
    play.rest()
    assert play.record.term == 1
    assert {play.agent(name).postgres.starts for name in play.site.volumes} == {1}


def test_a_wrong_value_is_in_effect_nowhere_and_a_corrected_one_everywhere(play: Play) -> None:
    play.begin(members=3)
    play.site.edit(edited(play, work_mem="7MB"))
    play.until("taken", lambda: in_effect(play, "work_mem") == {"7MB"}, within=5)
    play.site.edit(edited(play, work_mem=WRONG))
    play.never("taken", lambda: in_effect(play, "work_mem") != {"7MB"}, during=5.0)
    assert all("bad-parameter" in play.agent(name).problems for name in play.site.volumes)
    play.faults.kill_container("pg-2")
    play.wait(5.0)
    assert in_effect(play, "work_mem") == {"7MB"}, "who starts again starts with what it had"
    play.site.edit(edited(play, work_mem="8MB"))
    play.until("taken", lambda: in_effect(play, "work_mem") == {"8MB"}, within=5)
    play.rest()


def test_who_is_away_while_settings_are_taken_takes_them_when_it_is_back(play: Play) -> None:
    play.begin(members=3)
    play.faults.power_off(play.node("pg-3"))
    play.wait(5.0)
    play.site.edit(edited(play, work_mem="7MB"))
    play.wait(5.0)
    play.faults.power_on(play.node("pg-3"))
    play.until("taken", lambda: play.site.container("pg-3") and in_effect(play, "work_mem") == {"7MB"}, within=40)
    play.rest()
