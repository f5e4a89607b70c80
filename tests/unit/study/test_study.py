"""A study file is read whole or refused with the key, the line and what would be accepted."""

from __future__ import annotations

import re

import pytest

from xlwh.errors import StudyError
from xlwh.study import load

GOOD = """
name = "s"
languages = ["en", "de"]
data_root = "data"

[datasets.xnli]
reader = "xnli"
path = "xnli"

[models.base]
path = "base"
datasets = ["xnli"]

[models.tuned.finetune]
base = "base"
dataset = "xnli"
languages = ["en"]

[spaces.own]
kind = "input_embeddings"
pivot = "en"

[consistency]
space = "own"
"""


@pytest.fixture
def study(tmp_path):
    def write(old: str = "", new: str = "") -> object:
        assert old in GOOD
        path = tmp_path / "study.toml"
        path.write_text(GOOD.replace(old, new, 1) if old else GOOD + new, encoding="utf-8")
        return load(path)

    return write


def test_a_study_is_frozen_and_resolved(study, tmp_path, monkeypatch):
    read = study()
    assert read.folder == tmp_path
    assert read.data_path("x") == tmp_path / "data" / "x"
    monkeypatch.setenv("XLWH_DATA_ROOT", "/elsewhere")
    assert str(read.data_path("x")) == "/elsewhere/x"
    assert read.source_languages("tuned") == ("en",)
    assert read.source_languages("base") == ("en",)
    with pytest.raises(Exception, match="frozen"):
        read.name = "other"


def test_a_checkpoint_says_in_which_languages_it_was_finetuned_elsewhere(study):
    said = study('path = "base"', 'path = "base"\nfinetuned_languages = ["de"]')
    assert said.source_languages("base") == ("de",)
    with pytest.raises(StudyError, match="for a checkpoint made elsewhere"):
        study(
            "[models.tuned.finetune]", '[models.tuned]\nfinetuned_languages = ["de"]\n[models.tuned.finetune]'
        )


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('reader = "xnli"', 'reader = "xnli"\nspilt = "dev"', 8, "unknown key; accepted here: reader, path"),
        ('dataset = "xnli"', 'dataset = "xnli"\nepoch = 2', 17, "unknown key; accepted here: base, dataset"),
        ('name = "s"', 'name = "s"\nlanguage = "en"', 3, "unknown key; accepted here: name, languages"),
        ('reader = "xnli"\n', "", 6, "`datasets.xnli.reader`: missing"),
        ('path = "xnli"\n', "", 6, "give exactly one of `path` and `hub`"),
        ('path = "base"', 'hub = "a/b"', 10, "a hub model needs `revision`, a 40-character commit"),
        ('path = "base"', 'hub = "a/b"\nrevision = "main"', 12, "no 40-character commit. `xlwh pin` writes"),
        ('languages = ["en", "de"]', "languages = []", 3, "at least 1 item"),
        ('languages = ["en", "de"]', 'languages = "en"', 3, "valid tuple"),
        (
            'datasets = ["xnli"]',
            'datasets = ["xnil"]',
            12,
            "no dataset `xnil` in this study; there are: xnli",
        ),
        ('base = "base"', 'base = "bsae"', 15, "no model `bsae` in this study; there are: base, tuned"),
        ('base = "base"', 'base = "tuned"', 15, "tuned -> tuned is a cycle"),
        (
            'languages = ["en"]',
            'languages = ["fr"]',
            17,
            "no language `fr` in this study; there are: de, en",
        ),
        ('space = "own"', 'space = "won"', 24, "no space `won` in this study; there are: own"),
        ('space = "own"', 'space = "own"\nmethods = ["gradcam"]', 25, "no attribution method `gradcam`"),
        ('pivot = "en"\n', "", 19, "needs `pivot`"),
        ('name = "s"', 'name = "s/../t"', 2, "pattern"),
        ('name = "s"', 'name = "s"\nfolder = "x"', 3, "unknown key `folder`"),
        ("", "\n[attribution]\nbatch_tokens = 1\n", 27, "greater than or equal to 64"),
        ("", "\n[attribution.methods.lig]\ntolerance = 0\n", 27, "greater than 0"),
    ],
)
def test_a_fault_is_told_with_its_line(study, tmp_path, old, new, line, message):
    with pytest.raises(StudyError, match=re.escape(message)) as raised:
        study(old, new)
    assert str(raised.value).startswith(f"{tmp_path / 'study.toml'}, line {line}:")


def test_files_that_are_no_studies(tmp_path):
    with pytest.raises(StudyError, match=r"No study file .*study\.toml\. Make one with: xlwh init"):
        load(tmp_path)
    (tmp_path / "study.toml").write_text("name = ")
    with pytest.raises(StudyError, match="not valid TOML: Invalid value"):
        load(tmp_path)
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(StudyError, match="cannot be read"):
        load(tmp_path)
