"""A first document, with a comment beside everything that an owner is likely to want to change.

`pgswarm init` asks the questions and looks at the Swarm; here the answers become text. What is written is complete and
valid as it stands; what is only offered stands there as a comment, with its default, so that taking the comment sign
away changes nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from pgswarm.core.spec import API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the owner said, or what was chosen for them."""

    cluster: str = "main"
    database: str = "app"
    owner: str = "app"
    nodes: tuple[str, ...] = ()
    """One member on each of these; with none, `instances` are placed and remembered by the operator."""
    instances: int = 2
    durability: Literal["preferred", "required", "async"] = "preferred"
    router: str = "postgres-ha"
    network: str = "webnet"
    port: int = 5432
    publish: bool = True
    memory: str = "256MB"
    """`shared_buffers`, as PostgreSQL writes sizes."""


def document(answers: Answers) -> str:
    """The document as YAML with comments. It is valid if the answers are; whoever has them checks (`core/spec`)."""
    return _DOCUMENT.format(
        api=API_VERSION,
        cluster=_word(answers.cluster),
        database=_word(answers.database),
        owner=_word(answers.owner),
        memory=_word(answers.memory),
        instances=_instances(answers),
        durability=_word(answers.durability),
        router=answers.router,
        network=_word(answers.network),
        port=answers.port,
        read_only=answers.port + 1,
        publish=str(answers.publish).lower(),
    )


def _instances(answers: Answers) -> str:
    if not answers.nodes:
        return (
            f"instances: {answers.instances}                     # pg-1, pg-2, …: nodes are chosen once and remembered"
        )
    rows = [f"    - {{name: pg-{number}, node: {_word(node)}}}" for number, node in enumerate(answers.nodes, 1)]
    head = "instances:                       # names are only names: who is primary changes"
    return "\n".join((head, *rows))


def _word(text: str) -> str:
    """One value, whatever is in it: what cannot be is for the document's own check to say, in its words."""
    return text if re.fullmatch(r"[A-Za-z0-9_.-]+", text) else json.dumps(text)


_DOCUMENT = """\
# Made by `pgswarm init`. Check it with `pgswarm validate`, put it into force with `pgswarm apply -f`, and edit it
# whenever something shall be otherwise: the operator lets the cluster converge.
apiVersion: {api}
kind: PostgresCluster
metadata: {{name: {cluster}}}             # begins the names of services, volumes and secrets; cannot be changed later
spec:
  postgres:
    version: 17
    database: {database}
    owner: {owner}                     # its password: the Swarm secret {cluster}-owner, which is made if it is missing
    # passwords: {{owner: my-secret}}  # …or one that exists already
    parameters:                    # lines of postgresql.conf; PostgreSQL tries them before any member takes them
      shared_buffers: {memory}        # a quarter of a node's memory is a good beginning
      # work_mem: 16MB
      # max_connections: 200
    # hba:                         # lines of pg_hba.conf; without any: everybody with a password
    #   - host all all 0.0.0.0/0 scram-sha-256

  {instances}

  # preferred: a commit waits for a standby while there is one; a failover loses nothing
  # required:  a commit waits for a standby always; writes stop when there is none
  # async:     a commit waits for nobody; a failover may lose the last writes
  durability: {durability}

  router:                          # HAProxy in front: the one address for applications
    name: {router}              # they write to {router}:{port} …
    network: {network}                # … on this overlay network, which is made if it is missing
    port: {port}
    readOnlyPort: {read_only}             # and read from standbys here
    nodes: managers                # managers, all, or a list of nodes: one router on each
    publish: {publish}                  # the ports on those nodes too, for clients outside of the Swarm

  # detectionTimeout: 3s           # silence after which a member counts as lost
"""
