"""Rows of `activations` and `sentence_vectors`: the vectors of the words that are kept, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.concepts.activations import Aggregation, find_words, word_vectors
from xlwh.concepts.places import Place
from xlwh.models.tokenize import NONE, encode

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

WINDOW_BYTES = 1 << 26
"""Vectors in memory at a time, all layers together: also what a kill can cost."""
WINDOW_EXAMPLES = 512


def windows(kept: pl.DataFrame, width: int) -> Iterator[pl.DataFrame]:
    """Rows (example, ...), one per word, of whole examples that follow one another: about WINDOW_BYTES of vectors.

    `width`: numbers of half precision that a word has at all places together.
    """
    most = max(1, WINDOW_BYTES // (2 * width))
    starts = np.unique(kept["example"].to_numpy(), return_index=True)[1]
    bounds = [*starts.tolist(), kept.height]
    begin = 0
    for end in range(1, len(bounds)):
        full = bounds[end] - bounds[begin] >= most or end - begin >= WINDOW_EXAMPLES
        if full or end == len(starts):
            yield kept[bounds[begin] : bounds[end]]
            begin = end


def rows(
    loaded: LoadedModel,
    examples: pl.DataFrame,
    window: pl.DataFrame,
    places: Sequence[Place],
    aggregation: Aggregation = "last",
    batch_tokens: int | None = None,
    segment: int = 0,
) -> list[dict[str, pl.DataFrame]]:
    """Rows of both tables at each place, of the words of a window.

    `window` has the columns example (row of `examples`), word_index, word; `segment` is what the first text of
    `examples` is in the table.
    """
    used, example = np.unique(window["example"].to_numpy(), return_inverse=True)
    encoded = encode(loaded, examples[used.tolist()])
    spans = find_words(encoded, example, window["word_index"].to_numpy().astype(np.int64))
    vectors = word_vectors(loaded, encoded, spans, places, aggregation, batch_tokens=batch_tokens)
    where = [
        encoded.occurrences[at][word]
        for at, word in zip(example.tolist(), window["word_index"].to_list(), strict=True)
    ]
    texts = encoded.keys.with_columns(model=pl.lit(loaded.key))
    pointers = pl.DataFrame(where, ["word", "segment", "char_start", "char_end"], orient="row")
    words = texts[example.tolist()].with_columns(
        window["word_index"],
        *pointers.with_columns(pl.col("segment") + segment),
        aggregation=pl.lit(aggregation),
        position=pl.when(pl.Series(spans.first != NONE)).then(pl.Series(spans.first)),
        num_tokens=pl.Series(spans.count),
    )
    frames = []
    for place in places:
        found, columns = vectors[place], place.columns
        reason = pl.Series(found.reason.tolist(), dtype=pl.String)
        there, averaged = reason.is_null(), pl.Series(found.averaged)
        frames.append(
            {
                "activations": words.with_columns(
                    **columns,
                    vector=pl.when(there).then(pl.Series(found.values)),
                    norm=pl.when(there).then(pl.Series(found.norm)),
                    reason=reason,
                ),
                "sentence_vectors": texts.with_columns(
                    **columns,
                    num_tokens=averaged,
                    vector=pl.when(averaged > 0).then(pl.Series(found.sentences)),
                ),
            }
        )
    return frames
