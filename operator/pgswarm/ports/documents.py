"""The documents in a folder: what people ask for, or everything that is wrong with it.

`read` never raises for what a person wrote: it gives the clusters that are right and every mistake there is, each with
file, line, column, path and what would be accepted. A file is taken as a whole: with one mistake in it none of its
documents count, so that a half-edited file changes nothing (the last good document stays in force in the record).
The same holds between files: two documents that cannot both be true are both left out.

`watch` only says *that* something may have changed; whoever is woken reads again. The doorbell is the kernel's
(watchfiles), and because a doorbell may be dead - a network file system, a folder removed and made anew, an editor
that renames - the folder is looked at every second as well.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import watchfiles
from loguru import logger

from pgswarm.core.spec import PostgresCluster
from pgswarm.ports.documents_clashes import clashes
from pgswarm.ports.documents_words import cluster_of, show_path
from pgswarm.ports.documents_yaml import Mistake, Spot, Tree, trees

SUFFIXES = frozenset({".yaml", ".yml"})
MOST_BYTES = 1_000_000
"""A document goes into the labels of a Swarm object, which holds no more; a real one has a thousand."""
LOOK_EVERY = 1.0
"""Seconds between two looks at a folder whose doorbell is silent."""
GATHER = 0.2
"""Seconds in which several changes are one."""

STEP = 0.2
"""Seconds between two looks of the watcher's thread at what the kernel has told it; each takes the interpreter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentError:
    """One mistake, in one line."""

    source: str
    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}"
        return f"{place}: {self.path}: {self.text}" if self.path else f"{place}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One good document and where it was found."""

    cluster: PostgresCluster
    source: str
    line: int
    edited_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What a reading gave."""

    clusters: tuple[Found, ...] = ()
    errors: tuple[DocumentError, ...] = ()


def read(*places: str | os.PathLike[str]) -> Documents:
    """Read files, and folders of `*.yaml` and `*.yml`; blocks for a few milliseconds.

    A folder that is not there has no documents: an operator runs on every manager, and most have none.
    """
    good: list[tuple[Found, Tree]] = []
    errors: list[DocumentError] = []
    for place in places:
        for path in _files(Path(place), errors):
            found, wrong = _read_file(path)
            good += [] if wrong else found
            errors += wrong
    kept = _without_clashes(good, errors)
    return Documents(clusters=tuple(kept), errors=tuple(errors))


def parse(text: str, source: str) -> Documents:
    """The documents in a text that is in no file, by the same rules as `read`."""
    good, errors = _read_text(text, source, 0.0)
    found = tuple(_without_clashes(good, errors))
    return Documents(clusters=found, errors=tuple(errors))


def _files(place: Path, errors: list[DocumentError]) -> list[Path]:
    try:
        if not place.is_dir():
            return [place] if place.suffix in SUFFIXES or os.path.lexists(place) else []
        return sorted(path for path in place.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        errors.append(_whole_file(place, f"cannot be read: {_reason(error)}"))
        return []


def _read_file(path: Path) -> tuple[list[tuple[Found, Tree]], list[DocumentError]]:
    try:
        edited_at = path.stat().st_mtime
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        return [], [_whole_file(path, f"cannot be read: {_reason(error)}")]
    if len(raw) > MOST_BYTES:
        return [], [_whole_file(path, f"is larger than {MOST_BYTES // 1_000_000} MB; a document has a thousand bytes")]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        return [], [_error(str(path), Mistake(Spot(line, column), (), "is not UTF-8; save the file as UTF-8"))]
    return _read_text(text, str(path), edited_at)


def _read_text(text: str, source: str, edited_at: float) -> tuple[list[tuple[Found, Tree]], list[DocumentError]]:
    found: list[tuple[Found, Tree]] = []
    errors: list[DocumentError] = []
    for tree in trees(text):
        if isinstance(tree, Mistake):
            errors.append(_error(source, tree))
            continue
        cluster, wrong = cluster_of(tree)
        errors += [_error(source, mistake) for mistake in wrong]
        if cluster is not None:
            found.append((Found(cluster=cluster, source=source, line=tree.start.line, edited_at=edited_at), tree))
    if not found and not errors:
        errors.append(_error(source, Mistake(Spot(1, 1), (), "is empty; a document begins with apiVersion and kind")))
    return found, errors


def _without_clashes(good: list[tuple[Found, Tree]], errors: list[DocumentError]) -> Iterator[Found]:
    """Leave out the documents that contradict each other, and say so at each of them."""
    left_out: set[int] = set()
    for clash in clashes([found.cluster for found, _ in good]):
        for mine, other in ((clash.one, clash.other), (clash.other, clash.one)):
            found, tree = good[mine.index]
            theirs = good[other.index][0]
            spot = next(
                (tree.values[mine.path[:n]] for n in range(len(mine.path), -1, -1) if mine.path[:n] in tree.values),
                tree.start,
            )
            text = f"{clash.text} {theirs.cluster.name!r} ({theirs.source}:{theirs.line})"
            errors.append(_error(found.source, Mistake(spot, mine.path, text)))
            left_out.add(mine.index)
    return (found for index, (found, _) in enumerate(good) if index not in left_out)


def _error(source: str, mistake: Mistake) -> DocumentError:
    return DocumentError(
        source=source,
        line=mistake.spot.line,
        column=mistake.spot.column,
        path=show_path(mistake.path),
        text=mistake.text,
    )


def _whole_file(path: Path, text: str) -> DocumentError:
    return _error(str(path), Mistake(Spot(1, 1), (), text))


def _reason(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "it does not exist"
        case PermissionError():
            return "permission denied"
        case IsADirectoryError():
            return "it is a folder"
        case _:
            return (error.strerror or str(error)).lower()


async def watch(folder: str | os.PathLike[str]) -> AsyncIterator[None]:
    """Say whenever the documents in the folder may have changed, for ever; the folder need not exist.

    The first word comes at once: whoever reads after it misses nothing.
    """
    place = Path(folder)
    seen = (await anyio.to_thread.run_sync(_look, place)).signature
    yield
    while True:
        async for look in _looks(place):
            if look.signature != seen:
                seen = look.signature
                logger.debug("documents in {} have changed", place)
                yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look at the folder sees."""

    identity: tuple[int, int] | None
    """Which folder it is; None if there is none."""
    signature: tuple[object, ...]


