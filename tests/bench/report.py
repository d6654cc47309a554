"""docs/benchmarks.md, made of what is kept in artefacts/: never written by hand, and made again without measuring.

The aims stand here as a table, each with how its figure is taken from the parts' results; what is missing is said to be
missing. Every outage is also given as a ratio to the floor of the same run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgswarm.drill.tally import Blow, median, seconds, soak_table, table
from tests.bench.bench import Json
from tests.bench.earlier import Earlier

Kept = dict[str, Json]

LEADER = "node of primary and Swarm's leader loses power"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim, and where its figure comes from."""

    words: str
    limit: float
    figure: Callable[[Kept], float]
    show: Callable[[float], str] = seconds
    at_least: bool = False
    way: str = ""
    """What stands in the way when it is missed, as far as measuring has shown."""


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _megabytes(value: float) -> str:
    return f"{value:.0f} MB"


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:.0f}"


def outages(part: str, kind: str) -> Callable[[Kept], list[float]]:
    return lambda kept: [one["outage"] for one in kept[part]["figures"]["samples"] if one["kind"] == kind]


def _median_of(part: str, kind: str) -> Callable[[Kept], float]:
    return lambda kept: median(outages(part, kind)(kept))


def _worst_of(part: str, kind: str) -> Callable[[Kept], float]:
    return lambda kept: max(outages(part, kind)(kept))


def _to_switchover(kind: str) -> Callable[[Kept], float]:
    """The worst outage of a roll, as a part of the worst of the switchovers that were measured among them."""
    return lambda kept: max(outages("rolls", kind)(kept)) / max(outages("rolls", "switchover")(kept))


def _idle(clusters: str, kind: str, figure: str) -> Callable[[Kept], float]:
    return lambda kept: float(kept["idle"]["figures"][clusters][kind][figure])


def _agents(figure: str) -> Callable[[Kept], float]:
    """The most that any agent takes, member's or router's, with one cluster or ten."""

    def most(kept: Kept) -> float:
        rows = kept["idle"]["figures"]
        return float(max(rows[size][kind][figure] for size in ("one", "ten") for kind in ("member", "router")))

    return most


def _clone(kept: Kept) -> float:
    return median(one["bare"] / one["ours"] for one in kept["clone"]["figures"]["samples"])


def _missing(kept: Kept) -> float:
    parts = [kept[part]["figures"]["missing"] for part in ("faults", "faults-1s", "rolls") if part in kept]
    return float(sum([*parts, kept["soak"]["missing"]]))


AIMS = (
    Aim(words="postmaster killed, median", limit=0.3, figure=_median_of("faults", "postmaster killed")),
    Aim(words="postmaster killed, worst", limit=1.0, figure=_worst_of("faults", "postmaster killed")),
    Aim(words="container killed, median", limit=0.5, figure=_median_of("faults", "container killed")),
    Aim(words="switchover, median", limit=0.3, figure=_median_of("faults", "switchover")),
    Aim(words="node loses power, worst", limit=4.0, figure=_worst_of("faults", "node loses power")),
    Aim(words="node cut off, worst", limit=4.0, figure=_worst_of("faults", "node cut off")),
    Aim(words="node frozen, worst", limit=4.0, figure=_worst_of("faults", "node frozen")),
    Aim(words="node of primary and Swarm's leader, worst", limit=20.0, figure=_worst_of("faults", LEADER),
        way="Swarm's election: 10 to 20 s, and as much again when the two that are left split their votes; nothing can "
            "be recorded before, and the engine (26.1) refuses the options that would shorten it"),
    Aim(words="node loses power, `detectionTimeout: 1s`, worst", limit=2.0,
        figure=_worst_of("faults-1s", "node loses power")),
    Aim(words="node cut off, `detectionTimeout: 1s`, worst", limit=2.0, figure=_worst_of("faults-1s", "node cut off")),
    Aim(words="node frozen, `detectionTimeout: 1s`, worst", limit=2.0, figure=_worst_of("faults-1s", "node frozen")),
    Aim(words="rolling restart, its worst to a switchover's", limit=1.0, show=_ratio,
        figure=_to_switchover("rolling restart")),
    Aim(words="fewer connections, its worst to a switchover's", limit=1.0, show=_ratio,
        figure=_to_switchover("fewer connections")),
    Aim(words="image roll, its worst to a switchover's", limit=1.0, show=_ratio, figure=_to_switchover("image roll")),
    Aim(words="drain, worst", limit=1.0, figure=_worst_of("rolls", "drain")),
    Aim(words="clone, rate to a bare `pg_basebackup`", limit=0.95, figure=_clone, show=_ratio, at_least=True),
    Aim(words="pgbench through the router, to bare behind bare HAProxy", limit=0.97, show=_ratio, at_least=True,
        figure=lambda kept: float(kept["load"]["figures"]["ratios"]["router"])),
    Aim(words="operator with ten clusters, memory", limit=80, show=_megabytes, figure=_idle("ten", "operator", "rss")),
    Aim(words="operator with ten clusters, CPU", limit=0.01, show=_percent,
        figure=_idle("ten", "operator", "cpu_most")),
    Aim(words="an agent, memory", limit=50, show=_megabytes, figure=_agents("rss")),
    Aim(words="an agent, CPU", limit=0.01, show=_percent, figure=_agents("cpu")),
    Aim(words="acknowledged writes missing, bench and soak", limit=0, show=_count, figure=_missing),
)  # fmt: skip

