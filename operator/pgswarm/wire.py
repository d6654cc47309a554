"""How operator, members and routers speak: HTTP with JSON on the control network, defined here and only here.

    PUT  /order      OrderMessage → Answer            200 accepted (or known already), 409 refused with the reason
    POST /promise    PromiseRequest → MemberReport    200 once durable *and* settled, 409 refused (newer here)
    PUT  /grant      GrantRequest → Answer            an operator's leave to write on, durability async
    POST /consent    ConsentRequest → Answer          another member's, durable before it is answered
    GET  /stream     → one JSON report a line, at every change, for ever; at least every HEARTBEAT seconds (a router:
                       ROUTER_HEARTBEAT) a line, which is empty if nothing is new: the report of before, heard again
    GET  /report     → the report of this moment
    GET  /activity   → Activity                       what goes on in PostgreSQL, asked for when this is (`pgswarm top`)
    GET  /metrics    for Prometheus                   no secret needed, or a token: see ports/scrape
    POST /inspect    InspectRequest → Inspection      machine, network and passwords there, for `pgswarm doctor`
    POST /drill      Strike → Answer                  that term's primary is killed, for `pgswarm drill`
    GET  /primary    200 if a writer may be sent here, else 503         no secret needed; the body says why
    GET  /replica    200 if a reader may be sent here, else 503         no secret needed
    GET  /live       200 while the agent's loop turns                   no secret needed

All but the last four want `Authorization: Bearer <secret>`, and a caller says in `Pgswarm-Caller` what it is: only an
operator's word is a sign that a primary is not cut off (law 6), and one that does not reach Swarm's store calls itself
a witness. The secret is the Swarm secret `pgswarm-control`,
mounted into operator, members and routers at SECRET_FILE. An operator answers /stream, /status and /live on its own
port in the same way, so operators see each other's death as fast as an agent's.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from pgswarm.core.base import Message
from pgswarm.core.claim import Incarnation
from pgswarm.core.reports import MemberReport, Report, RouterReport
from pgswarm.core.wal import Position

MEMBER_PORT = 8009
ROUTER_PORT = 8010
OPERATOR_PORT = 8011
POSTGRES_PORT = 5432

HEARTBEAT = 0.5
"""Seconds between two lines on an idle stream."""

ROUTER_HEARTBEAT = 1.0
"""The same of a router: nothing is decided from its silence, and there are as many as managers for each cluster."""

BEAT = b"\n"
"""The line that says: still as I said."""

CALLER = "Pgswarm-Caller"
"""The header that says what kind of process calls: operator, router, member or person. A member's call is nobody's to
decide anything; for what an operator's and a router's count see an agent's law 6 and member/hearing.
"""

SECRET_FILE = "/run/secrets/pgswarm-control"


class PromiseRequest(Message):
    """Ask a member never to serve, nor receive from, a term below `term`."""

    cluster: str
    member: str = Field(default="", description="whom it is for: an address of an overlay is soon given to another")
    place: str = Field(default="", description="where that member lives; its old container elsewhere is not meant")
    term: int
    prepare: bool = Field(
        default=False,
        description="promise nothing yet: checkpoint, and turn new clients away until the promise is asked",
    )


class GrantRequest(Message):
    """Let a primary write for `ttl` seconds, counted from when it made the word `nonce`."""

    cluster: str
    member: str
    term: int
    nonce: str
    ttl: float


class ConsentRequest(Message):
    """A primary that no operator answers asks another member: may it write on?"""

    cluster: str
    member: str = Field(description="whom it is for")
    place: str = Field(default="", description="where that member lives, by the order that the asking primary holds")
    term: int
    primary: Incarnation
    end: Position | None = Field(
        default=None, description="how far its log is: whoever may have to succeed it then knows what would be lost"
    )


class Answer(Message):
    """An agent's word on an order, a grant, or a request for consent."""

    accepted: bool
    reason: str
    report: Annotated[MemberReport | RouterReport, Field(discriminator="kind")] | None = None


class OperatorReport(Message):
    """What an operator says of itself to the other operators."""

    kind: Literal["operator"] = "operator"
    operator: str = Field(description="the Swarm task or host name, unique among operators")
    node_id: str
    able: bool = Field(default=True, description="it reached Swarm's store lately")
    deaf: tuple[str, ...] | None = Field(
        default=None,
        description="clusters to whose primary it is deaf (core/leadership); null: of a version before this",
    )
    leaving: bool = Field(default=False, description="its last word: it was told to end, and acts no more")
    told: tuple[str, ...] = Field(default=(), description="what it has lately sent to webhooks (`core/notices`)")
    boot: str


AnyReport = Annotated[MemberReport | RouterReport | OperatorReport, Field(discriminator="kind")]
_REPORT: TypeAdapter[MemberReport | RouterReport | OperatorReport] = TypeAdapter(AnyReport)


def encode_line(report: Report | OperatorReport) -> bytes:
    """One report as one line of a stream."""
    return report.model_dump_json(exclude_defaults=False).encode() + b"\n"


def decode_line(line: bytes | str) -> MemberReport | RouterReport | OperatorReport:
    """The report in one line of a stream. Raises pydantic's ValidationError for anything else."""
    return _REPORT.validate_json(line)


def credentials(secret: str, caller: str = "operator") -> dict[str, str]:
    """The headers that prove the caller knows the control secret, and say what it is."""
    return {"Authorization": f"Bearer {secret}", CALLER: caller}


def is_authorized(header: str | None, secret: str) -> bool:
    """Does this Authorization header carry the secret? Compared in constant time."""
    return header is not None and hmac.compare_digest(header.encode(), f"Bearer {secret}".encode())
