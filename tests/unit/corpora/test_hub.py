from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlwh import corpora
from xlwh.errors import CorpusError

from .conftest import Read, checked, study_of

ROWS = {"premise": ["a", "b", " "], "hypothesis": ["c", "d", "e"], "label": [0, 2, 1], "idx": [7, 8, 9]}
NLI = {"text": "premise", "text_pair": "hypothesis", "label": "label"}
NAMES = ["entailment", "neutral", "contradiction"]


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets", reason="the extra `hub` is not installed")


def features(datasets: Any) -> Any:
    text = datasets.Value("string")
    label = datasets.ClassLabel(names=NAMES)
    return datasets.Features(premise=text, hypothesis=text, label=label, idx=datasets.Value("int64"))


def read_saved(root: Path, language: str = "en", **dataset: Any) -> corpora.Reading:
    return checked(corpora.read(study_of(root, [language], reader="hub", **dataset), "d", language))


def test_saved_dataset_with_splits(datasets: Any, tmp_path: Path) -> None:
    saved = datasets.Dataset.from_dict(ROWS, features=features(datasets))
    datasets.DatasetDict(validation=saved, test=saved.select([0])).save_to_disk(tmp_path / "nli")
    reading = read_saved(tmp_path, path="nli", options=NLI)
    assert reading.examples.select("example_id", "text", "text_pair", "label", "task").rows() == [
        ("00000", "a", "c", "entailment", "sentence_pair"),
        ("00001", "b", "d", "contradiction", "sentence_pair"),
    ]
    assert reading.rejected.select("row_number", "reason").rows() == [(2, "empty text")]
    assert read_saved(tmp_path, path="nli", split="test", options=NLI | {"id": "idx"}).examples[
        "example_id"
    ].to_list() == ["7"]
    with pytest.raises(
        CorpusError, match=r"no split `train`; there are: validation, test.*datasets\.d\.split"
    ):
        read_saved(tmp_path, path="nli", split="train", options=NLI)
    with pytest.raises(CorpusError, match="no column `nope`; there are: premise, hypothesis, label, idx"):
        read_saved(tmp_path, path="nli", options=NLI | {"text": "nope"})


def test_saved_dataset_per_language_and_after_selection(datasets: Any, tmp_path: Path) -> None:
    saved = datasets.Dataset.from_dict(ROWS, features=features(datasets))
    for language in ("en", "de"):
        saved.select([1, 0]).save_to_disk(tmp_path / "nli" / language)
    study = study_of(tmp_path, ["en", "de"], reader="hub", path="nli", options=NLI | {"config": "{language}"})
    reading = checked(corpora.read(study, "d", "de"))
    assert reading.examples["text"].to_list() == ["b", "a"]
    assert corpora.locate(study, "d", "de").identity()
    shared = study_of(tmp_path, ["en", "de"], reader="hub", path="nli/en", options=NLI)
    with pytest.raises(CorpusError, match="would be read as each of en, de"):
        corpora.read(shared, "d", "de")


def test_damaged_saved_dataset(datasets: Any, tmp_path: Path) -> None:
    datasets.Dataset.from_dict(ROWS, features=features(datasets)).save_to_disk(tmp_path / "nli")
    (arrow,) = (tmp_path / "nli").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(CorpusError, match="nli"):
        read_saved(tmp_path, path="nli", options=NLI)


def test_parquet_folder_with_class_names_and_nested_columns(datasets: Any, tmp_path: Path) -> None:
    data = {
        "tokens": [["a", "b"], ["c"], ["d"]],
        "ner_tags": [[0, 1], [1], [5]],
        "translation": [{"en": "x", "de": "y"}] * 3,
        "label": [0, -1, 4],
    }
    tags = datasets.ClassLabel(names=["O", "B-PER"])
    types = datasets.Features(
        tokens=datasets.List(datasets.Value("string")),
        ner_tags=datasets.List(tags),
        translation={"en": datasets.Value("string"), "de": datasets.Value("string")},
        label=datasets.ClassLabel(names=["no", "yes"]),
    )
    # ClassLabel checks its range when encoding, so the wrong numbers are written behind its back.
    table = pa.table(data, schema=types.arrow_schema)
    (tmp_path / "ds" / "data").mkdir(parents=True)
    pq.write_table(table.slice(0, 2), tmp_path / "ds/data/validation-00000-of-00002.parquet")
    pq.write_table(table.slice(2), tmp_path / "ds/data/validation-00001-of-00002.parquet")
    (tmp_path / "ds" / "ds.py").write_text("raise SystemExit('code of a dataset was run')")
    tagged = read_saved(tmp_path, path="ds", options={"words": "tokens", "word_labels": "ner_tags"})
    assert tagged.examples.select("example_id", "text", "word_labels", "task").rows() == [
        ("00000", "a b", ["O", "B-PER"], "token_classification"),
        ("00001", "c", ["B-PER"], "token_classification"),
    ]
    assert tagged.rejected.select("source_file", "row_number", "reason").rows() == [
        ("ds/data/validation-00001-of-00002.parquet", 0, "unknown label `5`")
    ]
    options = {"text": "translation.en", "text_pair": "translation.{language}", "task": "translation"}
    pairs = read_saved(tmp_path, "de", path="ds", options=options)
    assert pairs.examples.select("example_id", "text", "text_pair", "task").unique("text").rows() == [
        ("00000", "x", "y", "translation")
    ]
    labels = read_saved(tmp_path, path="ds", options={"text": "translation.en", "label": "label"})
    assert labels.examples["label"].to_list() == ["no", None]


