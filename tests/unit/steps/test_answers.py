"""Question answering end to end: fine-tuned, windows over long contexts, answers at code points, scores."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from made_up import parallel

from xlwh.models import Zoo
from xlwh.models.training_record import read_training
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Study

WORDS = ["the", "cat", "und", "Hund", "mat", "Sofa"]
NAMES = ["Katze", "manzana", "niño"]


def questions(language: str, split: str, count: int, words: int) -> pl.DataFrame:
    """Who sits? The answer is the name in the context."""
    generator = random.Random(f"{language} {split}")
    contexts, answers = [], []
    for _ in range(count):
        text = generator.choices(WORDS, k=words)
        name = generator.choice(NAMES)
        text.insert(generator.randint(0, words), name)
        context = " ".join(text)
        contexts.append(context)
        answers.append([{"text": name, "start": context.index(name)}])
    columns = {
        "dataset": [f"qa_{split}"] * count,
        "split": [split] * count,
        "language": [language] * count,
        "example_id": [f"{i:03d}" for i in range(count)],
        "cluster": [f"{i:03d}" for i in range(count)],
        "task": ["question_answering"] * count,
        "text": ["the cat"] * count,
        "text_pair": contexts,
        "label": [None] * count,
        "words": [None] * count,
        "word_spans": [None] * count,
        "word_labels": [None] * count,
        "answers": answers,
        "source_file": ["qa.json"] * count,
        "row_number": list(range(count)),
    }
    return pl.DataFrame(columns, schema=schema("examples"))


@pytest.fixture
def context(tmp_path: Path, checkpoint: Callable[..., Path]) -> Context:
    study = Study.model_validate(
        {
            "name": "test",
            "languages": ["en", "de"],
            "datasets": {s: {"reader": "xquad", "path": ".", "split": s[3:]} for s in ("qa_train", "qa_dev")},
            "models": {
                "base": {"path": str(checkpoint("bert", "ForMaskedLM"))},
                "reader": {
                    "datasets": ["qa_dev"],
                    "max_length": 48,
                    "doc_stride": 12,
                    "max_answer": 12,
                    "finetune": {
                        "base": "base",
                        "dataset": "qa_train",
                        "languages": ["en"],
                        "epochs": 12,
                        "batch_size": 8,
                        "learning_rate": 5e-3,
                        "max_length": 48,
                        "evaluations_per_epoch": 1,
                        "patience": 12,
                    },
                },
            },
            "attribution": {"max_examples": 5, "methods": {"lig": {"tolerance": 0.3, "max_rows": 40}}},
            "spaces": {"space": {"kind": "input_embeddings", "pivot": "en"}},
            "consistency": {"space": "space", "methods": ["lig"], "draws": 2},
            "folder": tmp_path,
        }
    )
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    for language in ("en", "de"):
        for frame in (questions(language, "train", 90, 6), questions(language, "dev", 12, 16)):
            dataset, split = frame["dataset"][0], frame["split"][0]
            warehouse.write({Slot("examples", (dataset, language), split): frame}, f"read {split}")
    parallel(warehouse, "qa_dev", ("en", "de"))
    return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))


def test_answers_are_spans_of_the_context_over_all_its_windows(context: Context) -> None:
    run(STEPS["models"], context, Key("base"))
    assert run(STEPS["models"], context, Key("reader")).status == "written"
    record = read_training(context.zoo.finetuned_folder("reader"))
    assert (record["labels"], record["dev_metric"]) == ([], "f1")
    assert record["dev_score"] > 0.6
    assert record["windows"] >= record["train_examples"]
    (row,) = context.warehouse.scan("models", model="reader").collect().to_dicts()
    assert (row["task"], row["labels"]) == ("question_answering", None)

    for language in ("en", "de"):
        key = Key("reader", language=language)
        for status in ("written", "fresh"):
            assert [run(STEPS[name], context, key).status for name in ("tokens", "predictions")] == [
                status
            ] * 2
        assert run(STEPS["token_predictions"], context, key).status == "not_applicable"
    found = context.warehouse.scan("predictions", language="de").collect()
    spans = context.warehouse.scan("answer_spans", language="de").collect()
    gold = questions("de", "dev", 12, 16)
    assert found["example_id"].to_list() == spans["example_id"].to_list() == gold["example_id"].to_list()
    assert (spans["num_windows"] > 1).any()
    for text, said, span, two, shares in zip(
        gold["text_pair"],
        found["predicted"],
        spans.rows(named=True),
        found["logits"].to_list(),
        found["probabilities"].to_list(),
        strict=True,
    ):
        assert text[span["char_start"] : span["char_end"]] == said
        assert two == [span["start_logit"], span["end_logit"]]
        assert all(0 < share <= 1 for share in shares)
    # Positions count in the uncut input, which `tokens` holds.
    seen = context.warehouse.scan("tokens", language="de").collect()
    for end, column, char in (("start", "char_start", "char_start"), ("end", "char_end", "char_end")):
        joined = spans.join(
            seen,
            left_on=["example_id", f"{end}_position"],
            right_on=["example_id", "position"],
            suffix="_token",
        )
        assert joined.height == spans.height
        assert (joined["segment"] == 1).all()
        assert (joined[char] == joined[f"{column}_token"]).all()
    assert (spans["window_start"] <= spans["start_position"]).all()
    assert (spans["end_position"] <= spans["window_end"]).all()

    context.warehouse.build_catalogue()
    with context.warehouse.connect() as database:
        scores = dict(
            database.sql(
                "select metric, value from task_scores where language = 'en' and variant = 'strict'"
            ).fetchall()
        )
    assert set(scores) == {"exact_match", "f1"}
    assert 0.3 < scores["exact_match"] <= scores["f1"]
    attributed_and_compared(context)


def attributed_and_compared(context: Context) -> None:
    """Start and end of the answers are explained in the window they were found in, and compared between languages."""
    for name in ("attributions", "word_vectors", "ccta_pairs"):
        for language in ("en", "de"):
            assert run(STEPS[name], context, Key("reader", language=language)).status == "written"
            assert run(STEPS[name], context, Key("reader", language=language)).status == "fresh"
    for language in ("en", "de"):
        runs = context.warehouse.scan("attribution_runs", language=language).collect()
        spans = context.warehouse.scan("answer_spans", language=language).collect()
        assert sorted(runs["target"].unique()) == ["end", "start"]
        assert runs.height == 5 * 2 * 2
        joined = runs.join(spans, on="example_id")
        for end in ("start", "end"):
            mine = joined.filter(pl.col("target") == end)
            assert mine["f_input"].to_list() == pytest.approx(mine[f"{end}_logit"].to_list(), abs=1e-3)
        assert runs.filter(pl.col("method") == "lig")["converged"].mean() > 0.7
        made = context.warehouse.scan("token_attributions", language=language).collect()
        seen = context.warehouse.scan("tokens", language=language).collect()
        placed = made.join(seen, on=["example_id", "position"]).join(
            spans.select("example_id", "window_start", "window_end"), on="example_id"
        )
        assert placed.height == made.height
        inside = pl.col("position").is_between("window_start", "window_end")
        assert placed.filter(pl.col("segment") == 1).select(inside.all()).item()
        assert (placed.filter(pl.col("is_special") & (pl.col("method") == "lig"))["attribution"] == 0).all()
    context.warehouse.build_catalogue()
    with context.warehouse.connect() as database:
        rows = database.sql(
            "select output, target_policy, n, score, is_self from ccta where method = 'lig' order by output, is_self"
        ).fetchall()
    assert [(output, policy, n, own) for output, policy, n, _, own in rows] == [
        ("end", "own_prediction", 5, False),
        ("end", "own_prediction", 5, True),
        ("start", "own_prediction", 5, False),
        ("start", "own_prediction", 5, True),
    ]
    assert all(0 <= score <= 1 and (score == 1 or not own) for *_, score, own in rows)


def test_other_heads_and_tasks_say_why_they_do_not_apply(
    context: Context, checkpoint: Callable[..., Path]
) -> None:
    entries = context.study.model_dump()
    entries["models"]["classifier"] = {"path": str(checkpoint("bert")), "datasets": ["qa_dev"]}
    context.study = Study.model_validate(entries)
    context.zoo = Zoo(context.study, context.warehouse, device="cpu")
    result = run(STEPS["predictions"], context, Key("classifier", language="en"))
    assert (result.status, result.reason) == (
        "not_applicable",
        "`classifier` has no question answering head.",
    )
