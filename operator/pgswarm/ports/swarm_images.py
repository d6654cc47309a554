"""From the name of an image to something that cannot change: a digest, or the id of a local image.

A service that names a tag makes every start of a task ask the registry first; with a registry or a resolver that is
down, a restart of a database then takes twenty seconds more (measured). A digest or an image id with the image
present on the node asks nobody. So the name is resolved once, when a service is made, and never at a restart.

The registry is asked first (by the engine, with its certificates), for a moment only. Then this node's own images
count: an image that was pushed or pulled knows its digest; one that was only built or loaded here has nothing but an
id, which works on the nodes that loaded the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from loguru import logger

from pgswarm.errors import Again, Failure, Refused
from pgswarm.ports.swarm_http import Engine, Missing

REGISTRY_TIMEOUT = 3.0
"""Seconds; a registry that is slower than this is treated as absent while the image is here."""


async def resolve(engine: Engine, reference: str) -> str:
    """`name:tag@sha256:…`, or `sha256:…` for an image that only this node's disk knows."""
    if "@" in reference or reference.startswith("sha256:"):
        return reference
    try:
        digest = await _in_registry(engine, reference)
    except Failure as failure:
        registry = failure
    else:
        return f"{reference}@{digest}"
    try:
        local = await _on_this_node(engine, reference)
    except Missing:
        raise _nowhere(reference, registry) from registry
    logger.info("image {}: using {} of this node ({})", reference, local, registry.reason)
    return local


async def _in_registry(engine: Engine, reference: str) -> str:
    answer = await engine.get(
        f"/distribution/{quote(reference, safe='/:')}/json",
        timeout=REGISTRY_TIMEOUT,
        doing=f"asking the registry for {reference}",
    )
    digest = ((answer or {}).get("Descriptor") or {}).get("digest")
    if not digest:
        raise Again(f"the registry gave no digest for {reference}")
    return str(digest)


async def _on_this_node(engine: Engine, reference: str) -> str:
    raw = await engine.get(f"/images/{quote(reference, safe='/:')}/json", doing=f"looking for image {reference}")
    digest = digest_of(reference, raw.get("RepoDigests") or ())
    return f"{reference}@{digest}" if digest else str(raw["Id"])


def digest_of(reference: str, repo_digests: Sequence[str]) -> str | None:
    """The digest under which the registry named by the reference knows the image, if it ever did."""
    name = familiar(reference)
    return next((one.partition("@")[2] for one in repo_digests if one.partition("@")[0] == name), None)


def familiar(reference: str) -> str:
    """The repository of a reference, without tag, in the short form that Docker shows."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    name = folder + slash + last.partition(":")[0]
    for prefix in ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _nowhere(reference: str, registry: Failure) -> Failure:
    if isinstance(registry, Refused):
        return Refused(
            f"image {reference} is neither on this node nor in its registry ({registry.reason}): "
            "push it, or `docker load` it on every node"
        )
    return Refused(
        f"image {reference} is not on this node and its registry cannot be asked ({registry.reason}): "
        "pull or `docker load` it on every node, or make the registry reachable"
    )
