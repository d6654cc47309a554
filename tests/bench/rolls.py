"""What a document asks for, rolled round the members, and a drained node: none is to be felt longer than a switchover.

Each is begun and followed to its end; the outage is the longest time without an acknowledged write from the edit until
everybody has been through. A switchover is measured among them, so that the same machine at the same hour is compared.

    rolling restart   `max_connections` raised: standbys, then the primary by handing over
    fewer connections `max_connections` lowered: the primary is started anew where it is
    image roll        another tag of the member's image
    drain             the primary's node is drained; nobody on it comes back before it is active again
"""

from __future__ import annotations

import functools

from pgswarm.drill import faults as drill
from pgswarm.drill.stage import wait_for
from pgswarm.drill.whole import CLUSTER, MEMBERS, Whole
from tests.bench import faults
from tests.bench.bench import Bench, Json

THROUGH = 300.0
"""Seconds for one roll."""

FEWER, MORE = "100", "150"

TAGS = ("bench-one", "bench-two")


def run(bench: Bench) -> Json:
    """Rolls and drains in turn, with switchovers between them."""
    whole = bench.whole()
    whole.wait_healthy(THROUGH)
    images = [_image(whole, tag) for tag in TAGS]
    rows = (
        faults.Row(kind="switchover", strike=faults.switch_over, times=5),
        faults.Row(kind="rolling restart", strike=functools.partial(_resize, to=MORE), times=5),
        faults.Row(kind="fewer connections", strike=functools.partial(_resize, to=FEWER), times=5),
        faults.Row(kind="image roll", strike=functools.partial(_change_image, images=images), times=5),
        faults.Row(kind="drain", strike=_drain, times=5),
    )
    return faults.sampled(bench, "rolls", rows, "")


def _resize(scene: drill.Scene, to: str) -> None:
    """Edit, and wait until everybody runs with it."""
    whole = scene.whole
    whole.stage.write_document(whole.document(base=f"{faults.PARAMETERS}, max_connections: {to}"))
    wait_for(
        lambda: True if {whole.sql("SHOW max_connections", member=one) for one in MEMBERS} == {to} else None,
        f"max_connections {to} everywhere", THROUGH, lambda: whole.stage.picture(CLUSTER),
    )  # fmt: skip
    whole.wait_healthy(THROUGH)


def _change_image(scene: drill.Scene, images: list[str]) -> None:
    whole = scene.whole
    image = next(one for one in images if not _has(whole, MEMBERS[0]).startswith(one))
    text = whole.document(base=f"{faults.PARAMETERS}, max_connections: {FEWER}")
    whole.stage.write_document(text.replace("  postgres:\n", f"  postgres:\n    image: {image}\n"))
    wait_for(
        lambda: True if all(_has(whole, one).startswith(image) for one in MEMBERS) else None,
        f"everybody with {image}", THROUGH, lambda: whole.stage.picture(CLUSTER),
    )  # fmt: skip
    whole.wait_healthy(THROUGH)


def _drain(scene: drill.Scene) -> None:
    """Another is primary; then the node may have tasks again."""
    whole, node = scene.whole, scene.whole.node_of(scene.primary)
    name, other = whole.stage.nodes[node - 1], node % len(MEMBERS) + 1
    whole.stage.docker("node", "update", "--availability", "drain", name, node=other)
    try:
        whole.another_primary_than(scene.primary, node=other)
    finally:
        whole.stage.docker("node", "update", "--availability", "active", name, node=other)


def _image(whole: Whole, tag: str) -> str:
    """The member's image under another name: to Swarm it is another one, and what runs in it is the same."""
    registry = whole.stage.environment["PGSWARM_REGISTRY"]
    named = f"{registry}pgswarm/member:{tag}"
    found = whole.stage.container(whole.service(MEMBERS[0]))
    ident = whole.stage.docker("inspect", "--format", "{{.Image}}", found.id, node=found.node).strip()
    whole.stage.docker("tag", ident, named, node=found.node)
    whole.stage.docker("push", "--quiet", named, node=found.node)
    return named


def _has(whole: Whole, member: str) -> str:
    """The image of the container that runs; its service names the next one earlier. Raises Broken if none runs."""
    found = whole.stage.container(whole.service(member))
    return whole.stage.docker("inspect", "--format", "{{.Config.Image}}", found.id, node=found.node).strip()
