"""Tagging end to end: fine-tuned on two languages jointly, then a row for every gold word."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from xlwh.corpora.spans import joined
from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.training_record import read_training
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Study

LEXICON = {"cat": "NOUN", "Hund": "NOUN", "the": "DET", "und": "CCONJ", "sleeps": "VERB", ".": "PUNCT"}


def sentences(language: str, split: str, count: int, extra: list[list[str]] | None = None) -> pl.DataFrame:
    generator = random.Random(f"{language} {split}")
    words = [generator.choices(list(LEXICON), k=generator.randint(3, 7)) for _ in range(count)]
    words += extra or []
    n = len(words)
    columns = {
        "dataset": ["pos_" + split] * n,
        "split": [split] * n,
        "language": [language] * n,
        "example_id": [f"{i:03d}" for i in range(n)],
        "cluster": [f"{i:03d}" for i in range(n)],
        "task": ["token_classification"] * n,
        "text": [" ".join(row) for row in words],
        "text_pair": [None] * n,
        "label": [None] * n,
        "words": words,
        "word_spans": [[{"start": a, "end": b} for a, b in joined(row)] for row in words],
        "word_labels": [[LEXICON.get(w, "SYM") for w in row] for row in words],
        "answers": [None] * n,
        "source_file": ["pos.tsv"] * n,
        "row_number": list(range(n)),
    }
    return pl.DataFrame(columns, schema=schema("examples"))


@pytest.fixture
def context(tmp_path: Path, checkpoint: Callable[..., Path]) -> Context:
    study = Study.model_validate(
        {
            "name": "test",
            "languages": ["en", "de"],
            "datasets": {
                s: {"reader": "udpos", "path": ".", "split": s[4:]} for s in ("pos_train", "pos_dev")
            },
            "models": {
                "base": {"path": str(checkpoint("bert", "ForMaskedLM"))},
                "tagger": {
                    "datasets": ["pos_dev"],
                    "max_length": 56,
                    "finetune": {
                        "base": "base",
                        "dataset": "pos_train",
                        "languages": ["en", "de"],
                        "epochs": 6,
                        "batch_size": 8,
                        "learning_rate": 1e-2,
                        "max_length": 56,
                        "evaluations_per_epoch": 1,
                    },
                },
            },
            "attribution": {
                "max_examples": 4,
                "words_per_example": 2,
                "methods": {"lig": {"tolerance": 0.1}, "input_x_gradient": {}},
            },
            "folder": tmp_path,
        }
    )
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    for language in ("en", "de"):
        long = [["\u200b", *["cat"] * 60]]
        for frame in (sentences(language, "train", 60), sentences(language, "dev", 20, long)):
            dataset, split = frame["dataset"][0], frame["split"][0]
            warehouse.write({Slot("examples", (dataset, language), split): frame}, f"read {split}")
    return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))


def test_a_tagger_is_trained_jointly_and_every_gold_word_has_a_row(context: Context) -> None:
    assert run(STEPS["models"], context, Key("base")).status == "written"
    assert run(STEPS["models"], context, Key("tagger")).status == "written"
    (row,) = context.warehouse.scan("models", model="tagger").collect().to_dicts()
    assert row["task"] == "token_classification"
    assert row["labels"] == ["CCONJ", "DET", "NOUN", "PUNCT", "VERB"]
    assert row["finetuned_languages"] == ["en", "de"]
    record = read_training(context.zoo.finetuned_folder("tagger"))
    assert record["dev_metric"] == "token_accuracy"
    assert record["dev_score"] > 0.9
    assert record["train_examples"] + record["dev_examples"] == 120
    assert (record["dropped_words"], record["truncated_words"]) == (0, 0)

    key = Key("tagger", language="de")
    assert run(STEPS["tokens"], context, key).status == "written"
    assert run(STEPS["token_predictions"], context, key).status == "written"
    assert run(STEPS["token_predictions"], context, key).status == "fresh"
    assert run(STEPS["predictions"], context, key).status == "not_applicable"

    gold = sentences("de", "dev", 20, [["\u200b", *["cat"] * 60]])
    found = context.warehouse.scan("token_predictions").collect()
    assert found.height == gold["words"].list.len().sum()
    assert found["word"].to_list() == gold["words"].explode().to_list()
    assert found["label"].to_list() == gold["word_labels"].explode().to_list()
    short = found.filter(pl.col("example_id") != "020")
    assert set(short["status"]) == {"tagged"}
    assert (short["predicted"] == short["label"]).mean() > 0.9
    long = found.filter(pl.col("example_id") == "020")
    assert long["status"].to_list() == ["dropped", *["tagged"] * 54, *["truncated"] * 6]
    lost = found.filter(pl.col("status") != "tagged")
    assert lost.select(
        "predicted", "logits", "probabilities", "position"
    ).null_count().sum_horizontal().item() == (4 * lost.height)
    tagged = found.filter(pl.col("status") == "tagged")
    logits = np.array(tagged["logits"].to_list())
    assert tagged["predicted"].to_list() == [row["labels"][i] for i in logits.argmax(axis=1)]
    np.testing.assert_allclose(np.array(tagged["probabilities"].to_list()).sum(axis=1), 1, atol=1e-5)
    seen = context.warehouse.scan("tokens", model="tagger").collect()
    joined = tagged.join(seen, on=["example_id", "position"], suffix="_token")
    assert joined.height == tagged.height
    assert (joined["word_index"] == joined["word_index_token"]).all()

    assert run(STEPS["attributions"], context, key).status == "written"
    assert run(STEPS["attributions"], context, key).status == "fresh"
    runs = context.warehouse.scan("attribution_runs").collect()
    named = runs.with_columns(
        word_index=pl.col("target").str.split(":").list.first().cast(pl.Int32),
        tag=pl.col("target").str.split(":").list.last(),
    ).join(found, on=["example_id", "word_index"])
    assert named.height == runs.height == 4 * 2 * 3
    assert (named["tag"] == named["predicted"]).all()
    best = named["logits"].list.max().to_list()
    assert named["f_input"].to_list() == pytest.approx(best, abs=1e-3)
    assert runs.filter(pl.col("method") == "lig")["converged"].mean() > 0.8
    per_run = (
        context.warehouse.scan("token_attributions")
        .collect()
        .group_by("example_id", "target", "method")
        .len()
    )
    assert per_run.height == runs.height


def test_tags_that_the_model_does_not_know_are_refused(
    context: Context, checkpoint: Callable[..., Path]
) -> None:
    path = str(checkpoint("bert", "ForTokenClassification"))
    models_ = {**context.study.model_dump()["models"], "other": {"path": path, "datasets": ["pos_dev"]}}
    context.study = Study.model_validate({**context.study.model_dump(), "models": models_})
    context.zoo = Zoo(context.study, context.warehouse, device="cpu")
    with pytest.raises(
        ModelError, match=r"has the labels B-PER, I-PER, O; dataset `pos_dev` has others: CCONJ"
    ):
        run(STEPS["token_predictions"], context, Key("other", language="en"))


def test_models_without_such_a_head_and_other_tasks_do_not_apply(context: Context) -> None:
    result = run(STEPS["token_predictions"], context, Key("base", language="en"))
    assert result.status == "not_applicable"
    assert result.reason == "`base` is evaluated on no tagged dataset in `en`."
