"""Which files of a repository are a configuration's split, in every form in which datasets lie on the hub."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer

from xlwh import corpora
from xlwh.corpora.hub import needed
from xlwh.corpora.hub_layout import CARD, Layout, card_of
from xlwh.corpora.registry import request_of
from xlwh.errors import CorpusError
from xlwh.sources.hub import bring

from .conftest import checked, study_of

NLI = {"text": "premise", "text_pair": "hypothesis", "label": "label"}


def parquet(language: str, labels: list[int], names: list[str] | None = None) -> bytes:
    """Pairs as `datasets` writes them: classes as numbers, their names in the file's metadata, if at all."""
    rows = {
        "premise": [f"premise {n} {language}" for n in range(len(labels))],
        "hypothesis": [f"hypothesis {n} {language}" for n in range(len(labels))],
        "label": labels,
    }
    table = pa.table(rows)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def card(front: str) -> str:
    return f"---\n{front}\n---\n# A dataset\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.delenv("XLWH_MIRROR", raising=False)
    with HubServer() as server:
        server.use(monkeypatch, tmp_path / "cache")
        yield server


def names_of(names: list[str], front: str, language: str = "de", **dataset: Any) -> list[str]:
    """Names of the files that a dataset reads."""
    said = {"reader": "hub", "hub": "org/ds", "revision": "a" * 40, **dataset}
    said["options"] = {"text": "premise", **said.get("options", {})}
    study = study_of(Path("."), ["de", "en"], **said)
    layout = Layout((CARD, *names), card_of(card(front) if front else "", CARD))
    return list(needed(layout, request_of(study, "d", language)))


