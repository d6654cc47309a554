"""An inspection: what an agent finds out about its own machine and network when `pgswarm doctor` asks it to.

Nothing of it is in a report, because nothing is decided from it and it costs some tenths of a second: connections are
made, names are looked up. Passwords are judged where they are, and only the judgement is told.
"""

from __future__ import annotations

from pydantic import Field

from pgswarm.core.base import Message


class InspectRequest(Message):
    """What to try from there."""

    names: tuple[str, ...] = Field(default=(), description="names to look up")
    routers: dict[str, str] = Field(
        default={}, description="addresses of routers, by name: through each a session is tried"
    )
    port: int = Field(default=5432, description="of writers")
    read_only_port: int = Field(default=5433, description="of readers")
    database: str = ""
    owner: str = ""


class Path(Message):
    """A session that was tried through one router, as an application would."""

    router: str
    writes: bool = Field(description="on the writers' port; else on the readers'")
    seconds: float = Field(default=0.0, description="until the answer of a first statement")
    recovery: bool | None = Field(default=None, description="what PostgreSQL there says of itself; None: no answer")
    why: str = Field(default="", description="why there was no answer")


class Inspection(Message):
    """What was found."""

    wall: float = Field(description="this node's clock: seconds since the epoch")
    mtus: dict[str, int] = Field(default={}, description="largest packet of each interface, bytes; without loopback")
    shm: int = Field(default=0, description="bytes of /dev/shm; 0 if not known")
    names: dict[str, tuple[str, ...]] = Field(default={}, description="addresses of each name; none: it is not known")
    weak: tuple[str, ...] = Field(
        default=(), description="passwords that are short or well known: what for, never the word"
    )
    paths: tuple[Path, ...] = ()
