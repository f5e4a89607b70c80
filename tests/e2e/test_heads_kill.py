"""`kill -9` at random moments of sampling heads: what a rerun ends with has the bytes of an undisturbed run."""

from __future__ import annotations

import random
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from xlwh.store import Warehouse

CHILD = Path(__file__).with_name("heads_child.py")
WORLD = runpy.run_path(str(CHILD))
REPORTS = runpy.run_path(str(CHILD.with_name("nursery.py")))["reports"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A world in which nothing is sampled yet, and what an undisturbed run in another one made."""
    root = tmp_path_factory.mktemp("kill")
    WORLD["make_world"](root / "new")
    shutil.copytree(root / "new", root / "whole")
    (report,) = REPORTS(CHILD, root / "whole", [float("inf")])
    assert len(report["rounds"]) >= 20
    return root / "new", report


def survive(undisturbed: tuple[Path, dict[str, Any]], world: Path, seed: int, kills: int) -> int:
    """Kill and run again, then compare; how many processes were really killed."""
    new, whole = undisturbed
    shutil.copytree(new, world)
    generator = random.Random(seed)
    # As each goes on where the former was, the whole way is hit, its end too.
    moments = [whole["ran"] * generator.uniform(0.1, 0.6) for _ in range(kills)]
    reports = REPORTS(CHILD, world, [*moments, float("inf")])
    for report in reports:
        assert report["rounds"].items() <= whole["rounds"].items(), f"seed {seed}"
    assert reports[-1]["rounds"] == whole["rounds"], f"seed {seed}"
    findings = {finding.kind for finding in Warehouse(world / "warehouse").check(deep=True)}
    assert findings <= {"orphan_file", "stale_catalogue"}, f"seed {seed}"
    return sum(report["killed"] for report in reports)


@pytest.mark.parametrize("count", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_random_moments(undisturbed: tuple[Path, float], tmp_path: Path, count: int) -> None:
    killed = rounds = 0
    while killed < count:
        rounds += 1
        assert rounds < 10 * count, "the processes end before they are killed"
        seed = random.SystemRandom().randrange(10**9)
        killed += survive(undisturbed, tmp_path / f"world-{rounds}", seed, kills=min(6, count))
