"""Constants and names that every part shares. Times are seconds."""

from __future__ import annotations

LABEL_CLUSTER = "pgswarm.cluster"
LABEL_KIND = "pgswarm.kind"
LABEL_MEMBER = "pgswarm.member"
LABEL_WANTED = "pgswarm.wanted"
LABEL_RECORD = "pgswarm.record"
LABEL_IMAGE = "pgswarm.image"  # the reference as it was given, a space, and what it was resolved to
LABEL_SPEC = "pgswarm.spec"
LABEL_CHRONICLE = "pgswarm.chronicle"
LABEL_EDITIONS = "pgswarm.editions"
LABEL_TENURE = "pgswarm.tenure"

TENURE_CONFIG = "pgswarm-tenure"
"""The one Swarm config that says which operator may grant; there only once a cluster was async."""

CONTROL_NETWORK = "pgswarm-control"
CONTROL_SECRET = "pgswarm-control"

VOLUME_PATH = "/var/lib/pgswarm"
"""Where a member's volume is mounted."""

OWNER_PASSWORD_FILE = "/run/secrets/pgswarm-owner"
REPLICATION_PASSWORD_FILE = "/run/secrets/pgswarm-replication"
METRICS_TOKEN_FILE = "/run/secrets/pgswarm-metrics"
REPLICATION_ROLE = "pgswarm_replication"


def member_service(cluster: str, member: str) -> str:
    """The Swarm service of one member."""
    return f"{cluster}_{member}"


def router_service(cluster: str, router: str) -> str:
    """The Swarm service of the routers."""
    return f"{cluster}_{router}"


def members_alias(cluster: str) -> str:
    """The name on the control network that resolves to every running member of a cluster."""
    return f"{cluster}-members"


def record_name(cluster: str) -> str:
    """The Swarm config whose labels hold the record and the document in force."""
    return f"pgswarm.{cluster}"
