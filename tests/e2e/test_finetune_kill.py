"""`kill -9` at random moments of a fine-tuning: what is resumed ends with the bits of an undisturbed run."""

from __future__ import annotations

import json
import random
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("finetune_child.py")
WORLD = runpy.run_path(str(CHILD))
REPORTS = runpy.run_path(str(CHILD.with_name("nursery.py")))["reports"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A world in which the training ran through, and how long that took; beside it an untouched one."""
    root = tmp_path_factory.mktemp("kill")
    WORLD["make_world"](root / "new")
    shutil.copytree(root / "new", root / "whole")
    (report,) = REPORTS(CHILD, root / "whole", [float("inf")])
    assert not report["killed"]
    return root, report["ran"]


def state(root: Path) -> dict[str, Any]:
    """All that must be equal: the bytes of the checkpoint, its record and its row, without times."""
    (folder,) = (root / "warehouse" / "models" / "tuned").iterdir()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    record = json.loads(files.pop("training.json"))
    for timed in ("duration_s", "sessions"):
        record.pop(timed)
    for point in record["curve"]:
        point.pop("seconds")
    row = WORLD["context"](root).warehouse.scan("models", model="tuned").drop("duration_s").collect()
    return {"name": folder.name, "files": files, "record": record, "row": row.to_dicts()}


def survive(undisturbed: tuple[Path, float], world: Path, seed: int, kills: int) -> int:
    """Kill and resume, then compare; how many processes were really killed."""
    root, whole = undisturbed
    shutil.copytree(root / "new", world)
    generator = random.Random(seed)
    # From within the start to about two thirds; as each goes on where the former was, the end is hit too.
    moments = [whole * generator.uniform(0.1, 0.7) for _ in range(kills)]
    reports = REPORTS(CHILD, world, [*moments, float("inf")])
    assert not reports[-1]["killed"], f"seed {seed}"
    complete = sorted(state(root / "whole")["files"] | {"training.json": b""})
    for report in reports:
        assert report["published"] in ([], [complete]), f"seed {seed}"
    assert state(world) == state(root / "whole"), f"seed {seed}"
    leftover = [path.name for path in (world / "warehouse" / "staging" / "finetune").iterdir()]
    assert leftover == ["tuned.lock"], f"seed {seed}"
    return sum(report["killed"] for report in reports)


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments(undisturbed: tuple[Path, float], tmp_path: Path, count: int) -> None:
    killed = rounds = 0
    while killed < count:
        rounds += 1
        assert rounds < 10 * count, "the processes end before they are killed"
        seed = random.SystemRandom().randrange(10**9)
        killed += survive(undisturbed, tmp_path / f"world-{rounds}", seed, kills=min(6, count))