PEERS = """\
Median seconds without an acknowledged write, measured in November 2026 the same way (four writing connections through
HAProxy, three network namespaces on 2 noisy cores, PostgreSQL 15); *fast* are the fastest timers that each accepts.

| configuration | postmaster killed | node lost | partition | frozen | switchover | lost |
|---|---:|---:|---:|---:|---:|---|
| Patroni 4.1.5 + etcd, default, async | 8.3 | 34.3 | 35.8 | 25.4 | 4.4 | |
| Patroni, default, sync | 9.0 | 25.0 | | | 4.3 | |
| Patroni, fast, async | 3.4 | 20.4 | 22.8 | 22.6 | 4.3 | |
| Patroni, fast, sync | 5.0 | 21.0 | | | 4.2 | |
| pg_auto_failover 2.0, default, sync | 5.1 | 51.4 | 54.1 | 54.6 | 6.9 | |
| pg_auto_failover, fast, async | 1.1 | 7.0 | 7.3 | 7.4 | 2.3 | 54 writes in 1 of 5, and 2 in a switchover |
| pg_auto_failover, fast, sync | 5.1 | 7.2 | 7.3 | 7.5 | 2.3 | |
| repmgr 5.3.3, default | 53.9 | 55.2 | 70.7 | 68.5 | | two primaries after partition and freeze |
"""

HEAD = """\
# Benchmarks

Made by `make bench` and `make soak`; not written by hand. `make bench PARTS=report` makes it again from the last
results in `artefacts/`. What is measured, and how, is said at the top of each module in `tests/bench`.
"""


def render(kept: Kept, before: str = "") -> str:
    """The whole document, from the results by part; the soak's is there as `soak`. Of parts without a result stays what
    the document of `before` says."""
    earlier = Earlier(before)
    sections = [HEAD, _machine(kept, earlier)]
    for title, part, write in (
        ("Aims", "", lambda all_: _aims(all_, earlier)),
        ("Outages, default detection (3 s)", "faults", lambda all_: _outages(all_, "faults")),
        ("Outages, `detectionTimeout: 1s`", "faults-1s", lambda all_: _outages(all_, "faults-1s")),
        ("Rolls and drains", "rolls", lambda all_: _outages(all_, "rolls")),
        ("From a document to a cluster", "seed", _seed),
        ("Clone", "clone", _clones),
        ("pgbench", "load", _load),
        ("Idle", "idle", _idles),
        ("The operator's growth", "passes", _passes),
        ("Soak", "soak", _soak),
        ("The systems to beat", "", lambda _: PEERS),
    ):
        if not part or part in kept:
            sections.append(f"## {title}\n\n{write(kept).strip()}\n")
        elif old := earlier.section(title):
            sections.append(f"## {title}\n\n{old}\n")
        else:
            sections.append(f"## {title}\n\nNot measured yet: `make bench PARTS={part}`.\n")
    return "\n".join(sections)


def load(folder: Path, soak: Path) -> Kept:
    """Every result that is kept."""
    kept = {}
    for file in [*sorted(folder.glob("*.json")), soak]:
        if file.exists() and not file.name.endswith(".partial.json"):
            kept[file.stem] = json.loads(file.read_text())
    return kept


