"""The copy of a study that is measured: cut to a few examples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from xlwh.study import Study
from xlwh.upkeep.probe import cut


def test_parts_of_one_file_are_still_two_and_skip_no_more_than_the_study(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "name": "s",
        "languages": ["en", "de"],
        "folder": tmp_path,
        "datasets": {
            name: {"reader": "xnli", "path": "x", "languages": ["en"], **part}
            for name, part in {"train": {"max_examples": 24}, "rest": {"skip_examples": 24}}.items()
        },
        "models": {
            "base": {"path": "base"},
            "tuned": {
                "finetune": {"base": "base", "dataset": "train", "dev_dataset": "rest", "languages": ["en"]}
            },
        },
    }
    planner = SimpleNamespace(
        study=Study.model_validate(said),
        warehouse=SimpleNamespace(root=tmp_path / "warehouse"),
        pin=lambda name: SimpleNamespace(folder=tmp_path / name),
    )
    for batches in (1, 100):
        found = cut(cast(Any, planner), ["base", "tuned"], 4, batches).datasets
        assert found["rest"].skip_examples is not None
        assert found["train"].max_examples is not None
        assert found["train"].max_examples <= found["rest"].skip_examples <= 24


def test_a_study_of_a_handful_is_not_measured_with_more_than_it_has(tmp_path: Path) -> None:
    study = Study.model_validate(
        {
            "name": "s",
            "languages": ["en", "de"],
            "folder": tmp_path,
            "datasets": {"nli": {"reader": "xnli", "path": "x", "max_examples": 3}},
            "models": {"m": {"path": "m", "datasets": ["nli"]}},
            "attribution": {"max_examples": 3, "methods": {"lig": {}, "random": {}}},
            "faithfulness": {"max_examples": 2},
            "heads": {
                "datasets": {"nli": "nli"},
                "max_examples": 2,
                "max_evaluated": 3,
                "samplers": {"rows": {"max_rows": 16, "round_permutations": 2}},
            },
        }
    )
    planner = SimpleNamespace(
        study=study,
        warehouse=tmp_path / "warehouse",
        pin=lambda name: SimpleNamespace(folder=tmp_path / name),
    )
    found = cut(cast(Any, planner), ["m"], 20, 15)
    assert found.heads is not None
    assert found.faithfulness is not None
    sampler = found.heads.samplers["rows"]
    told = [
        found.datasets["nli"].max_examples,
        found.attribution.max_examples,
        found.faithfulness.max_examples,
    ]
    told += [
        found.heads.max_examples,
        found.heads.max_evaluated,
        sampler.max_rows,
        sampler.round_permutations,
    ]
    assert told == [3, 3, 2, 2, 3, 16, 2]
