"""What a text-to-text model writes beside the references: rows of `predictions` and `translations`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.job import Frames
from xlwh.store import schema
from xlwh.study import Generation

if TYPE_CHECKING:
    from xlwh.models import LoadedModel


def written(
    loaded: LoadedModel, examples: pl.DataFrame, generation: Generation, progress: Callable[[int, int], None]
) -> Frames:
    """Rows of `predictions` and of `translations`.

    `predicted` is what the model writes and `label` the reference; the logits are those of the written text's
    sub-tokens.
    """
    from xlwh.models.tokenize import KEYS, encode
    from xlwh.models.translation import encode_translations, sources, translate, written_logits

    encoded = encode(loaded, sources(examples))
    outputs = translate(loaded, encoded, generation, progress=progress)
    texts = pl.Series([output.text for output in outputs], dtype=pl.String)
    logits, probabilities = written_logits(
        loaded, encode_translations(loaded, examples.with_columns(text_pair=texts))
    )
    keys = {
        "model": pl.repeat(loaded.key, examples.height, dtype=pl.String, eager=True),
        **{name: examples[name] for name in KEYS},
    }
    predictions = {
        **keys,
        "task": examples["task"],
        "label": examples["text_pair"],
        "predicted": texts,
        "logits": logits,
        "probabilities": probabilities,
        "num_tokens": encoded.lengths,
        "num_truncated": encoded.num_truncated,
    }
    translations = {
        **keys,
        "num_written": [output.num_tokens for output in outputs],
        "max_tokens": pl.repeat(generation.max_tokens, examples.height, dtype=pl.Int32, eager=True),
        "is_cut": [output.is_cut for output in outputs],
    }
    return {
        "predictions": pl.DataFrame(predictions, schema=schema("predictions")),
        "translations": pl.DataFrame(translations, schema=schema("translations")),
    }
