"""A tiny study that is complete: a parallel corpus in three languages, a random encoder, dictionaries, a study file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUBJECTS = {"en": "cat dog child", "de": "Katze Hund Kind", "es": "gato perro niño"}
VERBS = {"en": "sleeps eats sings", "de": "schläft isst singt", "es": "duerme come canta"}
NOT = {"en": "not", "de": "nicht", "es": "no"}
LABELS = ("entailment", "neutral", "contradiction")

STUDY = """
name = "tiny"
languages = ["en", "de", "es"]
data_root = "data"

[datasets.nli]
reader = "xnli"
path = "nli"

[datasets.nli-en]
reader = "xnli"
path = "nli"
languages = ["en"]

[models.base]
path = "base"
labels = ["entailment", "neutral", "contradiction"]

[models.plain]
path = "base"
datasets = ["nli"]
labels = ["entailment", "neutral", "contradiction"]
max_length = 32

[models.tuned]
datasets = ["nli"]
max_length = 32
finetune = { base = "base", dataset = "nli-en", languages = ["en"], dev_dataset = "nli-en", epochs = 1, batch_size = 4, max_length = 32, evaluations_per_epoch = 1 }

[attribution]
max_examples = 6
[attribution.methods.lig]
tolerance = 0.05
max_rows = 200
[attribution.methods.random]
draws = 2

[spaces.own]
kind = "input_embeddings"
pivot = "en"
dictionaries = { de = "en-de.txt", es = "en-es.txt" }

[consistency]
space = "own"
methods = ["lig", "random"]
draws = 3
"""


def _rows(language: str) -> list[tuple[str, str, str]]:
    subjects, verbs = SUBJECTS[language].split(), VERBS[language].split()
    rows = []
    for number in range(9):
        subject, verb = subjects[number % 3], verbs[number // 3]
        other = verbs[(number // 3 + 1) % 3]
        second = (f"{subject} {verb}", f"{subject} {other}", f"{subject} {NOT[language]} {verb}")[number % 3]
        rows.append((f"{subject} {verb} .", f"{second} .", LABELS[number % 3]))
    return rows


def _checkpoint(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    words = {
        word for language in SUBJECTS for row in _rows(language) for text in row[:2] for word in text.split()
    }
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    tokenizer = BertTokenizer(vocab={piece: n for n, piece in enumerate(pieces)}, do_lower_case=False)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_study(folder: Path) -> Path:
    """Write the study with everything it needs into a new folder; returns the study file."""
    data = folder / "data"
    (data / "nli").mkdir(parents=True)
    for language in SUBJECTS:
        lines = ["\t".join(row) + "\n" for row in _rows(language)]
        (data / "nli" / f"dev-{language}.tsv").write_text("".join(lines), encoding="utf-8")
    for language in ("de", "es"):
        pairs = zip(
            (SUBJECTS["en"] + " " + VERBS["en"]).split(),
            (SUBJECTS[language] + " " + VERBS[language]).split(),
            strict=True,
        )
        (data / f"en-{language}.txt").write_text("".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")
    _checkpoint(folder / "base")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    return folder / "study.toml"


@pytest.fixture(scope="session")
def make_study() -> Callable[[Path], Path]:
    """Writes the study into a folder."""
    return write_study


@pytest.fixture
def tiny_study(tmp_path: Path) -> Path:
    """Path of the study file."""
    return write_study(tmp_path / "tiny")


@pytest.fixture
def xlwh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process, in an empty folder; returns the exit code, what was printed, and errors."""
    from xlwh.cli import main

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("XLWH_STUDY", "XLWH_WAREHOUSE", "XLWH_DATA_ROOT", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
