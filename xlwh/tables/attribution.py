"""Token attributions and the account of how they were made."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    example_id_column,
    language_column,
    method_column,
    model_column,
    split_column,
    target_column,
)


class AttributionRuns(Table):
    """One row per (model, example, method, target): what was integrated, at what cost, how well it converged."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "method", "target")
    version = 2

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    method = method_column()
    target = target_column()
    f_input = dy.Float64(
        nullable=False, allow_nan=False, allow_inf=False, description="Target logit at the input."
    )
    f_baseline = dy.Float64(
        nullable=True,
        allow_nan=False,
        allow_inf=False,
        description="Target logit at the baseline; NULL for methods without one.",
    )
    convergence_delta = dy.Float64(
        nullable=True,
        allow_nan=False,
        allow_inf=False,
        description="Sum of attributions minus (f_input - f_baseline); NULL for methods without completeness.",
    )
    relative_delta = dy.Float64(
        nullable=True,
        min=0,
        allow_nan=False,
        description="|convergence_delta| / max(|f_input - f_baseline|, 1e-6).",
    )
    converged = dy.Bool(
        nullable=True,
        description="relative_delta is within the tolerance; NULL for methods without completeness.",
    )
    stopped = dy.String(
        nullable=True,
        regex="^(tolerance|noise|limit)$",
        description="Why the refinement ended: the panel errors are within the tolerance; what is left of them is rounding; "
        "there were no rows or halvings left. NULL where nothing is refined.",
    )
    ordered_share = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        allow_nan=False,
        description="Share of pairs of sub-tokens whose attributions differ by more than their errors together: what is known "
        "of the ranks. NULL where errors are not estimated.",
    )
    num_gradient_rows = dy.Int32(nullable=False, min=0, description="Forward-and-backward rows evaluated.")
    num_forward_rows = dy.Int32(nullable=False, min=0, description="Forward-only rows evaluated.")
    parameters = dy.String(nullable=False, description="The method's parameters, as JSON.")


class TokenAttributions(Table):
    """One row per (model, example, method, target, sub-token): a signed, unnormalised attribution in logits."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "method", "target", "position")
    version = 2

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    method = method_column()
    target = target_column()
    position = dy.Int32(nullable=False, min=0, description="Index in the model's input, as in `tokens`.")
    attribution = dy.Float32(
        nullable=False,
        allow_nan=False,
        allow_inf=False,
        description="Signed attribution, in logits, summed over embedding dimensions.",
    )
    attribution_error = dy.Float32(
        nullable=True,
        min=0,
        allow_nan=False,
        allow_inf=False,
        description="Its estimated quadrature error, absolute; NULL where the method estimates none.",
    )


class AttributionProbes(Table):
    """One row per (model, example, method, target, draw): tokens removed at random, and noise on all of them.

    The removed tokens and the noise of a draw are the example's: the same for every method.
    """

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "method", "target", "draw")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    method = method_column()
    target = target_column()
    draw = dy.Int32(nullable=False, min=0, description="Number of the draw.")
    num_removed = dy.Int32(
        nullable=False,
        min=1,
        description="Sub-tokens whose word vectors became the mask token's; every number is equally likely.",
    )
    attributed = dy.Float64(
        nullable=False,
        allow_nan=False,
        allow_inf=False,
        description="Sum of their attributions: what removing them should cost.",
    )
    lost = dy.Float64(
        nullable=False,
        allow_nan=False,
        allow_inf=False,
        description="Target logit of the whole input minus that without them: what it costs.",
    )
    noise = dy.Float64(
        nullable=True,
        min=0,
        allow_nan=False,
        allow_inf=False,
        description="Half-width of the uniform noise added to the word vectors; NULL where none was.",
    )
    norm = dy.Float64(
        nullable=False,
        min=0,
        allow_nan=False,
        allow_inf=False,
        description="L2 norm of the example's attributions.",
    )
    change = dy.Float64(
        nullable=True,
        min=0,
        allow_nan=False,
        allow_inf=False,
        description="L2 norm of the attributions under the noise minus those without; NULL where there was none.",
    )
