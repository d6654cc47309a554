"""What a person does by one command, on real parts, beside a client that writes: fence, restart, pause, apply, …

One installed cluster for all of them; each test leaves it as it found it.
"""

from __future__ import annotations

import json

import pytest
from house import CLUSTER, Whole, incarnation, state

from pgswarm.drill.ledger import Ledger
from pgswarm.drill.stage import OWNER_SECRET, Broken, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]


def test_a_fenced_member_stays_stopped_whatever_starts_anew_and_is_not_missed(whole: Whole) -> None:
    member = whole.standbys()[0]
    with whole.writing() as writing:
        said = whole.stage.pgswarm("fence", member, "--why", "a test", "--timeout", "90", deadline=120)
        assert "claim and sync do without it first" in said
        assert state(whole, member) == "fenced"
        container = whole.stage.container(whole.service(member))
        assert _postgres_runs(whole, member) is False
        whole.kill(container, *whole.stage.operators()[:1])

        def back() -> bool | None:
            again = whole.stage.container(whole.service(member))
            return True if again.id != container.id and state(whole, member) == "fenced" else None

        wait_for(back, f"{member} back, and fenced", 90, lambda: whole.stage.picture(CLUSTER))
        assert _postgres_runs(whole, member) is False
        wait_for(lambda: _fenced_without_a_problem(whole), "a fence that is no problem", 60)
        writing.goes_on()
        assert json.loads(whole.stage.pgswarm("unfence", member, "-o", "json"))["done"]
        whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_primary_that_is_fenced_hands_over_first(whole: Whole) -> None:
    before = whole.primary()
    with whole.writing() as writing:
        with pytest.raises(Broken, match="there is no member nobody"):
            whole.stage.pgswarm("fence", "nobody")
        whole.stage.pgswarm("fence", before, "--timeout", "90", deadline=120)
        gap = writing.goes_on()
        print(f"fence of the primary: {gap.seconds:.3f} s")
        assert whole.primary() != before
        assert state(whole, before) == "fenced"
        with pytest.raises(Broken, match="is fenced by"):
            whole.stage.pgswarm("switchover", "--to", before)
        whole.stage.pgswarm("unfence", before)
        whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_member_is_made_anew_by_a_persons_word_while_writers_write(whole: Whole) -> None:
    member = whole.standbys()[0]
    before = incarnation(whole, member)
    with whole.writing() as writing:
        with pytest.raises(Broken, match="is primary: `pgswarm switchover` first"):
            whole.stage.pgswarm("reseed", whole.primary())
        said = json.loads(whole.stage.pgswarm("reseed", member, "-o", "json", deadline=150))
        assert said["done"], said
        whole.stage.wait_healthy(CLUSTER, members=3)
        gap = writing.goes_on()
        print(f"reseed of a standby: the longest pause was {gap.seconds:.3f} s")
    assert incarnation(whole, member) != before


def test_a_switchover_that_is_planned_is_done_then_and_one_that_is_cancelled_never(whole: Whole) -> None:
    to = whole.standbys()[0]
    with whole.writing() as writing:
        whole.stage.pgswarm("switchover", "--to", to, "--at", "+1m")
        planned = f"switchover to {to} at "
        wait_for(lambda: planned in whole.status()["planned"] or None, "the plan in the status", 30)
        assert "cancelled: switchover" in whole.stage.pgswarm("switchover", "--cancel")
        wait_for(lambda: whole.status()["planned"] == "" or None, "the plan out of the status", 30)
        said = json.loads(whole.stage.pgswarm("switchover", "--to", to, "--at", "+10s", "-o", "json"))
        assert said["planned"]
        wait_for(lambda: whole.primary() == to or None, f"{to} is primary when it is time", 90)
        gap = writing.goes_on()
        print(f"planned switchover: {gap.seconds:.3f} s")
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_all_members_are_restarted_one_at_a_time_and_writers_feel_one_switchover(whole: Whole) -> None:
    before = {name: whole.stage.container(whole.service(name)).id for name in (whole.primary(), *whole.standbys())}
    primary = whole.primary()
    with whole.writing() as writing:
        said = whole.stage.pgswarm("restart", "--timeout", "100", deadline=150)
        assert said.index("is restarted, a standby") < said.index(f"last {primary}")
        gap = writing.goes_on()
        print(f"rolling restart: the longest outage was {gap.seconds:.3f} s")
    whole.stage.wait_healthy(CLUSTER, members=3)
    after = {name: whole.stage.container(whole.service(name)).id for name in before}
    assert all(after[name] != before[name] for name in before)


