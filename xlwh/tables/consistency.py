"""Shared spaces, and the consistency of token attributions (CCTA)."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    example_id_column,
    language_column,
    method_column,
    model_column,
    name_column,
    probability_column,
    split_column,
    target_column,
)


class WordVectors(Table):
    """One row per (space, language, word of the study's corpora that the space covers)."""

    partition_by = ("space", "language")
    key = ("space", "language", "word")

    space = name_column("Key of the shared space; for a model's own embeddings `<model>.<space>`.", "space")
    language = language_column()
    word = dy.String(nullable=False, description="Surface form, as in `tokens.word`.")
    matched = dy.String(
        nullable=False,
        description="Entry of the space that it was found under (after lower-casing or composition).",
    )
    vector = dy.List(dy.Float32(), nullable=False, description="Vector in the shared space, not normalised.")
    alignment = dy.String(
        nullable=False,
        description="How the language was brought into the space: given, pivot, procrustes or none.",
    )


class CctaPairs(Table):
    """One row per parallel pair: its optimal-transport score and the two nulls (CCTA)."""

    version = 2
    partition_by = ("model", "target_language")
    named_by = ("dataset",)
    key = (
        "model", "dataset", "split", "source_language", "target_language", "example_id",
        "method", "target", "target_policy", "space", "unit", "normalization",
    )  # fmt: skip

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    source_language = language_column("Language whose prediction and attributions are the reference.")
    target_language = language_column("Language that is compared with it.")
    example_id = example_id_column()
    method = method_column()
    target = target_column()
    target_policy = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["source_prediction", "own_prediction", "gold"]),
        description="How the target was chosen: source_prediction, own_prediction or gold.",
    )
    space = name_column("Shared space of the similarities.", "space")
    unit = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["word", "token"]),
        description="What mass sits on: word or token.",
    )
    normalization = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["abs", "relu", "min_max", "softmax"]),
        description="Signed attributions to weights: abs, relu, min_max or softmax.",
    )
    score = probability_column("C(s, t) = 1 - EMD of the attribution weights, a share.")
    null_uniform = probability_column("The same pair with uniform weights on both sides.")
    null_shuffled = probability_column("Mean over the draws with the target side's weights shuffled.")
    null_shuffled_sd = dy.Float64(
        nullable=False, min=0, allow_nan=False, description="Standard deviation over those draws."
    )
    num_draws = dy.Int32(nullable=False, min=1, description="Draws of the shuffled null.")
    source_units = dy.Int32(nullable=False, min=1, description="Words (or tokens) on the source side.")
    target_units = dy.Int32(nullable=False, min=1, description="Words (or tokens) on the target side.")
    alignment = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["same_language", "rotated", "given", "unchecked", "none"]),
        description="How both languages came into one space: same_language; rotated by a dictionary; given by the vector "
        "files, whose shared words agree; unchecked, where they share too few words to tell; none: nothing relates them.",
    )
    source_coverage = probability_column("Share of the source weight on units that have a vector.")
    target_coverage = probability_column("Share of the target weight on units that have a vector.")
    degenerate = dy.Bool(nullable=False, description="A side had only zero weights and was set to uniform.")
