"""The rules, each undone by itself, and the told history that is about it and must then go wrong.

`mutants` lives seeds to the same end; here it is known where to look. `test_undone` sees to it that each is missed as
it says here, and that the table in docs/protocol.md is this list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgswarm.sim.mutants import Patch
from pgswarm.sim.play import Play, perform
from tests.sim import undoing as undo
from tests.sim import undoing_disks as disks_undo
from tests.sim import undoing_grants as grants_undo
from tests.sim import undoing_moves as moves_undo
from tests.sim import undoing_words as words_undo
from tests.sim.scenarios import (
    adoption,
    arming_hole,
    ballots,
    crashes,
    departures,
    disks,
    fenced,
    grants,
    moving_members,
    partition_heals,
    paused,
    reseeded,
    rolls,
    swarm_as_it_is,
    switchovers,
    timelines,
)
from tests.sim.scenarios import moving_claim_and_sync as moving


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """One rule undone, and where it shows."""

    rule: str  # what is left out, with its tag
    undo: Callable[[Patch], object]
    scenario: Callable[[Play], None]
    shows: str = ""  # how what goes wrong begins

    @property
    def name(self) -> str:
        return self.undo.__name__


def shown(one: Undone) -> str:
    """What goes wrong in its scenario, in one line; empty if the rule is not missed there."""
    with Patch() as patch:
        one.undo(patch)
        try:
            perform(one.scenario)
        except AssertionError as wrong:
            what = str(wrong).splitlines()[0]
            return what if what.startswith(one.shows) else ""
    return ""


UNDONE = (
    Undone(
        rule="C1: a sync implies its claim; that the primary is alone is in the record first",
        undo=undo.sync_leads_the_claim, scenario=moving.goes_on_alone_only_once_the_record_says_so,
        shows="S4",
    ),
    Undone(
        rule="C2: a promise is durable before it is answered",
        undo=undo.memory_is_not_durable, scenario=moving.a_word_that_was_not_durable,
        shows="it remembers",
    ),
    Undone(
        rule="C3: who is counted has durably accepted an order that names it",
        undo=undo.counted_before_it_knows, scenario=moving.who_counts_has_said_that_it_knows,
        shows="not: it is claimed",
    ),
    Undone(
        rule="C3: no re-seed while the record counts on it",
        undo=undo.re_seeded_though_counted, scenario=moving.slots_that_stay_lost,
    ),
    Undone(
        rule="C4: a new incarnation before the first byte changes",
        undo=undo.an_incarnation_that_outlives_its_data, scenario=timelines.a_log_that_left_the_line,
        shows="it is another incarnation",
    ),
    Undone(
        rule="C5: an order names the incarnation that it is for",
        undo=undo.orders_for_another_incarnation, scenario=ballots.an_order_for_data_that_is_gone,
        shows="it is refused",
    ),
    Undone(
        rule="C6: one change of sync alters k or one name",
        undo=undo.two_names_at_once, scenario=moving.one_name_at_a_time, shows="any 1 of",
    ),
    Undone(
        rule="C7: in force only when every walsender has taken it up",
        undo=undo.walsenders_are_not_asked, scenario=moving.a_walsender_that_has_not_heard_of_it,
        shows="S4",
    ),
    Undone(
        rule="C7: the claim waits until the sync is in force",
        undo=undo.in_force_is_not_waited_for, scenario=moving.a_walsender_that_has_not_heard_of_it,
        shows="S4",
    ),
    Undone(
        rule="the claim waits until enough have flushed what was there before",
        undo=undo.flush_is_not_waited_for, scenario=moving.a_walsender_that_has_not_heard_of_it,
        shows="S4",
    ),
    Undone(
        rule="C8: nothing is received any more when a promise is answered",
        undo=undo.receiver_goes_on, scenario=ballots.a_position_that_still_grows,
        shows="S2",
    ),
    Undone(
        rule="C8: a promise counts once its position is final",
        undo=undo.promises_count_before_they_are_settled, scenario=ballots.a_position_that_still_grows,
        shows="S2",
    ),
    Undone(
        rule="C9: the candidate has exactly the old primary's last record",
        undo=undo.the_candidate_is_chosen_too_early, scenario=switchovers.the_candidate_lacks_the_last_record,
    ),
    Undone(
        rule="C9: who has promised a term never goes back below it",
        undo=undo.back_into_its_own_term, scenario=switchovers.the_candidate_lacks_the_last_record,
    ),
    Undone(
        rule="C10: a winner's timeline is above all that the lineage names",
        undo=undo.a_timeline_that_was_used, scenario=timelines.a_number_that_the_dead_have_used,
    ),
    Undone(
        rule="C10: by the lineage, not by numbers",
        undo=undo.numbers_instead_of_the_lineage, scenario=timelines.a_log_that_left_the_line,
    ),
    Undone(
        rule="C11: after a crash nobody is let in before the sync covers the last record",
        undo=undo.nobody_is_quarantined, scenario=crashes.what_a_crash_would_show,
        shows="S2",
    ),
    Undone(
        rule="C12: armed is when a commit was seen to wait",
        undo=undo.no_commit_is_seen_to_wait, scenario=arming_hole.the_checkpointer_is_busy_when_sync_begins,
    ),
    Undone(
        rule="C13: late words about what the winner has are no harm (undone in the ledger)",
        undo=undo.the_ledger_forbids_late_words, scenario=ballots.the_old_primary_confirms_late,
        shows="S2",
    ),
    Undone(
        rule="a quorum is |M| - r + 1",
        undo=undo.quorum_one_too_small, scenario=ballots.one_of_three_is_not_enough,
    ),
    Undone(
        rule="only promises of claimed incarnations count",
        undo=undo.anybody_makes_a_quorum, scenario=moving.who_is_no_longer_claimed_is_no_longer_asked,
        shows="S3",
    ),
    Undone(
        rule="after a ballot the winner alone is claimed",
        undo=undo.claim_is_not_narrowed, scenario=swarm_as_it_is.shown_running_and_gone,
        shows="S4",
    ),
    Undone(
        rule="the furthest wins",
        undo=undo.the_nearest_is_taken, scenario=ballots.the_furthest_is_taken,
        shows="S3",
    ),
    Undone(
        rule="the furthest wins, not the first of the document",
        undo=undo.the_first_of_the_document_is_taken, scenario=ballots.the_furthest_is_taken,
        shows="S3",
    ),
    Undone(
        rule="the term is raised over promises that were not needed",
        undo=undo.no_raise, scenario=ballots.a_ballot_that_was_not_needed,
        shows="L1",
    ),
    Undone(
        rule="an operator that is deaf to the primary leaves it to one that is not",
        undo=undo.the_deaf_act, scenario=ballots.the_one_that_acts_is_deaf,
        shows="not: a member is asked to promise",
    ),
    Undone(
        rule="a raise is the word of somebody who hears the primary",
        undo=undo.operators_duel, scenario=ballots.two_operators_of_two_minds,
        shows="not: it asks again",
    ),
    Undone(
        rule="who has decided says so, even if another is to act",
        undo=undo.who_decided_does_not_say_so, scenario=swarm_as_it_is.shown_running_and_gone,
    ),
    Undone(
        rule="an older order is refused",
        undo=undo.older_orders_are_obeyed, scenario=ballots.an_order_that_comes_late,
        shows="it is refused",
    ),
    Undone(
        rule="orders of a term below the promise are refused",
        undo=undo.a_promise_is_forgotten, scenario=ballots.a_position_that_still_grows,
    ),
    Undone(
        rule="compare-and-set on the revision, not on the term",
        undo=undo.only_the_term_is_compared, scenario=ballots.another_operator_was_first,
        shows="the record goes from",
    ),
    Undone(
        rule="every write of the record is compared",
        undo=undo.nothing_is_compared, scenario=ballots.another_operator_was_first,
        shows="the record goes from",
    ),
    Undone(
        rule="an order is a function of the record alone",
        undo=undo.orders_depend_on_more, scenario=ballots.killed_between_decision_and_order,
        shows="S7",
    ),
    Undone(
        rule="nothing is decided on a record that is older than what agents have seen",
        undo=undo.a_restored_record_is_believed, scenario=swarm_as_it_is.restored_from_a_backup,
    ),
    Undone(
        rule="law 8: PostgreSQL runs only under the volume's lock",
        undo=undo.no_lock, scenario=partition_heals.two_containers_on_one_volume,
        shows="law 8",
    ),
    Undone(
        rule="law 5: a reign is resumed once the claim has been asked",
        undo=undo.resumed_without_asking, scenario=timelines.declared_dead_and_alive,
    ),
    Undone(
        rule="a log that is gone makes a clone",
        undo=undo.no_clone_when_the_log_is_gone, scenario=moving.slots_that_stay_lost,
        shows="L1",
    ),
    Undone(
        rule="a standby that is gone is given up",
        undo=undo.the_lost_are_never_dropped, scenario=moving.goes_on_alone_only_once_the_record_says_so,
    ),
    Undone(
        rule="required never lets go alone",
        undo=undo.required_lets_go_alone, scenario=moving.required_waits, shows="not: anything is acknowledged",
    ),
    Undone(
        rule="a pause holds back a ballot",
        undo=undo.a_pause_is_forgotten, scenario=paused.a_pause_in_which_the_primary_is_lost,
        shows="not: another primary",
    ),
    Undone(
        rule="a pause keeps no reign that has ended",
        undo=undo.a_pause_holds_what_has_begun, scenario=paused.a_pause_in_the_middle_of_a_switchover,
        shows="not within",
    ),
    Undone(
        rule="a fence takes effect once nobody counts on the member",
        undo=words_undo.who_is_fenced_is_stopped_at_once,
        scenario=fenced.a_fence_waits_until_nobody_counts_on_the_member,
        shows="not: it is let go",
    ),
    Undone(
        rule="who is fenced is not elected",
        undo=words_undo.who_is_fenced_is_elected, scenario=fenced.a_fence_waits_until_nobody_counts_on_the_member,
    ),
    Undone(
        rule="who is fenced is not counted anew",
        undo=words_undo.who_is_fenced_is_counted, scenario=fenced.a_standby_is_fenced,
    ),
    Undone(
        rule="the only other copy is not made anew, unless a person insists",
        undo=words_undo.the_only_other_copy_is_given_up, scenario=reseeded.the_only_other_copy_is_not_made_anew,
        shows="not: it is let go",
    ),
    Undone(
        rule="the only other copy is one too where nobody counts on it",
        undo=words_undo.a_copy_that_nobody_counts_on_is_none,
        scenario=reseeded.the_only_standby_is_not_made_anew_though_nobody_waits_for_it,
        shows="not: it is made anew",
    ),
    Undone(
        rule="who is to be made anew is not counted meanwhile",
        undo=words_undo.who_is_made_anew_is_counted, scenario=reseeded.a_standby_is_made_anew_by_a_word,
    ),
    Undone(
        rule="who is to leave counts until another does",
        undo=undo.who_leaves_is_let_go_at_once, scenario=departures.who_leaves_is_counted_until_another_is,
        shows="not: pg-3 is let go",
    ),
    Undone(
        rule="a container on a node that is lost counts as ended only after a while",
        undo=moves_undo.one_listing_ends_a_container,
        scenario=moving_members.a_node_that_is_lost_for_a_moment_ends_its_container_first,
        shows="not: another one of it is made",
    ),
    Undone(
        rule="a container that was left behind does not speak for the member that moved",
        undo=moves_undo.who_is_left_behind_speaks,
        scenario=moving_members.a_container_left_behind_gives_no_consent, shows="S3",
    ),
    Undone(
        rule="a member has its new place once its old service is gone",
        undo=moves_undo.two_services_of_one_member, scenario=moving_members.a_member_moves,
        shows="the old container was gone before",
    ),
    Undone(
        rule="the only other copy does not move",
        undo=moves_undo.the_only_copy_moves, scenario=moving_members.the_only_other_copy_stays,
        shows="not: it is let go",
    ),
    Undone(
        rule="a node that is unknown is not gone",
        undo=moves_undo.unknown_is_gone, scenario=moving_members.what_is_unknown_is_not_gone,
        shows="not: it is given another place",
    ),
    Undone(
        rule="who is to be away waits until all others are back",
        undo=undo.nobody_is_waited_for_in_a_roll, scenario=rolls.who_does_not_come_back_stops_the_roll,
        shows="not: the primary goes",
    ),
    Undone(
        rule="a primary that is to have less than its standbys may does not hand over",
        undo=undo.a_lowered_value_is_handed_over, scenario=rolls.fewer_connections_than_a_standby_may_have,
    ),
    Undone(
        rule="a standby starts with as much as its log asks for",
        undo=undo.a_standby_starts_with_less_than_its_log_asks_for,
        scenario=rolls.fewer_connections_than_a_standby_may_have,
    ),
    Undone(
        rule="a primary that is being started anew is not lost",
        undo=undo.a_restart_counts_as_a_loss, scenario=rolls.fewer_connections_than_a_standby_may_have,
    ),
    Undone(
        rule="the only standby is let go before it is away",
        undo=undo.the_only_standby_goes_without_a_word, scenario=rolls.the_only_standby_is_let_go_before_it_is_away,
        shows="not within",
    ),
    Undone(
        rule="the primary hands over before its service is changed",
        undo=undo.the_primary_is_changed_where_it_is, scenario=rolls.an_image_goes_round,
    ),
    Undone(
        rule="silence counts after the detection time",
        undo=undo.silence_counts_at_once, scenario=ballots.a_short_silence,
    ),
    Undone(
        rule="at rest nothing is written",
        undo=undo.written_though_nothing_changes, scenario=ballots.a_short_silence,
        shows="",
    ),
    Undone(
        rule="a router ends sessions to who no longer reigns",
        undo=undo.sessions_are_never_cut, scenario=swarm_as_it_is.an_open_session_ends,
    ),
    Undone(
        rule="routers hold writers before the switch",
        undo=words_undo.routers_hold_late, scenario=ballots.a_frozen_node_and_a_short_detection,
    ),
    Undone(
        rule="nobody follows who is as full as the primary",
        undo=disks_undo.who_is_as_full_follows, scenario=disks.everybody_is_as_full,
    ),
    Undone(
        rule="a primary hands over before its disk is full",
        undo=disks_undo.nothing_is_done_before_it_is_full, scenario=disks.before_it_is_full,
        shows="not within 20 s: it hands over",
    ),
    Undone(
        rule="a PostgreSQL that ended on a full disk starts once more on its ballast",
        undo=disks_undo.there_is_no_ballast, scenario=disks.everybody_is_as_full,
        shows="not within 10 s: it is read from",
    ),
    Undone(
        rule="C2: room is kept for a promise on a full disk",
        undo=disks_undo.there_is_no_reserve, scenario=disks.a_promise_without_a_free_byte,
        shows="not within 20 s: it follows",
    ),
    Undone(
        rule="async: clients are turned out as the grant runs out",
        undo=grants_undo.a_grant_that_never_ends, scenario=grants.the_grant_runs_out_while_cut_off,
        shows="its clients were turned out",
    ),
    Undone(
        rule="async: a timer of the kernel ends a holder that is stopped",
        undo=grants_undo.no_timer_in_the_kernel, scenario=grants.a_stopped_agent_beside_a_postgres_that_runs,
        shows="S2",
    ),
    Undone(
        rule="async: nobody is elected before the grant has run out",
        undo=grants_undo.the_grant_is_not_waited_for, scenario=grants.the_grant_runs_out_while_cut_off,
    ),
    Undone(
        rule="adoption: data that pgswarm did not make are taken over only by a person's word",
        undo=undo.what_is_found_is_adopted, scenario=adoption.a_directory_that_nobody_spoke_of,
        shows="not: there is a record",
    ),
    Undone(
        rule="adoption: a standby's data are the truth only by a person's word",
        undo=undo.a_standby_is_taken_for_the_truth, scenario=adoption.a_standby_made_by_hand,
        shows="not: there is a record",
    ),
    Undone(
        rule="async: who takes the tenure waits for what its former holder granted",
        undo=grants_undo.the_former_holder_is_not_waited_for, scenario=grants.the_grantor_is_replaced,
    ),
    Undone(
        rule="async: all members must consent",
        undo=grants_undo.one_consent_suffices, scenario=grants.the_members_consent,
        shows="not within 15 s",
    ),
    Undone(
        rule="async: who has no data has no say",
        undo=grants_undo.who_has_no_data_consents, scenario=grants.an_elected_member_that_has_lost_its_volume,
        shows="not: it is let write on",
    ),
    Undone(
        rule="async: no failover beyond maxLagOnFailover",
        undo=grants_undo.any_lag_is_small, scenario=grants.the_furthest_lacks_more_than_is_allowed,
    ),
    Undone(
        rule="async: what a primary said of its log holds, though its agent has lost it",
        undo=grants_undo.the_last_word_is_forgotten, scenario=grants.a_primary_that_comes_back_with_an_empty_disk,
    ),
    Undone(
        rule="async: what a failover gives up is in the record",
        undo=grants_undo.the_loss_is_not_said, scenario=grants.the_grant_runs_out_while_cut_off,
        shows="S3",
    ),
    Undone(
        rule="async: log off the line is kept aside before it is rewound",
        undo=grants_undo.nothing_is_kept_aside, scenario=grants.the_grant_runs_out_while_cut_off,
        shows="S5",
    ),
)  # fmt: skip


def row(one: Undone) -> str:
    """Its line in docs/protocol.md."""
    return f"| {one.rule} | `{one.name}` | `{one.scenario.__name__}` |"


if __name__ == "__main__":
    for rule in UNDONE:
        print(f"{rule.name:45} {rule.scenario.__name__}: {shown(rule)[:150] or 'SURVIVED'}", flush=True)
