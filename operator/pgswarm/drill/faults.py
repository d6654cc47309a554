"""The table of faults: what is struck, and what ends it. The soak draws from it, the benchmark goes through it.

A fault is struck at a `Scene`: who is primary, which member is hit, on which node, and how long it lasts. All chance
is in the scene, which is made from a seed; the fault itself does the same thing each time. What is needed to strike is
looked up before, in `Scene` and at the top of each function, so that the blow is one call, and nobody asks an engine
that has just been cut off.

What ends a fault is the same for all: everything on and connected again (`Whole.repair`), and whatever the fault hands
back on top of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from pgswarm.drill.stage import Container, wait_for
from pgswarm.drill.whole import AGENT, MEMBERS, POSTMASTER, Whole

HOLDS = (1.0, 5.0, 18.0, 45.0)
"""Seconds that a lasting fault lasts: a hiccup; longer than detection; than Swarm's 14 s; than its election too."""

Mend = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is known, and drawn, before the blow."""

    whole: Whole = field(repr=False)
    primary: str
    victim: str
    """The member that is hit: mostly the primary."""
    other: str
    """Another member than the victim."""
    hold: float
    """Seconds until a lasting fault is ended."""
    delay: float
    """Seconds before a second blow."""
    leader: int
    """The node that leads Swarm."""
    operators: tuple[Container, ...]
    containers: dict[str, Container] = field(repr=False)

    @property
    def node(self) -> int:
        return self.whole.node_of(self.victim)

    @property
    def other_node(self) -> int:
        return self.whole.node_of(self.other)

    def __str__(self) -> str:
        roles = "primary" if self.victim == self.primary else "standby"
        leads = ", Swarm's leader" if self.node == self.leader else ""
        return f"{self.victim} ({roles}{leads}), other {self.other}, {self.hold:g} s"


def draw(whole: Whole, dice: Random, primary: str = "") -> Scene:
    """Look around, and draw what chance decides. The same number of draws each time, whatever is seen.

    With `primary`, which is then not asked for, that one is the victim.
    """
    victim, primary = primary, primary or whole.primary()
    standbys = [name for name in MEMBERS if name != primary]
    hits_primary, standby = dice.random() < 0.7, dice.randrange(len(standbys))
    victim = victim or (primary if hits_primary else standbys[standby])
    others = [name for name in MEMBERS if name != victim]
    return Scene(
        whole=whole,
        primary=primary,
        victim=victim,
        other=others[dice.randrange(len(others))],
        hold=HOLDS[dice.randrange(len(HOLDS))],
        delay=dice.random() * 0.8,
        leader=whole.raft_leader(),
        operators=tuple(whole.stage.operators()),
        containers={name: whole.stage.container(whole.service(name)) for name in MEMBERS},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table."""

    kind: str
    strike: Callable[[Scene], Mend | None]
    lasts: bool = False
    """Does it last until it is ended?"""


def kill_postmaster(scene: Scene) -> None:
    scene.whole.signal(scene.containers[scene.victim], "9", POSTMASTER)


def kill_agent(scene: Scene) -> None:
    scene.whole.signal(scene.containers[scene.victim], "9", AGENT)


def kill_container(scene: Scene) -> None:
    scene.whole.kill(scene.containers[scene.victim])


def kill_two(scene: Scene) -> None:
    together(scene, scene.victim, scene.other)


def kill_all(scene: Scene) -> None:
    together(scene, *MEMBERS)


def kill_operators(scene: Scene) -> None:
    """The primary's container, and in the middle of what follows every operator."""
    scene.whole.kill(scene.containers[scene.primary])
    threading.Event().wait(scene.delay)
    _at_once([partial(scene.whole.kill, one) for one in scene.operators])


def stop_postmaster(scene: Scene) -> Mend:
    """It hangs and its agent lives: SIGSTOP, which no crash and no closed connection gives away."""
    return _stopped(scene, POSTMASTER)


