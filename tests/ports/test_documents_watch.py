"""Being told of changes: by the kernel at once, and without it within a second or two."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio

from pgswarm.ports import documents

DEADLINE = 8.0


@contextlib.asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A watch that has taken its first look; what it yields waits for the next wake-up, or fails after DEADLINE."""
    send, receive = anyio.create_memory_object_stream[None](100)

    async def pump() -> None:
        async for _ in documents.watch(folder):
            await send.send(None)

    async def wake_up() -> None:
        with anyio.fail_after(DEADLINE):
            await receive.receive()

    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(pump)
        await wake_up()
        yield wake_up
        tasks.cancel_scope.cancel()


def ways_of_changing(folder: Path) -> list[Callable[[], object]]:
    """The ways in which people and editors change a folder, one after the other."""
    path = folder / "main.yaml"

    def rename_over() -> None:
        (folder / "main.yaml.tmp").write_text("renamed, as editors do")
        (folder / "main.yaml.tmp").rename(path)

    def make_the_folder_anew() -> None:
        path.unlink()
        folder.rmdir()
        folder.mkdir()
        path.write_text("made anew")

    def write(text: str) -> Callable[[], object]:
        return lambda: path.write_text(text)

    return [
        write("one"),
        write("another"),
        rename_over,
        make_the_folder_anew,
        write("after the folder was made anew"),
        path.unlink,
    ]


async def test_every_way_of_changing_a_folder_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    async with watching(folder) as wake_up:
        for change in ways_of_changing(folder):
            change()
            await wake_up()


async def test_a_folder_that_appears_later_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with watching(folder) as wake_up:
        folder.mkdir()
        (folder / "main.yaml").write_text("hello")
        await wake_up()


async def test_a_change_is_noticed_within_a_second_when_the_kernel_tells(tmp_path: Path) -> None:
    times = []
    async with watching(tmp_path) as wake_up:
        for number in range(3):
            (tmp_path / f"{number}.yaml").write_text("hello")
            began = anyio.current_time()
            await wake_up()
            times.append(anyio.current_time() - began)
    assert min(times) < 1.0
