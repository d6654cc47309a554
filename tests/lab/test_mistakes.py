"""A user's mistakes are said in one clear line with what to do, in `status` too, and nothing is half-done.

Each test has a small cluster of its own, which it takes away again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from house import Whole, no_longer

from pgswarm.drill.stage import Broken, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

SMALL = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {name}}}
spec:
  postgres: {{parameters: {{shared_buffers: 32MB}}{image}}}
  instances:
    - {{name: only, node: {node}, volume: {volume}}}
  router:
    {{name: {name}-ha, port: {port}, readOnlyPort: 7433, statsPort: 7404, healthPort: 7405, nodes: [{router_node}]}}
"""

Begin = Callable[..., None]


@pytest.fixture
def begin(whole: Whole) -> Iterator[Begin]:
    """Apply a small document beside the big one; everything of it is gone afterwards."""
    names: list[str] = []

    def apply(name: str, **given: str) -> None:
        names.append(name)
        node = whole.stage.nodes[0]
        words = {"node": node, "router_node": node, "volume": f"{name}-only", "port": "7432", "image": ""}
        whole.stage.write_document(whole.document() + "---\n" + SMALL.format(name=name, **{**words, **given}))

    yield apply
    whole.stage.write_document(whole.document())
    for name in names:
        _quietly(whole, "config", "rm", f"pgswarm.{name}")  # first: what is stored is made again
        for service in (f"{name}_only", f"{name}_{name}-ha_{whole.stage.nodes[0]}"):
            _quietly(whole, "service", "rm", service)


def test_an_unknown_node_is_named_with_the_known_ones(whole: Whole, begin: Begin) -> None:
    begin("lost", node="nowhere")
    said = _said(whole, "lost", "nowhere")
    assert all(node in said for node in whole.stage.nodes)


def test_an_image_that_is_nowhere_is_named(whole: Whole, begin: Begin) -> None:
    begin("noimage", image=", image: pgswarm/no-such-image:1")
    assert "pgswarm/no-such-image" in _said(whole, "noimage", "no-such-image")


def test_a_port_that_is_taken_is_said(whole: Whole, begin: Begin) -> None:
    begin("taken", port="5432")
    assert "port 5432 (spec.router.port)" in _said(whole, "taken", "is published")


def test_a_volume_with_somebody_elses_data_is_never_touched(whole: Whole, begin: Begin) -> None:
    volume = "foreign-only"
    whole.stage.docker("volume", "create", volume)
    folder = whole.stage.docker("volume", "inspect", volume, "--format", "{{.Mountpoint}}").strip()
    script = f"mkdir -p {folder}/pgdata && echo 17 > {folder}/pgdata/PG_VERSION && chown -R 999:999 {folder}"
    whole.stage.lab("exec", "1", "--", "sh", "-c", script)
    begin("foreign", volume=volume)
    assert volume in _said(whole, "foreign", "already holds data")
    assert whole.stage.lab("exec", "1", "--", "cat", f"{folder}/pgdata/PG_VERSION").strip() == "17"


def test_one_broken_cluster_does_not_delay_another(whole: Whole, begin: Begin) -> None:
    begin("hangs", node="nowhere")
    _said(whole, "hangs", "nowhere")
    before = whole.primary()
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(before))
        whole.stage.docker("kill", victim.id, node=victim.node)
        no_longer(writing.goes_on(), 10)
        whole.another_primary_than(before)


def _said(whole: Whole, cluster: str, word: str) -> str:
    """What status says of a cluster, on one line, once it contains the words."""

    def look() -> str | None:
        text = " ".join(whole.stage.pgswarm("status", cluster).split())
        return text if word in text else None

    said = wait_for(look, f"{word!r} in the status of {cluster}", 90, lambda: whole.stage.picture(cluster))
    assert "Traceback" not in said
    return said


def _quietly(whole: Whole, *words: str) -> None:
    try:
        whole.stage.docker(*words)
    except Broken:
        return  # was never made