def test_a_node_under_maintenance_is_left_by_its_primary_and_nobody_there_is_missed(whole: Whole) -> None:
    before = whole.primary()
    node = whole.stage.nodes[whole.node_of(before) - 1]
    try:
        with whole.writing() as writing:
            said = whole.stage.pgswarm("maintenance", node, "on", deadline=150)
            assert "is ready for work" in said
            assert whole.primary() != before
            writing.goes_on()
            whole.stage.docker("node", "update", "--availability", "drain", node)
            wait_for(lambda: state(whole, before) == "maintenance" or None, f"{before} is away, and not missed", 60)
    finally:
        whole.stage.docker("node", "update", "--availability", "active", node)
        whole.stage.pgswarm("maintenance", node, "off")
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_while_paused_a_primary_that_is_lost_is_not_replaced_and_resumed_it_is(whole: Whole) -> None:
    before = whole.primary()
    service = whole.service(before)
    with whole.writing() as writing:
        whole.stage.pgswarm("pause", CLUSTER, "--why", "a test")
        with pytest.raises(Broken, match="paused by"):
            whole.stage.pgswarm("switchover")
        frozen = whole.stage.container(service)
        whole.stage.docker("pause", frozen.id, node=frozen.node)
        try:
            wait_for(
                lambda: any("no failover: paused" in text for text in whole.status()["waits"]) or None,
                "no failover in a pause, with the reason",
                60,
                lambda: whole.stage.picture(CLUSTER),
            )
            assert whole.primary() == before
            whole.stage.pgswarm("resume", CLUSTER)
            whole.another_primary_than(before)
        finally:
            whole.stage.docker("unpause", frozen.id, node=frozen.node)
        writing.goes_on()
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_document_is_applied_on_any_manager_and_rolled_back(whole: Whole) -> None:
    edited = whole.document(parameters=", work_mem: 13MB")
    operators = whole.stage.operators()
    there = operators[-1]
    with whole.writing():
        before = whole.sql("SHOW work_mem").strip()
        put = "cat > /tmp/new.yaml"
        whole.stage.docker("exec", "-i", there.id, "sh", "-c", put, node=there.node, text=edited)
        said = whole.stage.docker("exec", there.id, "pgswarm", "diff", "-f", "/tmp/new.yaml", node=there.node)
        assert "work_mem" in said
        said = whole.stage.docker("exec", there.id, "pgswarm", "apply", "-f", "/tmp/new.yaml", node=there.node)
        assert "is in force with" in said
        _wait_for_setting(whole, "13MB")
        assert "work_mem: 13MB" in whole.stage.pgswarm("get", CLUSTER)
        broken = edited.replace("database:", "databse:")
        whole.stage.docker("exec", "-i", there.id, "sh", "-c", put, node=there.node, text=broken)
        with pytest.raises(Broken, match="databse"):
            whole.stage.docker("exec", there.id, "pgswarm", "apply", "-f", "/tmp/new.yaml", node=there.node)
        assert "in force with" in whole.stage.pgswarm("rollback", CLUSTER)
        _wait_for_setting(whole, before)
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_cluster_is_deleted_where_it_was_cut_short_and_its_data_only_when_that_is_said_twice(whole: Whole) -> None:
    stage, there = whole.stage, whole.stage.operators()[0]
    assert there.node == 1, "where the file is"

    def pgswarm(*words: str) -> str:
        return stage.docker("exec", there.id, "pgswarm", *words, node=there.node, deadline=200)

    with whole.writing():
        put = "cat > /etc/pgswarm/.new && mv /etc/pgswarm/.new /etc/pgswarm/gone.yaml"
        stage.lab("exec", "1", "--", "sh", "-c", put, text=_gone(whole))
        wait_for(lambda: "gone" in stage.clusters() or None, "the file is taken over", 90)
        stage.wait_healthy("gone", members=2)
        with Ledger(stage.target(whole.password, 6432, "app", "app")) as ledger:
            ledger.wait_for_writes(30)
            with pytest.raises(Broken, match="take it out of that file first"):
                pgswarm("delete", "gone", "--yes")
            stage.lab("exec", "1", "--", "rm", "/etc/pgswarm/gone.yaml")
            orphaned = wait_for(lambda: stage.status("gone", 1)["orphaned"] or None, "the file names it no more", 90)
            assert "no longer names it; it goes on as it was" in orphaned[0]
            assert "gone_gone-1" in pgswarm("delete", "gone", "--dry-run")
            ledger.wait_for_writes(10)
        with pytest.raises(Broken, match="say --yes"):
            pgswarm("delete", "gone")
        # Cut short at some moment, whichever: the same command goes on from there.
        cut = "timeout -s KILL 4 pgswarm delete gone --yes; true"
        stage.docker("exec", there.id, "sh", "-c", cut, node=there.node, deadline=60)
        with pytest.raises(Broken, match="say --yes-volumes"):
            pgswarm("delete", "gone", "--yes", "--volumes")
        said = pgswarm("delete", "gone", "--yes", "--volumes", "--yes-volumes")
        assert said.index("stopped: ") < said.index("the record is removed")
        assert f"on {stage.nodes[2]}: docker volume rm gone_gone-2" in said
        left = stage.docker("service", "ls", "--format", "{{.Name}}") + stage.docker("secret", "ls")
        assert "gone" not in left + stage.docker("config", "ls")
        assert OWNER_SECRET in left, "a secret that the document names is the person's"
        assert "gone_gone-1" not in stage.docker("volume", "ls", "-q", node=1)
        assert "gone_gone-2" in stage.docker("volume", "ls", "-q", node=3), "another node's data is only named"
        with pytest.raises(Broken, match="there is no cluster 'gone' here"):
            pgswarm("delete", "gone", "--yes")
        what = "the other node to let go of its volume"
        wait_for(lambda: stage.docker("volume", "rm", "gone_gone-2", node=3) or True, what, 60)
    assert {one["cluster"] for one in json.loads(stage.pgswarm("status", "-o", "json"))} >= {CLUSTER}


