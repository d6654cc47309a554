"""A cluster that its file no longer names goes on and is told of; one that is being deleted is left alone."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from pgswarm.core.wish import Deletion
from tests.loop.test_edges import living, status, until
from tests.loop.town import Town

pytestmark = pytest.mark.anyio


async def test_what_there_is_of_a_cluster_that_its_file_no_longer_names_is_in_the_status(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    async with living(town) as house:
        await until(town.is_whole)
        town._keep(town.store["main"].model_copy(update={"source": "node3:/etc/pgswarm/main.yaml:1"}))
        await until(lambda: str(status(house)["document"]).startswith("node3:/"))
        assert status(house)["orphaned"] == []
        for file in (tmp_path / "d").glob("*.yaml"):
            file.unlink()
        await until(lambda: bool(status(house)["orphaned"]))
        first, *rest = status(house)["orphaned"]
        assert "no longer names it; it goes on as it was; `pgswarm delete main` takes it down" in first
        assert any(line.startswith("members, the primary last: ") for line in rest)
        assert town.is_whole()


async def test_an_operator_does_nothing_for_a_cluster_that_is_being_deleted(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    async with living(town) as house:
        await until(town.is_whole)
        stored = town.store["main"]
        assert stored.record is not None
        marked = stored.record.amended("being deleted", deletion=Deletion(by="ann", since=1.0))
        town._keep(stored.model_copy(update={"record": marked}))
        await until(lambda: any("being deleted by ann" in text for text in status(house)["waits"]))
        before = list(town.effects)
        town.members["main/a"].kill()
        with anyio.move_on_after(5.0):
            await until(lambda: town.effects != before)
        assert town.effects == before
        assert town.record() == marked
