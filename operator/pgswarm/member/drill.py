"""Being struck: a primary's agent ends its PostgreSQL, or itself, as hard as a kernel does, because a person said so.

No manager reaches the engine of another node, and Swarm has no verb that kills; so a drill asks the agent, which is
there. It does it only as the primary of the term that was meant: a late or repeated request after a failover meets
somebody else, or another term, and strikes nobody. Nothing is prepared and nothing is written: the processes are gone
as if their memory had been taken from them, and what follows is what would follow then.

The answer comes first, `DELAY` later the blow, so that the caller knows when.
"""

from __future__ import annotations

import os
import signal

import anyio
from loguru import logger

from pgswarm.core.drilling import DELAY, Strike
from pgswarm.core.reports import Serving
from pgswarm.member.agent import Agent
from pgswarm.wire import Answer


def struck(agent: Agent, strike: Strike) -> Answer:
    """Accepted, and struck a moment later; or the reason why not."""
    if why := refused(agent, strike):
        logger.warning("drill refused: {}", why)
        return Answer(accepted=False, reason=why, report=agent.report)
    logger.warning("drill: {} is killed in {:g} s, because a person asked for it", strike.kind, DELAY)
    agent.tasks.start_soon(_strike, agent, strike)
    return Answer(accepted=True, reason=f"{strike.kind} is killed in {DELAY:g} s", report=agent.report)


def refused(agent: Agent, strike: Strike) -> str:
    """Why this agent is not whom the drill means; empty if it is."""
    config = agent.config
    if (strike.cluster, strike.member) != (config.cluster, config.member):
        return f"this is {config.member} of {config.cluster}, not {strike.member} of {strike.cluster}"
    order = agent.reigns()
    if order is None:
        return f"{config.member} is not primary"
    if order.term != strike.term:
        return f"{config.member} is primary of term {order.term}, not {strike.term}"
    serving, why = agent.serving()
    if serving is not Serving.PRIMARY:
        return f"{config.member} serves no writers: {why}"
    return ""


async def _strike(agent: Agent, strike: Strike) -> None:
    await anyio.sleep(DELAY)
    pid = agent.postmaster.pid
    if pid is None or refused(agent, strike):
        logger.warning("drill: nobody is killed, for it is not as it was a moment ago")
        return
    os.kill(pid, signal.SIGKILL)
    if strike.kind == "container":
        # Process 1 is Docker's init, which nobody inside can kill; it ends with its only child, and all others with it.
        os.kill(os.getpid(), signal.SIGKILL)
