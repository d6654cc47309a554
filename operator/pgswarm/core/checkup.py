"""The check-up: what could go wrong with this Swarm and these clusters, before it does. `pgswarm doctor` prints it.

The checklist after a deployment and the page of troubles, as one function of facts. Every check says something, also
when all is well, so that nobody wonders whether it was made; what could not be seen is said as *not known* and is never
taken for good. A finding that is not good says what it is, why it matters, and what mends it.

After `loop/checking` has asked. Nothing decides from a finding.
"""

from __future__ import annotations

from pgswarm.core.clustercheck import OF_CLUSTER
from pgswarm.core.findings import Facts, Finding
from pgswarm.core.swarmcheck import OF_SWARM


def checkup(facts: Facts) -> tuple[Finding, ...]:
    """Every finding, in the order of the checks."""
    found = [finding for check in OF_SWARM for finding in check(facts)]
    for cluster, world in sorted(facts.worlds.items()):
        for look in OF_CLUSTER:
            found += [one.model_copy(update={"where": cluster}) for one in look(facts, world)]
    return tuple(found)
