"""`pgswarm doctor` on a real site: nothing bad of a healthy one; and each finding provoked by a real cause, found
from a manager's shell, and gone once it is mended by what the finding itself says.

Here what befalls the three members and three routers of one cluster; `test_doctor_swarm` has the Swarm itself, and
`test_doctor_small` what a healthy cluster of three cannot have. What cannot be provoked on this lab is in
`consult.NOT_HERE`, each with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from consult import Found, Sign, do, expect, expect_none, findings, on, router, sql
from house import DATABASE, OWNER, Whole

from pgswarm.drill.stage import Broken, wait_for
from pgswarm.drill.whole import AGENT
from pgswarm.render.postgres import slot_name

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

SLOW = f"""
CREATE FUNCTION public.slowly() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN IF session_user = '{OWNER}' THEN PERFORM pg_sleep(1.4); END IF; END $$;
CREATE EVENT TRIGGER slowly ON login EXECUTE FUNCTION public.slowly()
"""
NOT_SLOW = "DROP EVENT TRIGGER IF EXISTS slowly; DROP FUNCTION IF EXISTS public.slowly()"

TAKE_SLOTS = """
DO $$ BEGIN
  FOR i IN 1..64 LOOP PERFORM pg_create_physical_replication_slot('taken_' || i); END LOOP;
EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END $$
"""
TAKE_ONE = """
DO $$ BEGIN
  FOR i IN 1..500 LOOP
    BEGIN
      PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}';
      PERFORM pg_drop_replication_slot('{slot}');
      PERFORM pg_create_physical_replication_slot('taken_0');
      RETURN;
    EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.01); END;
  END LOOP;
  RAISE EXCEPTION 'the slot is always in use';