def _gone(whole: Whole) -> str:
    nodes = whole.stage.nodes
    return f"""\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: gone}}
spec:
  postgres: {{passwords: {{owner: {OWNER_SECRET}}}, parameters: {{shared_buffers: 32MB}}}}
  instances: [{{name: gone-1, node: {nodes[0]}}}, {{name: gone-2, node: {nodes[2]}}}]
  router: {{name: gone-ha, network: webnet, port: 6432, readOnlyPort: 6433, statsPort: 9404, healthPort: 9405}}
"""


def _wait_for_setting(whole: Whole, value: str) -> None:
    def look() -> bool | None:
        return True if whole.sql("SHOW work_mem").strip() == value else None

    wait_for(look, f"work_mem is {value} on the primary", 60, lambda: whole.stage.picture(CLUSTER))


def _fenced_without_a_problem(whole: Whole) -> bool | None:
    """To an operator that has begun a moment ago nobody is known yet."""
    status = whole.status()
    return True if status["fences"] and not any(one["problem"] for one in status["members"]) else None


def _postgres_runs(whole: Whole, member: str) -> bool:
    script = "ls /var/lib/pgswarm/pgdata/postmaster.pid 2>/dev/null | wc -l"
    return whole.within(whole.stage.container(whole.service(member)), script).strip() != "0"
