"""The contracts: one class per stored table, and nothing else.

A class says what a row is (its docstring), which columns identify it (`key`), how its files are
partitioned (`partition_by`), and every column's type, unit and rule. From it come the Polars types
checked at write time, the Parquet types, DuckDB's comments, Dagster's table schema and
`xlwh describe`. Metrics do not belong here: they are views under `sql/`.

Raise `version` when the meaning or the columns of a table change: partitions written before are then stale.
"""

from __future__ import annotations

from typing import ClassVar

import dataframely as dy

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
"""Model, dataset and space names: they become folder names and partition keys."""


class Table(dy.Schema):
    """Base of all contracts."""

    partition_by: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1


def _name(description: str) -> dy.String:
    return dy.String(nullable=False, regex=KEY_PATTERN, description=description)


def _model() -> dy.String:
    return _name("Key of the model in the study.")


def _dataset() -> dy.String:
    return _name("Key of the dataset in the study.")


def _language(description: str = "Language code, as the dataset writes it.") -> dy.String:
    return _name(description)


def _split() -> dy.String:
    return dy.String(nullable=False, description="Part of the dataset: train, dev, test.")


def _example_id() -> dy.String:
    return dy.String(
        nullable=False,
        min_length=1,
        description="Identity of the example; equal across languages in parallel data.",
    )


def _method() -> dy.String:
    return dy.String(nullable=False, description="Attribution method: lig, random.")


def _target() -> dy.String:
    return dy.String(
        nullable=False,
        description="The output that is explained: a class label, or `start`/`end` in question answering.",
    )


def _probability(description: str) -> dy.Float64:
    return dy.Float64(
        nullable=False, min=0, max=1 + 1e-9, allow_inf=False, allow_nan=False, description=description
    )


class Examples(Table):
    """One row per (dataset, split, language, example): the text as read, before any tokenizer."""

    partition_by = ("dataset", "language")
    key = ("dataset", "split", "language", "example_id")

    dataset = _dataset()
    split = _split()
    language = _language()
    example_id = _example_id()
    task = dy.String(
        nullable=False,
        check=lambda c: c.is_in(
            [
                "sequence_classification",
                "sentence_pair",
                "token_classification",
                "question_answering",
                "translation",
            ]
        ),
        description="What is predicted: sequence_classification, sentence_pair, token_classification, "
        "question_answering or translation.",
    )
    text = dy.String(nullable=False, description="First segment: sentence, premise or question.")
    text_pair = dy.String(nullable=True, description="Second segment: hypothesis, context or translation.")
    label = dy.String(nullable=True, description="Gold class label; NULL where the source withholds it.")
    words = dy.List(
        dy.String(), nullable=True, description="The source's own tokens, for pre-tokenised corpora."
    )
    word_labels = dy.List(dy.String(), nullable=True, description="One gold tag per entry of `words`.")
    answers = dy.List(
        dy.Struct({"text": dy.String(nullable=False), "start": dy.Int32(nullable=False)}),
        nullable=True,
        description="Gold answers in `text_pair`; start in code points.",
    )
    source_file = dy.String(
        nullable=False, description="File the row was read from, relative to the data root."
    )
    row_number = dy.Int64(nullable=False, min=0, description="Position in that file, counted from 0.")


class RejectedRows(Table):
    """One row per input row that a reader refused, with the reason and the raw text. Nothing is lost silently."""

    partition_by = ("dataset", "language")
    key = ("dataset", "split", "language", "source_file", "row_number")

    dataset = _dataset()
    split = _split()
    language = _language()
    source_file = dy.String(
        nullable=False, description="File the row was read from, relative to the data root."
    )
    row_number = dy.Int64(nullable=False, min=0, description="Position in that file, counted from 0.")
    reason = dy.String(nullable=False, description="Why the row was refused.")
    raw = dy.String(
        nullable=False, description="The row as found, cut at 10,000 characters; undecodable bytes as \\xNN."
    )


