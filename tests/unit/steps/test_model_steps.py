"""The steps models, tokens and predictions over tiny checkpoints: freshness, contents, refusals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from xlwh.errors import MissingDataError, ModelError
from xlwh.models import Zoo, pins
from xlwh.steps.base import Key, StepResult
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse
from xlwh.study import Study

LABELS = ["entailment", "neutral", "contradiction"]
KEY = Key(model="m", language="en")


@pytest.fixture
def context_of(study_of: Callable[..., Study], tmp_path: Path) -> Callable[..., Context]:
    """context_of(examples, key={...model entry...}): a study whose dataset `nli` holds these examples."""

    def build(examples: pl.DataFrame | None, **entries: dict[str, Any]) -> Context:
        study = study_of(**entries)
        warehouse = Warehouse(tmp_path / "warehouse", create=True)
        if examples is not None:
            for (language,), part in examples.partition_by("language", as_dict=True).items():
                warehouse.write({Slot("examples", ("nli", str(language)), "dev"): part}, "read")
        return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))

    return build


def statuses(context: Context, *steps: str, key: Key = KEY) -> list[str]:
    return [run(STEPS[step], context, key).status for step in steps]


def test_a_model_says_whose_counterpart_it_is(
    context_of: Callable[..., Context], checkpoint: Callable[..., Path]
) -> None:
    path = str(checkpoint("bert"))
    mono = {"path": path, "languages": ["en"], "counterpart_of": "multi"}
    context = context_of(None, multi={"path": path}, mono=mono)
    for name in ("multi", "mono"):
        assert run(STEPS["models"], context, Key(model=name)).status == "written"
        assert run(STEPS["models"], context, Key(model=name)).status == "fresh"
    rows = context.warehouse.scan("models").select("model", "counterpart_of").collect().rows()
    assert sorted(rows) == [("mono", "multi"), ("multi", None)]


def test_a_classifier_gets_its_row_its_tokens_and_its_predictions(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> None:
    examples = frame(pairs, labels=[*LABELS, None, *[LABELS[0]] * (len(pairs) - 4)])
    context = context_of(
        examples, m={"path": str(checkpoint("bert")), "published_as": "mBERT", "finetuned_languages": ["en"]}
    )
    messages: list[tuple[str, int, int]] = []
    context.progress = lambda *message: messages.append(message)
    assert statuses(context, "models", "tokens", "predictions") == ["written"] * 3

    (row,) = context.warehouse.scan("models").collect().to_dicts()
    pin = context.zoo.pin("m")
    assert (row["kind"], row["family"], row["task"]) == ("path", "bert", "sequence_classification")
    assert (row["weight_hash"], row["tokenizer_hash"]) == (pin.weight_hash, pin.tokenizer_hash)
    assert (row["labels"], row["published_as"], row["dtype"]) == (LABELS, "mBERT", "float32")
    assert (row["num_layers"], row["num_heads"], row["hidden_size"]) == (2, 4, 24)
    assert row["finetuned_languages"] == ["en"]
    assert row["recipe"] is row["seed"] is row["finetuned_dataset"] is None

    seen = context.warehouse.scan("tokens").collect()
    found = context.warehouse.scan("predictions").collect()
    assert found["example_id"].to_list() == examples["example_id"].to_list()
    assert found["label"].to_list() == examples["label"].to_list()
    counted = seen.group_by("example_id").len("tokens")
    joined = found.join(counted, on="example_id")
    assert joined.height == len(pairs)
    assert (joined["tokens"] == joined["num_tokens"]).all()
    assert (found["num_truncated"] > 0).any()
    logits = np.array(found["logits"].to_list())
    assert found["predicted"].to_list() == [LABELS[i] for i in logits.argmax(axis=1)]
    np.testing.assert_allclose(np.array(found["probabilities"].to_list()).sum(axis=1), 1, atol=1e-6)
    assert messages[-1] == ("nli: predictions", len(pairs), len(pairs))
    assert ("nli: tokens", len(pairs), len(pairs)) in messages
    assert statuses(context, "models", "tokens", "predictions") == ["fresh"] * 3
    context.force = True
    assert statuses(context, "models", "tokens", "predictions") == ["written"] * 3


def test_what_changes_makes_stale_what_depends_on_it(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))
    runs = ("models", "tokens", "predictions")
    context = context_of(frame(pairs), m={"path": "model"})
    assert statuses(context, *runs) == ["written"] * 3

    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"].add_(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert statuses(context, *runs) == ["written", "fresh", "written"]

    context = context_of(None, m={"path": "model", "max_length": 20})
    assert statuses(context, *runs) == ["fresh", "written", "written"]
    context = context_of(None, m={"path": "model", "max_length": 20, "labels": LABELS[::-1]})
    assert statuses(context, *runs) == ["written", "fresh", "written"]
    changed = frame(pairs[:2], labels=LABELS[:2])
    context.warehouse.write({Slot("examples", ("nli", "en"), "dev"): changed}, "read again")
    assert statuses(context, *runs) == ["fresh", "written", "written"]
    assert context.warehouse.scan("predictions").collect().height == 2
    # Another way from texts to sub-tokens makes everything stale that a model says.
    monkeypatch.setattr(pins, "TOKENIZATION", "other")
    assert statuses(context, *runs) == ["written"] * 3


def test_a_model_without_a_head_has_tokens_but_no_predictions(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> None:
    context = context_of(frame(pairs), m={"path": str(checkpoint("xlm", "ForMaskedLM"))})
    assert statuses(context, "models", "tokens") == ["written", "written"]
    result = run(STEPS["predictions"], context, KEY)
    assert (result.status, result.reason) == (
        "not_applicable",
        "`m` has no sequence classification head.",
    )
    (row,) = context.warehouse.scan("models").collect().to_dicts()
    assert row["task"] is row["labels"] is None


@pytest.mark.parametrize("step", ["tokens", "predictions"])
def test_partitions_that_do_not_apply_say_so(
    step: str,
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
) -> None:
    path = str(checkpoint("bert"))
    translating = frame([("Who?", "He.")]).with_columns(task=pl.lit("translation"))
    context = context_of(translating, m={"path": path}, idle={"path": path, "datasets": []})
    idle = "`idle` is evaluated on "
    reasons = {
        "tokens": (
            "`m` is evaluated on nothing that is tokenized here in `en`.",
            idle + "nothing that is tokenized here in `en`.",
        ),
        "predictions": (
            "`m` has no translation head.",
            idle + "no classes, questions or translations in `en`.",
        ),
    }
    for model, reason in zip(("m", "idle"), reasons[step], strict=True):
        result: StepResult = run(STEPS[step], context, Key(model=model, language="en"))
        assert (result.status, result.reason) == ("not_applicable", reason)


@pytest.mark.parametrize("step", ["tokens", "predictions"])
def test_missing_examples_name_the_command(
    step: str, context_of: Callable[..., Context], checkpoint: Callable[..., Path]
) -> None:
    context = context_of(None, m={"path": str(checkpoint("bert"))})
    with pytest.raises(
        MissingDataError, match=r"no examples/dataset=nli/language=en/dev yet\..*xlwh materialize examples"
    ):
        run(STEPS[step], context, KEY)


def test_an_empty_dataset_is_done_and_stays_done(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
) -> None:
    context = context_of(None, m={"path": str(checkpoint("bert"))})
    context.warehouse.write({Slot("examples", ("nli", "en"), "dev"): frame([])}, "read")
    assert statuses(context, "tokens", "predictions") == ["written", "written"]
    assert statuses(context, "tokens", "predictions") == ["fresh", "fresh"]
    assert context.warehouse.scan("tokens").collect().height == 0


def test_labels_that_the_model_does_not_know_are_refused(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
) -> None:
    examples = frame([("a", "b"), ("c", "d")], labels=["entailment", "contradictory"])
    context = context_of(examples, m={"path": str(checkpoint("bert"))})
    expected = (
        r"Model `m` has the labels entailment, neutral, contradiction; dataset `nli` has contradictory, "
        r"entailment\..*`labels = \[\.\.\.\]` under `\[models\.m\]`"
    )
    with pytest.raises(ModelError, match=expected):
        run(STEPS["predictions"], context, KEY)
    assert context.warehouse.entries("predictions") == []


def test_long_corpora_are_worked_on_in_parts_with_the_same_result(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = context_of(frame(pairs), m={"path": str(checkpoint("roberta"))})
    statuses(context, "tokens", "predictions")
    tables = {name: context.warehouse.scan(name).collect() for name in ("tokens", "predictions")}
    for step in ("tokens", "predictions"):
        monkeypatch.setattr(type(definition_of(STEPS[step])), "at_once", 3)
    context.force = True
    statuses(context, "tokens", "predictions")
    assert context.warehouse.scan("tokens").collect().equals(tables["tokens"])
    again = context.warehouse.scan("predictions").collect()
    floats = ["logits", "probabilities"]
    assert again.drop(floats).equals(tables["predictions"].drop(floats))
    for column in floats:
        before = np.array(tables["predictions"][column].to_list())
        np.testing.assert_allclose(np.array(again[column].to_list()), before, atol=1e-5)


def test_files_carry_the_hashes_of_the_model(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    frame: Callable[..., pl.DataFrame],
) -> None:
    context = context_of(frame([("a", "b")]), m={"path": str(checkpoint("bert"))})
    statuses(context, "models", "tokens", "predictions")
    pin = context.zoo.pin("m")
    for table in ("models", "tokens", "predictions"):
        (entry,) = context.warehouse.entries(table)
        metadata = pl.read_parquet_metadata(context.warehouse.root / entry.file)
        assert metadata["xlwh.weight_hash"] == pin.weight_hash
        assert metadata["xlwh.tokenizer_hash"] == pin.tokenizer_hash


def test_fresh_partitions_need_no_torch(
    context_of: Callable[..., Context],
    checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "nli").mkdir()
    (tmp_path / "nli" / "dev-en.tsv").write_text("One thing.\tAnother thing.\tneutral\n")
    context = context_of(None, m={"path": str(checkpoint("bert"))})
    assert run(STEPS["examples"], context, Key(dataset="nli", language="en")).status == "written"
    statuses(context, "models", "tokens", "predictions")
    script = f"""
import json, sys
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import run
from xlwh.store import Warehouse
from xlwh.study import Study
study = Study.model_validate(json.loads({context.study.model_dump_json()!r}))
warehouse = Warehouse({str(context.warehouse.root)!r})
context = Context(study, warehouse, Zoo(study, warehouse))
for step in ("models", "tokens", "predictions"):
    assert run(STEPS[step], context, Key(model="m", language="en")).status == "fresh", step
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
