"""A volume that was filled by hand: taken over by a person's word, and from then on a member like any other."""

from __future__ import annotations

from typing import Any

from pgswarm.core.swarmview import Secret
from pgswarm.sim.play import Play

SYSTEM = "7000000000000000042"


def a_directory_made_by_hand(play: Play) -> None:
    """pg-1's volume holds the data of a set-up made by hand, and the document says that they are the truth. It goes on
    on its own timeline, pg-2 is cloned from it and counted; then its node is lost, and nothing of before is.
    """
    old = _begin(play)
    play.until("pg-1 has taken them over", lambda: play.site.record and not play.record.adopting, within=30)
    play.expect("it is the system that it was", play.record.system_id == SYSTEM and play.record.timeline == 1)
    play.until("pg-2 is counted", lambda: play.record.claim.r == 2, within=30)
    play.wait(3.0)
    play.faults.power_off("n1")
    play.until("pg-2 serves", lambda: play.serves("pg-2"), within=20)
    play.expect("with everything of before", play.site.volumes["pg-2"].log[: len(old)] == old)
    play.faults.power_on("n1")
    play.wait(3.0)
    play.rest()


def a_directory_that_nobody_spoke_of(play: Play) -> None:
    """The same volume, and no word of it in the document: nothing begins, and not a byte is touched."""
    old = _begin(play, adopt=False)
    play.never("there is a record", lambda: play.site.record, during=30.0)
    volume = play.site.volumes["pg-1"]
    play.expect("nothing is touched", volume.log == old and volume.memory.incarnation is None)


def a_standby_made_by_hand(play: Play) -> None:
    """A standby's directory may lack what its primary wrote last. It is not taken for the truth, until a person says
    so; then it begins a timeline of its own, so that its old primary is never taken for its peer.
    """
    _begin(play, standby=True)
    play.never("there is a record", lambda: play.site.record, during=20.0)
    play.edit(bootstrap={"adopt": "pg-1", "acceptStandby": True})
    play.until("pg-1 serves", lambda: play.site.record and play.serves("pg-1"), within=30)
    play.expect("on a timeline of its own", play.record.timeline == 2)
    play.until("pg-2 is counted", lambda: play.record.claim.r == 2, within=30)
    play.rest()


def killed_while_it_is_taken_over(play: Play) -> None:
    """Its container is killed in the middle, and again: each time it is taken up where it was."""
    old = _begin(play)
    for _ in range(2):
        play.until("it is being taken over", lambda: play.site.volumes["pg-1"].memory.adopting, within=30, look=0.01)
        play.faults.kill_container("pg-1")
        play.wait(0.5)
    play.until("pg-2 is counted", lambda: play.site.record and play.record.claim.r == 2, within=60)
    play.expect("with everything of before", play.site.volumes["pg-2"].log[: len(old)] == old)
    play.rest()


def _begin(play: Play, *, adopt: bool = True, standby: bool = False) -> list[Any]:
    """Two nodes, no record, and data on pg-1's volume that no agent has made; what they are."""
    play.begin(members=2, operators=1, born=False, after=0.0)
    old = [(1, -(1000 + number)) for number in range(20)]
    play.site.volumes["pg-1"].made_by_hand(list(old), SYSTEM, standby=standby)
    if adopt:
        play.site.swarm.secrets.append(Secret(id="main-owner", name="main-owner"))
        postgres = {"passwords": {"owner": "main-owner"}}
        instances = [{"name": "pg-1", "node": "n1", "volume": "main_pg-1"}, {"name": "pg-2", "node": "n2"}]
        play.edit(bootstrap={"adopt": "pg-1"}, postgres=postgres, instances=instances)
    return old
