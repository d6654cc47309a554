"""A person stops PostgreSQL of a member, and it stays so until it is taken back."""

from __future__ import annotations

from pgswarm.core.reports import Postgres
from pgswarm.sim.play import Play


def a_standby_is_fenced(play: Play) -> None:
    """A counted standby of three is fenced: claim and sync do without it, and only then its PostgreSQL stops. Its
    container is killed, and the operators: it stays stopped. Taken back, it follows and is counted again.
    """
    play.begin(members=3, operators=3, pace=0.1)
    play.windows.fenced("pg-2")
    play.until("nobody counts on it", lambda: not play.record.counts("pg-2"), within=10)
    play.until("it is stopped", lambda: _is_down(play, "pg-2"), within=10)
    play.faults.kill_operator()
    play.faults.kill_container("pg-2")
    play.wait(3.0)
    play.never("it runs", lambda: not _is_down(play, "pg-2"), during=10)
    play.rest()
    play.windows.fenced()
    play.until("it is counted again", lambda: play.record.claim.names("pg-2"), within=30)
    play.rest()


def the_primary_is_fenced(play: Play) -> None:
    """The primary is fenced: it hands over first, then it is a standby that nobody counts on, and stops. The new
    primary's machine goes down: who is fenced is not elected, the third member is.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    play.windows.fenced("pg-1")
    play.until("another serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.until("it is stopped", lambda: _is_down(play, "pg-1"), within=20)
    play.until("two are counted", lambda: play.record.claim.r == 2, within=20)
    second = play.primary
    play.faults.power_off(play.node(second))
    play.until(
        "the third serves", lambda: play.primary not in ("pg-1", second) and play.serves(play.primary), within=30
    )
    play.faults.power_on(play.node(second))
    play.rest()
    play.expect("it is stopped still", _is_down(play, "pg-1"))


def a_fence_waits_until_nobody_counts_on_the_member(play: Play) -> None:
    """One of two is fenced, and nobody has insisted: it is the only other copy, so it stays what it is. Then the
    primary's machine goes down: the furthest is to be fenced, so nobody is elected until the fence is taken back.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    play.windows.fenced("pg-2")
    play.never("it is let go", lambda: not play.record.counts("pg-2") or _is_down(play, "pg-2"), during=5)
    play.faults.power_off("n1")
    play.never("another primary", lambda: play.record.term > 1, during=15)
    play.windows.fenced()
    play.until("it serves", lambda: play.serves("pg-2"), within=20)
    play.faults.power_on("n1")
    play.rest()


def the_primary_is_fenced_and_nobody_can_follow(play: Play) -> None:
    """A person insists: the only member that serves is fenced. Nobody serves, whatever is started anew, until the fence
    is taken back; then it is the same reign.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.faults.drain(play.node("pg-2"))
    play.faults.kill_container("pg-2")
    play.until("it is alone", lambda: play.record.claim.r == 1 and play.record.claim.names("pg-1"), within=20)
    alone = play.primary
    play.windows.fenced(alone, no_primary=True)
    play.until("it is stopped", lambda: _is_down(play, alone), within=10)
    play.faults.kill_container(alone)
    play.wait(3.0)
    play.never("somebody serves", lambda: play.serves(alone), during=8)
    play.windows.fenced()
    play.until("it serves again", lambda: play.serves(alone), within=15)
    play.rest()


def _is_down(play: Play, member: str) -> bool:
    container = play.site.container(member)
    return container is None or container.postgres.state in (Postgres.STOPPED, Postgres.CRASHED)
