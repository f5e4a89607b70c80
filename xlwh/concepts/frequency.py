"""Which occurrences of words are kept: frequent enough types, and of very frequent ones a seeded sample.

The sample is a reservoir by random keys: an occurrence's key is a hash of the seed, the language, its example and its
place in it, and the lowest keys of a type are kept. So it is uniform, the same wherever the corpus is cut into
chunks and in whatever order they come, and never the first ones of a corpus. Memory grows with the number of word
types, not with the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from xlwh.draws import GOLDEN_GAMMA, key_of, splitmix64
from xlwh.models.segments import words_of


@dataclass(frozen=True)
class Policy:
    """What is kept of the words of one language."""

    min_count: int
    """Least occurrences of a word type; rarer types are left out."""
    max_occurrences: int | None
    """Occurrences kept of a type; None keeps all."""
    seed: int


@dataclass(frozen=True)
class Choice:
    """The word types kept, and the highest key that an occurrence of each may have."""

    limits: pl.DataFrame
    """word, count (in the whole corpus), limit (UInt64)."""
    num_types: int
    """Types in the corpus."""
    num_tokens: int
    """Occurrences in the corpus."""

    @property
    def num_kept_types(self) -> int:
        """Types of which occurrences are kept."""
        return self.limits.height

    def of(self, occurrences: pl.DataFrame) -> pl.DataFrame:
        """The occurrences (word, key, ...) that are kept, in their order."""
        return (
            occurrences.join(self.limits, on="word", how="left", maintain_order="left")
            .filter(pl.col("key") <= pl.col("limit"))
            .drop("count", "limit", "key")
        )


def occurrences(examples: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Rows (example, word_index, word, key), one per word of `examples`; `example` counts from 0 in their order."""
    sentences = words_of(examples)
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
    example = np.repeat(np.arange(len(sentences)), lengths)
    word_index = np.arange(len(example)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    names = examples.select("language", "dataset", "example_id").iter_rows()
    hashes = np.array([key_of(seed, *name) for name in names], dtype=np.uint64)
    return pl.DataFrame(
        {
            "example": example,
            "word_index": word_index.astype(np.int32),
            "word": pl.Series([word for sentence in sentences for word in sentence], dtype=pl.String),
            "key": splitmix64(hashes[example] + (word_index.astype(np.uint64) + np.uint64(1)) * GOLDEN_GAMMA),
        }
    )


def choose(chunks: Iterable[pl.DataFrame], policy: Policy) -> Choice:
    """Decide on all occurrences of a language's corpus, given in chunks of rows (word, key)."""
    counts = pl.DataFrame(schema={"word": pl.String, "count": pl.Int64})
    lowest = pl.DataFrame(schema={"word": pl.String, "key": pl.UInt64})
    keep = policy.max_occurrences
    for chunk in chunks:
        new = chunk.group_by("word").agg(count=pl.len().cast(pl.Int64))
        counts = pl.concat([counts, new]).group_by("word").agg(pl.col("count").sum())
        if keep is not None:
            rows = pl.concat([lowest, chunk.select("word", "key")])
            lowest = rows.group_by("word").agg(pl.col("key").bottom_k(keep)).explode("key")
    limits = counts.filter(pl.col("count") >= policy.min_count).sort("word")
    everything = pl.lit(2**64 - 1, dtype=pl.UInt64)
    if keep is None:
        limits = limits.with_columns(limit=everything)
    else:
        highest = lowest.group_by("word").agg(limit=pl.col("key").max())
        limits = limits.join(highest, on="word", how="left", maintain_order="left").with_columns(
            limit=pl.when(pl.col("count") > keep).then("limit").otherwise(everything)
        )
    return Choice(limits, counts.height, int(counts["count"].sum()))
