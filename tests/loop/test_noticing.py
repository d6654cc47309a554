"""Telling webhooks: signed, again and again for a while, never twice by one operator, and only by the one that acts."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from pgswarm.core.notices import Notice, happening
from pgswarm.loop import noticing
from pgswarm.loop.noticing import Noticing
from pgswarm.ports import webhook
from pgswarm.ports.webhook import Hook
from tests.core.test_notices import RECORD, member, well, world

KEY = b"a key of ours"


class Receiver:
    """A webhook that keeps what it hears, and answers what a test says."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.heard: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.heard.append((dict(self.headers), body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.hook = Hook(f"http://127.0.0.1:{self._server.server_port}/token", "127.0.0.1")
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for _, body in self.heard]

    async def until(self, number: int) -> None:
        with anyio.fail_after(20):
            while len(self.heard) < number:  # noqa: ASYNC110 - another thread, which cannot set our events
                await anyio.sleep(0.02)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def lost(now: float, leader: str | None = None) -> object:
    return replace(world(RECORD, now, a=member("a", now, gone=True), b=member("b", now)), leader=leader)


async def test_a_notice_is_signed_and_carries_its_id(receiver: Receiver) -> None:
    told = Noticing((receiver.hook,), KEY)
    async with anyio.create_task_group() as tasks:
        told.start(tasks)
        told.send(told.spoken("main", "drill-started", "the plug of worker01", "o1"))
        await receiver.until(1)
        tasks.cancel_scope.cancel()
    (heads, body), *_ = receiver.heard
    notice = Notice.model_validate_json(body)
    assert (notice.version, notice.kind, notice.text) == (1, "drill-started", "main: the plug of worker01")
    assert heads["Pgswarm-Notice"] == notice.id
    stamp, mac = (part.partition("=")[2] for part in heads["Pgswarm-Signature"].split(","))
    assert mac == hmac.new(KEY, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()


async def test_a_webhook_that_cannot_now_is_told_again_and_one_that_will_not_is_not(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticing, "PAUSE_FIRST", 0.02)
    receiver.answers = [503, 429, 204, 400, 302, 204]
    told = Noticing((receiver.hook,))
    async with anyio.create_task_group() as tasks:
        told.start(tasks)
        for text in ("one", "two", "three", "four"):
            told.send(told.spoken("main", "test", text, "o1"))
        await receiver.until(6)
        with anyio.fail_after(20):
            while told.counts["delivered"] < 2:  # noqa: ASYNC110 - see above
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    texts = [json.loads(body)["text"] for _, body in receiver.heard]
    assert texts == ["main: one"] * 3 + ["main: two", "main: three", "main: four"]
    assert told.counts == {"delivered": 2, "failed": 2, "dropped": 0}
    assert "Pgswarm-Signature" not in receiver.heard[0][0]


async def test_only_so_many_wait_and_only_for_so_long(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noticing, "LAST", 0.1)
    monkeypatch.setattr(noticing, "PAUSE_FIRST", 0.2)
    receiver.answers = [503] * 500
    told = Noticing((receiver.hook,))
    for number in range(noticing.MOST + 5):
        told.send(told.spoken("main", "test", str(number), "o1"))
    assert told.counts["dropped"] == 5
    async with anyio.create_task_group() as tasks:
        told.start(tasks)
        with anyio.fail_after(20):
            while told.counts["failed"] < 3:  # noqa: ASYNC110 - see above
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()


async def test_who_does_not_act_keeps_quiet_and_sends_what_it_saw_when_the_other_is_lost(receiver: Receiver) -> None:
    told = Noticing((receiver.hook,))
    now = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        told.start(tasks)
        told.look(replace(well(now), leader="o2"))
        told.look(lost(now, leader="o2"))  # type: ignore[arg-type]
        await anyio.sleep(0.2)
        assert receiver.heard == []
        told.look(lost(now))  # type: ignore[arg-type]
        await receiver.until(1)
        told.look(lost(now))  # type: ignore[arg-type]
        await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()
    assert receiver.kinds() == ["failover-started"]


async def test_who_acts_next_waits_for_the_word_of_one_that_still_lives(receiver: Receiver) -> None:
    """And sends it when that one is gone."""
    told = Noticing((receiver.hook,))
    living = {"o2"}
    told.is_alive = living.__contains__
    now = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        told.start(tasks)
        told.look(replace(well(now), leader="o2"))
        told.look(lost(now, leader="o2"))  # type: ignore[arg-type]
        told.look(lost(now))  # type: ignore[arg-type]
        await anyio.sleep(0.2)
        assert receiver.heard == []
        living.clear()
        told.look(lost(now))  # type: ignore[arg-type]
        await receiver.until(1)
        tasks.cancel_scope.cancel()
    assert receiver.kinds() == ["failover-started"]


async def test_what_each_of_two_left_to_the_other_is_sent_all_the_same(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who acts changes with the primary, and for a moment both took the other for the one that does."""
    monkeypatch.setattr(noticing, "WORD", 0.1)
    said: dict[str, tuple[str, ...]] = {}
    one, other = Noticing((receiver.hook,)), Noticing((receiver.hook,))
    for told, name in ((one, "o2"), (other, "o1")):
        told.is_alive = {"o1", "o2"}.__contains__
        told.told_by_others = lambda name=name: frozenset(said.get(name, ()))  # type: ignore[misc]
    now = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for told, name in ((one, "o2"), (other, "o1")):
            told.start(tasks)
            told.look(replace(well(now), leader=name))
            told.look(lost(now, leader=name))  # type: ignore[arg-type]
        other.look(lost(now))  # type: ignore[arg-type]
        assert other.told() == ()
        await anyio.sleep(0.15)
        other.look(lost(now))  # type: ignore[arg-type]
        await receiver.until(1)
        said["o2"] = other.told()
        one.look(lost(now))  # type: ignore[arg-type]
        await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()
    assert receiver.kinds() == ["failover-started"]


def test_a_change_and_the_end_of_a_failover_are_one_happening() -> None:
    told = Noticing().spoken("main", "test", "x", "o1")
    ended = told.model_copy(update={"id": "main/failover-ended/3", "kind": "failover-ended"})
    changed = told.model_copy(update={"id": "main/primary-changed/3", "kind": "primary-changed"})
    started = told.model_copy(update={"id": "main/failover-started/3", "kind": "failover-started"})
    assert happening(ended) == happening(changed) != happening(started)


async def test_a_person_sees_what_a_webhook_answers(receiver: Receiver) -> None:
    nobody = Hook("http://127.0.0.1:1/secret-path", "nobody.example")
    told = Noticing((receiver.hook, nobody))
    answered = await told.try_out(told.spoken("", "test", "hello", "o1"))
    assert answered["127.0.0.1"] == "delivered"
    assert answered["nobody.example"].startswith("nobody.example cannot be reached")
    assert "secret-path" not in str(answered)


def test_addresses_are_a_file_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "hooks"
    file.write_text("# ours\nhttps://hooks.example/T0/B1\n\nftp://x/y\nnothing\n http://127.0.0.1:9/ \n")
    assert [one.name for one in webhook.hooks(file)] == ["hooks.example", "127.0.0.1"]
    assert webhook.hooks(tmp_path / "none") == ()
