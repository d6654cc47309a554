"""What every part has in common: the lab, the folder of results, the machine, and a voice.

A part's results are one JSON file. A part that takes long notes each sample as it comes (`Notes`), so that one that was
interrupted goes on where it was, on the same commit; what it had by then is in the document, marked as a part of it. A
finished part is measured anew when it is asked for again.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgswarm.drill.stage import TOP, LabStage, run
from pgswarm.drill.whole import Whole, install

FOLDER = TOP / "artefacts" / "bench"

Json = dict[str, Any]


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    tell: Callable[[str], None]
    quick: bool = False
    """A small number of samples, to see that a part works."""
    folder: Path = FOLDER
    _whole: Whole | None = None
    _built: bool = False
    _versions: Json = field(default_factory=dict)

    def times(self, wanted: int) -> int:
        """How many samples: what is wanted, or just enough to try."""
        return max(1, min(2, wanted)) if self.quick else wanted

    def stage(self) -> LabStage:
        """The lab, up, with images of this tree."""
        run([str(TOP / "stack" / "lab" / "lab"), "up"], text=None, deadline=900, environment=None)
        stage = LabStage()
        stage.lab("heal", "all")
        if not self._built:
            stage.lab("images", "--pull")
            self._built = True
        self._ask_versions(stage)
        return stage

    def whole(self) -> Whole:
        """A cluster of three members on it, installed once for all parts that need one."""
        if self._whole is None:
            run([str(TOP / "stack" / "lab" / "lab"), "up"], text=None, deadline=900, environment=None)
            self._whole = install(LabStage(), self.tell)
            self._built = True
            self._ask_versions(self._whole.stage)
        return self._whole

    def _ask_versions(self, stage: LabStage) -> None:
        """Of what is inside the lab: the engine, and what the images hold."""
        if self._versions:
            return

        def inside(image: str, *words: str) -> str:
            where = f"{stage.environment['PGSWARM_REGISTRY']}pgswarm/{image}:dev"
            said = stage.docker("run", "--rm", "--entrypoint", words[0], where, *words[1:], deadline=60)
            found = re.search(r"\d+\.\d+(\.\d+)?", said)
            return found[0] if found else "unknown"

        self._versions = {
            "engine": stage.docker("version", "--format", "{{.Server.Version}}").strip(),
            "PostgreSQL": inside("member", "postgres", "--version"),
            "HAProxy": inside("router", "haproxy", "-v"),
            "Python": inside("operator", "python3", "--version"),
        }

    def write(self, part: str, figures: Json, took: float, *, partial: bool = False) -> None:
        kept = {
            "part": part,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "took": round(took, 1),
            "quick": self.quick,
            "partial": partial,
            "commit": commit(),
            "machine": {**machine(), "versions": self._versions},
            "figures": figures,
        }
        _save(self.folder / f"{part}.json", kept)

    def notes(self, part: str) -> Notes:
        return Notes(self.folder / f"{part}.partial.json")

    def keep(self, part: str, took: float) -> int:
        """Make a result of the samples of a part that did not come to its end; how many they are."""
        notes = self.notes(part)
        if notes.samples:
            self.write(part, notes.figures(), took, partial=True)
        return len(notes.samples)

    def close(self) -> None:
        """Leave nothing on the lab but the lab."""
        if self._whole is not None:
            self._whole.repair()
            self._whole.remove()
            self._whole = None


class Notes:
    """Samples of a part that is under way."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.samples: list[Json] = []
        self.broken: list[str] = []
        self._commit = commit()
        if file.exists():
            kept = json.loads(file.read_text())
            if kept["commit"] == self._commit:
                self.samples, self.broken = kept["samples"], kept["broken"]

    def add(self, sample: Json) -> None:
        self.samples.append(sample)
        self._save()

    def add_broken(self, text: str) -> None:
        """A sample that did not come to its end."""
        self.broken.append(text)
        self._save()

    def _save(self) -> None:
        _save(self._file, {"commit": self._commit, "samples": self.samples, "broken": self.broken})

    def of(self, **wanted: object) -> list[Json]:
        return [one for one in self.samples if all(one.get(key) == value for key, value in wanted.items())]

    def figures(self) -> Json:
        """What the samples say together."""
        return {
            "samples": self.samples,
            "broken": self.broken,
            "acknowledged": sum(one.get("acknowledged", 0) for one in self.samples),
            "missing": sum(one.get("missing", 0) for one in self.samples),
        }

    def close(self) -> None:
        self._file.unlink(missing_ok=True)


def commit() -> str:
    """Which tree was measured; a tree with changes says so."""
    there = run(["git", "-C", str(TOP), "rev-parse", "--short=10", "HEAD"], text=None, deadline=20, environment=None)
    changed = ["git", "-C", str(TOP), "status", "--porcelain", "--untracked-files=no", "operator", "stack", "tests"]
    return there.strip() + ("+" if run(changed, text=None, deadline=20, environment=None).strip() else "")


def machine() -> Json:
    """What it was measured on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cores": os.cpu_count(),
        "cpu": cpu,
        "memory_gib": round(memory / 2**20),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[2], 2),
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines()


def _save(file: Path, kept: Json) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(kept, indent=1))
    new.rename(file)
