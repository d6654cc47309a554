"""Talk to a Docker engine over its socket, with the standard library only.

The lab asks a dozen simple questions (is it there, what does it say of the Swarm, join this one); a client
program for each would cost more time than the answer. Errors carry the engine's own words.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
from typing import Any

from swarmlab import talk

ANSWER_WITHIN = 5.0  # seconds, for questions
ACT_WITHIN = 40.0  # for joining a Swarm, which itself waits up to 20 s


class Refused(talk.LabError):
    """The engine answered, and the answer was no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the engine answered {status}: {message}")
        self.status = status


def ask(engine: pathlib.Path, method: str, path: str, body: object = None, *, deadline: float = ANSWER_WITHIN) -> Any:
    """One request; the answer's JSON (or text, for those that answer in words). OSError if nobody answers."""
    connection = _Local(engine, deadline)
    try:
        payload = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, payload, {"Content-Type": "application/json", "Host": "engine"})
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{engine}: {error!r}") from error
        if answer.status >= 400:
            raise Refused(answer.status, _message(text))
        try:
            return json.loads(text) if text else None
        except json.JSONDecodeError:
            return text
    finally:
        connection.close()


def answers(engine: pathlib.Path, *, deadline: float = ANSWER_WITHIN) -> bool:
    try:
        ask(engine, "GET", "/_ping", deadline=deadline)
    except (OSError, Refused):
        return False
    return True


class _Local(http.client.HTTPConnection):
    def __init__(self, path: pathlib.Path, deadline: float) -> None:
        super().__init__("engine", timeout=deadline)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
