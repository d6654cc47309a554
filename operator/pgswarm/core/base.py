"""What every value of the core is: frozen, strict about its fields, and the same in JSON as in Python."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value. Change by `model_copy(update=…)`; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(BaseModel):
    """An immutable value that crosses the network between versions: unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
