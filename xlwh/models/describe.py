"""What the `models` table says of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.models.loaded import LoadedModel
from xlwh.store import schema

if TYPE_CHECKING:
    from xlwh.study import Model


def describe(loaded: LoadedModel, said: Mapping[str, Any]) -> dict[str, Any]:
    """Every column of `models`; those about fine-tuning and the self-test are None, to be filled in.

    `said` is what the study says of it, as `noted` has it.
    """
    pin = loaded.pin
    family, config = loaded.family, loaded.config
    embedding = family.word_embedding(loaded.model)
    known = {
        "model": pin.key,
        "kind": pin.kind,
        "source": pin.source,
        "revision": pin.revision,
        "family": pin.model_type,
        "task": loaded.task,
        "labels": None if loaded.labels is None else list(loaded.labels),
        "weight_hash": pin.weight_hash,
        "tokenizer_hash": pin.tokenizer_hash,
        "num_layers": family.num_layers(config),
        "num_heads": family.num_heads(config),
        "hidden_size": family.hidden_size(config),
        "vocab_size": embedding.weight.shape[0],
        # Tied weights are one parameter under several names; `parameters` counts them once.
        "num_parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        **said,
    }
    return {column: known.get(column) for column in schema("models")}


def noted(spec: Model) -> dict[str, str | float | list[str] | None]:
    """Columns that only repeat what the study says: a change of theirs needs no new weights."""
    return {
        "tokenization_sampling": None if spec.tokenization is None else spec.tokenization.sampling,
        "dtype": spec.dtype,
        "published_as": spec.published_as,
        "counterpart_of": spec.counterpart_of,
        "weights_of": spec.weights_of,
        "finetuned_languages": None if spec.finetuned_languages is None else list(spec.finetuned_languages),
        "randomized": None if spec.randomization is None else spec.randomization.parts,
    }


def models_row(described: dict[str, Any]) -> pl.DataFrame:
    """One row of `models` from `describe`, with what else is known filled in."""
    return pl.DataFrame([described], schema=schema("models"), orient="row")
