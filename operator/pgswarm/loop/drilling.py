"""Striking: a writing client is started, the fault is struck, everything is put back, and what was seen is judged.

The client is a Swarm service of its own (`render/services.drill_service`), so it goes the way of an application; what
it says comes back through Swarm's log, on any manager. The blow goes where each fault can be had: a wish in the record,
a word to the primary's agent, a node's availability. What is drained is given back and the client is taken away
whatever happens, also when this is interrupted; should this process be killed, labels say what was left behind, and
the next drill puts it back before it begins.

Before it: `core/drilling` has said that the cluster can survive it, and a person has consented. After it:
`core/drillreport`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from loguru import logger
from pydantic import ValidationError

from pgswarm.core import drilling, drillreport
from pgswarm.core.drilling import DELAY, Announcement, Kind, Strike
from pgswarm.core.drillreport import Report, Said, Tape
from pgswarm.core.record import Record
from pgswarm.core.status import Status
from pgswarm.core.swarmview import SwarmView
from pgswarm.errors import Again, Failure, Refused
from pgswarm.loop import wishing
from pgswarm.loop.drillscene import Scene, Tell
from pgswarm.loop.options import Options, read_secret
from pgswarm.ports import draining, service_logs
from pgswarm.ports.calls import Closed, Line, Silent
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.service_logs import Line as LogLine
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.render import services
from pgswarm.wire import MEMBER_PORT

READY = 90.0
"""Seconds for the client's container to be there and write."""

CALM = 2.0
"""Seconds of undisturbed writing before the blow."""

OVERTIME = 120.0
"""Seconds that the client may take beyond its time: it waits until writes are steady, then looks what is there."""

MOVING = 60.0
"""Seconds for a drained node's primary to move and its container to end; then the node is given back all the same."""

REST = 120.0
"""Seconds until everything is at rest again, of which the report tells."""

HELD = 1.0
"""Seconds for which it must have been so: in a failover it may look so for a moment."""

LOOK = 0.05
"""Seconds between two looks at the record; it is read from the manager beside us."""

SLOW = 0.5
"""The same at what costs more."""

CLEANING = 100.0
"""Seconds for putting back, also when this is interrupted."""

ANSWER = 5.0
"""Seconds for an agent to answer."""

SWITCH = 30.0
"""Seconds for a switchover to be done."""

ALL = 1_000_000
"""Lines of a log from its begin."""


async def look(options: Options, cluster: str | None, kind: Kind) -> Announcement:
    """What the drill would do now, or why not. Refused if there is no such cluster."""
    world, record = await wishing.seen(options, cluster)
    here = await DockerSwarm().info()
    return drilling.announced(world, record, kind, anyio.current_time(), here=here.node_id)


async def strike(options: Options, announcement: Announcement, seconds: float, by: str, tell: Tell) -> Report:
    """Do it, and put everything back. Raises Failure where nothing could be seen; nothing stays broken for that."""
    swarm = DockerSwarm()
    records = SwarmRecords(swarm.engine)
    scene = Scene(
        announcement=announcement,
        swarm=swarm,
        records=records,
        secret=read_secret(options.secret_file),
        by=by,
        tell=tell,
    )
    world, _ = await wishing.seen(options, announcement.cluster)
    scene.address = world.addresses.get(announcement.primary)
    async with _interruptible():
        await scene.clean_up()
        try:
            await _write(scene, seconds)
            await _play(scene, seconds)
        finally:
            with anyio.move_on_after(CLEANING, shield=True):
                await scene.clean_up()
    report = drillreport.judged(
        announcement,
        scene.tape,
        scene.struck_at,
        scene.marks,
        successor=scene.successor,
        whole_at=scene.whole_at,
        left=scene.left,
    )
    await scene.notify("drill-ended", f"drill {announcement.kind} of {announcement.cluster}: {report.verdict}")
    return report


async def _write(scene: Scene, seconds: float) -> None:
    """Begin to write: the client's service is created, on the node that was announced."""
    view, known = await scene.swarm.view(), scene.announcement
    stored = await scene.records.read(known.cluster)
    member = next(iter(view.members(known.cluster).values()), None)
    if stored is None or stored.document is None or member is None:
        raise Refused(f"{known.cluster} has no document or no member in this Swarm: `pgswarm status`")
    image = member.spec["TaskTemplate"]["ContainerSpec"]["Image"]
    spec = services.drill_service(stored.document, view, node_id=known.writer_node, image=image, seconds=seconds)
    await scene.swarm.create_service(spec)
    scene.tell(f"service {scene.service} begins to write")


async def _play(scene: Scene, seconds: float) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, scene)
        await _until_ready(scene)
        said = f"drill {scene.announcement.kind} of {scene.announcement.cluster} begins, says {scene.by}"
        tasks.start_soon(scene.notify, "drill-started", said)
        status = await scene.status()
        followers = following(status) if status is not None else 0
        await anyio.sleep(CALM)
        tasks.start_soon(_watch, scene)
        await _blow(scene)
        if scene.announcement.kind == "node-drain":
            tasks.start_soon(_drained, scene)
        else:
            scene.given_back.set()
        if scene.announcement.kind == "postgres":
            scene.moved.set()  # or it is started anew, and goes on in its term
        tasks.start_soon(_until_rest, scene, followers)
        with anyio.move_on_after(seconds + OVERTIME):
            await scene.ended.wait()
        with anyio.move_on_after(MOVING):
            await scene.given_back.wait()
        if scene.moved.is_set():
            with anyio.move_on_after(REST):
                await scene.rested.wait()
        tasks.cancel_scope.cancel()


