"""One call to a Docker engine: in a worker thread, with a deadline, and with an answer that says what to do next.

docker's Python SDK is used for the transport only (socket, API version, streams), because its own update methods
merge defaults into a service and can so restart a database. It blocks, and its sessions are not promised to be safe
in several threads at once, so each call borrows a client that nobody else uses and gives it back.

What an error means depends on whether something was to be changed. A read that failed has failed: `Again`. A write
whose answer was lost, or that the Raft leader dropped half-way, has an *unknown outcome*: `Unknown`, which is a
`Conflict`, so whoever does not think about it reads again before anything else. Even a plain "out of sequence" can be
one's own first attempt, repeated inside Docker on the way to the leader; `ports/records` therefore compares contents.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import docker
import docker.errors
import requests
import requests.exceptions
from anyio import CapacityLimiter

from pgswarm.errors import Again, Conflict, Failure, Refused

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
TIMEOUT = 5.0
"""Seconds for one call. Docker itself would wait 20 for a leader; a fresh call finds the new leader sooner."""

MOST_CALLS = 8
"""Calls under way at a time from one process."""

Json = Any
T = TypeVar("T")


class Missing(Refused):
    """The object does not exist: the engine has answered, and said so."""


class Unknown(Conflict):
    """A write whose outcome nobody knows: it may have happened. Read, and compare."""


class Engine:
    """The engine behind one socket."""

    def __init__(self, base_url: str | None = None) -> None:
        self._base_url = base_url or os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET
        self._idle: list[docker.APIClient] = []
        self._lock = threading.Lock()
        self._version: str | None = None
        self._limiter = CapacityLimiter(MOST_CALLS)

    async def get(self, path: str, *, timeout: float = TIMEOUT, doing: str, **query: Json) -> Json:
        return self.parsed(await self.read(path, timeout=timeout, doing=doing, **query), doing)

    async def read(self, path: str, *, timeout: float = TIMEOUT, doing: str, **query: Json) -> bytes:
        """The answer as it came, for whoever has perhaps seen it before."""
        return await self._call("GET", path, query, None, timeout, doing)

    async def post(self, path: str, body: Json, *, timeout: float = TIMEOUT, doing: str, **query: Json) -> Json:
        return self.parsed(await self._call("POST", path, query, body, timeout, doing), doing, is_write=True)

    async def delete(self, path: str, *, timeout: float = TIMEOUT, doing: str, **query: Json) -> Json:
        return self.parsed(await self._call("DELETE", path, query, None, timeout, doing), doing, is_write=True)

    async def borrow(self, work: Callable[[docker.APIClient], T], *, doing: str, timeout: float = TIMEOUT) -> T:
        """Run blocking work with a client of its own; the work must end by itself soon after `timeout`."""

        def run() -> T:
            client = self._take()
            try:
                result = work(client)
            except BaseException:
                client.close()
                raise
            self._give_back(client)
            return result

        try:
            with anyio.fail_after(timeout + 1.0):
                return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        except Failure:
            raise
        except Exception as error:
            raise self.failed(error, doing) from error

    def client(self) -> docker.APIClient:
        """A new client, for a stream that outlives a call. Blocks; raises what the SDK raises."""
        client = docker.APIClient(base_url=self._base_url, version=self._version or "auto", timeout=int(TIMEOUT))
        client.trust_env = False
        self._version = client.api_version
        return client

    def failed(self, error: Exception, doing: str, *, is_write: bool = False) -> Failure:
        has_answered = self._version is not None
        return failed_call(error, self._base_url, is_write=is_write, doing=doing, has_answered=has_answered)

    async def _call(
        self, method: str, path: str, query: Mapping[str, Json], body: Json, timeout: float, doing: str
    ) -> bytes:
        is_write = method != "GET"
        sent = threading.Event()

        def run() -> bytes:
            client = self._take()
            try:
                sent.set()
                response = request(client, method, path, query=query, body=body, timeout=timeout)
                content = response.content
            except BaseException:
                client.close()
                raise
            self._give_back(client)
            if response.status_code >= 400:
                raise failed_answer(response.status_code, _message(content), is_write=is_write, doing=doing)
            return content

        try:
            with anyio.fail_after(timeout + 1.0):
                return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        except Failure:
            raise
        except (requests.exceptions.RequestException, docker.errors.DockerException, OSError, ValueError) as error:
            raise self.failed(error, doing, is_write=is_write and sent.is_set()) from error

    def parsed(self, content: bytes, doing: str, *, is_write: bool = False) -> Json:
        """An answer as JSON; None if it is empty. Raises Failure if it is something else."""
        try:
            return json.loads(content) if content.strip() else None
        except ValueError as error:
            raise self.failed(error, doing, is_write=is_write) from error

    def _take(self) -> docker.APIClient:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.client()

    def _give_back(self, client: docker.APIClient) -> None:
        with self._lock:
            if len(self._idle) < MOST_CALLS:
                self._idle.append(client)
                return
        client.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()


def request(
    client: docker.APIClient,
    method: str,
    path: str,
    *,
    query: Mapping[str, Json] | None = None,
    body: Json = None,
    timeout: float | None = TIMEOUT,
    stream: bool = False,
) -> requests.Response:
    """One HTTP request under the negotiated API version. Values of `query` that are mappings are sent as JSON."""
    params = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in (query or {}).items()}
    return client.request(
        method,
        f"{client.base_url}/v{client.api_version}{path}",
        params=params,
        json=body,
        timeout=(2.0, timeout),
        stream=stream,
    )


def failed_answer(status: int, message: str, *, is_write: bool, doing: str) -> Failure:
    """What an HTTP error of the engine means."""
    text = " ".join(message.split())
    low = text.lower()
    if "update out of sequence" in low:
        return Conflict(f"{doing}: somebody else wrote first")
    if "not a swarm manager" in low:
        if "worker nodes can't" in low or "part of a swarm" in low:
            return Refused(f"{doing}: this node is a worker; run this on a manager (`docker node ls` there lists them)")
        return Refused(f"{doing}: this node is in no Swarm; run `docker swarm init` (or `docker swarm join`) first")
    if "needs to be unlocked" in low:
        return Refused(f"{doing}: the Swarm is locked; run `docker swarm unlock` on this node")
    if "does not have a leader" in low or "no elected cluster leader" in low:
        return Again(f"{doing}: the Swarm has no leader at the moment; are more than half of the managers up?")
    if status == 404:
        return Missing(f"{doing}: {text}")
    if status == 409:
        return Conflict(f"{doing}: {text}")
    if status < 500 and status not in (408, 429):
        return Refused(f"{doing}: {text}")
    if is_write and _MAYBE_DONE.search(low):
        return Unknown(f"{doing}: it is not known whether this was done ({text}); read again")
    return Again(f"{doing}: {text or f'Docker answered {status}'}")


_MAYBE_DONE = re.compile(r"deadline|time.?out|timed out|leader|raft|unavailable|transport|connection|eof|cancel")
"""In an answer of 500 to a write: it may have reached the leader. Anything else was refused before that."""


def failed_call(error: BaseException, where: str, *, is_write: bool, doing: str, has_answered: bool = False) -> Failure:
    """What an error before or instead of an answer means. `has_answered`: this engine was there before."""
    number = next((part.errno for part in _chain(error) if isinstance(part, OSError) and part.errno), None)
    match number:
        case errno.ENOENT if has_answered:
            return Again(f"{doing}: the Docker socket at {where} is gone for the moment; is dockerd being restarted?")
        case errno.ENOENT:
            return Refused(
                f"{doing}: there is no Docker socket at {where}; is Docker installed, and the socket mounted?"
            )
        case errno.EACCES | errno.EPERM:
            return Refused(f"{doing}: no permission to use {where}; run this as root or as a member of group docker")
        case errno.ECONNREFUSED:
            return Again(f"{doing}: Docker does not answer at {where}; is dockerd running?")
    kinds = (TimeoutError, requests.exceptions.Timeout)
    slow = any(isinstance(part, kinds) or "timed out" in str(part) for part in _chain(error))
    reason = f"Docker gave no answer in {TIMEOUT:g} s" if slow else f"the call to Docker broke off ({_last(error)})"
    if is_write:
        return Unknown(f"{doing}: it is not known whether this was done ({reason}); read again")
    return Again(f"{doing}: {reason}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything inside it: causes, contexts, and errors wrapped as arguments."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, (tuple, list)):
            waiting.extend(part)
        elif isinstance(part, BaseException) and id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += [part.__cause__, part.__context__, part.args, getattr(part, "reason", None)]


def _last(error: BaseException) -> str:
    *_, deepest = _chain(error)
    return " ".join(str(deepest).split())[:200] or type(deepest).__name__


def _message(content: bytes) -> str:
    try:
        answer = json.loads(content)
    except ValueError:
        return content[:500].decode(errors="replace")
    return str(answer.get("message", "")) if isinstance(answer, dict) else str(answer)