class Models(Table):
    """One row per model of the study: what it is, exactly, and how it was trained if it was trained here."""

    partition_by = ("model",)
    key = ("model",)

    model = _model()
    kind = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["hub", "path", "finetuned"]),
        description="Where it comes from: hub, path or finetuned.",
    )
    source = dy.String(
        nullable=False, description="Hub id, folder as written in the study, or key of the base model."
    )
    revision = dy.String(nullable=True, description="40-character commit of a hub model.")
    family = dy.String(nullable=False, description="Architecture family (transformers `model_type`).")
    task = dy.String(nullable=True, description="Task its head was trained for; NULL for a bare encoder.")
    labels = dy.List(dy.String(), nullable=True, description="Class labels in the order of the logits.")
    weight_hash = dy.String(
        nullable=False, min_length=64, max_length=64, description="SHA-256 over the safetensors files."
    )
    tokenizer_hash = dy.String(
        nullable=False, min_length=64, max_length=64, description="SHA-256 over the tokenizer's files."
    )
    num_layers = dy.Int32(nullable=False, min=1, description="Transformer layers.")
    num_heads = dy.Int32(nullable=False, min=1, description="Attention heads per layer.")
    hidden_size = dy.Int32(nullable=False, min=1, description="Width of the hidden states.")
    vocab_size = dy.Int32(nullable=False, min=1, description="Rows of the input embedding.")
    num_parameters = dy.Int64(nullable=False, min=1, description="Parameters, heads included.")
    dtype = dy.String(nullable=False, description="Number format it is run in.")
    published_as = dy.String(nullable=True, description="Name of the same model in the papers' tables.")
    finetuned_dataset = dy.String(nullable=True, description="Dataset it was fine-tuned on here.")
    finetuned_languages = dy.List(
        dy.String(), nullable=True, description="Languages it was fine-tuned on here."
    )
    seed = dy.Int64(nullable=True, description="Seed of the fine-tuning.")
    recipe = dy.String(nullable=True, description="Hyper-parameters of the fine-tuning, as JSON.")
    dev_score = dy.Float64(
        nullable=True, description="Best development accuracy during fine-tuning, a share."
    )
    train_steps = dy.Int64(nullable=True, min=0, description="Optimiser steps done.")
    duration_s = dy.Float64(nullable=True, min=0, description="Seconds of fine-tuning.")


class Tokens(Table):
    """One row per sub-token that the model sees, special tokens included, padding not."""

    partition_by = ("model", "language")
    key = ("model", "dataset", "split", "language", "example_id", "position")

    model = _model()
    dataset = _dataset()
    split = _split()
    language = _language()
    example_id = _example_id()
    position = dy.Int32(
        nullable=False, min=0, description="Index in the model's input, special tokens counted."
    )
    segment = dy.Int32(
        nullable=True, min=0, max=1, description="0 first text, 1 second text; NULL for special tokens."
    )
    word_index = dy.Int32(
        nullable=True,
        min=0,
        description="Word the sub-token belongs to, counted over both segments; NULL for special tokens and lone blanks.",
    )
    word = dy.String(nullable=True, description="Surface form of that word.")
    token_id = dy.Int32(nullable=False, min=0, description="Row of the input embedding.")
    token = dy.String(nullable=False, description="The tokenizer's piece.")
    char_start = dy.Int32(nullable=True, min=0, description="First code point in the segment's text.")
    char_end = dy.Int32(
        nullable=True, min=0, description="One past the last code point in the segment's text."
    )
    is_special = dy.Bool(nullable=False, description="CLS, SEP and the like.")
    is_unknown = dy.Bool(nullable=False, description="The tokenizer's UNK piece.")
    segmenter = dy.String(nullable=False, description="What split the text into words.")


class Predictions(Table):
    """One row per (model, example): logits as computed, so that every score is a view."""

    partition_by = ("model", "language")
    key = ("model", "dataset", "split", "language", "example_id")

    model = _model()
    dataset = _dataset()
    split = _split()
    language = _language()
    example_id = _example_id()
    task = dy.String(nullable=False, description="Task of the dataset.")
    label = dy.String(nullable=True, description="Gold label; NULL where withheld.")
    predicted = dy.String(nullable=False, description="Label of the largest logit.")
    logits = dy.List(
        dy.Float32(), nullable=False, description="One per class, in the order of `models.labels`."
    )
    probabilities = dy.List(dy.Float32(), nullable=False, description="Softmax of the logits.")
    num_tokens = dy.Int32(
        nullable=False, min=1, description="Sub-tokens the model saw, special ones included."
    )
    num_truncated = dy.Int32(
        nullable=False, min=0, description="Sub-tokens cut off because the input was too long."
    )


