"""`xlwh plan`: what a run would make is what it then makes; nothing is written, and time is told from what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xlwh.demo import study_path
from xlwh.steps.history import History
from xlwh.store import Warehouse


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_plan_of_the_demo_makes_nothing_and_loads_neither_torch_nor_dagster(tmp_path):
    script = f"""
import sys
from xlwh.cli import main
code = main(["plan", "--json", "--no-probe", "--study", {str(study_path())!r}, "--warehouse", {str(tmp_path / "w")!r}])
assert not {{"torch", "transformers", "dagster"}} & set(sys.modules)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    steps = {step["step"]: step for step in plan["steps"]}
    assert plan["missing"] == []
    # Whether a step has anything to do in a language follows from what its inputs will be.
    assert {
        name: (each["to_make"], each["not_applicable"]) for name, each in steps.items() if name in SOME
    } == SOME
    assert all(each["waiting"] == each["fresh"] == 0 for each in steps.values())
    assert not (tmp_path / "w").exists()


SOME = {
    "examples": (18, 24),
    "models": (8, 0),
    "predictions": (15, 33),
    "attributions": (21, 27),
    "ccta_pairs": (12, 36),
    "concept_labels": (0, 8),
    "concept_matches": (2, 6),
}


def test_what_is_planned_is_what_is_made(tiny_study, xlwh):
    def planned(*arguments):
        code, out, errors = xlwh("plan", "--json", "--no-probe", *arguments, "--study", tiny_study)
        plan = json.loads(out)
        assert code == (1 if plan["missing"] else 0), errors
        return plan, {step["step"]: step for step in plan["steps"]}

    _, steps = planned()
    assert steps["ccta_pairs"]["to_make"] == 6
    # An input that this run does not make is missing; one that it makes is not.
    plan, steps = planned("tokens", "-m", "plain")
    assert steps["tokens"]["waiting"] == 3
    assert any("xlwh materialize examples" in text for text in plan["missing"])
    assert planned("+tokens", "-m", "plain")[0]["missing"] == []
    assert not Path("warehouse").exists()

    code, _, errors = xlwh("materialize", "--study", tiny_study)
    assert code == 0, errors
    before = _tree(Path("warehouse"))
    _, after = planned()
    assert {name: step["fresh"] for name, step in after.items()} == {
        name: step["to_make"] for name, step in planned("--force")[1].items()
    }
    assert all(step["to_make"] == step["waiting"] == 0 for step in after.values())
    assert _tree(Path("warehouse")) == before

    # Why: the setting itself where it reaches a step, and what is behind it.
    tiny_study.write_text(tiny_study.read_text().replace("max_examples = 6", "max_examples = 5"))
    plan, steps = planned()
    assert steps["attributions"]["to_make"] > 0
    assert any("limit is 5, was 6" in why for why in steps["attributions"]["why"]), steps["attributions"]
    assert steps["tokens"]["to_make"] == 0
    # From what they took before.
    assert all(step["estimate"]["seconds"] > 0 for step in steps.values() if step["to_make"])

    # With fewer examples: all is made anew for less, and nothing is written.
    before = _tree(Path("warehouse"))
    shares = planned("--force", "--cuts")[0]["cuts"]
    assert [each["share"] for each in shares] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert shares[0]["set"] == {}
    assert shares[1]["set"]["attribution.max_examples"] == 3
    costs = [each["everything"] for each in shares]
    assert 0 < costs[-1]["with_models_s"] < costs[-1]["seconds"] < costs[0]["seconds"]
    assert all(each["unknown_jobs"] == 0 for each in costs)
    assert shares[0]["half_width"]["attributions"] < shares[1]["half_width"]["attributions"]
    _, out, _ = xlwh("plan", "--force", "--cuts", "--no-probe", "--study", tiny_study)
    assert "attribution.max_examples" in out
    assert "50%" in out
    assert _tree(Path("warehouse")) == before


@pytest.mark.slow
def test_without_history_a_few_examples_are_measured(tiny_study, xlwh):
    code, out, errors = xlwh("plan", "--json", "--study", tiny_study)
    assert code == 0, errors
    plan = json.loads(out)
    estimates = {step["step"]: step["estimate"] for step in plan["steps"] if step["to_make"]}
    assert all(estimate is not None for estimate in estimates.values()), estimates
    assert set(plan["measured"]["models"]) >= {"base", "tuned"}
    assert not Path("warehouse").exists()
    assert xlwh("materialize", "--study", tiny_study)[0] == 0
    took: dict[str, float] = {}
    for made in History(Warehouse("warehouse").root).of_this_machine():
        took[made.step] = took.get(made.step, 0.0) + made.seconds
    told = sum(estimate["seconds"] for estimate in estimates.values())
    real = sum(took[name] for name in estimates)
    # Jobs of milliseconds on a busy machine: the order of magnitude.
    assert real / 8 < told < 8 * real