async def _looks(place: Path) -> AsyncIterator[_Look]:
    """Look at each change the kernel speaks of and at least every LOOK_EVERY seconds, until the folder is another."""
    identity = (await anyio.to_thread.run_sync(_look, place)).identity
    if identity is None:
        await anyio.sleep(LOOK_EVERY)
        yield await anyio.to_thread.run_sync(_look, place)
        return
    try:
        async for _ in watchfiles.awatch(
            place,
            watch_filter=None,
            debounce=int(GATHER * 1000),
            step=int(STEP * 1000),
            rust_timeout=int(LOOK_EVERY * 1000),
            yield_on_timeout=True,
            recursive=False,
        ):
            look = await anyio.to_thread.run_sync(_look, place)
            yield look
            if look.identity != identity:
                return
    except (OSError, RuntimeError) as error:
        logger.debug("documents in {}: no wake-ups ({}), looking every {:g} s", place, error, LOOK_EVERY)
        await anyio.sleep(LOOK_EVERY)
        yield await anyio.to_thread.run_sync(_look, place)


def _look(place: Path) -> _Look:
    return _Look(identity=_identity(place), signature=_signature(place))


def _identity(place: Path) -> tuple[int, int] | None:
    try:
        state = place.stat()
    except OSError:
        return None
    return (state.st_dev, state.st_ino)


def _signature(place: Path) -> tuple[object, ...]:
    """Changes whenever a document may have: the names, times, sizes and inodes of the files."""
    ignored: list[DocumentError] = []
    return tuple(_stamp(path) for path in _files(place, ignored)) + tuple(error.text for error in ignored)


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        state = path.stat()
    except OSError:
        return (path.name,)
    return (path.name, state.st_mtime_ns, state.st_size, state.st_ino)


def errors_in_lines(errors: Iterable[DocumentError]) -> list[str]:
    """Every error as its line, in the order of files and lines."""
    return [str(error) for error in sorted(errors, key=lambda e: (e.source, e.line, e.column))]
