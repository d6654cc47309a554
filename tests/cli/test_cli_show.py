"""A status on a terminal of 80 columns: everything is there, and nothing is cut."""

from __future__ import annotations

from rich.console import Console

from pgswarm.cli import show
from pgswarm.core.chronicle import Event
from pgswarm.core.explain import Candidate, Explanation
from pgswarm.core.status import MemberStatus, RouterStatus, Status, StepStatus

LONG = "its volume is full: free some space on worker01, or give it a larger volume and let it be cloned anew"

STATUS = Status(
    cluster="main",
    summary="postgres-primary serves; not yet as the document says",
    healthy=False,
    leader="manager1",
    term=3,
    revision=17,
    primary="postgres-primary",
    durability="survives the loss of: any one member (postgres-primary, postgres-secondary)",
    members=(
        MemberStatus(name="postgres-primary", node="manager1", role="primary", state="serving", counted=True),
        MemberStatus(name="postgres-secondary", node="worker01", role="standby", state="streaming", problem=LONG),
    ),
    routers=(RouterStatus(name="3f2a", state="running", primary="postgres-primary", sessions=4),),
    steps=(StepStatus(step="create network webnet", reason="it is missing"),),
    waits=("waiting for postgres-secondary",),
    errors=("main.yaml:3:4: spec.router.port: must be at most 65535, not 99999",),
)


def drawn(*many: Status) -> list[str]:
    console = Console(width=80, record=True, force_terminal=False, file=None, quiet=False)
    with console.capture() as captured:
        console.print(show.statuses(many))
    return captured.get().splitlines()


def test_a_status_fits_into_80_columns_and_loses_no_word() -> None:
    lines = drawn(STATUS)
    assert max(len(line) for line in lines) <= 80
    text = " ".join(" ".join(lines).split())
    for words in (LONG, STATUS.durability, *STATUS.waits, *STATUS.errors, "create network webnet", "it is missing"):
        assert " ".join(words.split()) in text


def test_the_primary_is_marked_and_a_router_without_one_says_that_writers_are_held() -> None:
    held = STATUS.model_copy(update={"routers": (RouterStatus(name="3f2a", state="running"),)})
    lines = drawn(held)
    assert any(line.startswith("*postgres-primary") for line in lines)
    assert any("(held)" in line for line in lines)


def test_what_is_a_problem_already_is_not_waited_for_once_more() -> None:
    gone = "b has been silent for 3.1 s"
    member = MemberStatus(name="b", state="gone", problem=gone)
    text = "\n".join(drawn(STATUS.model_copy(update={"members": (member,), "waits": (gone, "for c")})))
    assert text.count(gone) == 1
    assert "b: b" not in text
    assert "  for c" in text


def test_no_clusters_is_said() -> None:
    assert drawn() == ["no clusters"]


WHY = Explanation(
    claim="every acknowledged commit is on at least 2 of postgres-primary, postgres-secondary, postgres-third",
    commits="a commit waits until it is on the disk of postgres-secondary",
    failover="none is needed: postgres-primary is serving",
    if_lost="1 of postgres-secondary would have to promise, and the furthest of them would follow postgres-primary",
    candidates=(Candidate(member="postgres-secondary", can=False, why=LONG),),
)


def words_of(drawing: object) -> tuple[list[str], str]:
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(drawing)
    lines = captured.get().splitlines()
    return lines, " ".join(" ".join(lines).split())


def test_an_explanation_loses_no_word_and_names_whom_it_speaks_of() -> None:
    lines, text = words_of(show.explanations([STATUS.model_copy(update={"explanation": WHY})]))
    assert max(len(line) for line in lines) <= 80
    for words in (WHY.claim, WHY.commits, WHY.failover, WHY.if_lost, LONG, "postgres-secondary", *STATUS.waits):
        assert words in text


def test_a_history_says_when_who_and_why_and_a_time_that_was_not_kept_is_not_invented() -> None:
    many = (
        Event(term=1, primary="a", kind="began"),
        Event(at=1767323045.0, term=2, primary="b", timeline=2, kind="new primary", text=LONG, lost="16 bytes"),
        Event(at=1767323046.0, term=2, primary="b", kind="refused", text="no standby streams"),
    )
    lines, text = words_of(show.events(many))
    assert lines[0].startswith("(time not kept)")
    assert "2026-01-02 03:04:05Z term 2 new primary: b" in text
    assert LONG in text
    assert "16 bytes" in text
    assert text.endswith("refused no standby streams")
    assert words_of(show.events(()))[0] == ["nothing has happened yet"]


def test_a_disk_that_fills_is_told_before_it_is_a_problem_and_once_when_it_is_one() -> None:
    told = "disk 93 % of 10.0 GB, of it 4.0 GB log kept for c on b"
    member = MemberStatus(name="b", state="serving", warning=told, disk_free=7 << 27, disk_total=10 << 30)
    lines = drawn(STATUS.model_copy(update={"members": (member,)}))
    assert f"  {told}" in lines
    assert lines[lines.index(f"  {told}") - 1] == "disks"
    ill = member.model_copy(update={"problem": "disk full, 93 %"})
    assert "disks" not in drawn(STATUS.model_copy(update={"members": (ill,)}))
