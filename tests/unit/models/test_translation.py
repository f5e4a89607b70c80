"""Teacher forcing and writing translations, against transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.tokenize import encode
from xlwh.models.training_data import objective_of, prepare, prepare_development
from xlwh.models.translation import encode_translations, sources, translate
from xlwh.study import Generation
from xlwh.study.models import Inputs

PAIRS = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come una manzana", "他说，我回来了。校车把他放下后，他立即给他妈妈打了电话。"),
    ("cat", "on"),
]


@pytest.fixture(params=["t5", "mt5"])
def loaded(
    request: pytest.FixtureRequest, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> LoadedModel:
    return zoo_of(m={"path": str(checkpoint(request.param, "ForConditionalGeneration"))}).load("m")


@pytest.fixture
def examples(frame: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    return frame(PAIRS).with_columns(task=pl.lit("translation"), label=pl.lit(None, pl.String))


def test_the_loss_is_transformers_own_for_each_pair_alone(
    loaded: LoadedModel, examples: pl.DataFrame
) -> None:
    data = prepare(loaded, objective_of("translation", "m"), examples, (), Inputs())
    inputs, gold = data.batch(loaded, np.arange(3))
    assert gold["labels"].shape[1] != inputs["input_ids"].shape[1]
    with torch.inference_mode():
        output = loaded.model(**inputs, **gold)
        total, count = 0.0, 0
        for source, target in PAIRS:
            ids, labels = (loaded.tokenizer(text, return_tensors="pt").input_ids for text in (source, target))
            total += float(loaded.model(input_ids=ids, labels=labels).loss) * labels.shape[1]
            count += labels.shape[1]
    assert float(output.loss) == pytest.approx(total / count, rel=1e-5)


def test_the_score_is_the_share_of_next_tokens_predicted(loaded: LoadedModel, examples: pl.DataFrame) -> None:
    development = prepare_development(loaded, objective_of("translation", "m"), examples, (), Inputs())
    inputs, gold = development.data.batch(loaded, np.arange(3))
    with torch.inference_mode():
        output = loaded.model(**inputs, **gold)
    scorer = development.scorer()
    count = scorer.add(np.arange(3), output, gold, inputs["attention_mask"].bool().numpy())
    lengths = [len(loaded.tokenizer(target)["input_ids"]) for _, target in PAIRS]
    assert count == sum(lengths)
    right = sum(
        int((output.logits[row, :size].argmax(-1) == gold["labels"][row, :size]).sum())
        for row, size in enumerate(lengths)
    )
    assert scorer.scores() == {"next_token_accuracy": right / count}


def test_long_translations_are_cut_and_counted(loaded: LoadedModel, examples: pl.DataFrame) -> None:
    from dataclasses import replace

    short = replace(loaded, max_length=8)
    data = prepare(short, objective_of("translation", "m"), examples, (), Inputs())
    sizes = [len(loaded.tokenizer(target)["input_ids"]) for _, target in PAIRS]
    assert data.counts["truncated_translation_tokens"] == sum(max(0, size - 8) for size in sizes)
    assert data.counts["truncated_translations"] == sum(size > 8 for size in sizes)
    assert [len(ids) for ids in data.gold["labels"]] == [min(size, 8) for size in sizes]


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_is_what_generate_writes_alone(
    loaded: LoadedModel, examples: pl.DataFrame, beams: int
) -> None:
    encoded = encode(loaded, sources(examples))
    calls: list[tuple[int, int]] = []
    generation = Generation(beams=beams, max_tokens=7)
    found = translate(loaded, encoded, generation, batch_rows=4, progress=lambda *call: calls.append(call))
    for (source, _), written in zip(PAIRS, found, strict=True):
        ids = loaded.tokenizer(source, return_tensors="pt").input_ids
        with torch.inference_mode():
            alone = loaded.model.generate(
                ids, num_beams=beams, do_sample=False, max_new_tokens=7, use_cache=False
            )
        assert written.text == loaded.tokenizer.decode(alone[0], skip_special_tokens=True)
        tokens = alone[0, 1:].tolist()
        end = loaded.tokenizer.eos_token_id
        assert written.is_cut == (end not in tokens)
        assert written.num_tokens == (tokens.index(end) + 1 if end in tokens else 7)
    assert calls[-1] == (3, 3)
    assert loaded.config.use_cache is False


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("ends", [True, False])
def test_what_does_not_end_is_cut(
    loaded: LoadedModel, examples: pl.DataFrame, beams: int, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end token is made the likeliest one throughout, or impossible."""
    real = type(loaded.model).forward

    def forward(self: Any, *arguments: Any, **inputs: Any) -> Any:
        output = real(self, *arguments, **inputs)
        output.logits[..., loaded.tokenizer.eos_token_id] = 1e4 if ends else -1e4
        return output

    monkeypatch.setattr(type(loaded.model), "forward", forward)
    generation = Generation(beams=beams, max_tokens=5)
    found = translate(loaded, encode(loaded, sources(examples)), generation)
    assert [written.is_cut for written in found] == [not ends] * 3
    assert [written.num_tokens for written in found] == [1 if ends else 5] * 3


def test_a_model_that_writes_no_text_is_refused(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], examples: pl.DataFrame
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    with pytest.raises(ModelError, match="no text-to-text head"):
        translate(loaded, encode(loaded, sources(examples)), Generation())
    with pytest.raises(ModelError, match="no text-to-text head"):
        prepare(loaded, objective_of("translation", "m"), examples, (), Inputs())


@pytest.mark.parametrize("model_type", ["mbart", "m2m_100"])
def test_models_that_mark_languages_by_tokens_do_not_translate(
    model_type: str,
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
) -> None:
    """The tokenizer would give the translation the language of the source."""
    loaded = zoo_of(m={"path": str(checkpoint(model_type, "ForConditionalGeneration"))}).load("m")
    examples = frame([("the cat", "Hund")])
    with pytest.raises(ModelError, match=rf"`m` \({model_type}\) marks the language of each text by a token"):
        encode_translations(loaded, examples)
    with pytest.raises(ModelError, match="translations by such models are not supported"):
        translate(loaded, encode(loaded, sources(examples)), Generation())