def stop_agent(scene: Scene) -> Mend:
    """The agent hangs and PostgreSQL lives: nobody can say what it is."""
    return _stopped(scene, AGENT)


def scale_to_zero(scene: Scene) -> None:
    """Swarm stops the container some seconds after the call: the blow is over when it is gone."""
    service, container = scene.whole.service(scene.victim), scene.containers[scene.victim]
    scene.whole.stage.docker("service", "scale", "--detach", f"{service}=0", node=scene.other_node)
    wait_for(lambda: True if not scene.whole.is_running(container) else None, f"the end of {service}'s container", 90)


def power_off(scene: Scene) -> None:
    scene.whole.stage.lab("kill", str(scene.node))


def power_off_leader(scene: Scene) -> None:
    scene.whole.stage.lab("kill", str(scene.leader))


def power_off_all(scene: Scene) -> None:
    scene.whole.stage.lab("kill", "all")


def cut(scene: Scene) -> None:
    scene.whole.stage.lab("cut", str(scene.node))


def cut_between(scene: Scene) -> None:
    scene.whole.stage.lab("cut-between", str(scene.node), str(scene.other_node))


def deafen(scene: Scene) -> None:
    """The victim's node hears nothing of the other, which hears it."""
    scene.whole.stage.lab("cut-oneway", str(scene.other_node), str(scene.node))


def mute(scene: Scene) -> None:
    """The victim's node is not heard by the other, which it hears."""
    scene.whole.stage.lab("cut-oneway", str(scene.node), str(scene.other_node))


def freeze(scene: Scene) -> None:
    scene.whole.stage.lab("freeze", str(scene.node))


def kill_engine(scene: Scene) -> None:
    """Its containers go on."""
    scene.whole.stage.lab("kill-engine", str(scene.node))


FAULTS = (
    Fault(kind="postmaster killed", strike=kill_postmaster),
    Fault(kind="agent killed", strike=kill_agent),
    Fault(kind="container killed", strike=kill_container),
    Fault(kind="two members' containers killed", strike=kill_two),
    Fault(kind="all members' containers killed", strike=kill_all),
    Fault(kind="operators killed in mid-failover", strike=kill_operators),
    Fault(kind="postmaster stopped (SIGSTOP)", strike=stop_postmaster, lasts=True),
    Fault(kind="agent stopped (SIGSTOP)", strike=stop_agent, lasts=True),
    Fault(kind="service scaled to 0", strike=scale_to_zero),
    Fault(kind="node loses power", strike=power_off, lasts=True),
    Fault(kind="node of Swarm's leader loses power", strike=power_off_leader, lasts=True),
    Fault(kind="all nodes lose power", strike=power_off_all, lasts=True),
    Fault(kind="node cut off", strike=cut, lasts=True),
    Fault(kind="two nodes cut from each other", strike=cut_between, lasts=True),
    Fault(kind="one-way cut: the victim is deaf", strike=deafen, lasts=True),
    Fault(kind="one-way cut: the victim is mute", strike=mute, lasts=True),
    Fault(kind="node frozen", strike=freeze, lasts=True),
    Fault(kind="engine killed", strike=kill_engine, lasts=True),
)


def together(scene: Scene, *members: str) -> None:
    """Kill several members' containers in the same instant."""
    _at_once([partial(scene.whole.kill, scene.containers[name]) for name in members])


def _stopped(scene: Scene, process: str) -> Mend:
    container = scene.containers[scene.victim]
    pid = scene.whole.within(container, f"echo {process}").strip()
    scene.whole.signal(container, "STOP", pid)

    def go_on() -> None:
        # The container may be gone: then so is the process.
        scene.whole.within(container, f"kill -CONT {pid} || true")

    return go_on


def _at_once(blows: list[Callable[[], object]]) -> None:
    failures: list[BaseException] = []

    def strike(blow: Callable[[], object]) -> None:
        try:
            blow()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=strike, args=(blow,)) for blow in blows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
