"""What the steps about heads share: which datasets apply, the examples that heads are valued on, games on a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from xlwh.corpora import sample
from xlwh.steps.job import Job, ModelUse, options_of
from xlwh.steps.models.evaluated import CLASSIFICATION, TAGGING, Corpus, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.study import Heads, Inputs

if TYPE_CHECKING:
    from xlwh.heads.players import Players
    from xlwh.heads.scores import Gold
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

LIBRARIES = ("torch", "transformers", "tokenizers")
"""What a head's output follows from beside the model."""


def with_gold(examples: pl.LazyFrame) -> pl.DataFrame:
    """The examples that can be right or wrong."""
    tagged = pl.col("word_labels").list.drop_nulls().list.len() > 0
    labelled = pl.col("label").is_not_null()
    return examples.filter(pl.when(pl.col("task") == TAGGING).then(tagged).otherwise(labelled)).collect()


def valued_examples(examples: pl.LazyFrame, count: int | None, seed: int | None) -> pl.DataFrame:
    """The examples that heads are valued on: the same ids in every language of parallel data."""
    known = with_gold(examples)
    return known if count is None or seed is None else sample(known, count, seed)


def seed_of(partition: Partition, heads: Heads) -> int | None:
    """What examples are drawn with; None where all are valued."""
    return None if heads.max_examples is None else partition.study.seed


def head_settings(partition: Partition) -> Heads:
    """The study's settings for the model of a partition; NotApplicable where there is nothing to do."""
    heads, model = partition.study.heads, partition.model
    if heads is None:
        raise NotApplicable("The study values no heads.")
    if heads.models is not None and model not in heads.models:
        raise NotApplicable(f"The study does not value the heads of `{model}`.")
    if not set(heads.datasets) & set(partition.study.models[model].datasets):
        raise NotApplicable(f"`{model}` is evaluated on no dataset that heads are valued on.")
    if partition.pin(model).task not in ("sequence_classification", TAGGING):
        raise NotApplicable(f"`{model}` has neither a sequence nor a token classification head.")
    return heads


def fitting(partition: Partition, language: str | None = None) -> dict[str, Corpus]:
    """Datasets of the model whose task is its head's, by name, in a language (default: that of the partition)."""
    wanted = (TAGGING,) if partition.pin(partition.model).task == TAGGING else CLASSIFICATION
    found = evaluated(partition, language=language)
    return {corpus.dataset: corpus for corpus in found if corpus.task in wanted}


def valued_corpora(partition: Partition, heads: Heads) -> list[Corpus]:
    """The datasets that heads are valued on; NotApplicable where there is none."""
    found = fitting(partition)
    corpora = [found[dataset] for dataset in heads.datasets if dataset in found]
    if not corpora:
        raise NotApplicable(
            f"`{partition.model}` has no dataset that heads are valued on in `{partition.language}`."
        )
    return corpora


def use_of(partition: Partition) -> ModelUse:
    """The model with what decides its input, how its outputs are named and which of them are read."""
    task = partition.pin(partition.model).task
    pieces = ("tagged_piece",) if task == TAGGING else ()
    return partition.use(partition.model, "max_length", "labels", "dtype", "attention", *pieces)


def game_of(
    job: Job,
    loaded: LoadedModel,
    examples: pl.DataFrame,
    kinds: tuple[str, ...],
    groups: tuple[tuple[str, ...], ...] = (),
) -> tuple[Players, Encoded, Gold]:
    """Players, inputs and gold of a game on some examples."""
    from xlwh.heads.players import players_of
    from xlwh.heads.scores import gold_of
    from xlwh.models.tokenize import encode

    sites = loaded.family.attention_sites(loaded.model)
    players = players_of(kinds, len(sites), sites[0].num_heads, groups)
    encoded = encode(loaded, examples)
    return players, encoded, gold_of(loaded, encoded, examples, options_of(job, Inputs).tagged_piece)
