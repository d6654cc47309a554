"""Metrics of the operator: its own, and each cluster as it sees it. The last third of the catalogue (`metrics`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgswarm.core import metrics
from pgswarm.core.metrics import Kind, Metric, Sample
from pgswarm.core.status import Status


@dataclass(slots=True)
class Tally:
    """What one operator has counted of one cluster since it began."""

    passes: int = 0
    seconds: float = 0.0  # in passes
    steps: dict[tuple[str, str], int] = field(default_factory=dict)  # by kind and result

    def took(self, seconds: float) -> None:
        """A pass is over."""
        self.passes += 1
        self.seconds += seconds

    def did(self, step: str, *, worked: bool) -> None:
        """A step is over."""
        key = (step, "done" if worked else "failed")
        self.steps[key] = self.steps.get(key, 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """One operator as it sees itself."""

    operator: str
    node: str
    version: str
    able: bool
    operators: int
    document_errors: int


def _operator(name: str, help: str, *labels: str) -> Metric:
    return Metric(name=f"pgswarm_operator_{name}", help=help, labels=labels)


def _cluster(name: str, help: str, *labels: str, kind: Kind = "gauge") -> Metric:
    return Metric(name=f"pgswarm_cluster_{name}", help=help, labels=("cluster", *labels), kind=kind)


OPERATOR_INFO = _operator("info", "Always 1; who and where this operator is.", "operator", "node", "version")
ABLE = _operator("store_reachable", "1 while Swarm's store answers this operator.")
OPERATORS = _operator("operators", "Operators that are heard, this one included.")
NOTICES = Metric(
    name="pgswarm_operator_notices_total",
    help="Notices for each webhook: delivered, failed (given up), dropped (too many waited).",
    labels=("result",),
    kind="counter",
)
DOCUMENT_ERRORS = _operator("document_errors", "Mistakes in the documents that this operator watches.")

ACTING = _cluster("acting", "1 if this operator acts for the cluster; what it sees counts.")
HEALTHY = _cluster("healthy", "1 while a primary serves and all is as the document says.")
SERVING = _cluster("serving", "1 while the record's primary serves writers.")
CLUSTER_TERM = _cluster("term", "Term of the record: grows with every change of the primary.")
CLUSTER_REVISION = _cluster("revision", "Revision of the record: grows with every write of it.")
PRIMARY = _cluster("primary_info", "Always 1; the record's primary.", "member")
COPIES = _cluster("copies", "Copies on which every acknowledged commit is known to be; not told under async.")
COPIES_WANTED = _cluster("copies_wanted", "Copies that there would be if all members were well.")
PRESENT = _cluster("member_present", "1 while a member is heard.", "member")
COUNTED = _cluster("member_counted", "1 while the claim counts a member.", "member")
ROUTER_PRESENT = _cluster("router_present", "1 while a router is heard.", "router")
PAUSED = _cluster("paused", "1 while a person wants nothing changed.")
WAITS = _cluster("waits", "Things that are waited for; status says which.")
STEPS = _cluster("steps_planned", "Steps that are planned now.")
FAILING = _cluster("steps_failing", "Planned steps that have failed and are tried again.")
LOSSES = _cluster("losses", "Failovers of the record that gave up commits.")
DONE = _cluster("steps_total", "Steps by kind and result.", "step", "result", kind="counter")
PASSES = _cluster("passes_total", "Passes over the cluster.", kind="counter")
PASS_SECONDS = _cluster("pass_seconds_total", "Seconds spent in passes.", kind="counter")

OPERATOR = (
    OPERATOR_INFO, ABLE, OPERATORS, NOTICES, DOCUMENT_ERRORS, ACTING, HEALTHY, SERVING, CLUSTER_TERM, CLUSTER_REVISION,
    PRIMARY, COPIES, COPIES_WANTED, PRESENT, COUNTED, ROUTER_PRESENT, PAUSED, WAITS, STEPS, FAILING, LOSSES, DONE,
    PASSES, PASS_SECONDS,
)  # fmt: skip
"""What an operator tells on port 8011."""

CATALOGUE = (*OPERATOR, *metrics.MEMBER, *metrics.ROUTER, *metrics.PROCESS)
"""Every name that pgswarm exports."""


def of_operator(me: Self) -> list[Sample]:
    """An operator in numbers."""
    return [
        Sample(metric=OPERATOR_INFO, labels=(me.operator, me.node, me.version), value=1),
        Sample(metric=ABLE, labels=(), value=me.able),
        Sample(metric=OPERATORS, labels=(), value=me.operators),
        Sample(metric=DOCUMENT_ERRORS, labels=(), value=me.document_errors),
    ]


def of_notices(counts: Mapping[str, int]) -> list[Sample]:
    """What became of notices."""
    return [Sample(metric=NOTICES, labels=(result,), value=times) for result, times in sorted(counts.items())]


def of_cluster(seen: Status, tally: Tally) -> list[Sample]:
    """A cluster in numbers, as one operator sees it."""
    taken: list[Sample] = []

    def tell(metric: Metric, value: float | None, *labels: str) -> None:
        if value is not None:
            taken.append(Sample(metric=metric, labels=(seen.cluster, *labels), value=value))

    tell(ACTING, seen.leader == seen.operator)
    tell(HEALTHY, seen.healthy)
    tell(SERVING, seen.serving)
    tell(CLUSTER_TERM, seen.term)
    tell(CLUSTER_REVISION, seen.revision)
    tell(PRIMARY, 1 if seen.primary else None, seen.primary)
    tell(COPIES, seen.copies)
    tell(COPIES_WANTED, seen.copies_wanted)
    for member in seen.members:
        tell(PRESENT, member.present, member.name)
        tell(COUNTED, member.counted, member.name)
    for router in seen.routers:
        tell(ROUTER_PRESENT, router.state not in ("gone", "not heard"), router.name)
    tell(PAUSED, bool(seen.paused))
    tell(WAITS, len(seen.waits))
    tell(STEPS, len(seen.steps))
    tell(FAILING, sum(bool(step.state) for step in seen.steps))
    tell(LOSSES, len(seen.losses))
    for (step, result), times in sorted(tally.steps.items()):
        tell(DONE, times, step, result)
    tell(PASSES, tally.passes)
    tell(PASS_SECONDS, tally.seconds)
    return taken