def test_folder_of_json_lines_needs_no_library(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    row = {"q": "What?", "c": "Why that?", "a": {"text": ["that"], "answer_start": [4]}, "id": "x"}
    late = {**row, "id": "y", "a": {"text": ["that"], "answer_start": [5]}}
    options = {"text": "q", "text_pair": "c", "answers": "a", "id": "id"}
    files = {"en/validation.jsonl": f"{json.dumps(row)}\n{json.dumps(late)}\nnull\n"}
    reading = read(files, "en", ["en", "de"], reader="hub", options=options)
    assert reading.examples.select("example_id", "task", "answers").rows() == [
        ("x", "question_answering", [{"text": "that", "start": 4}])
    ]
    assert list(reading.reasons()) == ["the answer is not found at its answer_start", "not a JSON object"]
    with pytest.raises(CorpusError, match=r"a/b@0+ was not fetched into the hub cache .*Run: xlwh fetch"):
        read({}, reader="hub", path=None, hub="a/b", revision="0" * 40, options={"text": "q"})
    with pytest.raises(CorpusError, match=r"xlwh\[hub\]"):
        read({"saved/state.json": "{}"}, reader="hub", path="saved", options={"text": "q"})


def test_texts_that_are_lists_are_joined_where_the_study_says_by_what(read: Read) -> None:
    rows = [
        {"text": "a b", "words": ["c", "d e"]},
        {"text": "f", "words": ["g"]},
        {"text": "h", "words": []},
        {"text": "i", "words": ["j", 1]},
        {"text": "k", "words": "l"},
    ]
    content = {"dev.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
    options = {"text": "text", "text_pair": "words", "splits": {"dev": "dev"}}
    joined = read(content, reader="hub", options=options | {"join": "; "})
    assert joined.examples["text_pair"].to_list() == ["c; d e", "g", "l"]
    assert set(joined.rejected["reason"]) == {"no list of strings `words`"}
    refused = read(content, reader="hub", options=options)
    assert refused.examples["text_pair"].to_list() == ["l"]
    assert refused.reasons()["no string `words`, but a list: set `options.join`"] == 3


def test_a_folder_without_the_split(read: Read) -> None:
    with pytest.raises(CorpusError, match=r"no files of split `train`.*datasets\.d\.options\.file"):
        read({"ds/validation.jsonl": "{}"}, reader="hub", path="ds", split="train", options={"text": "q"})


def test_a_script_is_no_data(read: Read) -> None:
    with pytest.raises(CorpusError, match="no format is known"):
        read({"ds.py": "raise SystemExit"}, reader="hub", path="ds.py", options={"text": "q"})


def test_a_configuration_that_is_not_there_is_not_replaced_by_the_folder_above(read: Read) -> None:
    files = {"de/validation.jsonl": '{"s": "ein Text"}\n', "validation.jsonl": '{"s": "some text"}\n'}
    options = {"text": "s", "config": "{language}"}
    assert read(files, "de", ["de", "fr"], reader="hub", options=options).examples["text"].to_list() == [
        "ein Text"
    ]
    with pytest.raises(CorpusError, match=r"no folder .*fr, which `datasets.d.options.config` names"):
        read(files, "fr", ["de", "fr"], reader="hub", options=options)


@pytest.mark.parametrize("names", [("de.jsonl", "en.jsonl"), ("dev-de-0.jsonl", "dev-fr-0.jsonl")])
def test_files_of_several_languages_are_never_merged(read: Read, names: tuple[str, str]) -> None:
    files = dict.fromkeys(names, '{"s": "a text"}\n')
    with pytest.raises(CorpusError, match="files of different languages"):
        read(files, "de", reader="hub", options={"text": "s", "file": "*.jsonl"})
    shards = {"x/en-de-0.jsonl": '{"s": "a text"}\n', "x/en-de-1.jsonl": '{"s": "a text"}\n'}
    assert read(shards, "de", reader="hub", options={"text": "s", "file": "x/*.jsonl"}).records == 2
