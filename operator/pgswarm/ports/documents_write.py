"""A document as a file again: what `pgswarm get` prints can be edited and applied."""

from __future__ import annotations

import yaml

from pgswarm.core.spec import PostgresCluster


def as_yaml(cluster: PostgresCluster) -> str:
    """As it was written, without defaults, in the order of the schema."""
    text: str = yaml.safe_dump(
        cluster.model_dump(mode="json", by_alias=True, exclude_unset=True),
        sort_keys=False,
        allow_unicode=True,
        width=120,
    )
    return text