async def _blow(scene: Scene) -> None:
    """The fault itself. Raises Refused if it is not any more as it was announced."""
    known = scene.announcement
    stored = await scene.records.read(known.cluster)
    record = stored.record if stored is not None else None
    if record is None or (record.term, record.primary_member) != (known.term, known.primary):
        raise Refused("there is another primary than was announced: nothing was broken; begin again")
    scene.tell(f"now: {known.kind} of {known.primary} on {known.node}")
    scene.struck_at = time.time()
    match known.kind:
        case "switchover":
            answered = await wishing.spoken(
                scene.records, known.cluster, "switchover", None, (), by=scene.by, seconds=SWITCH
            )
            if not answered.done:
                raise Refused(f"the switchover was not done: {answered.text}")
        case "node-drain":
            await draining.drain(scene.swarm.engine, known.node_id, known.cluster)
        case "postgres" | "container":
            if scene.address is None:
                raise Refused(f"no address of {known.primary} is known: nothing was broken")
            strike = Strike(kind=known.kind, cluster=known.cluster, member=known.primary, term=known.term)
            line = Line(scene.address, MEMBER_PORT, scene.secret, caller="person")
            try:
                await line.call("POST", "/drill", strike.model_dump_json().encode(), deadline=ANSWER)
            except (Closed, Silent) as failure:
                # It may have been struck before its answer came: what the client sees will tell.
                scene.tell(failure.reason)
            else:
                scene.struck_at = time.time() + DELAY


async def _listen(scene: Scene) -> None:
    """Hear the client to its end; a log that breaks off is read from its begin."""
    while not scene.ended.is_set():
        tape = Tape()

        def take(line: LogLine, tape: Tape = tape) -> None:
            if not line.text.startswith('{"drill"'):
                return
            try:
                said = Said.model_validate_json(line.text)
            except ValidationError:
                return
            tape.take(said, time.time())
            scene.tape = tape if len(tape.acks) >= len(scene.tape.acks) else scene.tape
            scene.ready.set()
            if tape.ended_at is not None:
                scene.ended.set()

        try:
            service = (await scene.swarm.view()).service(scene.service)
            if service is not None:
                await service_logs.read(
                    scene.swarm.engine, service.id, scene.service, take, tail=ALL, since=0.0, follow=True
                )
        except Failure as failure:
            logger.debug("{}", failure.reason)
        await anyio.sleep(SLOW)


async def _until_ready(scene: Scene) -> None:
    with anyio.move_on_after(READY):
        while not scene.ready.is_set():
            with anyio.move_on_after(SLOW):
                await scene.ready.wait()
            view = await scene.seen()
            service = view.service(scene.service) if view is not None else None
            trouble = view.trouble(service) if view is not None and service is not None else None
            if trouble and not scene.ready.is_set():
                raise Refused(f"the writing client does not run: {trouble}; nothing was broken")
    if not scene.ready.is_set():
        raise Again(f"the writing client has not begun within {READY:g} s: nothing was broken")
    if scene.ended.is_set():
        raise Refused(f"the writing client cannot write: {scene.tape.text or 'it gives no reason'}; nothing was broken")


async def _watch(scene: Scene) -> None:
    """What becomes of the record."""
    before: Record | None = None
    while True:
        try:
            stored = await scene.records.read(scene.announcement.cluster)
        except Failure:
            stored = None  # Swarm may have no leader just now
        record = stored.record if stored is not None else None
        if record is not None:
            if before is not None and record.term != before.term:
                scene.mark("record", f"term {record.term}: {record.primary_member} is primary")
                scene.successor = record.primary_member
                scene.moved.set()
            elif before is not None and (record.claim.r, len(record.claim.members)) != (
                before.claim.r,
                len(before.claim.members),
            ):
                scene.mark("record", f"every commit is on {record.claim.r} of {len(record.claim.members)} members")
            before = record
        await anyio.sleep(LOOK)


async def _drained(scene: Scene) -> None:
    """Once the primary has moved and its container has ended, the node is given back."""
    known = scene.announcement
    with anyio.move_on_after(MOVING):
        await scene.moved.wait()
        while _runs_there(await scene.seen(), known):  # noqa: ASYNC110 - Swarm tells nobody of its tasks
            await anyio.sleep(SLOW)
    await draining.give_back(scene.swarm.engine, known.node_id)
    scene.mark("active", f"{known.node} is active again")
    scene.given_back.set()


def _runs_there(view: SwarmView | None, known: Announcement) -> bool:
    service = view.members(known.cluster).get(known.primary) if view is not None else None
    if view is None or service is None:
        return view is None
    return any(
        task.is_live and task.state == "running" and task.node_id == known.node_id for task in view.tasks_of(service)
    )


async def _until_rest(scene: Scene, followers: int) -> None:
    """Wait until all is as the document wants it, and as many members follow as before, for some looks in a row."""
    await scene.moved.wait()
    await scene.given_back.wait()
    since: float | None = None
    while True:
        status = await scene.status()
        is_whole = status is not None and status.healthy and following(status) >= followers
        since = (since or time.time()) if is_whole else None
        if since is not None and time.time() - since >= HELD:
            scene.whole_at = since
            scene.mark("whole", "all is at rest again", since)
            scene.rested.set()
            return
        await anyio.sleep(SLOW)


def following(status: Status) -> int:
    """How many members receive log."""
    return sum(1 for one in status.members if one.follows)


@asynccontextmanager
async def _interruptible() -> AsyncIterator[None]:
    """SIGTERM ends this as Ctrl-C does: everything is put back first."""
    told: list[str] = []

    async def wait(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                told.append(signal.Signals(number).name)
                scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, tasks.cancel_scope)
        yield
        tasks.cancel_scope.cancel()
    if told:
        raise Again(f"ended by {told[0]}; what was broken is put back")
