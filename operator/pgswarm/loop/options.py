"""What an operator is told at its start, and the secret by which it is known.

Apart from `run`, because a person's command needs both to ask an operator and nothing of what an operator does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgswarm.errors import Refused
from pgswarm.settings import CONTROL_SECRET
from pgswarm.wire import OPERATOR_PORT, SECRET_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line or the environment says."""

    documents: Path | None = None
    secret_file: Path = Path(SECRET_FILE)
    member_image: str = "pgswarm/member:dev"
    router_image: str = "pgswarm/router:dev"
    port: int = OPERATOR_PORT
    metrics_secret: str = ""
    log_format: str = ""


def read_secret(path: Path) -> str:
    """The control secret. Raises Refused with directions."""
    try:
        secret = path.read_text().strip()
    except OSError as exc:
        raise Refused(
            f"the control secret is not at {path} ({exc.strerror}): create it with "
            f"`openssl rand -hex 32 | docker secret create {CONTROL_SECRET} -` and mount it there"
        ) from exc
    if len(secret) < 16:
        raise Refused(f"the control secret at {path} is too short: at least 16 characters, better 64")
    return secret
