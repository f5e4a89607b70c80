"""Where a study is another one than a paper's."""

from __future__ import annotations

import tomllib

import pytest

from xlwh.errors import StudyError
from xlwh.papers import PAPERS, SIZES, compose, settings
from xlwh.report.papers.settings import ABSENT, Difference, differences, grouped, read_settings

PAPER = """
name = "paper"
languages = ["en", "de"]
seed = 1

[datasets.paws-x]
reader = "hub"
hub = "x/paws"
options = { config = "{language}" }

[models.base]
hub = "x/base"

[models.tuned]
datasets = ["paws-x"]
published_as = "mBERT"
finetune = { base = "base", dataset = "paws-x", languages = ["en"], epochs = 3 }

[attribution.methods.lig]

[consistency]
space = "vectors"

[heads.samplers.main]
max_rows = 100
"""


def found(study: str, paper: str = PAPER) -> dict[str, tuple[str, str]]:
    return {
        each.key: (each.paper, each.here) for each in differences(tomllib.loads(paper), tomllib.loads(study))
    }


def test_the_paper_s_own_study_does_not_differ():
    assert found(PAPER) == {}
    assert (
        found(PAPER.replace('"paper"', '"mine"') + '\n[faithfulness]\n[datasets.more]\nreader = "xnli"\n')
        == {}
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed = 1", "seed = 2", {"seed": ("1", "2")}),
        ("seed = 1", "", {"seed": ("1", "0")}),
        ('["en", "de"]', '["en"]', {"languages": ('["en", "de"]', '["en"]')}),
        # More languages, methods or samplers are no difference of the paper.
        ('["en", "de"]', '["fr", "de", "en"]', {}),
        ("[attribution.methods.lig]", "[attribution.methods.lig]\n[attribution.methods.deeplift]", {}),
        ("max_rows = 100", "max_rows = 100\n[heads.samplers.mine]\nmax_rows = 9", {}),
        ("max_rows = 100", "max_rows = 90", {"heads.samplers.main.max_rows": ("100", "90")}),
        # A default is what a key that is not set says.
        ('"x/paws"', '"x/paws"\nsplit = "dev"', {}),
        ('"x/paws"', '"x/paws"\nsplit = "test"', {"datasets.paws-x.split": ('"dev"', '"test"')}),
        ("{language}", "{other}", {"datasets.paws-x.options.config": ('"{language}"', '"{other}"')}),
        ("epochs = 3", "epochs = 1", {"models.tuned.finetune.epochs": ("3", "1")}),
        ("[consistency]\nspace", "[other]\nspace", {"consistency": ("in the paper's study", ABSENT)}),
        (
            "[attribution.methods.lig]",
            "[attribution.methods.deeplift]",
            {"attribution.methods.lig": ("in the paper's study", ABSENT)},
        ),
    ],
)
def test_what_differs_is_told_by_key(old, new, expected):
    assert old in PAPER
    assert found(PAPER.replace(old, new)) == expected


def test_models_and_datasets_are_matched_by_what_they_are():
    renamed = (
        PAPER.replace("[models.tuned]", "[models.mine]")
        .replace("[models.base]", "[models.hub]")
        .replace('base = "base"', 'base = "hub"')
        .replace("[datasets.paws-x]", "[datasets.PAWSX]")
        .replace('"paws-x"', '"PAWSX"')
        .replace('"mBERT"', '"m-bert"')
    )
    assert found(renamed) == {}
    other = renamed.replace('languages = ["en"]', 'languages = ["de"]')
    assert found(other)["models.tuned"] == ("in the paper's study", ABSENT)


def test_of_models_with_one_name_that_on_the_same_data_is_meant():
    both = (
        PAPER
        + '\n[models.tuned2]\npublished_as = "mBERT"\ndatasets = ["xnli"]\n[models.tuned2.finetune]\nbase = "base"\ndataset = "xnli"\nlanguages = ["en"]\nepochs = 7\n'
    )
    mine = (
        both.replace("[models.tuned]", "[models.a]")
        .replace("tuned2", "b")
        .replace("epochs = 7", "epochs = 8")
    )
    assert found(mine, both) == {"models.tuned2.finetune.epochs": ("7", "8")}


def test_what_differs_alike_is_one_line():
    lines = [Difference(f"models.m{n}.finetune.epochs", "3", "1") for n in range(8)]
    lines += [Difference("models.m0.max_length", "3", "1"), Difference("seed", "3", "1")]
    assert grouped(lines) == [
        Difference("models.*.finetune.epochs (8: m0, m1, m2, m3, m4, m5 and 2 more)", "3", "1"),
        *lines[8:],
    ]
    gone = [Difference(f"datasets.d{n}", "in the paper's study", ABSENT) for n in range(3)]
    assert [each.key for each in grouped(gone)] == ["datasets.* (3: d0, d1, d2)"]


@pytest.mark.parametrize("paper", PAPERS)
def test_of_an_own_size_just_what_it_changes_differs(paper, tmp_path):
    for size in SIZES:
        (tmp_path / "study.toml").write_text(compose(paper, size), encoding="utf-8")
        read = read_settings(tmp_path / "study.toml")
        told = differences(settings(paper), read)
        if size == "full":
            assert told == []
            continue
        changed = _leaves(settings(paper, size)) ^ _leaves(settings(paper))
        keys = {key for key, _ in changed} - {"name"}
        for each in told:
            assert any(key == each.key or key.startswith(f"{each.key}.") for key in keys), each
        assert told


def _leaves(table, at=""):
    found = set()
    for key, value in table.items():
        found |= _leaves(value, f"{at}{key}.") if isinstance(value, dict) else {(f"{at}{key}", repr(value))}
    return found


def test_a_file_that_is_no_study_is_refused(tmp_path):
    (tmp_path / "study.toml").write_text("name = ")
    with pytest.raises(StudyError, match=r"study\.toml cannot be read"):
        read_settings(tmp_path / "study.toml")
