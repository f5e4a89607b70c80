"""Attention heads: Shapley samples, other measures of importance, masks, and what pruning by them does."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from xlwh.tables.base import (
    Float16,
    Table,
    dataset_column,
    example_id_column,
    language_column,
    model_column,
    name_column,
    split_column,
)

UNITS = ("head", "layer", "mlp", "group")
"""What can be removed: one head, all heads of a layer, the feed-forward block of a layer, a group of heads."""

ESTIMATORS = ("permutation", "antithetic", "whole_set", "exact")
"""How marginals are drawn; see `HeadSamples`."""

SELECTIONS = ("strict", "asymptotic", "paper", "same_size", "curve", "zero_shot")
"""How the players of a mask are chosen; see `PruningMasks`."""


def _unit() -> dy.String:
    return dy.String(
        nullable=False,
        check=lambda c: c.is_in(UNITS),
        description="What is removed: head, layer (all its heads), mlp (its feed-forward block) or group.",
    )


def _layer() -> dy.Int16:
    return dy.Int16(
        nullable=False,
        min=0,
        description="Attention block in the order of the forward pass, which in an encoder is the layer.",
    )


def _head() -> dy.Int16:
    return dy.Int16(
        nullable=False,
        min=0,
        description="Head within the layer; for a group its number in the study; 0 for whole layers and MLPs.",
    )


def _sampler() -> dy.String:
    return name_column("Key of the sampler in the study.")


class HeadSamples(Table):
    """One row per measured marginal: how one example's score changes when one player leaves a coalition.

    Estimator `permutation`: example and permutation are drawn together, row by row. `antithetic`: permutations 2q
    and 2q + 1 are reverses of each other, with one example. `whole_set`: the marginal is the mean over every
    example, `example_id` is `*`. `exact`: the exact value of the example's game over all coalitions.
    """

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = (
        "model", "dataset", "split", "language", "sampler", "permutation", "example_id", "unit", "layer", "head",
    )  # fmt: skip

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    sampler = _sampler()
    estimator = dy.String(
        nullable=False,
        check=lambda c: c.is_in(ESTIMATORS),
        description="permutation, antithetic, whole_set or exact.",
    )
    permutation = dy.Int64(
        nullable=False, min=0, description="Number of the permutation: it and the seed determine the row."
    )
    example_id = example_id_column()
    unit = _unit()
    layer = _layer()
    head = _head()
    remaining = dy.Int16(
        nullable=True, min=0, description="Players left after the removal; NULL where all sizes are averaged."
    )
    marginal = dy.Float32(
        nullable=False,
        min=-1,
        max=1,
        allow_nan=False,
        description="Score before the removal minus the score after it, a share; negative: the player does harm.",
    )


class HeadImportance(Table):
    """One row per (model, language, method, player): importance by means other than Shapley values."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "method", "unit", "layer", "head")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    method = dy.String(
        nullable=False,
        description="gradient (Michel et al.), gradient_layer_norm (with their normalisation per layer), "
        "attention_entropy (nats), attention_confidence (mean largest weight), separator_attention (share of the "
        "examples in which separators get more than half of it).",
    )
    unit = _unit()
    layer = _layer()
    head = _head()
    value = dy.Float64(
        nullable=False, allow_nan=False, allow_inf=False, description="Mean over the examples."
    )
    sd = dy.Float64(
        nullable=True,
        min=0,
        allow_nan=False,
        allow_inf=False,
        description="Standard deviation over the examples; NULL for fewer than two.",
    )
    num_examples = dy.Int32(nullable=False, min=1, description="Examples averaged over.")


class AttentionMaps(Table):
    """One row per (model, example, head): everything that the head attends to, in half precision.

    Of a few short examples per dataset, the same ones in every language of parallel data.
    """

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "layer", "head")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    layer = _layer()
    head = dy.Int16(nullable=False, min=0, description="Head within the layer.")
    tokens = dy.List(
        dy.String(nullable=False), nullable=False, description="The tokenizer's pieces that the model sees."
    )
    is_special = dy.List(
        dy.Bool(nullable=False), nullable=False, description="Of each token: CLS, SEP and the like."
    )
    weights = dy.List(
        Float16(nullable=False),
        nullable=False,
        description="Shares of attention, token by token: first what the first token attends to.",
    )

    @dy.rule()
    def is_square(cls) -> pl.Expr:  # noqa: N805
        length = pl.col("tokens").list.len()
        return (pl.col("weights").list.len() == length * length) & (pl.col("is_special").list.len() == length)


