"""C10: logs that left the line, and numbers that were used before."""

from __future__ import annotations

from pgswarm.sim.play import Play


def a_log_that_left_the_line(play: Play) -> None:
    """CNPG #4990, #2800, #10419 ('requested timeline is not a child of this server's history', for ever, while the
    cluster is reported healthy): the old primary has written what nobody confirmed. It lies off the line of the
    lineage: it is not told to follow and left to fail, it is rewound.
    """
    play.begin(members=2, operators=3, clients=2, pace=0.05)
    play.windows.led_by("n3")
    play.faults.isolate("n1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=10)
    play.wait(1.0)
    play.expect("the old one has more", len(play.site.volumes["pg-1"].log) > play.record.lineage[-1].fork)
    play.faults.heal_all()
    play.until("it is rewound", lambda: play.site.seen["rewind"] == 1, within=10)
    play.rest()
    play.expect("it is another incarnation (C4)", play.site.volumes["pg-1"].memory.incarnation != "pg-1/00000001")


def a_number_of_its_own_for_every_reign(play: Play) -> None:
    """Each winner begins a timeline that nobody has used, whoever it is: higher than any that the lineage names."""
    play.begin(members=3, operators=3, pace=0.05)
    play.windows.led_by("n3")
    seen = []
    for _ in range(3):
        play.until("all are claimed", lambda: len(play.record.claim.members) == 3)
        term = play.record.term
        play.faults.kill_container(play.primary)
        play.until("another reigns", lambda term=term: play.record.term > term and play.serves(play.primary))  # type: ignore[misc]
        seen.append(play.record.timeline)
    play.rest()
    play.expect("each has a number of its own", seen == [2, 3, 4])


def a_number_that_the_dead_have_used(play: Play) -> None:
    """C10: the second primary wrote on its timeline alone and died; a person accepts its loss. The third, which has
    never seen that timeline, begins one of a higher number. When the second is back, its log of the lost timeline is
    found to be off the line and is kept aside; under an equal number it would stream on, and its data would be wrong.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.05)
    play.windows.led_by("n4")
    play.windows.before_write(lambda record: record.term == 2, lambda: play.faults.power_off("n3"))
    play.faults.power_off("n1")
    play.until("the second serves", lambda: play.serves("pg-2"), within=20)
    play.wait(1.0)
    play.faults.power_off("n2")
    play.faults.power_on("n3")
    play.never("somebody is elected", lambda: play.record.term > 2, during=8.0)
    play.windows.given_up("pg-3")
    play.windows.wished("accept-loss", dead=("pg-2",))
    play.until("the third serves", lambda: play.serves("pg-3"), within=10)
    play.expect("its timeline is new", play.record.timeline == 3)
    play.wait(2.0)
    play.faults.power_on("n2")
    play.faults.power_on("n1")
    play.rest()


def declared_dead_and_alive(play: Play) -> None:
    """Law 5: a person has accepted the loss of a primary that wrote on alone. It comes back when no operator is there;
    its last order names nobody else to be asked, and it waits for nobody. But whoever is heard with a newer promise
    stops it.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.05)
    play.windows.led_by("n4")
    play.windows.before_write(lambda record: record.term == 2, lambda: play.faults.power_off("n3"))
    play.faults.power_off("n1")
    play.until("the second serves", lambda: play.serves("pg-2"), within=20)
    play.wait(1.0)
    play.faults.power_off("n2")
    play.faults.power_on("n3")
    play.wait(8.0)
    play.windows.given_up("pg-3")
    play.windows.wished("accept-loss", dead=("pg-2",))
    play.until("the third serves", lambda: play.serves("pg-3"), within=10)
    for operator in play.site.operators:
        operator.process.freeze()
    play.windows.nobody_operates()
    play.faults.power_on("n2")
    play.until("its agent is back", lambda: play.site.container("pg-2"))
    play.never("it serves", lambda: play.serves("pg-2"), during=12.0)
