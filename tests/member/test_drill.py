"""A drill's blow: only the primary of the term that was meant is struck, and then as hard as a kernel does it."""

from __future__ import annotations

import os

import httpx
import pytest

from pgswarm.core.drilling import Strike
from pgswarm.wire import Answer
from tests.member.stage import CLUSTER, Member, Stage

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def strike(member: Member, kind: str, /, **changes: object) -> Answer:
    fields = {"kind": kind, "cluster": CLUSTER, "member": member.name, "term": 1}
    body = Strike.model_validate({**fields, **changes}).model_dump_json()
    response = await member.call("POST", "/drill", body)
    answer = Answer.model_validate_json(response.content)
    assert answer.accepted == (response.status_code == 200)
    return answer


async def test_a_blow_for_another_term_another_member_or_a_standby_strikes_nobody(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.members["a"], stage.members["b"]
    pid = a.postmaster_pid
    assert (await strike(a, "postgres", term=2)).reason == "a is primary of term 1, not 2"
    assert (await strike(a, "container", member="b")).reason == "this is a of main, not b of main"
    assert (await strike(b, "postgres")).reason == "b is not primary"
    async with httpx.AsyncClient(trust_env=False) as stranger:
        said = await stranger.post(f"http://{a.address}:{a.port}/drill", content=b"{}")
        assert said.status_code == 401, "who has not the control secret strikes nobody"
    assert a.postmaster_pid == pid
    assert (await a.sql("SELECT 1")) == [(1,)]
    assert record.term == 1


async def test_a_struck_postmaster_is_gone_at_once_and_its_agent_says_so(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.members["a"]
    pid = a.postmaster_pid
    assert (await strike(a, "postgres")).accepted
    await a.until("without its postmaster", lambda report: report.serving == "none")
    assert "drill: postgres is killed" in a.log
    assert a.process is not None
    assert a.process.poll() is None, "the agent lives"
    assert str(pid) not in os.listdir("/proc"), "it is gone, not stopping"


async def test_a_struck_container_takes_the_agent_and_postgresql_with_it(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.members["a"]
    assert (await strike(a, "container")).accepted
    assert await a.ended() == -9, "SIGKILL: nothing was prepared"
