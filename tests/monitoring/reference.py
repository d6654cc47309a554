"""docs/reference/metrics.md from the catalogue: `python -m tests.monitoring.reference > docs/reference/metrics.md`."""

from __future__ import annotations

from collections.abc import Iterable

from pgswarm.core import metrics, metrics_cluster
from pgswarm.core.metrics import Metric

HEAD = """\
# Metrics

Made from the catalogue in the code (`python -m tests.monitoring.reference`); a test holds it to what is exported, and
the dashboard and the alerts of `stack/monitoring/` to this.

| where | port, on the control network | path |
|---|---|---|
| every operator | 8011 | `/metrics`; `/targets` says where all others are (Prometheus' `http_sd_configs`) |
| every member | 8009 | `/metrics` |
| every router's agent | 8010 | `/metrics` |
| HAProxy itself | the document's `statsPort` (8404), also on the node | `/metrics`: HAProxy's own `haproxy_…` |

**Who may read them.** They hold numbers, names of members, databases and nodes, and the kinds of steps: no statement,
no address, no secret. They are answered on the control network only, where nobody is but operators, members, routers
and whom a person attaches to it, and there to everybody. Whoever wants a token sets `PGSWARM_METRICS_SECRET`
(docs/operations.md, *Metrics and alerts*); then a scrape brings it as a bearer token. HAProxy's own port is published
for its statistics page: who can reach that port can read these.

**What it costs.** Nothing is gathered between scrapes. A scrape of a member asks PostgreSQL four light questions over
one connection; answers serve everybody for a second, sizes of databases for a minute. What PostgreSQL does not answer
in time is left out, and the rest is told.

Every series carries `cluster`, and `member` or `router`. Each operator tells its own view of a cluster; the view that
counts is that of the operator that acts: `… and on (instance, cluster) pgswarm_cluster_acting == 1`.
"""


def text() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            *_section("Operator", metrics_cluster.OPERATOR),
            *_section("Member", metrics.MEMBER),
            *_section("Router", metrics.ROUTER),
            *_section("Each of these processes", metrics.PROCESS),
        ]
    )


def _section(title: str, many: Iterable[Metric]) -> list[str]:
    rows = [f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {one.help} |" for one in many]
    return [f"## {title}", "", "| name | kind | labels | meaning |", "|---|---|---|---|", *rows, ""]


if __name__ == "__main__":
    print(text(), end="")
