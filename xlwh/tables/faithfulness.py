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
MASKED_AT = ("tokens", "word_vectors", "embedding_output")
EMPTY_INPUTS = ("attributable", "all")
MASKINGS = ("mask", "pad", "delete", "zero_id", "bernoulli", "bernoulli_reversed")


class Perturbations(Table):
    """One row per (model, example, method, way of perturbing, side, ratio, repeat): the predicted class's probability.

    A kept set that several rows share was evaluated once; its probability is repeated, so that no metric needs a join.
    """

    # 2: `zero_id` and `bernoulli_reversed` are the released code's in every respect; `masked_at`, `empty_input`.
    version = 2
    partition_by = ("model", "language")
    named_by = ("dataset",)
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
    masked_at = dy.String(
        nullable=False,
        check=lambda c: c.is_in(list(MASKED_AT)),
        description="What is masked: tokens; word_vectors, before positions are added; embedding_output, the normalised "
        "sum of word, position and type vectors, as in the released code.",
    )
    empty_input = dy.String(
        nullable=False,
        check=lambda c: c.is_in(list(EMPTY_INPUTS)),
        description="What `p_empty` is without: attributable (every attributable token, masked in the same way) or all "
        "(every token but a kept query is id 0, special tokens too: the released code's baseline).",
    )
    mask_token = dy.String(
        nullable=True,
        description="Token that stood in; `mask` uses PAD where a tokenizer has no mask token. NULL: none did.",
    )
    query = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["none", "kept", "perturbed"]),
        description="Second text of a pair: kept as it is, perturbed like the first, or there is none. The released "
        "code's comprehensiveness (zero_id) removes it where one separator stands between the texts.",
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
        description="Sub-tokens that can be perturbed: not special, not of a kept query; the released code's rows count "
        "the closing separator of a single text among them.",
    )
    k = dy.Int32(
        nullable=True,
        min=0,
        description="The rationale's sub-tokens: ceil(ratio * num_attributable), in the released code's rows (zero_id) "
        "ceil(ratio * place of the first separator); NULL for soft.",
    )
    kept_hash = dy.String(
        nullable=True,
        min_length=16,
        max_length=16,
        description="Hash of the set of attributable positions that were kept: equal sets were evaluated once; NULL for soft.",
    )
    p_full = probability_column("Probability of the target class for the whole input.")
    p_perturbed = probability_column("The same for the perturbed input.")
    p_empty = probability_column("The same for the empty input, see `empty_input`.")
