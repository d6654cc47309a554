"""What every value of the core is: frozen, strict about its fields, and the same in JSON as in Python."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Value(BaseModel):
    """An immutable value. Change by `model_copy(update=…)`; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(BaseModel):
    """An immutable value that crosses the network between versions: unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Same(Generic[T]):
    """A value as a key: equal only to itself, so that what follows from it is worked out once."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value
