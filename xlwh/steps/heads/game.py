"""What the steps about heads share: which datasets apply, the examples that heads are valued on, games on a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from xlwh.corpora import sample
from xlwh.steps.base import Context, StepResult, not_applicable
from xlwh.steps.models.evaluated import CLASSIFICATION, TAGGING, Corpus, corpora
from xlwh.study import Heads

if TYPE_CHECKING:
    from xlwh.heads.players import Players
    from xlwh.heads.scores import Gold
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded


def head_settings(context: Context, model: str) -> Heads | StepResult:
    """The study's settings for a model, or the result of a step that has nothing to do."""
    heads = context.study.heads
    if heads is None:
        return not_applicable("The study values no heads.")
    if heads.models is not None and model not in heads.models:
        return not_applicable(f"The study does not value the heads of `{model}`.")
    if not set(heads.datasets) & set(context.study.models[model].datasets):
        return not_applicable(f"`{model}` is evaluated on no dataset that heads are valued on.")
    task = context.zoo.pin(model).task
    if task not in ("sequence_classification", TAGGING):
        return not_applicable(f"`{model}` has neither a sequence nor a token classification head.")
    return heads


def fitting(context: Context, model: str, language: str) -> dict[str, Corpus]:
    """Datasets of the model in a language whose task is its head's and that have gold labels, by name."""
    task = context.zoo.pin(model).task
    wanted = (TAGGING,) if task == TAGGING else CLASSIFICATION
    found = (corpus for corpus in corpora(context, model, language) if corpus.task in wanted)
    return {corpus.dataset: corpus for corpus in found}


def with_gold(corpus: Corpus) -> pl.DataFrame:
    """The examples that can be right or wrong."""
    if corpus.task == TAGGING:
        known = pl.col("word_labels").list.drop_nulls().list.len() > 0
    else:
        known = pl.col("label").is_not_null()
    return corpus.frame.filter(known).collect()


def valued_examples(context: Context, heads: Heads, corpus: Corpus) -> pl.DataFrame:
    """The examples that heads are valued on: the same ids in every language of parallel data."""
    examples = with_gold(corpus)
    return (
        examples if heads.max_examples is None else sample(examples, heads.max_examples, context.study.seed)
    )


def evaluated_examples(context: Context, heads: Heads, valued: Corpus, evaluated: Corpus) -> pl.DataFrame:
    """The examples that masks are evaluated on: never one that heads were valued on."""
    examples = with_gold(evaluated)
    if valued.dataset == evaluated.dataset:
        used = valued_examples(context, heads, valued)
        examples = examples.join(
            used.select("example_id"), on="example_id", how="anti", maintain_order="left"
        )
    return (
        examples if heads.max_evaluated is None else sample(examples, heads.max_evaluated, context.study.seed)
    )


def input_parameters(context: Context, model: str) -> Mapping[str, object]:
    """What of the study decides what the model sees and how its outputs are named."""
    options = context.study.models[model]
    return {
        "max_length": options.max_length,
        "labels": options.labels,
        "dtype": options.dtype,
        "attention": options.attention,
        "tagged_piece": options.tagged_piece,
        "seed": context.study.seed,
    }


def game_of(
    context: Context, loaded: LoadedModel, examples: pl.DataFrame, kinds: tuple[str, ...], heads: Heads
) -> tuple[Players, Encoded, Gold]:
    """Players, inputs and gold of a game on some examples."""
    from xlwh.heads.players import players_of
    from xlwh.heads.scores import gold_of
    from xlwh.models.tokenize import encode

    sites = loaded.family.attention_sites(loaded.model)
    players = players_of(kinds, len(sites), sites[0].num_heads, heads.groups)
    encoded = encode(loaded, examples)
    piece = context.study.models[loaded.key].tagged_piece
    return players, encoded, gold_of(loaded, encoded, examples, piece)