def _machine(kept: Kept, earlier: Earlier) -> str:
    rows: list[tuple[str, ...]] = []
    for part, one in kept.items():
        if "machine" not in one:
            continue
        machine = one["machine"]
        where = f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}"
        where += "".join(f", {name} {version}" for name, version in machine.get("versions", {}).items())
        note = " (**quick: few samples**)" if one["quick"] else ""
        note += " (**ended early**)" if one.get("partial") else ""
        load = f"{machine['load']:.1f}"
        rows.append((part + note, one["at"], f"{one['took'] / 60:.1f} min", one["commit"], load, where))
    if not rows:
        return earlier.section("").removeprefix(HEAD).lstrip() + "\n"
    fullest = max((row[5] for row in rows), key=len)
    head = ("part", "measured", "took", "commit", "load after it")
    if all(fullest.startswith(row[5]) for row in rows):
        lab = "The lab: three Swarm nodes on this one machine."
        old = [row for row in earlier.rows("") if row[0].split()[0] not in kept and len(row) == len(head)]
        return f"{fullest}. {lab}\n\n{table(head, sorted([*(row[:5] for row in rows), *old]))}\n"
    return table((*head, "machine"), rows) + "\n"


def _aims(kept: Kept, earlier: Earlier) -> str:
    rows: list[tuple[str, ...]] = []
    old = {row[0]: row for row in earlier.rows("Aims")}
    for aim in AIMS:
        limit = ("≥ " if aim.at_least else "≤ ") + aim.show(aim.limit)
        try:
            value = aim.figure(kept)
        except (KeyError, ValueError):  # that part has not been measured, or had no such sample
            rows.append(old.get(aim.words, (aim.words, limit, "not measured", "")))
            continue
        rows.append((aim.words, limit, aim.show(value), _verdict(aim, value)))
    return table(("aim", "limit", "measured", "verdict"), rows)


def _verdict(aim: Aim, value: float) -> str:
    if (value >= aim.limit) if aim.at_least else (value <= aim.limit):
        return "met"
    by = f" by {abs(value / aim.limit - 1):.0%}" if aim.limit else ""
    return f"**missed{by}**" + (f": {aim.way}" if aim.way else "")


def _outages(kept: Kept, part: str) -> str:
    figures, floor = kept[part]["figures"], kept.get("floor")
    least = median(floor["figures"]["seconds"]) if floor else None
    rows = [
        _outage_row(kind, [one for one in figures["samples"] if one["kind"] == kind], least)
        for kind in dict.fromkeys(one["kind"] for one in figures["samples"])
    ]
    head = ("fault", "n", "outage, median", "worst", "median to floor", "worst to floor", "slowest writer, median",
            "again at the end, worst", "failed attempts", "missing")  # fmt: skip
    text = table(head, rows)
    text += f"\n\n{figures['acknowledged']} writes acknowledged; missing: {figures['missing']}."
    if floor and least is not None:
        values = floor["figures"]["seconds"]
        text += (
            f" The floor, `kill -9` of a bare primary to the first write on its standby: median {seconds(least)}, "
            f"worst {seconds(max(values))}, n = {len(values)}."
        )
    if broken := figures.get("broken"):
        text += f" **{len(broken)} more did not come to their end: {'; '.join(broken)}**"
    if elections := [one for one in figures["samples"] if one.get("elected")]:
        took, rest = [one["elected"] for one in elections], [one["outage"] - one["elected"] for one in elections]
        text += (
            f" Of the outages with Swarm's leader, Swarm's own election took {seconds(median(took))} in the median and "
            f"{seconds(max(took))} at worst; what came after it, {seconds(median(rest))} and {seconds(max(rest))}."
        )
    return text + (
        " *Outage*: no write acknowledged for anybody, on any router. *Slowest writer*: the same for the unluckiest "
        "one, whose router may be on the lost node. *Again*: the longest pause when the fault ends."
    )