END $$
"""
GIVE_BACK = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'taken_%'"

SPOIL = """
pid=$(grep -lx haproxy /proc/[0-9]*/comm | head -1 | cut -d/ -f3)
file=$(tr '\\0' '\\n' < /proc/$pid/cmdline | grep '[.]cfg$')
echo 'somebody was here' >> $file
kill -9 $pid
"""


def test_a_healthy_site_is_good_and_a_primary_beside_swarms_leader_is_worth_a_note(whole: Whole) -> None:
    whole.place_primary(on_leader=True)
    beside = Sign("raft-leader", "note", "which leads Swarm's Raft")
    [told, _] = expect(whole, beside, Sign("backups", "note", "none configured"))
    found = wait_for(lambda: _good(findings(whole)), "no finding that is bad", 90)
    for path in [one for one in found if one["check"] == "application-path"]:  # a busy machine may be slow, and says so
        assert path["what"].startswith("6 sessions") or " takes " in path["what"], path
    do(whole, told)
    expect_none(whole, beside)


def _good(found: list[Found]) -> list[Found] | None:
    """Nothing bad, and these good. Raises Broken with what is not: somebody may have answered late."""
    checks = ("swarm-quorum", "clocks", "mtu", "secrets", "operators", "routers-agree", "dns")
    wrong = [one for one in found if one["level"] == "bad" or (one["check"] in checks and one["level"] != "good")]
    missing = {*checks} - {one["check"] for one in found}
    if wrong or missing:
        raise Broken(f"{wrong}, and nothing of {missing}")
    return found


def test_what_a_person_asked_for_and_may_have_forgotten_is_found(whole: Whole) -> None:
    one, other = whole.standbys()
    node = whole.stage.nodes[whole.node_of(other) - 1]
    whole.stage.pgswarm("fence", one, "--timeout", "90", deadline=120)
    whole.stage.pgswarm("maintenance", node, "on", deadline=120)
    whole.stage.pgswarm("pause", "--for", "5m", "--why", "to see whether it is found")
    signs = (
        Sign("pause", "warn", "paused by"),
        Sign("maintenance", "note", "is under maintenance", of=node),
        Sign("fence", "note", "is fenced by", of=one),
    )
    for told in expect(whole, *signs):
        do(whole, told)
    expect_none(whole, *signs)
    whole.wait_healthy()


def test_two_nodes_that_are_drained_leave_one_copy_one_router_one_operator(whole: Whole) -> None:
    if whole.primary() != whole.member_on(1):
        whole.switch_over(whole.member_on(1))
    drained = [Sign("nodes", "note", "is drained", of=whole.stage.nodes[number - 1]) for number in (2, 3)]
    rest = (
        Sign("replication", "bad", "has not been heard", of=whole.member_on(2)),
        Sign("replication", "bad", "has not been heard", of=whole.member_on(3)),
        Sign("copies", "warn", "is known to have every acknowledged commit"),
        Sign("operators", "warn", "of 3 operators answer", of="1 of 3"),
        Sign("routers", "warn", "there is one router"),
        Sign("pending-restart", "note", "max_connections", of=whole.member_on(1)),
    )
    try:
        for number in (2, 3):
            whole.stage.docker("node", "update", "--availability", "drain", whole.stage.nodes[number - 1])
        expect(whole, *drained, rest[2], deadline=120)
        whole.stage.write_document(whole.document(parameters=", max_connections: 90"))
        told = expect(whole, *drained, *rest, deadline=120)
        whole.stage.write_document(whole.document())
        expect_none(whole, rest[-1])
        for one in told[:2]:
            do(whole, one)
    finally:
        whole.repair()
    expect_none(whole, *drained, *rest)
    whole.wait_healthy()


def test_what_goes_on_inside_postgres_is_found(whole: Whole) -> None:
    """Replay that stands still, slots that somebody has used up, a slow login, an interface with small packets."""
    primary, (behind, cut) = whole.primary(), whole.standbys()
    signs = (
        Sign("replication", "warn", " s behind", of=behind),
        Sign("slots", "warn", "keeps no log for", of=cut),
        Sign("application-path", "warn", " takes "),
        Sign("mtu", "warn", "interfaces have MTUs of 1200, "),
    )
    try:
        sql(whole, primary, SLOW, DATABASE)
        sql(whole, behind, "SELECT pg_wal_replay_pause()")
        sql(whole, primary, TAKE_SLOTS)
        sql(whole, primary, TAKE_ONE.format(slot=slot_name(cut)))
        with _small_packets(whole, cut):
            expect(whole, *signs, deadline=90)
    finally:
        sql(whole, behind, "SELECT pg_wal_replay_resume()")
        sql(whole, primary, GIVE_BACK)
        sql(whole, primary, NOT_SLOW, DATABASE)
    expect_none(whole, *signs)
    whole.wait_healthy()


def test_routers_that_do_not_serve_are_found(whole: Whole) -> None:
    """One whose HAProxy cannot start, one whose agent hangs, one whose port somebody has taken."""
    spoilt, hung, ousted = (router(whole, number) for number in (1, 2, 3))
    node = whole.stage.nodes[0]
    signs = (
        Sign("routers-agree", "bad", "HAProxy of ", of=node),
        Sign("routers-agree", "warn", "is not heard", of=whole.stage.nodes[1]),
        Sign("routers", "warn", " does not run: ", of=f"on {whole.stage.nodes[2]}"),
        Sign("application-path", "bad", "no session through router", of=f"{node} to writers"),
        Sign("application-path", "warn", "no session through router", of=f"{node} to readers"),
    )
    image = f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/member:{os.environ.get('PGSWARM_TAG', 'dev')}"
    squat = ["run", "--detach", "--rm", "--name", "squatter", "--publish", "5432:5432", "--entrypoint", "sleep"]
    try:
        whole.kill(ousted)
        whole.stage.docker(*squat, image, "600", node=3)
        whole.within(spoilt, SPOIL)
        whole.signal(hung, "STOP", AGENT)
        expect(whole, *signs)
    finally:
        whole.signal(hung, "CONT", AGENT)
        whole.kill(spoilt)
        whole.stage.docker("rm", "--force", "squatter", node=3)
    expect_none(whole, *signs)


def test_a_router_that_is_cut_off_from_the_primary_is_found_from_a_node_that_hears_both(whole: Whole) -> None:
    """Swarm's leader hears both as well: a node that it does not hear it calls down, and runs no router there. And so
    does an operator, so nobody else is elected, whichever was acting before.
    """
    primary = whole.place_primary(on_leader=False)
    third = whole.raft_leader()
    far = next(number for number in (1, 2, 3) if number not in (third, whole.node_of(primary)))
    nowhere = Sign("routers-agree", "bad", "sends writers nowhere", of=whole.stage.nodes[far - 1])
    whole.stage.lab("cut-between", str(whole.node_of(primary)), str(far))
    try:
        expect(whole, nowhere, node=third)
        expect_none(whole, Sign("copies", "warn", "is known to have every"), node=third)
    finally:
        whole.stage.lab("heal", "all")
    expect_none(whole, nowhere, node=third)
    assert whole.primary() == primary
    whole.wait_healthy()


@contextmanager
def _small_packets(whole: Whole, member: str) -> Iterator[None]:
    """An interface of a member's container takes smaller packets than those of the others."""
    container = whole.stage.container(whole.service(member))
    pid = whole.stage.docker("inspect", "-f", "{{.State.Pid}}", container.id, node=container.node).strip()
    inside = f"nsenter -t {pid} -n ip"
    name, before = on(
        whole,
        container.node,
        f"{inside} -o link | grep -v LOOPBACK | sed 's/^[0-9]*: \\([^@:]*\\).* mtu \\([0-9]*\\).*/\\1 \\2/' | head -1",
    ).split()
    on(whole, container.node, f"{inside} link set {name} mtu 1200")
    try:
        yield
    finally:
        on(whole, container.node, f"{inside} link set {name} mtu {before}")
