"""What the jobs about heads share: the study's settings, which datasets apply, how the model is used."""

from __future__ import annotations

from xlwh.steps.job import ModelUse
from xlwh.steps.models.evaluated import CLASSIFICATION, TAGGING, Corpus, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.study import Heads

LIBRARIES = ("torch", "transformers", "tokenizers")
"""What a head's output follows from beside the model."""


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
