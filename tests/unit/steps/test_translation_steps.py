"""A study that makes a text-to-text model from nothing, trains it, and scores what it writes."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sacrebleu.metrics import BLEU

from xlwh.errors import MissingDataError, ModelError
from xlwh.models import Zoo
from xlwh.models.predictions import HEADS, Rows
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse
from xlwh.study import load

NOUNS = [("cat", "Katze"), ("cow", "Kuh"), ("mouse", "Maus"), ("duck", "Ente"), ("bee", "Biene")]
VERBS = [("sleeps", "schläft"), ("sings", "singt"), ("eats", "isst"), ("runs", "rennt")]
PAIRS = [(f"The {a} {c}.", f"Die {b} {d}.") for a, b in NOUNS for c, d in VERBS]
STUDY = """
name = "test"
languages = ["de"]

[datasets.pairs]
reader = "parallel"
path = "data"
split = "train"
options = { file = "train.{side}.gz", source = "en" }

[attribution.methods.lig]
tolerance = 0.2
max_rows = 32

[models.blank.scratch]
dataset = "pairs"
vocab_size = 120

[models.blank.scratch.config]
d_model = 32
d_kv = 8
num_heads = 4
d_ff = 64
num_layers = 1
num_decoder_layers = 1
dropout_rate = 0.0

[models.en-de]
datasets = ["pairs"]
generation = { max_tokens = 16 }

