"""New settings on a real PostgreSQL: tried beside it, taken when told to, and kept through a restart."""

from __future__ import annotations

import signal

import pytest

from pgswarm.core.orders import Circumstances, OrderMessage, Settings, order_for
from pgswarm.core.record import Record
from pgswarm.wire import Answer
from tests.member.stage import CLUSTER, Member, Stage

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]


async def told(member: Member, record: Record, contacts: dict[str, str], settings: Settings, *, adopt: bool) -> None:
    message = OrderMessage(
        order=order_for(CLUSTER, record, member.name),
        circumstances=Circumstances(contacts=contacts, settings=settings, adopt=adopt),
    )
    answer = Answer.model_validate_json((await member.call("PUT", "/order", message.model_dump_json())).content)
    assert answer.accepted, answer.reason


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(parameters={"shared_buffers": "12 elephants"}), "shared_buffers"),
        (Settings(parameters={"shared_preload_libraries": "nonsense"}), 'could not access file "nonsense"'),
        (Settings(parameters={"max_connections": "3"}), "superuser_reserved_connections"),
        (Settings(parameters={"shared_buffers": "4000GB"}), "shared memory"),
        (Settings(hba=("host all bob 10.0.0.0/8 reject", "host all all nowhere/99 md5")), "nowhere/99"),
    ],
    ids=["value", "library", "combination", "memory", "hba"],
)
async def test_what_postgresql_would_not_start_with_is_refused_in_its_words_and_nothing_changes(
    stage: Stage, settings: Settings, words: str
) -> None:
    good = Settings(parameters={"work_mem": "7MB"})
    record = await stage.begun("a", settings=good)
    a = stage.member("a")
    await a.until("in effect", lambda report: report.settings_digest == good.digest)
    pid = a.postmaster_pid
    await told(a, record, stage.contacts, settings, adopt=True)
    report = await a.until("a problem", lambda report: report.problem)
    assert report.problem is not None
    assert report.problem.code == "bad-parameter"
    assert words in report.problem.text
    assert (report.settings_digest, report.tried) == (good.digest, good.digest)
    assert (a.postmaster_pid, a.root("SHOW work_mem"), report.serving) == (pid, "7MB", "primary")

    a.kill()
    a.start()
    await a.until_live()
    await told(a, record, stage.contacts, settings, adopt=True)
    report = await a.until_primary()
    assert report.settings_digest == good.digest, "it starts with what it had"
    assert a.root("SHOW work_mem") == "7MB"
    await told(a, record, stage.contacts, good, adopt=True)
    await a.until("content", lambda report: report.problem is None)


async def test_settings_that_others_have_not_tried_yet_are_tried_and_not_taken(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    new = Settings(parameters={"work_mem": "9MB"}, hba=("host all bob 0.0.0.0/0 reject",))
    await told(a, record, stage.contacts, new, adopt=False)
    report = await a.until("tried", lambda report: report.tried == new.digest)
    assert report.settings_digest != new.digest
    assert a.root("SHOW work_mem") == "4MB"
    await told(a, record, stage.contacts, new, adopt=True)
    await a.until("taken", lambda report: report.settings_digest == new.digest)
    assert a.root("SHOW work_mem") == "9MB"
    rules = a.root("SELECT string_agg(user_name[1], ' ' ORDER BY line_number) FROM pg_hba_file_rules")
    assert rules == "postgres pgswarm_replication pgswarm_replication bob all"


async def test_a_rule_that_rejects_everybody_shuts_out_neither_agent_nor_standby(stage: Stage) -> None:
    closed = Settings(hba=("local all all reject", "host all all 0.0.0.0/0 reject", "host replication all all reject"))
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await stage.give(record, closed)
    for member in (a, b):
        await member.until("taken", lambda report: report.settings_digest == closed.digest)
    assert a.root("SELECT 1") == "1"
    with pytest.raises(Exception, match="reject"):
        await a.sql("SELECT 1")
    b.signal(signal.SIGTERM)
    await b.ended()
    b.start()
    await b.until_live()
    await stage.give(record, closed)
    await b.until_streaming()
