"""The demo: one YAML file becomes a highly available PostgreSQL, and stays one while things break.

`make demo` runs this on the three nodes of `stack/lab`, with everything set up by itself; `make demo ENGINE=current`
runs the parts of the story that one node can tell on the engine that this shell talks to. A client writes through the
routers all the time. At the end: a table of what happened, how long no write was acknowledged, and whether any
acknowledged write is missing - then the demo fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pgswarm.drill.ledger import Ledger
from pgswarm.drill.stage import OWNER_SECRET, Broken, CurrentStage, LabStage, Stage, wait_for

CLUSTER = "main"
DATABASE, OWNER = "cnv_project", "cnv_user"
say = Console(highlight=False)

REMOVAL = f"""docker service rm pgswarm_operator   # first, and wait until it is gone: it would make the others again
  docker service rm $(docker service ls -q --filter label=pgswarm.cluster={CLUSTER})
  docker stack rm pgswarm; docker config rm pgswarm.{CLUSTER}
  docker volume rm $(docker volume ls -q --filter label=pgswarm.cluster={CLUSTER})"""

DOCUMENT = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {cluster}}}
spec:
  postgres:
    version: 17
    database: {database}
    owner: {owner}
    passwords: {{owner: {secret}}}
    parameters: {{shared_buffers: 64MB{parameters}}}
{image}  instances:
{instances}
  durability: preferred
  router: {{name: postgres-ha, network: webnet, port: 5432, nodes: managers}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One line of the closing table."""

    title: str
    seconds: float
    gap: float | None = None


class Story:
    """Tells chapters one after the other, and remembers how each went."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.chapters: list[Chapter] = []
        self.began = time.monotonic()

    def tell(self, title: str, happen: Callable[[], object], ledger: Ledger | None = None) -> None:
        """Let it happen, with its time, and with the longest pause of acknowledged writes if somebody writes."""
        say.print(f"[{time.monotonic() - self.began:6.1f} s] {title} …")
        start = time.monotonic()
        happen()
        if ledger is not None:
            ledger.wait_for_writes()
        gap = ledger.gap(start).seconds if ledger is not None else None
        self.chapters.append(Chapter(title=title, seconds=time.monotonic() - start, gap=gap))
        pause = "" if gap is None else f", longest time without an acknowledged write {gap:.2f} s"
        say.print(f"           … {self.chapters[-1].seconds:.1f} s{pause}")

    def primary(self) -> str:
        return str(self.stage.status(CLUSTER)["primary"])

    def close(self, missing: int, written: int) -> None:
        table = Table(title="what happened", title_justify="left")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("longest gap between acknowledged writes", justify="right")
        for chapter in self.chapters:
            gap = "" if chapter.gap is None else f"{chapter.gap:.2f} s"
            table.add_row(chapter.title, f"{chapter.seconds:.1f}", gap)
        say.print(table)
        say.print(f"acknowledged writes: {written}; missing afterwards: {missing}")


def document(stage: Stage, instances: int, *, parameters: str = "", image: str = "") -> str:
    """The classic two members by name, a third one when asked for; on one node all of them are there."""
    names = ("postgres-primary", "postgres-secondary", "postgres-third")
    lines = [
        f"    - {{name: {name}, node: {stage.nodes[number % len(stage.nodes)]}}}"
        for number, name in enumerate(names[:instances])
    ]
    return DOCUMENT.format(
        cluster=CLUSTER,
        database=DATABASE,
        owner=OWNER,
        secret=OWNER_SECRET,
        instances="\n".join(lines),
        parameters=parameters,
        image=f"    image: {image}\n" if image else "",
    )


def play(stage: Stage) -> int:
    """The story; the exit code."""
    story = Story(stage)
    if isinstance(stage, LabStage):
        story.tell("what an earlier demo left is removed", lambda: stage.uninstall(CLUSTER))
        story.chapters.clear()
    elif f"pgswarm.{CLUSTER}" in stage.docker("config", "ls", "--format", "{{.Name}}").split():
        raise Broken(f"this engine already has a cluster {CLUSTER}; the demo does not touch it")
    password = stage.owner_password()

    def begin() -> None:
        stage.write_document(document(stage, 2))
        stage.install()
        stage.wait_healthy(CLUSTER, members=2)

    story.tell("the stack deployed, two members, replication, routers: at rest", begin)
    with Ledger(stage.target(password, 5432, DATABASE, OWNER)) as ledger:
        story.tell("a client writes through the router", ledger.wait_for_writes, ledger)

        def kill_container() -> None:
            victim = stage.container(f"{CLUSTER}_{story.primary()}")
            stage.docker("kill", victim.id, node=victim.node)
            ledger.wait_for_writes()

        story.tell("the primary's container is killed: writes go on", kill_container, ledger)
        story.tell("the old primary is back as a standby", lambda: stage.wait_healthy(CLUSTER, members=2), ledger)

        def scale_to_zero() -> None:
            before = story.primary()
            stage.docker("service", "scale", "--detach", f"{CLUSTER}_{before}=0")
            wait_for(
                lambda: True if story.primary() != before else None,
                "another primary",
                60,
                lambda: stage.picture(CLUSTER),
            )
            ledger.wait_for_writes()

        story.tell("the primary's service is scaled to 0 by hand: writes go on", scale_to_zero, ledger)
        story.tell("the operator has scaled it back; at rest", lambda: stage.wait_healthy(CLUSTER, members=2), ledger)

        def grow() -> None:
            stage.write_document(document(stage, 3))
            stage.wait_healthy(CLUSTER, members=3)

        story.tell("the document is edited to three instances: at rest", grow, ledger)
        day_two(story, stage, ledger)
        if isinstance(stage, LabStage):
            lose_a_node(story, stage, ledger)
        ledger.stop()
        missing = ledger.missing()
        story.close(len(missing), ledger.acknowledged)
    say.print(stage.pgswarm("status"))
    if missing:
        say.print(f"[red]{len(missing)} acknowledged writes are missing: {missing[:10]}[/red]")
    return 1 if missing else 0


def day_two(story: Story, stage: Stage, ledger: Ledger) -> None:
    """What an owner does: another primary, a parameter that needs a restart, another image for the members."""
    more = ", max_connections: 150"

    def switch_over() -> None:
        stage.pgswarm("switchover", "--timeout", "60", deadline=90)
        stage.wait_healthy(CLUSTER, members=3)

    def more_connections() -> None:
        stage.write_document(document(stage, 3, parameters=more))
        wait_for(lambda: True if _pending(story) else None, "members that wait for a restart", 60)
        stage.wait_healthy(CLUSTER, members=3)

    def another_image() -> None:
        names = [str(one["name"]) for one in stage.status(CLUSTER)["members"]]
        image = _another_name(stage, f"{CLUSTER}_{names[0]}")
        stage.write_document(document(stage, 3, parameters=more, image=image))
        wait_for(
            lambda: True if all(_image(stage, f"{CLUSTER}_{name}").startswith(image) for name in names) else None,
            f"all members with {image}",
            240,
            lambda: stage.picture(CLUSTER),
        )
        stage.wait_healthy(CLUSTER, members=3)

    story.tell("pgswarm switchover: another primary", switch_over, ledger)
    story.tell("max_connections is raised: PostgreSQL is restarted one by one, at rest", more_connections, ledger)
    if isinstance(stage, LabStage):
        story.tell("another image for the members, one by one: at rest", another_image, ledger)


def _pending(story: Story) -> bool:
    """Does anybody wait for a restart? A roll that was quicker than two looks is through."""
    status = story.stage.status(CLUSTER)
    return any(one["pending_restart"] for one in status["members"]) or not status["healthy"]


def _another_name(stage: Stage, service: str) -> str:
    """The member's image under another tag: to Swarm it is another one."""
    found = stage.container(service)
    name = f"{stage.environment['PGSWARM_REGISTRY']}pgswarm/member:another"
    ident = stage.docker("inspect", "--format", "{{.Image}}", found.id, node=found.node).strip()
    stage.docker("tag", ident, name, node=found.node)
    stage.docker("push", "--quiet", name, node=found.node)
    return name