[models.en-de.finetune]
base = "blank"
dataset = "pairs"
languages = ["de"]
epochs = 10
batch_size = 2
learning_rate = 1e-2
patience = 100
evaluations_per_epoch = 1
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for side, language in enumerate(("en", "de")):
        text = "".join(f"{pair[side]}\n" for pair in PAIRS)
        (tmp_path / "data" / f"train.{language}.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def context_of(folder: Path, *changes: tuple[str, str]) -> Context:
    text = (folder / "study.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "study.toml").write_text(text)
    made, warehouse = load(folder), Warehouse(folder / "warehouse", create=True)
    return Context(made, warehouse, Zoo(made, warehouse, device="cpu"))


def status(step: str, context: Context, **key: str) -> str:
    return str(run(STEPS[step], context, Key(**key)).status)


def test_from_nothing_to_bleu(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(study)
    with pytest.raises(MissingDataError, match="xlwh materialize examples --dataset pairs --language de"):
        run(STEPS["models"], context, Key(model="blank"))
    assert status("examples", context, dataset="pairs", language="de") == "written"
    for model in ("blank", "en-de"):
        assert status("models", context, model=model) == "written"
        assert status("models", context, model=model) == "fresh"
    rows = context.warehouse.scan("models").sort("model").collect().to_dicts()
    assert [(row["kind"], row["task"], row["source"]) for row in rows] == [
        ("scratch", "translation", "pairs"),
        ("finetuned", "translation", "blank"),
    ]
    assert [row["translated_from"] for row in rows] == [None, "en"]
    assert rows[0]["vocab_size"] <= 120
    assert rows[1]["dev_score"] > 0.5

    key = {"model": "en-de", "language": "de"}
    with pytest.raises(MissingDataError, match="xlwh materialize predictions --model en-de --language de"):
        run(STEPS["translation_statistics"], context, Key(**key))
    # A run that is stopped after its first checkpoint goes on there.
    written, head = [], replace(HEADS["translation"], at_once=8)
    monkeypatch.setitem(HEADS, "translation", head)

    def stopping(*arguments: Any) -> Rows:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(head.rows(*arguments))
        return written[0]

    with monkeypatch.context() as patch:
        patch.setitem(HEADS, "translation", replace(head, rows=stopping))
        with pytest.raises(KeyboardInterrupt):
            run(STEPS["predictions"], context, Key(**key))
    assert context.warehouse.current(Slot("predictions", ("en-de", "de"), "pairs")) is None
    calls: list[tuple[str, int, int]] = []
    context.progress = lambda *call: calls.append(call)
    assert status("predictions", context, **key) == "written"
    assert (calls[0], calls[-1]) == (("pairs: predictions", 8, 20), ("pairs: predictions", 20, 20))
    assert status("predictions", context, **key) == "fresh"

    found = context.warehouse.scan("predictions").collect()
    assert sorted(found["label"]) == sorted(target for _, target in PAIRS)
    assert (found["logits"].list.len() == found["probabilities"].list.len()).all()
    assert 0 < found["probabilities"].explode().min() <= found["probabilities"].explode().max() <= 1
    assert found["num_tokens"].min() > 1
    outputs = context.warehouse.scan("translations").collect()
    assert outputs["example_id"].sort().to_list() == found["example_id"].sort().to_list()
    assert outputs["max_tokens"].unique().to_list() == [16]
    assert 2 < outputs["num_written"].min() <= outputs["num_written"].max() <= 16
    # A text of the most sub-tokens is cut unless the last of them ended it; no shorter one is.
    assert outputs.filter("is_cut")["num_written"].unique().to_list() in ([], [16])
    assert status("translation_statistics", context, **key) == "written"
    assert status("translation_statistics", context, **key) == "fresh"
    score = BLEU().corpus_score(found["predicted"].to_list(), [found["label"].to_list()]).score
    scores = context.warehouse.scan("task_scores").collect()
    assert scores.filter(metric="bleu")["value"].item() == pytest.approx(score / 100)
    assert score > 30
    assert scores["metric"].sort().to_list() == ["bleu", "chrf"]

    # A sub-token of each translation is explained by those of its source.
    for step in ("tokens", "attributions"):
        assert status(step, context, **key) == "written"
        assert status(step, context, **key) == "fresh"
    runs = context.warehouse.scan("attribution_runs").collect()
    assert runs.height == 2 * len(PAIRS)
    assert runs["target"].str.contains(r"^\d+:output$").all()
    lig = runs.filter(method="lig").join(found, on="example_id")
    place = lig["target"].str.extract(r"^(\d+)").cast(pl.Int64)
    logits = [row[index] for row, index in zip(lig["logits"].to_list(), place.to_list(), strict=True)]
    assert lig["f_input"].to_list() == pytest.approx(logits, abs=1e-4)
    words = context.warehouse.scan("word_attributions").filter(method="lig").collect()
    assert set(words["word"]) <= {word.strip(".") for pair in PAIRS for word in pair[0].split()} | {"."}
    assert words.height > len(PAIRS)

    # Other settings of the generation need no training, but other translations.
    other = context_of(study, ("max_tokens = 16", "max_tokens = 3, beams = 2"))
    assert status("models", other, model="en-de") == "fresh"
    assert status("predictions", other, **key) == "written"
    assert status("translation_statistics", other, **key) == "written"
    # Three sub-tokens are too few for any of them: that is said, and every score says how often.
    short = other.warehouse.scan("translations").collect()
    assert short.select("num_written", "max_tokens", "is_cut").unique().rows() == [(3, 3, True)]
    scores = other.warehouse.scan("task_scores").collect()
    assert scores["num_cut_outputs"].to_list() == [len(PAIRS)] * 2


def test_a_tokenizer_can_be_taken_from_another_model(study: Path) -> None:
    context = context_of(
        study,
        ("[models.en-de]\n", '[models.other.scratch]\ntokenizer_of = "blank"\nseed = 1\n\n[models.en-de]\n'),
    )
    status("examples", context, dataset="pairs", language="de")
    with pytest.raises(MissingDataError, match="xlwh materialize models --model blank"):
        run(STEPS["models"], context, Key(model="other"))
    for model in ("blank", "other"):
        assert status("models", context, model=model) == "written"
    pins = [context.zoo.pin(model) for model in ("blank", "other")]
    assert pins[0].tokenizer_hash == pins[1].tokenizer_hash
    assert pins[0].weight_hash != pins[1].weight_hash


def test_a_bad_shape_names_the_model_and_leaves_nothing(study: Path) -> None:
    context = context_of(study, ("d_model = 32", "d_modell = 32"))
    status("examples", context, dataset="pairs", language="de")
    with pytest.raises(ModelError, match=r"models\.blank\.scratch\.config: d_modell: no value of a `t5`"):
        run(STEPS["models"], context, Key(model="blank"))
    assert not (study / "warehouse" / "models").exists()
