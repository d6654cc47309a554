"""Telling a webhook: one POST of one notice, signed if there is a key.

The addresses are a file, a Swarm secret that is mounted into the operator: one a line, for an address of this kind is
mostly its own secret, so it is never in a log, only its host is. A second secret, if there is one, is the key of the
signature:

    Pgswarm-Notice: the notice's id, by which a receiver knows one that it has had
    Pgswarm-Signature: t=SECONDS,v1=HEX    HMAC-SHA256 of "SECONDS.BODY" under the key; an old t is somebody's replay

`requests`, which Docker's client brings anyway, does the call in a thread: it knows TLS and its authorities. Nobody is
redirected, for the answer to a POST is not where to read.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import requests
from loguru import logger

from pgswarm.core.notices import Notice
from pgswarm.errors import Again, Refused

ADDRESSES_FILE = "/run/secrets/pgswarm-webhook"
KEY_FILE = "/run/secrets/pgswarm-webhook-key"

DEADLINE = 5.0
"""Seconds for one attempt."""

LATER = {408, 425, 429}
"""Answers below 500 that mean: not now."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One address that wants to be told, and how a log calls it."""

    url: str
    name: str


def hooks(file: Path = Path(ADDRESSES_FILE)) -> tuple[Hook, ...]:
    """The addresses in the file; none if there is no file. What is no address is logged, and left out."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return ()
    except OSError as exc:
        logger.error("the webhooks in {} cannot be read: {}; nobody is told", file, exc.strerror)
        return ()
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            logger.error("{}, line {}, is no http:// or https:// address; it is not told", file, number)
            continue
        found.append(Hook(text, parts.hostname))
    return tuple(found)


def key(file: Path = Path(KEY_FILE)) -> bytes:
    """The key of the signature; empty if there is none."""
    try:
        return file.read_bytes().strip()
    except OSError:
        return b""


async def post(hook: Hook, notice: Notice, signing_key: bytes, threads: anyio.CapacityLimiter) -> None:
    """One attempt. Raises Again if it may work later, Refused if it will not."""
    body = notice.model_dump_json().encode()
    heads = {"Content-Type": "application/json", "User-Agent": "pgswarm", "Pgswarm-Notice": notice.id}
    if signing_key:
        heads["Pgswarm-Signature"] = signature(body, signing_key, int(time.time()))
    call = partial(requests.post, hook.url, data=body, headers=heads, timeout=DEADLINE, allow_redirects=False)
    try:
        with anyio.fail_after(2 * DEADLINE):
            answer = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=threads)
    except (requests.RequestException, TimeoutError, OSError) as exc:
        raise Again(f"{hook.name} cannot be reached: {type(exc).__name__}") from None  # its words hold the address
    if answer.status_code < 300:
        return
    if answer.status_code >= 500 or answer.status_code in LATER:
        raise Again(f"{hook.name} answered {answer.status_code}")
    raise Refused(f"{hook.name} answered {answer.status_code}")


def signature(body: bytes, signing_key: bytes, at: int) -> str:
    """What the header says."""
    mac = hmac.new(signing_key, f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"