class AttributionRuns(Table):
    """One row per (model, example, method, target): what was integrated, at what cost, how well it converged."""

    partition_by = ("model", "language")
    key = ("model", "dataset", "split", "language", "example_id", "method", "target")

    model = _model()
    dataset = _dataset()
    split = _split()
    language = _language()
    example_id = _example_id()
    method = _method()
    target = _target()
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
    num_gradient_rows = dy.Int32(nullable=False, min=0, description="Forward-and-backward rows evaluated.")
    num_forward_rows = dy.Int32(nullable=False, min=0, description="Forward-only rows evaluated.")
    parameters = dy.String(nullable=False, description="The method's parameters, as JSON.")


class TokenAttributions(Table):
    """One row per (model, example, method, target, sub-token): a signed, unnormalised attribution in logits."""

    partition_by = ("model", "language")
    key = ("model", "dataset", "split", "language", "example_id", "method", "target", "position")

    model = _model()
    dataset = _dataset()
    split = _split()
    language = _language()
    example_id = _example_id()
    method = _method()
    target = _target()
    position = dy.Int32(nullable=False, min=0, description="Index in the model's input, as in `tokens`.")
    attribution = dy.Float32(
        nullable=False,
        allow_nan=False,
        allow_inf=False,
        description="Signed attribution, in logits, summed over embedding dimensions.",
    )


class WordVectors(Table):
    """One row per (space, language, word of the study's corpora that the space covers)."""

    partition_by = ("space", "language")
    key = ("space", "language", "word")

    space = _name("Key of the shared space; for a model's own embeddings `<model>.<space>`.")
    language = _language()
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

    partition_by = ("model", "target_language")
    key = (
        "model", "dataset", "split", "source_language", "target_language", "example_id",
        "method", "target", "target_policy", "space", "unit", "normalization",
    )  # fmt: skip

    model = _model()
    dataset = _dataset()
    split = _split()
    source_language = _language("Language whose prediction and attributions are the reference.")
    target_language = _language("Language that is compared with it.")
    example_id = _example_id()
    method = _method()
    target = _target()
    target_policy = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["source_prediction", "own_prediction", "gold"]),
        description="How the target was chosen: source_prediction, own_prediction or gold.",
    )
    space = _name("Shared space of the similarities.")
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
    score = _probability("C(s, t) = 1 - EMD of the attribution weights, a share.")
    null_uniform = _probability("The same pair with uniform weights on both sides.")
    null_shuffled = _probability("Mean over the draws with the target side's weights shuffled.")
    null_shuffled_sd = dy.Float64(
        nullable=False, min=0, allow_nan=False, description="Standard deviation over those draws."
    )
    num_draws = dy.Int32(nullable=False, min=1, description="Draws of the shuffled null.")
    source_units = dy.Int32(nullable=False, min=1, description="Words (or tokens) on the source side.")
    target_units = dy.Int32(nullable=False, min=1, description="Words (or tokens) on the target side.")
    source_coverage = _probability("Share of the source weight on units that have a vector.")
    target_coverage = _probability("Share of the target weight on units that have a vector.")
    degenerate = dy.Bool(nullable=False, description="A side had only zero weights and was set to uniform.")


class PublishedResults(Table):
    """One row per number printed in one of the papers' tables."""

    key = ("paper", "table", "model", "dataset", "source_language", "language", "metric", "variant")

    paper = dy.String(
        nullable=False,
        description="Short name of the paper: ccta, shapley-heads, concept-alignment, faithfulness.",
    )
    table = dy.String(nullable=False, description="Number of the table in the paper.")
    model = dy.String(nullable=False, description="Model as the paper names it.")
    dataset = dy.String(nullable=False, description="Dataset as the paper names it.")
    source_language = dy.String(nullable=True, description="Language trained on or compared from.")
    language = dy.String(nullable=True, description="Language evaluated; `overall` where the paper averages.")
    metric = dy.String(nullable=False, description="Name of the metric.")
    variant = dy.String(
        nullable=False, description="paper, or published_code where the number comes from released code."
    )
    value = dy.Float64(nullable=False, allow_nan=False, description="The number as printed.")
    note = dy.String(nullable=True, description="Significance marks and the like.")


TABLES: dict[str, type[Table]] = {
    "examples": Examples,
    "rejected_rows": RejectedRows,
    "models": Models,
    "tokens": Tokens,
    "predictions": Predictions,
    "attribution_runs": AttributionRuns,
    "token_attributions": TokenAttributions,
    "word_vectors": WordVectors,
    "ccta_pairs": CctaPairs,
    "published_results": PublishedResults,
}
"""Every stored table by name, in the order in which they are made."""
