"""The document's settings here: tried first, then taken, and kept on the volume.

What is in effect is in the memory, so a member that starts again in the middle of a document's mistake starts with
the settings that it had. New ones are tried beside the running PostgreSQL (`trial`); they are taken when the operator
says that everybody there would take them, or when this member has none yet. PostgreSQL is then told to read its
configuration again; what waits for a restart shows in the report, and when that comes is the operator's to say.

Before this: `watching` looks at what has been heard. After it: `files` as they are on disk.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
from loguru import logger

from pgswarm.core.reports import Data, Role
from pgswarm.errors import Again, Failure
from pgswarm.member import restart, tools, trial
from pgswarm.render import postgres as render

if TYPE_CHECKING:
    from pgswarm.core.orders import Settings
    from pgswarm.member.agent import Agent

RETRY = 5.0
"""Seconds before a trial that came to no end is made again."""

EAGER = 3.0
"""Seconds after settings were taken in which PostgreSQL is asked at every look what waits for a restart."""


@dataclass(slots=True)
class Tuning:
    """What is known of the newest settings."""

    passed: str = ""  # digest of settings that PostgreSQL would take
    refused: str = ""  # digest of settings that it would not
    trying: bool = False
    not_before: float = 0.0
    eager_until: float = 0.0
    reloaded_at: float = 0.0  # wall clock: when PostgreSQL was told to read them, until it is known to have done so
    pending: tuple[str, ...] = ()  # parameters that wait for a restart of PostgreSQL
    lowered: tuple[str, ...] = ()  # those of them of which a standby may not have less than this primary
    short: str = ""  # the postmaster that has less than its log asks for (`restart`)
    restarted: str = ""  # the postmaster that was stopped last to be started anew
    restarted_at: float = 0.0

    def be_eager(self) -> None:
        """PostgreSQL is told to read its configuration again."""
        self.reloaded_at = time.time()
        self.eager_until = anyio.current_time() + EAGER


def glance(agent: Agent) -> None:
    """Are there settings to be tried or taken? Then that is begun, beside everything else."""
    tuning, wanted = agent.tuning, agent.memory.circumstances
    digest = wanted.settings.digest
    if digest == agent.files.digest and tuning.refused:
        tuning.refused = ""
        agent.trouble("bad-parameter", None)
    if tuning.trying or agent.memory.data is not Data.READY or agent.memory.order is None:
        return
    is_over = digest in (agent.files.digest, tuning.refused) or (digest == tuning.passed and not _may_take(agent))
    if not is_over and anyio.current_time() >= tuning.not_before:
        tuning.trying = True
        agent.tasks.start_soon(_consider, agent)


async def prepare(agent: Agent) -> None:
    """Before a start of PostgreSQL: settings that are to be taken now are taken."""
    if not agent.tuning.trying:
        await _consider(agent)


async def _consider(agent: Agent) -> None:
    tuning, settings = agent.tuning, agent.memory.circumstances.settings
    tuning.trying = True
    try:
        if settings.digest not in (agent.files.digest, tuning.passed, tuning.refused):
            await _try(agent, settings)
        is_newest = settings.digest == agent.memory.circumstances.settings.digest
        if is_newest and settings.digest == tuning.passed != agent.files.digest and _may_take(agent):
            await _take(agent, settings)
    except (Failure, OSError) as exc:
        logger.warning("the document's settings could not be tried: {}", exc)
        tuning.not_before = anyio.current_time() + RETRY
    finally:
        tuning.trying = False
        agent.stirred()


async def _try(agent: Agent, settings: Settings) -> None:
    began = anyio.current_time()
    if agent.role is not Role.PRIMARY:
        agent.files.set_floors(restart.floors(await tools.control_data(agent.config)))
    words = await _objections(agent, settings)
    took = (anyio.current_time() - began) * 1000
    if words:
        agent.tuning.refused = settings.digest
        logger.error("PostgreSQL does not take the document's settings {}: {}", settings.digest, words)
        agent.trouble(
            "bad-parameter",
            f"PostgreSQL does not take the document's settings: {words}; the ones before stay in effect: correct the "
            "document",
        )
        return
    agent.tuning.passed, agent.tuning.refused = settings.digest, ""
    agent.trouble("bad-parameter", None)
    logger.info("PostgreSQL would take settings {} (tried in {:.0f} ms)", settings.digest, took)


async def _objections(agent: Agent, settings: Settings) -> str:
    """As the primary that it is or may become, and as the standby that has as much of everything as its log asks for:
    what a primary would not start with must not hide behind that.
    """
    wanted = agent.files.candidate(settings)
    words = await trial.objections(agent.config, replace(wanted, floors={}), settings.hba)
    if words or not render.is_floored(wanted):
        return words
    return await trial.objections(agent.config, wanted, settings.hba)


async def _take(agent: Agent, settings: Settings) -> None:
    try:
        await agent.remember(settings=settings)
    except OSError as exc:
        raise Again(f"cannot remember the settings: {exc.strerror}") from exc
    agent.tuning.be_eager()
    agent.files.take(settings)
    agent.files.rewrite()
    agent.postmaster.reload()
    logger.info("settings {} are in effect, as far as that needs no restart", settings.digest)
    agent.publish()


def _may_take(agent: Agent) -> bool:
    """Has everybody there tried them? A member without any takes them as soon as PostgreSQL would."""
    return agent.memory.circumstances.adopt or agent.memory.settings is None