def _image(stage: Stage, service: str) -> str:
    shown = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"
    return stage.docker("service", "inspect", "--format", shown, service).strip()


def lose_a_node(story: Story, stage: LabStage, ledger: Ledger) -> None:
    """Power off the primary's node, and on again."""
    number = stage.node_of(story.primary(), stage.status(CLUSTER))
    leader = stage.docker("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}", node=number)
    is_leader = f"{stage.nodes[number - 1]} Leader" in leader
    what = f"the primary's node {stage.nodes[number - 1]} loses power"
    what += " (it was Swarm's Raft leader too)" if is_leader else ""

    def power_off() -> None:
        stage.lab("kill", str(number))
        ledger.wait_for_writes()

    def power_on() -> None:
        stage.lab("start", str(number))
        stage.wait_healthy(CLUSTER, members=3)

    story.tell(f"{what}: writes go on", power_off, ledger)
    story.tell("power is back: three members again, at rest", power_on, ledger)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--engine", choices=("lab", "current"), default="lab")
    arguments.add_argument("--documents", type=Path, default=Path("/etc/pgswarm"), help="for --engine current")
    chosen = arguments.parse_args()
    try:
        stage: Stage = LabStage() if chosen.engine == "lab" else CurrentStage(chosen.documents)
        code = play(stage)
    except (Broken, TimeoutError) as failure:
        say.print(f"[red]the demo broke:[/red] {failure}", markup=True)
        return 1
    look = 'eval "$(stack/lab/lab env 1)"' if chosen.engine == "lab" else ""
    say.print("\nto look around:")
    for line in filter(
        None, (look, "docker service ls", f"make status   # or: docker exec … pgswarm status {CLUSTER}")
    ):
        say.print(f"  {line}", markup=False)
    say.print(f"  http://{stage.hosts[0]}:8404/   (HAProxy's statistics)", markup=False)
    say.print("to remove it:\n  " + ("make lab-down" if chosen.engine == "lab" else REMOVAL))
    return code


if __name__ == "__main__":
    sys.exit(main())
