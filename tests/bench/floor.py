"""The floor: `kill -9` of a bare primary to the first write on its standby, on a lab node, in our own image."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.bench import Bench, Json

SCRIPT = Path(__file__).with_name("floor_bare.py")


def run(bench: Bench) -> Json:
    stage = bench.stage()
    image = f"{stage.environment['PGSWARM_REGISTRY']}pgswarm/member:dev"
    times = bench.times(20)
    words = ("run", "--rm", "--interactive", "--init", "--entrypoint", "python3", image, "-", str(times))
    taken = json.loads(stage.docker(*words, text=SCRIPT.read_text(), deadline=60 + 20 * times))
    return {"seconds": taken}
