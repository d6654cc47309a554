"""The loop's parts: observe."""

from __future__ import annotations

from pgswarm import settings
from pgswarm.core.swarmview import Service
from pgswarm.loop.observe import _pinned

REFERENCE = "registry/member:17"
DIGEST = "registry/member:17@sha256:abc"


def _service(label: str) -> Service:
    return Service(id="s", version=1, name="main_a", labels={settings.LABEL_IMAGE: label})


def test_an_image_that_was_resolved_once_is_kept_while_the_same_reference_is_asked_for() -> None:
    assert _pinned(REFERENCE, _service(f"{REFERENCE} {DIGEST}")) == (DIGEST, f"{REFERENCE} {DIGEST}")


def test_another_reference_is_resolved_anew() -> None:
    assert _pinned("registry/member:18", _service(f"{REFERENCE} {DIGEST}")) == (
        "registry/member:18",
        "registry/member:18",
    )


def test_a_service_that_does_not_exist_yet_has_nothing_resolved() -> None:
    assert _pinned(REFERENCE, None) == (REFERENCE, REFERENCE)
