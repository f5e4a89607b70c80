"""What a model says of perturbed inputs: the facts that every definition of faithfulness is derived from."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    example_id_column,
    language_column,
    method_column,
    model_column,
    probability_column,
    split_column,
    target_column,
)

SIDES = ("sufficiency", "comprehensiveness")
MODES = ("hard", "soft")
MASKINGS = ("mask", "pad", "delete", "zero_id", "bernoulli", "bernoulli_reversed")


class Perturbations(Table):
    """One row per (model, example, method, way of perturbing, side, ratio, repeat): the predicted class's probability.

    A kept set that several rows share was evaluated once; its probability is repeated, so that no metric needs a join.
    """

    partition_by = ("model", "language")
    key = (
        "model",
        "dataset",
        "split",
        "language",
        "example_id",
        "method",
        "importance",
        "masking",
        "side",
        "ratio",
        "repeat",
    )

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    method = method_column()
    target = target_column()
    importance = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["signed", "abs"]),
        description="What tokens are ranked by: the attribution as it is (signed) or its absolute value (abs).",
    )
    mode = dy.String(
        nullable=False,
        check=lambda c: c.is_in(list(MODES)),
        description="hard: whole tokens are kept or not; soft: parts of their word vectors are.",
    )
    masking = dy.String(
        nullable=False,
        check=lambda c: c.is_in(list(MASKINGS)),
        description="What becomes of tokens not kept. hard: mask (the mask token), pad, delete, zero_id (token id 0); "
        "soft: bernoulli, bernoulli_reversed (with the published code's reversed probabilities).",
    )
    mask_token = dy.String(
        nullable=True,
        description="Token that stood in; `mask` uses PAD where a tokenizer has no mask token. NULL: none did.",
    )
    query = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["none", "kept", "perturbed"]),
        description="Second text of a pair: kept as it is, perturbed like the first, or there is none.",
    )
    side = dy.String(
        nullable=False,
        check=lambda c: c.is_in(list(SIDES)),
        description="sufficiency: the most important tokens are kept; comprehensiveness: they are removed.",
    )
    ratio = dy.Float64(
        nullable=True, min=0, max=1, description="Share of tokens that are the rationale; NULL for soft."
    )
    repeat = dy.Int32(
        nullable=False, min=0, description="Number of the draw: of random attributions, or of soft masks."
    )
    num_attributable = dy.Int32(
        nullable=False,
        min=0,
        description="Sub-tokens that can be perturbed: not special, not of a kept query.",
    )
    k = dy.Int32(
        nullable=True,
        min=0,
        description="ceil(ratio * num_attributable): the rationale's sub-tokens; NULL for soft.",
    )
    kept_hash = dy.String(
        nullable=True,
        min_length=16,
        max_length=16,
        description="Hash of the set of attributable positions that were kept: equal sets were evaluated once; NULL for soft.",
    )
    p_full = probability_column("Probability of the target class for the whole input.")
    p_perturbed = probability_column("The same for the perturbed input.")
    p_empty = probability_column("The same with every attributable token removed in the same way.")
