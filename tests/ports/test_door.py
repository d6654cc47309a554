"""Calling and being called, over real sockets: whoever dawdles, babbles or leaves harms nobody else."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest

from pgswarm.core.reports import Data, MemberReport
from pgswarm.errors import Refused
from pgswarm.ports import door
from pgswarm.ports.agents import AgentClient
from pgswarm.ports.calls import Closed, Line, Silent
from pgswarm.ports.door import Call, Handler, Lines, Reply
from pgswarm.wire import BEAT, PromiseRequest, encode_line

pytestmark = pytest.mark.anyio

SECRET = "a secret of the tests"
BIG = b"x" * (5 << 20)
REPORT = MemberReport(cluster="main", member="a", boot="1", sequence=1, data=Data.NONE)


async def say_big(call: Call) -> Reply:
    return Reply(body=BIG)


async def say_who(call: Call) -> Reply:
    return Reply(body=f"{call.caller} {call.is_authorized(SECRET)} {call.body.decode()}", kind="text/plain")


async def fail(call: Call) -> Reply:
    raise ZeroDivisionError("here")


async def check(call: Call) -> Reply:
    message = door.parsed(call, PromiseRequest)
    return message if isinstance(message, Reply) else Reply(body="fine")


def stream_of(pieces: Callable[[], AsyncGenerator[bytes, None]]) -> Handler:
    async def stream(call: Call) -> Lines:
        return Lines(pieces=pieces())

    return stream


async def for_ever() -> AsyncGenerator[bytes, None]:
    while True:
        yield BIG


async def beats() -> AsyncGenerator[bytes, None]:
    yield encode_line(REPORT)
    yield BEAT
    yield BEAT
    yield encode_line(REPORT.model_copy(update={"promised": 3}))
    await anyio.sleep_forever()


async def broken() -> AsyncGenerator[bytes, None]:
    yield b"one\n"
    raise ZeroDivisionError("here")


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/big"): say_big,
    ("POST", "/who"): say_who,
    ("GET", "/fail"): fail,
    ("PUT", "/check"): check,
    ("GET", "/ever"): stream_of(for_ever),
    ("GET", "/stream"): stream_of(beats),
    ("GET", "/broken"): stream_of(broken),
}


@asynccontextmanager
async def a_door() -> AsyncIterator[int]:
    listener = await door.listen("127.0.0.1", 0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(door.serve, listener, HANDLERS)
        yield port
        tasks.cancel_scope.cancel()


def line(port: int) -> Line:
    return Line("127.0.0.1", port, SECRET, caller="operator")


async def read_to_the_end(stream: anyio.abc.ByteReceiveStream) -> int:
    count = 0
    try:
        while True:
            count += len(await stream.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return count


async def raw(port: int, text: bytes) -> bytes:
    """Everything that is answered to these bytes, until the connection is closed from the other side."""
    said = b""
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(text)
            try:
                while True:
                    said += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return said


async def test_a_long_answer_arrives_whole() -> None:
    async with a_door() as port:
        assert (await line(port).call("GET", "/big", deadline=10)).body == BIG


async def test_a_call_brings_its_body_its_secret_and_its_name() -> None:
    async with a_door() as port:
        answered = await line(port).call("POST", "/who", b"hello", deadline=5)
    assert answered.body == b"operator True hello"


async def test_a_handler_that_fails_is_answered_for_and_the_next_caller_is_served() -> None:
    async with a_door() as port:
        with pytest.raises(Refused, match="500: ZeroDivisionError: here"):
            await line(port).call("GET", "/fail", deadline=5)
        assert (await line(port).call("GET", "/big", deadline=10)).status == 200


async def test_what_is_not_answered_here_is_said_so() -> None:
    async with a_door() as port:
        with pytest.raises(Refused, match="404"):
            await line(port).call("GET", "/nothing", deadline=5)
        with pytest.raises(Refused, match="405"):
            await line(port).call("PUT", "/big", b"{}", deadline=5)
        with pytest.raises(Refused, match="422: not a PromiseRequest: cluster"):
            await line(port).call("PUT", "/check", b'{"term": 1}', deadline=5)


async def test_what_is_not_http_and_what_is_too_long_is_refused() -> None:
    async with a_door() as port:
        assert (await raw(port, b"\x16\x03\x01 who are you?\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        head = b"PUT /check HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
        assert b"HTTP/1.1 413 " in await raw(port, head + b"x" * (door.LONGEST_BODY + 1))


async def test_who_asks_only_for_the_head_gets_no_more() -> None:
    async with a_door() as port:
        said = await raw(port, b"HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert b"Content-Length: 5242880" in said


async def test_who_connects_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "REQUEST", 0.2)
    async with a_door() as port:
        assert await raw(port, b"GET /big") == b""


async def test_a_stream_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "UNREAD", 0.3)
    async with a_door() as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /ever HTTP/1.1\r\nHost: a\r\n\r\n")
            await anyio.sleep(1.0)
            with anyio.fail_after(5):
                assert await read_to_the_end(stream) > 0


async def test_more_callers_than_can_be_served_are_turned_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MOST_CALLERS", 1)
    async with a_door() as port, await anyio.connect_tcp("127.0.0.1", port) as first:
        await first.send(b"GET /ever HTTP/1.1\r\nHost: a\r\n\r\n")
        await first.receive()
        with pytest.raises(Closed):
            await line(port).call("GET", "/big", deadline=5)


async def test_an_empty_line_is_the_report_of_before_the_very_same_object() -> None:
    async with a_door() as port:
        async with aclosing(AgentClient(SECRET).stream("127.0.0.1", port)) as reports:
            first, second, third, fourth = [await anext(reports) for _ in range(4)]
    assert first == REPORT
    assert first is second is third
    assert isinstance(fourth, MemberReport)
    assert fourth.promised == 3


async def test_a_beat_is_told_in_passing_and_wakes_nobody_who_waits_for_a_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield encode_line(REPORT)
        for _ in range(5):
            await anyio.sleep(0.05)
            yield BEAT
        await anyio.sleep(0.05)
        yield encode_line(REPORT.model_copy(update={"promised": 3}))
        await anyio.sleep_forever()

    monkeypatch.setitem(HANDLERS, ("GET", "/stream"), stream_of(pieces))
    told = []
    async with a_door() as port:
        stream = AgentClient(SECRET).stream("127.0.0.1", port, beat=lambda: told.append("beat"))
        async with aclosing(stream) as reports:
            for _ in range(2):
                report = await anext(reports)
                assert isinstance(report, MemberReport)
                told.append(f"promised {report.promised}")
    assert told == [f"promised {REPORT.promised}", *["beat"] * 5, "promised 3"]


async def test_an_operator_that_loses_swarms_store_says_so_at_the_next_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    async def named(call: Call) -> Lines:
        async def pieces() -> AsyncGenerator[bytes, None]:
            yield encode_line(REPORT.model_copy(update={"boot": call.caller}))
            while True:
                await anyio.sleep(0.02)
                yield BEAT

        return Lines(pieces=pieces())

    monkeypatch.setitem(HANDLERS, ("GET", "/stream"), named)
    client, beats = AgentClient(SECRET), list[str]()
    client.is_able = lambda: len(beats) < 3
    async with a_door() as port:
        async with aclosing(client.stream("127.0.0.1", port, beat=lambda: beats.append("beat"))) as reports:
            heard = [await anext(reports) for _ in range(3)]
    assert [one.boot for one in heard if isinstance(one, MemberReport)] == ["operator", "operator", "witness"]


async def test_who_only_beats_is_not_silent_and_who_stops_beating_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield encode_line(REPORT)
        for _ in range(8):
            await anyio.sleep(0.1)
            yield BEAT
        await anyio.sleep(60)

    monkeypatch.setitem(HANDLERS, ("GET", "/stream"), stream_of(pieces))
    beats: list[float] = []
    async with a_door() as port:
        stream = AgentClient(SECRET).stream(
            "127.0.0.1", port, silence=0.4, beat=lambda: beats.append(anyio.current_time())
        )
        async with aclosing(stream) as reports:
            await anext(reports)
            with pytest.raises(Silent):
                await anext(reports)
            ended = anyio.current_time()
    assert len(beats) == 8
    assert 0.4 <= ended - beats[-1] < 1.0, "silence is counted from the last beat"


async def test_an_operator_that_loses_swarms_store_goes_on_hearing_under_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def named(call: Call) -> Lines:
        async def pieces() -> AsyncGenerator[bytes, None]:
            yield encode_line(REPORT.model_copy(update={"boot": call.caller}))
            while True:
                await anyio.sleep(0.01)
                yield BEAT

        return Lines(pieces=pieces())

    monkeypatch.setitem(HANDLERS, ("GET", "/stream"), named)
    client, able = AgentClient(SECRET), True
    client.is_able = lambda: able
    heard = []
    async with a_door() as port:
        async with aclosing(client.stream("127.0.0.1", port)) as reports:
            for turn in range(9):
                able = turn not in (3, 4, 5)
                report = await anext(reports)
                assert isinstance(report, MemberReport)
                heard.append(report.boot)
    assert heard[0] == heard[-1] == "operator"
    assert "witness" in heard


async def test_a_stream_that_breaks_off_is_an_end() -> None:
    async with a_door() as port:
        async with aclosing(line(port).lines("/broken", silence=2)) as lines:
            assert await anext(lines) == b"one"
            with pytest.raises(Closed):
                await anext(lines)


async def test_an_answer_that_breaks_off_in_the_middle_is_an_end_and_one_that_never_comes_is_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer_half() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, answer_half)
            with pytest.raises(Closed, match="closed the connection"):
                await line(port).call("GET", "/report", deadline=5)
        began = time.monotonic()
        with pytest.raises(Silent, match="did not answer GET"):
            await line(port).call("GET", "/report", deadline=0.3)
        assert time.monotonic() - began < 5


async def test_a_port_that_is_taken_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(Refused, match="is another one running here"):
            await door.listen("127.0.0.1", taken.getsockname()[1])
