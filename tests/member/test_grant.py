"""A grant on real PostgreSQL: asked for, enforced to the end, lent by the others, and never outlived."""

from __future__ import annotations

import signal
import time

import anyio
import psycopg
import pytest

from pgswarm.core import grant
from pgswarm.core.orders import Settings
from pgswarm.core.record import Grant, Record
from pgswarm.wire import Answer, ConsentRequest, GrantRequest
from tests.member.stage import CLUSTER, Member, Stage, succeed

ASYNC = Settings(durability="async")

pytestmark = [pytest.mark.postgres]


async def granted(member: Member, term: int = 1, ttl: float = grant.TTL) -> Answer:
    """Answer what it asks, as an operator does."""
    report = await member.until("asking", lambda said: said.asks)
    request = GrantRequest(cluster=CLUSTER, member=member.name, term=term, nonce=report.asks, ttl=ttl)
    response = await member.call("PUT", "/grant", request.model_dump_json())
    answer = Answer.model_validate_json(response.content)
    assert answer.accepted == (response.status_code == 200)
    return answer


async def is_consented(member: Member, term: int = 1, primary: str = "a/00000001") -> bool:
    request = ConsentRequest(cluster=CLUSTER, member=member.name, term=term, primary=primary)
    return (await member.call("POST", "/consent", request.model_dump_json())).status_code == 200


async def held(stage: Stage, *names: str, ttl: float = grant.TTL) -> Record:
    """A primary that writes under a grant, and its streaming standbys."""
    record = await stage.begun(*names)
    await stage.give(record, ASYNC)
    assert (await granted(stage.members[names[0]], ttl=ttl)).accepted
    record = record.amended("async", grant=Grant.HELD)
    await stage.give(record, ASYNC)
    return record


async def is_writable(member: Member) -> bool:
    try:
        await member.sql("SELECT pg_current_xact_id()")  # turned away, it fails at once
    except (psycopg.Error, TimeoutError, OSError):
        return False
    return True


async def test_clients_are_turned_out_before_a_grant_ends_and_let_in_with_the_next(stage: Stage) -> None:
    record = await held(stage, "a", "b")
    a, b = stage.members["a"], stage.members["b"]
    pid = a.postmaster_pid
    async with a.client() as inside:
        await inside.execute("CREATE TABLE t (n int)")
        await stage.give(record.amended("again"), ASYNC)
        # From here on nobody answers, and b is not to consent either: it has promised more.
        last = time.monotonic()
        await b.promise(2)
        acknowledged = last
        try:
            while acknowledged - last < grant.TTL:
                await inside.execute("INSERT INTO t VALUES (1)")
                acknowledged = time.monotonic()
                await anyio.sleep(0.01)
        except psycopg.Error:
            pass
    assert 1.0 < acknowledged - last < grant.TTL, "it wrote on for as long as it could, and no longer"
    report = await a.until("closed", lambda said: said.serving == "none")
    assert not report.granted
    assert not await is_writable(a)
    assert a.postmaster_pid == pid, "PostgreSQL itself goes on"
    assert (await granted(a)).accepted
    await a.until_primary()
    assert await is_writable(a)
    assert a.postmaster_pid == pid


async def test_an_order_that_demands_a_grant_is_refused_while_clients_are_inside_without_one(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.members["a"]
    demanding = record.amended("async", grant=Grant.ASKED)
    answer = await a.order(demanding, stage.contacts)
    assert not answer.accepted
    assert "no grant is held" in answer.reason
    assert await is_writable(a), "nothing is interrupted"
    assert not (await a.report()).asks, "nor does it ask before the document says so"
    await stage.give(record, ASYNC)
    assert (await granted(a)).accepted
    assert (await a.order(demanding, stage.contacts, ASYNC)).accepted
    assert await is_writable(a)


async def test_a_grant_of_another_term_or_word_is_refused(stage: Stage) -> None:
    await held(stage, "a")
    a = stage.members["a"]
    assert not (await granted(a, term=2)).accepted
    wrong = GrantRequest(cluster=CLUSTER, member="a", term=1, nonce="guessed", ttl=10.0)
    assert (await a.call("PUT", "/grant", wrong.model_dump_json())).status_code == 409


async def test_without_operators_the_consent_of_all_keeps_it_writing_and_one_refusal_ends_it(stage: Stage) -> None:
    await held(stage, "a", "b")
    a, b = stage.members["a"], stage.members["b"]
    first = (await a.report()).position
    assert first is not None
    began = time.monotonic()
    while time.monotonic() - began < grant.TTL + 2:
        assert await is_writable(a), a.log[-3000:]
        await anyio.sleep(0.2)
    report = await b.report()
    before, told = report.consented, report.lent
    assert before is not None
    assert '"consented"' in (b.volume / "agent" / "state.json").read_text(), "durable before it is answered"
    assert told is not None
    assert told.primary == "a/00000001"
    end = (await a.report()).position
    assert end is not None
    assert told.end.timeline == end.timeline
    assert first.lsn < told.end.lsn <= end.lsn
    await b.promise(2)
    assert not await is_consented(b)
    await a.until("closed", lambda said: said.serving == "none" and not said.granted, deadline=grant.TTL + 1)
    assert (await b.report()).consented == (await b.report()).consented
    assert "no consent: b: promised term 2" in a.log


async def test_a_member_that_began_anew_may_have_consented_until_then(stage: Stage) -> None:
    await stage.begun("a", "b")
    b = stage.members["b"]
    first = await b.report()
    assert first.consented is not None
    assert first.clock - first.consented < 60.0
    assert await is_consented(b)
    later = (await b.report()).consented
    assert later is not None
    assert later > first.consented
    b.kill()
    b.start()
    again = await b.until_live()
    assert again.consented == later, "what it remembers counts, on the same boot of the node"


async def test_a_stopped_agent_does_not_outlive_its_grant_nor_does_its_postgresql(stage: Stage) -> None:
    await held(stage, "a")
    a = stage.members["a"]
    pid = a.postmaster_pid
    assert await is_writable(a), "clients are inside"
    a.signal(signal.SIGSTOP)
    began = time.monotonic()
    assert await a.ended() == -signal.SIGKILL
    assert time.monotonic() - began < grant.TTL + 1, "it was asked for before that, and there is time to see it"
    give_up = time.monotonic() + 20.0
    while _lives(pid):
        assert time.monotonic() < give_up, "PostgreSQL outlives its agent"
        await anyio.sleep(0.01)


async def test_a_successor_lets_nobody_in_before_its_own_grant(stage: Stage) -> None:
    record = await held(stage, "a", "b")
    a, b = stage.members["a"], stage.members["b"]
    a.kill()
    record = succeed(record, await b.promise(2))
    assert record.grant is Grant.HELD
    assert (await b.order(record, stage.contacts, ASYNC)).accepted
    await b.until("promoted", lambda said: said.role == "primary")
    assert not await is_writable(b)
    assert (await b.report()).serving == "none"
    with anyio.fail_after(30):  # on a machine that is slow enough one grant may have run out by then
        while not await is_writable(b):
            assert (await granted(b, term=2)).accepted
            await b.until_primary()


async def test_back_to_quorum_no_grant_is_needed_and_none_runs_out(stage: Stage) -> None:
    record = await held(stage, "a")
    a = stage.members["a"]
    await stage.give(record.amended("preferred", grant=Grant.NONE), Settings())
    began = time.monotonic()
    while time.monotonic() - began < grant.TTL + 2:  # longer than what it may have let itself write for, before
        assert await is_writable(a), a.log[-3000:]
        await anyio.sleep(0.5)
    assert not (await a.report()).asks


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
