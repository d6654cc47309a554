"""What is known to be safe (claim) and what PostgreSQL is told to wait for (sync), and how the two imply each other.

A *claim* `(M, r)` says: every commit ever acknowledged to a client is on at least `r` of the incarnations `M`, the
primary counted. A *sync* `P` is PostgreSQL's quorum commit, `ANY k (names)`, or empty. Every commit that a primary
acknowledges while `P` is in force is on the primary and on `k` of the names; so `P` implies the claim exactly when
the arithmetic below says so, and the record never holds a `P` that does not imply its claim (PROTOCOL, C1).

Incarnations are written `member/id`. The name by which a standby's stream is known to PostgreSQL also carries the
term (`application_name`), so a stream of another reign or of a data directory made anew is never counted (C5).
"""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, field_validator, model_validator

from pgswarm.core.base import Value

Incarnation = str
"""`member/id`: one member's data directory between two re-creations. The id is eight hexadecimal digits."""


def incarnation(member: str, ident: str) -> Incarnation:
    return f"{member}/{ident}"


@lru_cache(maxsize=4096)  # asked some hundred times a pass, always of the same few
def member_of(name: Incarnation) -> str:
    return name.partition("/")[0]


def application_name(name: Incarnation, term: int) -> str:
    """The only name under which a stream is counted: member-incarnation-term, at most 63 bytes."""
    member, _, ident = name.partition("/")
    return f"{member}-{ident}-{term}"


def streamer(name: str) -> str:
    """The member behind an application_name of ours; empty for any other."""
    member, _, rest = name.rpartition("-")[0].rpartition("-")
    return member if rest else ""


class Claim(Value):
    """Every acknowledged commit is on at least `r` of `members` (incarnations, the primary among them)."""

    members: tuple[Incarnation, ...]
    r: int = Field(ge=1)

    @field_validator("members")
    @classmethod
    def _sorted(cls, value: tuple[Incarnation, ...]) -> tuple[Incarnation, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _possible(self) -> Claim:
        if self.r > len(self.members):
            raise ValueError(f"{self.r} copies cannot be on {len(self.members)} members")
        return self

    @property
    def quorum(self) -> int:
        """How many promises meet every set of `r` members: |M| - r + 1."""
        return len(self.members) - self.r + 1

    def names(self, member: str) -> bool:
        return any(member_of(name) == member for name in self.members)

    def implies(self, other: Claim) -> bool:
        """Is `other` true whenever this is? At worst all members that `other` does not count hold copies."""
        outside = len(set(self.members) - set(other.members))
        return other.r <= self.r - outside

    def __str__(self) -> str:
        return f"{self.r} of {', '.join(self.members)}"


class Sync(Value):
    """PostgreSQL's quorum commit: a commit waits for `k` of the standbys `names`; k = 0 is no waiting."""

    k: int = Field(default=0, ge=0)
    names: tuple[Incarnation, ...] = ()

    @field_validator("names")
    @classmethod
    def _sorted(cls, value: tuple[Incarnation, ...]) -> tuple[Incarnation, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _possible(self) -> Sync:
        if self.k > len(self.names) or bool(self.k) != bool(self.names):
            raise ValueError(f"a commit cannot wait for {self.k} of {len(self.names)} standbys")
        return self

    def named(self, member: str) -> bool:
        return any(member_of(name) == member for name in self.names)

    def implies(self, claim: Claim, primary: Incarnation) -> bool:
        """Does a commit acknowledged under this setting by `primary` satisfy `claim`?"""
        if primary not in claim.members:
            return False
        counted = set(claim.members) - {primary}
        elsewhere = len(set(self.names) - counted)
        return claim.r <= 1 + max(0, self.k - elsewhere)

    def setting(self, term: int) -> str:
        """The value of synchronous_standby_names."""
        if self.k == 0:
            return ""
        quoted = ", ".join(f'"{application_name(name, term)}"' for name in self.names)
        return f"ANY {self.k} ({quoted})"

    def __str__(self) -> str:
        return f"any {self.k} of {', '.join(self.names)}" if self.k else "nobody"
