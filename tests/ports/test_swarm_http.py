"""Calls to an engine that answers, refuses, hangs or hangs up: what the caller is told to do next."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pgswarm.errors import Again, Conflict, Refused
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.ports.swarm_http import Engine, Missing, Unknown, failed_answer

VERSION = {"ApiVersion": "1.45", "MinAPIVersion": "1.24"}


def http(status: int, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Play:
    """An engine on a Unix socket that says its version properly and everything else as told (None: nothing)."""

    def __init__(self, path: pathlib.Path, answer: bytes | None, *, hang_up: bool = False) -> None:
        self.url = f"unix://{path}"
        self.asked: list[str] = []
        self._answer, self._hang_up = answer, hang_up
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open: list[socket.socket] = []

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while request := self._request(connection):
                self.asked.append(request)
                if "/version" in request:
                    connection.sendall(http(200, VERSION))
                elif self._hang_up:
                    connection.shutdown(socket.SHUT_RDWR)
                elif self._answer is not None:
                    connection.sendall(self._answer)

    @staticmethod
    def _request(connection: socket.socket) -> str:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            if not part:
                return ""
            head += part
        top, _, body = head.partition(b"\r\n\r\n")
        for line in top.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += connection.recv(65536)
        return top.split(b"\r\n")[0].decode()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@contextlib.contextmanager
def engine(
    folder: pathlib.Path, answer: bytes | None = None, *, hang_up: bool = False
) -> Iterator[tuple[Engine, Play]]:
    play = Play(folder / "s", answer, hang_up=hang_up)
    thread = threading.Thread(target=play.serve, daemon=True)
    thread.start()
    port = Engine(play.url)
    try:
        yield port, play
    finally:
        port.close()
        play.stop()
        thread.join(5)


async def test_the_api_version_is_the_engines_own(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path, http(200, [])) as (port, play):
        assert await port.get("/nodes", doing="listing") == []
        assert await port.get("/nodes", doing="listing", filters={"role": ["manager"]}) == []
    assert play.asked[1] == "GET /v1.45/nodes HTTP/1.1"
    assert play.asked[2].startswith("GET /v1.45/nodes?filters=%7B%22role%22")
    assert sum("/version" in one for one in play.asked) == 1


async def test_a_read_that_hangs_is_tried_again_later(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path) as (port, _):
        started = time.monotonic()
        with pytest.raises(Again, match="listing nodes: Docker gave no answer") as caught:
            await port.get("/nodes", timeout=0.3, doing="listing nodes")
        assert not isinstance(caught.value, Conflict)
        assert time.monotonic() - started < 3


async def test_a_write_that_hangs_has_an_unknown_outcome(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path) as (port, _), pytest.raises(Unknown, match=r"not known whether this was done.*read again"):
        await port.post("/services/create", {}, timeout=0.3, doing="creating it")


async def test_a_write_whose_answer_breaks_off_has_an_unknown_outcome(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path, hang_up=True) as (port, play):
        with pytest.raises(Unknown):
            await port.post("/configs/x/update", {}, doing="writing", version=3)
    assert sum("/configs/x/update?version=3" in one for one in play.asked) == 1  # never repeated by itself


async def test_a_read_that_breaks_off_is_tried_again_later(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path, hang_up=True) as (port, _), pytest.raises(Again, match="the call to Docker broke off"):
        await port.get("/nodes", doing="listing")


async def test_a_write_that_was_never_sent_is_not_unknown(tmp_path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))  # bound, and nobody listens
        with pytest.raises(Again, match="is dockerd running"):
            await Engine(f"unix://{tmp_path / 's'}").post("/services/create", {}, doing="creating it")


async def test_a_socket_that_was_there_before_is_only_gone_for_the_moment(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path, http(200, [])) as (port, _):
        assert await port.get("/nodes", doing="listing") == []
    (tmp_path / "s").unlink()
    with pytest.raises(Again, match="gone for the moment"):
        await port.get("/nodes", doing="listing")


async def test_an_answer_that_is_not_json_is_no_answer(tmp_path: pathlib.Path) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html"
    with engine(tmp_path, body) as (port, _), pytest.raises(Again):
        await port.get("/nodes", doing="listing")


async def test_a_call_that_is_cancelled_does_not_hold_its_caller(tmp_path: pathlib.Path) -> None:
    import anyio

    with engine(tmp_path) as (port, _):
        started = time.monotonic()
        with anyio.move_on_after(0.1):
            await port.get("/nodes", timeout=10, doing="listing")
        assert time.monotonic() - started < 5


NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
WORKER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this "
    "command on a manager node or promote the current node to a manager."
)
NO_LEADER = "The swarm does not have a leader. It's possible that too few managers are online."


@pytest.mark.parametrize(
    ("status", "message", "is_write", "kind", "words"),
    [
        (500, "rpc error: code = Unknown desc = update out of sequence", True, Conflict, "somebody else wrote first"),
        (409, "rpc error: code = AlreadyExists desc = config x already exists", True, Conflict, "already exists"),
        (503, NOT_A_MANAGER, False, Refused, "docker swarm init"),
        (503, WORKER, False, Refused, "run this on a manager"),
        (503, "Swarm is encrypted and needs to be unlocked before it can be used.", False, Refused, "swarm unlock"),
        (500, NO_LEADER, False, Again, "has no leader"),
        (500, NO_LEADER, True, Again, "has no leader"),
        (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", False, Again, "deadline"),
        (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", True, Unknown, "read again"),
        (500, "raft: failed to process the request: node lost leader status", True, Unknown, "read again"),
        (500, "rpc error: code = Unavailable desc = transport is closing", True, Unknown, "read again"),
        (500, "network abc not found", True, Again, "network abc not found"),
        (404, "service x not found", False, Missing, "service x not found"),
        (400, "invalid reference format", True, Refused, "invalid reference format"),
        (403, "network x is in use", True, Refused, "in use"),
        (429, "slow down", True, Again, "slow down"),
        (500, "", False, Again, "Docker answered 500"),
    ],
)
def test_an_error_says_what_to_do_next(
    status: int, message: str, is_write: bool, kind: type[Exception], words: str
) -> None:
    failure = failed_answer(status, message, is_write=is_write, doing="doing it")
    assert type(failure) is kind
    assert words in failure.reason
    assert failure.reason.startswith("doing it: ")
    assert "\n" not in failure.reason


@pytest.mark.parametrize(
    ("swarm", "kind", "words"),
    [
        ({"LocalNodeState": "inactive"}, Refused, "docker swarm init"),
        ({"LocalNodeState": "locked"}, Refused, "docker swarm unlock"),
        ({"LocalNodeState": "pending"}, Again, "still joining"),
        ({"LocalNodeState": "error", "Error": "certificate has expired"}, Again, "certificate has expired"),
        ({"LocalNodeState": "active", "ControlAvailable": False}, Refused, "run this on a manager"),
    ],
)
async def test_a_node_that_is_no_manager_says_what_to_do(
    tmp_path: pathlib.Path, swarm: dict[str, object], kind: type[Exception], words: str
) -> None:
    with engine(tmp_path, http(200, {"Name": "a", "Swarm": swarm})) as (_, play):
        with pytest.raises(kind, match=words):
            await DockerSwarm(play.url).info()


async def test_a_view_is_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    with engine(tmp_path, http(500, {"message": NO_LEADER})) as (_, play):
        with pytest.raises(Again, match="has no leader"):
            await DockerSwarm(play.url).view()