def _outage_row(kind: str, some: list[Json], floor: float | None) -> tuple[str, ...]:
    values = [one["outage"] for one in some]
    return (
        kind,
        str(len(some)),
        seconds(median(values)),
        seconds(max(values)),
        _times(median(values), floor),
        _times(max(values), floor),
        seconds(median(one["slowest"] for one in some)),
        seconds(max(one["again"] for one in some)),
        str(sum(one["failed"] for one in some)),
        str(sum(one["missing"] for one in some)),
    )


def _times(value: float, floor: float | None) -> str:
    return "" if not floor else f"{value / floor:.1f} ×"


def _seed(kept: Kept) -> str:
    samples = kept["seed"]["figures"]["samples"]
    rows = [
        (
            words,
            str(len(samples)),
            seconds(median(one[key] for one in samples)),
            seconds(max(one[key] for one in samples)),
        )
        for key, words in (
            ("writable", "first write through a router"),
            ("streaming", "a reader on a streaming standby"),
            ("rest", "two copies claimed, everybody told"),
        )
    ]
    return table(("from the document to", "n", "median", "worst"), rows)


def _clones(kept: Kept) -> str:
    rows = [
        (
            f"{one['bytes'] / 2**30:.2f} GiB",
            *(seconds(one["bare"]), _rate(one, "bare"), seconds(one["ours"]), _rate(one, "ours")),
            *(f"{one['bare'] / one['ours']:.2f}", seconds(one["counted"])),
        )
        for one in kept["clone"]["figures"]["samples"]
    ]
    head = ("size", "bare pg_basebackup", "rate", "ours", "rate", "ours to bare", "from the document to counted")
    return table(head, rows)


def _rate(one: Json, which: str) -> str:
    return f"{one['bytes'] / one[which] / 2**20:.0f} MiB/s"


def _load(kept: Kept) -> str:
    figures = kept["load"]["figures"]
    rows = [
        (name, str(len(values)), f"{median(values):.0f}", f"{min(values):.0f}–{max(values):.0f}")
        for name, values in figures["rounds"].items()
    ]
    ratios, shape = figures["ratios"], (figures["scale"], figures["clients"], figures["span"])
    return (
        table(("way", "rounds", "TPS, median", "range"), rows)
        + "\n\nScale {}, {} clients, {} s a round, taking turns. ".format(*shape)
        + f"Through our router to bare behind bare HAProxy: {ratios['router']:.3f}; without HAProxy, ours to bare: "
        f"{ratios['direct']:.3f}; through our router to bare without HAProxy: {ratios['router_to_bare_primary']:.3f} "
        "(medians of each round's ratio)."
    )


def _idles(kept: Kept) -> str:
    rows = []
    for size, words in (("one", "one cluster of three"), ("ten", "ten clusters of one")):
        for kind, one in kept["idle"]["figures"][size].items():
            cpu, memory = (
                (_percent(one["cpu"]), _percent(one["cpu_most"])),
                (_megabytes(one["rss"]), _megabytes(one["pss"])),
            )
            rows.append((f"{words}: {kind}", str(one["n"]), *cpu, *memory))
    return table(("our process", "n", "CPU, median", "most", "RSS, most", "PSS, median"), rows)


def _passes(kept: Kept) -> str:
    rows = [
        (
            f"{one['clusters']:,}",
            f"{one['passes']:,.0f}",
            _percent(one["cpu"]),
            _megabytes(one["rss"]),
            seconds(one["settled"]),
        )
        for one in kept["passes"]["figures"]["rows"]
    ]
    head = ("clusters", "passes a second of CPU", "CPU at rest", "RSS", "from documents to rest")
    return table(head, rows) + "\n\nIn one process with played agents, whose memory and heartbeats are in the figures."


def _soak(kept: Kept) -> str:
    soak = kept["soak"]
    blows = [Blow(**one) for one in soak["blows"]]
    end = f" **It broke: {soak['broke']}**" if soak["broke"] else ""
    return (
        f"{len(blows)} faults in {soak['minutes']:.0f} minutes, seed {soak['seed']}; {soak['acknowledged']} writes "
        f"acknowledged, missing: {soak['missing']}.{end}\n\n{soak_table(blows)}\n\n{_notes(blows)}"
    )


def _notes(blows: Sequence[Blow] | Iterable[Blow]) -> str:
    return (
        "The outage is the longest pause from the blow until everything was at rest again, the end of a lasting fault "
        "included; where nothing can work until the fault ends (all nodes, all members), it is as long as the fault."
    )
