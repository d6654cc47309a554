"""Steps: what a plan asks to be done, as data. Each is idempotent and says why.

`key` names what a step works on; while one step of a key is under way no other of that key is begun, and a failed
one is tried again after a growing pause. Steps on the fast path (`AskPromise`, `WriteRecord`, the orders) never wait
behind a slow one, because every step runs by itself and only its key is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgswarm.core.orders import OrderMessage, RouterOrderMessage
from pgswarm.core.record import Record
from pgswarm.core.spec import PostgresCluster


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNetwork:
    """Create an overlay network that is missing."""

    name: str
    reason: str

    @property
    def key(self) -> str:
        return f"network {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureSecret:
    """Create a Swarm secret with a generated password if it is missing."""

    name: str
    reason: str

    @property
    def key(self) -> str:
        return f"secret {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureService:
    """Create the service, or put back what differs from what is wanted."""

    name: str
    spec: dict[str, Any]
    exists: bool
    reason: str

    @property
    def key(self) -> str:
        return f"service {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveService:
    """Stop the service of a member that has left, or remove it once it is stopped. Its volume stays."""

    name: str
    member: str
    first: bool  # scale to zero; else it is at zero, and removed
    reason: str

    @property
    def key(self) -> str:
        return f"service {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDocument:
    """Make this document the one in force, in Swarm's store."""

    document: PostgresCluster
    edited_at: float
    source: str
    reason: str

    @property
    def key(self) -> str:
        return "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecord:
    """Read the record again before anything is decided: somebody has seen a newer one."""

    reason: str

    @property
    def key(self) -> str:
        return "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """Replace the record by compare-and-set; `record.revision - 1` is what it must still be."""

    record: Record
    reason: str

    @property
    def key(self) -> str:
        return "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPromise:
    """Ask a member to promise a term, and what it has; with `prepare`, only to make ready for that (a switchover)."""

    member: str
    term: int
    reason: str
    prepare: bool = False

    @property
    def key(self) -> str:
        return f"promise {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGrant:
    """Let a primary write for `ttl` seconds, counted from when it made the word that this answers."""

    member: str
    term: int
    nonce: str
    boot: str
    ttl: float
    until: float  # when it is over at the latest, by this operator's clock
    reason: str

    @property
    def key(self) -> str:
        return f"grant {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """List Swarm's tasks until this one has ended, or for a second: it decides how long is waited."""

    task: str
    reason: str

    @property
    def key(self) -> str:
        return "look"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOrder:
    """Tell a member what it shall be."""

    member: str
    message: OrderMessage
    digest: str
    reason: str

    @property
    def key(self) -> str:
        return f"order {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRouterOrder:
    """Tell a router who the primary is."""

    router: str
    message: RouterOrderMessage
    digest: str
    reason: str

    @property
    def key(self) -> str:
        return f"route {self.router}"


Step = (
    EnsureNetwork
    | EnsureSecret
    | EnsureService
    | RemoveService
    | StoreDocument
    | ReadRecord
    | WriteRecord
    | AskPromise
    | SendGrant
    | LookAgain
    | SendOrder
    | SendRouterOrder
)


def title(step: Step) -> str:
    """One short phrase for logs, `pgswarm plan` and status."""
    match step:
        case EnsureNetwork(name=name):
            return f"create network {name}"
        case EnsureSecret(name=name):
            return f"create secret {name}"
        case EnsureService(name=name, spec={"TaskTemplate": {"ForceUpdate": int(count)}}) if count:
            return f"have Swarm restart service {name}"
        case EnsureService(name=name, exists=exists):
            return f"{'put back' if exists else 'create'} service {name}"
        case RemoveService(name=name, first=first):
            return f"{'scale to zero' if first else 'remove'} service {name}"
        case StoreDocument(document=document):
            return f"take over the document of {document.name}"
        case ReadRecord():
            return "read the record"
        case WriteRecord(record=record):
            return f"write the record: term {record.term}, primary {record.primary}, claim {record.claim}"
        case AskPromise(member=member, term=term, prepare=prepare):
            return f"ask {member} to make ready for term {term}" if prepare else f"ask {member} to promise term {term}"
        case SendGrant(member=member, term=term, ttl=ttl):
            return f"grant {member} {ttl:.0f} s in term {term}"
        case LookAgain(task=task):
            return f"look after task {task}"
        case SendOrder(member=member, message=message):
            order = message.order
            return f"order {member} to be {order.role} in term {order.term} (revision {order.revision})"
        case SendRouterOrder(router=router, message=routed):
            return f"tell router {router} that {routed.order.primary} is primary of term {routed.order.term}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The last try of a key did not work, or worked and was wanted again at once."""

    reason: str
    times: int
    retry_at: float
    lasting: bool  # a person or another document must change something
    kind: str = ""  # of the step; only another try of the same kind waits. Empty: any

    def delays(self, step: Step, now: float) -> bool:
        """Must this step still wait? A record that must be written never waits because a document could not be."""
        return now < self.retry_at and self.kind in ("", type(step).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, what is waited for and why, and when to look again at the latest."""

    steps: tuple[Step, ...] = ()
    waits: tuple[str, ...] = ()
    again: float | None = None  # seconds from now

    @property
    def at_rest(self) -> bool:
        return not self.steps and not self.waits

    @property
    def is_silent(self) -> bool:
        """Does it say nothing at all?"""
        return not self.steps and not self.waits and self.again is None

    def and_then(self, other: Plan) -> Plan:
        """Both: the steps of this one first, never two of one key."""
        if other.is_silent:
            return self
        if self.is_silent:
            return other
        taken = {step.key for step in self.steps}
        again = [value for value in (self.again, other.again) if value is not None]
        return Plan(
            steps=self.steps + tuple(step for step in other.steps if step.key not in taken),
            waits=self.waits + tuple(text for text in other.waits if text not in self.waits),
            again=min(again) if again else None,
        )


NOTHING = Plan()


def is_fast(step: Step) -> bool:
    """Is it on the way from a lost primary to the next one? Then no pause may grow long."""
    return isinstance(step, (ReadRecord, WriteRecord, AskPromise, SendGrant, LookAgain, SendOrder, SendRouterOrder))


def startable(plan: Plan, busy: frozenset[str], failed: dict[str, Failed], now: float) -> tuple[Step, ...]:
    """The steps that may begin now: their key is free and not in a pause after a failure."""
    return tuple(
        step
        for step in plan.steps
        if step.key not in busy and not (step.key in failed and failed[step.key].delays(step, now))
    )
