"""Models, what they see of a text and what they say of it."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    example_id_column,
    holding,
    language_column,
    model_column,
    split_column,
)


class Models(Table):
    """One row per model of the study: what it is, exactly, and how it was trained if it was trained here."""

    partition_by = ("model",)
    key = ("model",)
    version = 5

    model = model_column()
    kind = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["hub", "path", "finetuned", "scratch"]),
        description="Where it comes from: hub, path, finetuned or scratch (random weights).",
    )
    source = dy.String(
        nullable=False,
        description="Hub id, folder as written in the study, key of the base model, or what the tokenizer of a "
        "model from scratch was trained on or taken from.",
        metadata=holding("origin"),
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
    counterpart_of = dy.String(
        nullable=True,
        description="Key of the multilingual model that this one is the counterpart of.",
        metadata=holding("model"),
    )
    weights_of = dy.String(
        nullable=True, description="Key of the model whose weights it has.", metadata=holding("model")
    )
    randomized = dy.String(nullable=True, description="Weights that were shuffled: head or all; NULL: none.")
    tokenization_sampling = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        description="Rate at which its words are cut into other sub-tokens; NULL: they are not.",
    )
    finetuned_dataset = dy.String(
        nullable=True, description="Dataset it was fine-tuned on here.", metadata=holding("dataset")
    )
    finetuned_languages = dy.List(dy.String(), nullable=True, description="Languages it was fine-tuned on.")
    translated_from = dy.String(
        nullable=True,
        description="Language that the translations it was fine-tuned on are from; NULL: it was fine-tuned on none.",
    )
    seed = dy.Int64(nullable=True, description="Seed of the fine-tuning.")
    recipe = dy.String(
        nullable=True,
        description="Hyper-parameters of the fine-tuning, as JSON.",
        metadata=holding("recipe"),
    )
    dev_score = dy.Float64(
        nullable=True,
        description="Best development score during fine-tuning, a share: accuracy, F1 of entities or of answers by task.",
    )
    train_steps = dy.Int64(nullable=True, min=0, description="Optimiser steps done.")
    duration_s = dy.Float64(nullable=True, min=0, description="Seconds of fine-tuning.")
    self_test = dy.List(
        dy.Struct(
            {
                "item": dy.String(nullable=False),
                "capability": dy.String(nullable=False),
                "status": dy.String(nullable=False),
                "deviation": dy.Float64(nullable=True),
                "tolerance": dy.Float64(nullable=True),
                "detail": dy.String(nullable=False),
            }
        ),
        nullable=True,
        description="What was tried with it on a few examples: passed, failed (the capability is refused) or "
        "not_applicable, with the deviation measured and the one allowed.",
    )
    self_tested_with = dy.String(
        nullable=True, description="Version of the self-test and of the libraries that it was run with."
    )


class Tokens(Table):
    """One row per sub-token that the model sees, special tokens included, padding not."""

    version = 2
    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "position")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
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
    word_start = dy.Int32(
        nullable=True, min=0, description="First code point of that word in the segment's text."
    )
    word_end = dy.Int32(
        nullable=True,
        min=1,
        description="One past its last code point. What is cut out is the word itself, but for words of multiword "
        "tokens: there, what `examples.word_spans` says.",
    )
    token_id = dy.Int32(nullable=False, min=0, description="Row of the input embedding.")
    token = dy.String(nullable=False, description="The tokenizer's piece.")
    char_start = dy.Int32(
        nullable=True,
        min=0,
        description="First code point in the segment's text; NULL for special tokens, and for lone blanks between "
        "pre-tokenised words, which may not stand there.",
    )
    char_end = dy.Int32(
        nullable=True, min=0, description="One past the last code point in the segment's text."
    )
    is_special = dy.Bool(nullable=False, description="CLS, SEP and the like.")
    is_unknown = dy.Bool(nullable=False, description="The tokenizer's UNK piece.")
    segmenter = dy.String(nullable=False, description="What split the text into words.")


class Predictions(Table):
    """One row per (model, example): logits as computed, or the text written, so that every score is a view."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    task = dy.String(nullable=False, description="Task of the dataset.")
    label = dy.String(
        nullable=True, description="Gold label, or the reference translation; NULL where withheld."
    )
    predicted = dy.String(
        nullable=False, description="Label of the largest logit, the answer's text, or the text written."
    )
    logits = dy.List(
        dy.Float32(),
        nullable=False,
        description="One per class, in the order of `models.labels`; of an answer, its start's and end's; "
        "of a translation, one per sub-token written.",
    )
    probabilities = dy.List(
        dy.Float32(),
        nullable=False,
        description="Softmax of the logits: over the classes, or over the positions of the answer's window.",
    )
    num_tokens = dy.Int32(
        nullable=False, min=1, description="Sub-tokens the model saw, special ones included."
    )
    num_truncated = dy.Int32(
        nullable=False, min=0, description="Sub-tokens cut off because the input was too long."
    )
