"""What an agent tells of its PostgreSQL when somebody asks: numbers for Prometheus, more for who knows the secret."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgswarm.core.activity import Activity
from tests.member.stage import Member, Stage

pytestmark = [pytest.mark.postgres]


async def metrics(member: Member) -> dict[tuple[str, str], float]:
    """Every number by its name and its last label, asked for without the secret."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://{member.address}:{member.port}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, ([*sample.labels.values()][2:] or [""])[-1]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_a_primary_and_its_standby_in_numbers(stage: Stage) -> None:
    await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 1000)")
    await a.until("told by b how far it is", lambda report: [row for row in report.walsenders if row.replay])
    seen, other = await metrics(a), await metrics(b)
    assert (seen["pgswarm_member_role", "primary"], other["pgswarm_member_role", "standby"]) == (1, 1)
    assert (seen["pgswarm_member_serves", "primary"], other["pgswarm_member_streaming", ""]) == (1, 1)
    assert ("pgswarm_member_standby_lag_bytes", "replay") in seen
    assert seen["pgswarm_postgres_max_connections", ""] == 100
    assert seen["pgswarm_postgres_data_size_bytes", ""] > 1 << 20
    assert seen["pgswarm_postgres_wal_size_bytes", ""] >= 16 << 20
    assert 20 << 20 < seen["process_resident_memory_bytes", ""] < 80 << 20
    assert other["pgswarm_postgres_max_connections", ""] == 100, "a standby can be asked as well"


async def test_activity_is_told_only_to_who_knows_the_secret(stage: Stage) -> None:
    await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await b.until_streaming()
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{a.address}:{a.port}/activity")).status_code == 401
    seen = Activity.model_validate_json((await a.call("GET", "/activity")).content)
    assert (seen.member, seen.role, [one.name for one in seen.standbys]) == ("a", "primary", ["b"])
    assert seen.standbys[0].state == "streaming"
    assert "postgres" in {one.name for one in seen.databases}
    assert seen.data_bytes > 0
    assert seen.disk_total > 0


async def test_a_token_is_asked_for_where_there_is_one(stage: Stage) -> None:
    a = stage.member("a")
    token = stage.folder / "token"
    token.write_text("0123456789abcdef\n")
    a.extra["PGSWARM_METRICS_TOKEN_FILE"] = str(token)
    await stage.begun("a")
    url = f"http://{a.address}:{a.port}/metrics"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).status_code == 401
        told = await client.get(url, headers={"Authorization": "Bearer 0123456789abcdef"})
    assert told.status_code == 200
    assert (await a.call("GET", "/metrics")).status_code == 200, "the control secret opens it too"


async def test_the_costliest_statements_are_told_of_a_new_cluster_without_constants_or_ours(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    for number in range(5):
        await a.sql(f"SELECT {number} + 41, pg_sleep(0.02)")
    a.root("CREATE ROLE somebody PASSWORD 'very secret'")

    async def told() -> Activity:
        return Activity.model_validate_json((await a.call("GET", "/activity")).content)

    seen = await told()
    assert seen.statements_why == ""
    (slow,) = [one for one in seen.statements if "pg_sleep" in one.text]
    assert (slow.calls, slow.database) == (5, "app")
    assert slow.total > 0.1
    assert "41" not in slow.text
    text = " ".join(one.text for one in seen.statements)
    assert "very secret" not in text
    assert "pg_last_wal_receive_lsn" not in text, "what the agent asks is nobody's statement"
    assert a.root("SHOW shared_preload_libraries") == "pg_stat_statements"
    assert await a.sql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'") == [(1,)]