SPLIT = """
configs:
- config_name: de
  data_files:
  - split: train
    path: de/train-*
  - split: validation
    path: de/validation-*
"""
FORMS: dict[str, tuple[str, list[str], dict[str, Any], list[str]]] = {
    "entries of splits": (SPLIT, ["de/train-0.parquet", "de/validation-0.parquet", "en/validation-0.parquet"],
        {"options": {"config": "{language}"}}, ["de/validation-0.parquet"]),
    "the only configuration": (SPLIT, ["de/validation-0.parquet"], {}, ["de/validation-0.parquet"]),
    "shards": (SPLIT, [f"de/validation-0000{n}-of-00002.parquet" for n in (0, 1)], {},
        [f"de/validation-0000{n}-of-00002.parquet" for n in (0, 1)]),
    "a list of paths": ("configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: [a.csv, b.csv]",
        ["a.csv", "b.csv", "c.csv"], {"split": "test"}, ["a.csv", "b.csv"]),
    "a mapping": ("configs:\n- config_name: x\n  data_files:\n    train: x.jsonl\n    dev: y.jsonl",
        ["x.jsonl", "y.jsonl"], {"options": {"splits": {"dev": "dev"}}}, ["y.jsonl"]),
    "one pattern, all of it train": ("configs:\n- config_name: x\n  data_files: data/*.jsonl",
        ["data/1.jsonl", "data/a/2.jsonl"], {"split": "train"}, ["data/1.jsonl"]),
    "any depth": ("configs:\n- config_name: x\n  data_files: data/**/*.jsonl",
        ["data/a/2.jsonl", "x.jsonl"], {"split": "train"}, ["data/a/2.jsonl"]),
    "a default": ("configs:\n- config_name: b\n  default: true\n  data_files: b.csv\n- config_name: c\n  data_files: c.csv",
        ["b.csv", "c.csv"], {"split": "train"}, ["b.csv"]),
    "below data_dir": ("configs:\n- config_name: x\n  data_dir: sub\n  data_files:\n  - split: test\n    path: test-*",
        ["sub/test-0.csv", "test-0.csv"], {"split": "test"}, ["sub/test-0.csv"]),
    "data_dir alone": ("configs:\n- config_name: x\n  data_dir: sub", ["sub/test.csv", "test.csv"],
        {"split": "test"}, ["sub/test.csv"]),
    "Norwegian": ("configs:\n- config_name: no\n  data_files: no/*.csv\n- config_name: on\n  data_files: on/*.csv",
        ["no/1.csv", "on/1.csv"], {"split": "train", "options": {"config": "no"}}, ["no/1.csv"]),
    "no card, folders": ("", ["de/validation-0.parquet", "de/train-0.parquet"],
        {"options": {"config": "{language}"}}, ["de/validation-0.parquet"]),
    "no card, data": ("license: mit", ["data/validation-0.parquet", "data/train-0.parquet"], {},
        ["data/validation-0.parquet"]),
    "no card, flat": ("", ["train.csv", "validation.csv", "test.csv"], {}, ["validation.csv"]),
    "the hub's conversion": ("", ["de/validation/0000.parquet", "de/validation/0001.parquet", "de/train/0000.parquet"],
        {"options": {"config": "{language}"}}, ["de/validation/0000.parquet", "de/validation/0001.parquet"]),
    "the hub's conversion of one": ("", ["default/test/0000.parquet"], {"split": "test"}, ["default/test/0000.parquet"]),
    "one shard, named by the study": (SPLIT, ["de/validation-00000-of-00002.parquet"],
        {"options": {"file": "de/validation-00000-of-00002.parquet"}}, ["de/validation-00000-of-00002.parquet"]),
    "named by the study": (SPLIT, ["other/de.csv", "other/en.csv"], {"options": {"file": "other/{language}.csv"}},
        ["other/de.csv"]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_files_of_a_split(form: str) -> None:
    front, names, dataset, expected = FORMS[form]
    assert names_of(names, front, **dataset) == expected


TWO = "configs:\n- config_name: b\n  data_files: b.csv\n- config_name: c\n  data_files: c.csv"
WRONG: dict[str, tuple[str, list[str], dict[str, Any], str]] = {
    "no such configuration": (SPLIT, ["x"], {"options": {"config": "fr"}},
        r"org/ds@a+: no configuration `fr`; there are: de\. Change `datasets\.d\.options\.config`"),
    "one of several": (TWO, ["b.csv"], {"split": "train"}, r"has 2 configurations: b, c\. Name one: `datasets\.d\.options\.config`"),
    "no such split": (SPLIT, ["x"], {"split": "test"}, r"`de` has no split `test`; there are: train, validation\..*options\.splits"),
    "no such file": (SPLIT, ["x"], {}, r"its card names de/validation-\* .*there is no such file\. It has: README.md, x\."),
    "a shard is missing": (SPLIT, ["de/validation-00000-of-00002.parquet"], {},
        r"of the 2 files de/validation-...-of-00002, 1 are not there: 00001\. The commit lacks them: pin another one"),
    "a shard with a digest is missing": ("", ["data/validation-00001-of-00002-0a1b.parquet"], {}, r"1 are not there: 00000"),
    "the study's file": (SPLIT, ["x"], {"options": {"file": "y"}}, r"no file `y`, which `datasets\.d\.options\.file` names"),
    "nothing fits": ("", ["x.csv"], {}, r"no files of split `validation`.*x\.csv.*options\.file"),
    "a script": ("", ["ds.py", "x.zip"], {}, r"made by a script, `ds\.py`, which is never run: pin .*refs/convert/parquet"),
    "no such folder": ("", ["x.csv"], {"options": {"config": "de"}}, r"no configuration and no folder `de`"),
    "no YAML": ("configs: [", [], {}, r"README.md: its front matter is not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_there_is_told_with_what_is(what: str) -> None:
    front, names, dataset, told = WRONG[what]
    with pytest.raises(CorpusError, match=told):
        names_of(names, front, **dataset)


def fetched(hub: HubServer, files: dict[str, bytes | str], **dataset: Any) -> Any:
    """The study of a dataset whose every file is in the cache."""
    commit = hub.add_dataset("org/ds", files)
    bring("dataset", "org/ds", commit, list(files))
    return study_of(Path("."), ["de"], reader="hub", hub="org/ds", revision=commit, **dataset)


NAMES = ["entailment", "neutral", "contradiction"]
LABELLED = """
configs:
- config_name: de
  data_files:
  - split: test
    path: {pattern}
dataset_info:
  config_name: de
  features:
  - name: label
    dtype:
      class_label:
        names:
          '0': entailment
          '1': neutral
          '2': contradiction
  - name: tags
    sequence:
      class_label:
        names: [O, B-PER]
"""


def test_class_names_of_parquet_and_withheld_labels(hub: HubServer) -> None:
    files = {"test.parquet": parquet("de", [0, 2, -1, 1], NAMES)}
    study = fetched(hub, files, split="test", options=NLI)
    reading = checked(corpora.read(study, "d", "de"))
    assert reading.examples["label"].to_list() == ["entailment", "contradiction", None, "neutral"]
    assert reading.rejected.is_empty()
    assert reading.files == (f"hub/org/ds@{study.datasets['d'].revision}/test.parquet",)
    assert corpora.locate(study, "d", "de").identity() == [
        f"hub:org/ds@{study.datasets['d'].revision}/test.parquet"
    ]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_class_names_of_the_card(suffix: str, hub: HubServer) -> None:
    rows = [(f"a premise {n}", f"a hypothesis {n}", label) for n, label in enumerate((0, 2, -1, 1))]
    data: bytes | str = parquet("de", [0, 2, -1, 1])
    if suffix == "csv":
        data = "premise,hypothesis,label\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    if suffix == "jsonl":
        keys = ("premise", "hypothesis", "label")
        data = "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    files = {CARD: card(LABELLED.format(pattern=f"test.{suffix}")), f"test.{suffix}": data}
    study = fetched(hub, files, split="test", options=NLI | {"config": "de"})
    reading = checked(corpora.read(study, "d", "de"))
    assert reading.examples["label"].to_list() == ["entailment", "contradiction", None, "neutral"]


def test_tags_of_the_card(hub: HubServer) -> None:
    rows = [{"words": ["Frau", "Weiß"], "tags": [0, 1]}, {"words": ["ja"], "tags": [0]}]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    files = {CARD: card(LABELLED.format(pattern="test.jsonl")), "test.jsonl": data}
    study = fetched(hub, files, split="test", options={"words": "words", "word_labels": "tags"})
    assert corpora.read(study, "d", "de").examples["word_labels"].to_list() == [["O", "B-PER"], ["O"]]


def test_a_glance_looks_at_what_was_fetched(hub: HubServer) -> None:
    files = {"test.parquet": parquet("de", [0, 1, 2], NAMES)}
    glance = corpora.locate(fetched(hub, files, split="test", options=NLI), "d", "de").glance()
    assert glance.examples is not None
    assert glance.examples.height == glance.rows == 3
    study = fetched(hub, files, split="test", options=NLI | {"text": "nope"})
    with pytest.raises(CorpusError, match="no column `nope`; there are: premise, hypothesis, label"):
        corpora.locate(study, "d", "de").glance()


def test_what_is_missing_of_the_files_is_never_read_around(hub: HubServer) -> None:
    files: dict[str, bytes | str] = {
        f"test-0000{n}-of-00002.parquet": parquet(f"de{n}", [0], NAMES) for n in (0, 1)
    }
    commit = hub.add_dataset("org/ds", files)
    bring("dataset", "org/ds", commit, ["test-00000-of-00002.parquet"])
    study = study_of(
        Path("."), ["de"], reader="hub", hub="org/ds", revision=commit, split="test", options=NLI
    )
    with pytest.raises(
        CorpusError, match=r"was not fetched .*: test-00001-of-00002\.parquet\. .*Run: xlwh fetch"
    ):
        corpora.read(study, "d", "de")


def test_one_file_is_not_read_as_two_languages(hub: HubServer) -> None:
    study = fetched(hub, {"test.parquet": parquet("de", [0], NAMES)}, split="test", options=NLI)
    two = study.model_copy(update={"languages": ("de", "en")})
    with pytest.raises(CorpusError, match="would be read as each of de, en"):
        corpora.read(two, "d", "de")
