"""What people do to the document in the middle of everything: more members, fewer, others, other nodes for them,
another durability; and once in a while a machine is thrown away, and its node taken out of the Swarm.

A history is edited if its seed says so, by chance of its own: a seed without edits is the same history with or
without this. What a document asks for at the end is what the cluster must come to rest at. Nobody goes
to `async` or from it: what may be lost is another question then.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pgswarm.core.spec import PostgresCluster
from pgswarm.sim.faults import Faults

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

OFTEN = 0.3
"""How many of the histories are edited."""

MOST = 5
"""Members, at most."""


KINDS = (
    "fewer", "fewer", "more", "another", "move", "move", "gone", "durability", "parameters", "restart", "restart",
    "image",
)  # fmt: skip
"""Settings that need a restart, and another image for the members, among all else that a person edits."""


class Edits:
    """One person's hand on the document of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rng = random.Random(f"edits {site.seed}")
        self._left = self._rng.randint(1, 4) if self._rng.random() < OFTEN else 0

    def maybe(self) -> None:
        """Now and then, edit it."""
        if self._left and self._rng.random() < 0.5:
            self._left -= 1
            self._edit()

    def _edit(self) -> None:
        site, rng = self._site, self._rng
        if site.document is None or site.record is None:
            return
        spec = site.document.model_dump(by_alias=True, exclude_unset=True)["spec"]
        kind = rng.choice(KINDS)
        instances: list[dict[str, Any]] = list(spec["instances"])
        if kind in ("fewer", "another") and len(instances) > 1:
            instances.remove(rng.choice(instances))
        if kind in ("more", "another") and len(instances) < MOST:
            names = {one["name"] for one in instances}
            free = [f"pg-{n}" for n in range(1, MOST + 2) if f"pg-{n}" not in names]
            instances.append({"name": rng.choice(free), "node": rng.choice(site.swarm.nodes)})
        if kind == "move":
            moved = rng.choice(instances)
            moved["node"] = rng.choice(site.swarm.nodes)
            if rng.random() < 0.3:
                moved["volume"] = f"{moved['name']}-{rng.randint(1, 3)}"
        if kind == "gone" and (thrown := self._throw_away()):
            for one in instances:
                if one.get("node") == thrown:
                    del one["node"]
        durability = spec["durability"]
        if kind == "durability" and durability != "async":
            durability = "preferred" if durability == "required" else "required"
        if len(instances) == 1 and durability == "required":
            durability = "preferred"
        postgres = dict(spec.get("postgres", {}))
        if kind == "parameters":
            postgres["parameters"] = {"work_mem": f"{rng.randint(1, 64)}MB"}
        if kind == "restart":  # more than before, or fewer, and now and then something besides
            postgres["parameters"] = {"max_connections": str(rng.choice((50, 100, 200)))}
            if rng.random() < 0.3:
                postgres["parameters"]["shared_buffers"] = f"{rng.randint(1, 9)}GB"
        if kind == "image":
            postgres["image"] = f"registry/member:{rng.randint(2, 9)}"
        if postgres:
            spec["postgres"] = postgres
        site.count(f"edit: {kind}")
        site.edit(_document(site.document, {**spec, "instances": instances, "durability": durability}))

    def _throw_away(self) -> str:
        """A machine that carries no router and no vote that is needed is gone for good."""
        site = self._site
        machines = [site.swarm.machines[name] for name in site.swarm.nodes]
        managers = sum(one.is_manager for one in machines)
        spare = [one for one in machines[2:] if not one.is_manager or (managers > 1 and one.up)]
        if len(machines) < 3 or not spare:
            return ""
        thrown = self._rng.choice(spare).name
        Faults(site).power_off(thrown)
        for member, volume in site.volumes.items():
            if volume.place.startswith(f"{thrown}/"):
                site.ledger.volume_lost(member)
        site.swarm.remove_node(thrown)
        return thrown


def _document(before: PostgresCluster, spec: dict[str, Any]) -> PostgresCluster:
    whole = before.model_dump(by_alias=True, exclude_unset=True)
    return PostgresCluster.model_validate({**whole, "spec": spec})