class PruningMasks(Table):
    """One row per mask that was made in a language: which players it removes, by which ranking, and how many."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "ranking", "draw", "selection", "num_removed")

    model = model_column()
    dataset = dataset_column("Dataset that the mask was made on.")
    split = split_column()
    language = language_column("Language that the mask was made in.")
    ranking = name_column(
        "What orders the players: `shapley.<sampler>`, a method of `head_importance`, or random."
    )
    draw = dy.Int32(nullable=False, min=0, description="Number of the random mask; 0 for the others.")
    selection = dy.String(
        nullable=False,
        check=lambda c: c.is_in(SELECTIONS),
        description="strict, asymptotic, paper: every player shown to do harm, by that variant; same_size: as many as those, "
        "by another ranking; curve: a number of players given by the study; zero_shot: a number given by the study, "
        "tried on every language.",
    )
    num_removed = dy.Int32(nullable=False, min=0, description="Players removed.")
    removed = dy.List(
        dy.Struct(
            {
                "unit": dy.String(nullable=False),
                "layer": dy.Int16(nullable=False),
                "head": dy.Int16(nullable=False),
            }
        ),
        nullable=False,
        description="The removed players, first the one that is removed first.",
    )


class PruningEvaluations(Table):
    """One row per (model, example, mask): how right the pruned model is on an example not used for sampling."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = (
        "model", "dataset", "split", "language", "example_id",
        "ranking", "mask_language", "draw", "selection", "num_removed",
    )  # fmt: skip

    model = model_column()
    dataset = dataset_column("Dataset that the mask is evaluated on.")
    split = split_column()
    language = language_column("Language that the mask is evaluated on.")
    example_id = example_id_column()
    ranking = name_column("As in `pruning_masks`; none: the whole model.")
    mask_language = language_column(
        "Language that the mask was made in; of the whole model the evaluated one."
    )
    draw = dy.Int32(nullable=False, min=0, description="Number of the random mask; 0 for the others.")
    selection = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["none", *SELECTIONS]),
        description="As in `pruning_masks`; none: the whole model.",
    )
    num_removed = dy.Int32(nullable=False, min=0, description="Players removed.")
    score = dy.Float32(
        nullable=False,
        min=0,
        max=1,
        allow_nan=False,
        description="1 right, 0 wrong; in tagging the share of the sentence's words that are right.",
    )
    weight = dy.Int32(
        nullable=False, min=1, description="What the example counts: 1; in tagging the words with a gold tag."
    )


class PruningTests(Table):
    """One row per (language, mask): the pruned model against the whole one on the same examples."""

    version = 2
    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = (
        "model", "dataset", "split", "language", "ranking", "mask_language", "draw", "selection", "num_removed",
    )  # fmt: skip

    model = model_column()
    dataset = dataset_column("Dataset that the mask is evaluated on.")
    split = split_column()
    language = language_column("Language that the mask is evaluated on.")
    ranking = name_column("As in `pruning_masks`.")
    mask_language = language_column("Language that the mask was made in.")
    draw = dy.Int32(nullable=False, min=0, description="Number of the random mask; 0 for the others.")
    selection = dy.String(nullable=False, description="As in `pruning_masks`.")
    num_removed = dy.Int32(nullable=False, min=0, description="Players removed.")
    num_examples = dy.Int32(nullable=False, min=1, description="Examples compared.")
    clusters = dy.Int32(
        nullable=False,
        min=1,
        description="Clusters of them that share a text (`examples.cluster`): what is resampled.",
    )
    before = dy.Float64(nullable=False, allow_nan=False, description="Accuracy of the whole model, a share.")
    after = dy.Float64(nullable=False, allow_nan=False, description="Accuracy of the pruned model, a share.")
    effect_low = dy.Float64(
        nullable=True,
        allow_nan=False,
        description="Lower end of the 95 % BCa interval of after - before; NULL below ten clusters.",
    )
    effect_high = dy.Float64(nullable=True, allow_nan=False, description="Upper end of it.")
    bootstrap_p = dy.Float64(
        nullable=False,
        min=0,
        max=1,
        description="Two-sided paired bootstrap over clusters, (1 + k) / (B + 1).",
    )
    mcnemar_p = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        description="Exact McNemar test; NULL in tagging, where examples are not right or wrong, and where they share clusters.",
    )
    resamples = dy.Int32(nullable=False, min=1, description="Bootstrap resamples, B.")
