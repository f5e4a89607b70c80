"""Bilingual lexica: ranked translations of words, from aligned sentence pairs or from a published file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from xlwh.concepts.alignment import align
from xlwh.concepts.alignment_external import align_externally
from xlwh.concepts.alignment_symmetry import symmetrised
from xlwh.concepts.bitext import encode
from xlwh.corpora.dictionaries import read_entries
from xlwh.models.words import segment
from xlwh.study import Aligner

Sentences = list[list[str]]
Pairs = list[tuple[list[str], list[str]]]
"""Words of sentences that translate each other."""

_RANKED = ["source_word", "target_word", "probability", "count", "rank", "file_rank"]


@dataclass(frozen=True)
class Ranked:
    """Translations with their ranks, and where they come from."""

    frame: pl.DataFrame
    """source_word, target_word, probability, count, rank, file_rank; sorted by source word and rank."""
    provenance: str
    sentence_pairs: int = 0
    links: int = 0


def parallel_words(examples: pl.DataFrame) -> Sentences:
    """Words of examples, segment by segment: two sentences of a row with a second text, one of any other.

    Those that the corpus gives are taken as they are; otherwise the text is split as for the models.
    """
    sentences: Sentences = []
    for language, text, pair, words in examples.select("language", "text", "text_pair", "words").iter_rows():
        sentences.append(list(words) if words is not None else split(text, language))
        if pair is not None:
            sentences.append(split(pair, language))
    return sentences


def sentence_pairs(examples: pl.DataFrame, source: str, target: str, pivot: str | None = None) -> Pairs:
    """Words of the sentences of two languages that translate each other, out of the examples of a parallel dataset.

    `pivot` is the language of `text` where each row holds a text and its translation, `text_pair`. Where it is None,
    the examples with the same id in the two languages are pairs, first text with first and second with second.
    """
    if pivot is not None:
        columns = ("text", "text_pair") if pivot == source else ("text_pair", "text")
        return [(split(one, source), split(two, target)) for one, two in examples.select(columns).iter_rows()]
    # A pair that lacks its second text in one language would shift all that follow.
    single = pl.col("text_pair").is_null().alias("single")
    sides = [examples.filter(language=language) for language in (source, target)]
    first, second = (side.select("example_id", single) for side in sides)
    common = first.join(second, on=["example_id", "single"]).select("example_id")
    words = [parallel_words(common.join(side, on="example_id", how="left")) for side in sides]
    return list(zip(*words, strict=True))


def split(text: str, language: str) -> list[str]:
    """Surface forms of a text, as `tokens.word` has them."""
    return [text[start:end] for start, end in segment(text, language)]


def from_alignment(
    pairs: Pairs,
    aligner: Aligner,
    *,
    n_best: int,
    min_count: int = 1,
    name: str = "sentence pairs",
    progress: Callable[[int, int], None] | None = None,
) -> Ranked:
    """Align sentence pairs and rank the translations of every source word: p(t | s) = links(s, t) / links(s).

    `lower_case` is about the alignment alone: words are listed in the form that they have in the text. With a
    `command` that aligns them, other settings do not matter. Pairs with a side without words or of more than
    `max_words` are left out.
    """
    kept = [pair for pair in pairs if all(0 < len(side) <= aligner.max_words for side in pair)]
    sides = [[pair[side] for pair in kept] for side in (0, 1)]
    folded = [[[word.lower() for word in one] for one in side] for side in sides]
    bitext = encode(*(folded if aligner.lower_case else sides))
    command = aligner.command
    directions = align_externally(bitext, command) if command else align(bitext, aligner, progress)
    links = symmetrised(bitext, directions)
    # The links count words of the flat text, which is the same with and without case.
    offsets = pl.DataFrame(
        {
            "pair": range(bitext.pairs),
            "source_start": bitext.source_starts[:-1],
            "target_start": bitext.target_starts[:-1],
        },
        schema={"pair": pl.Int64, "source_start": pl.Int64, "target_start": pl.Int64},
    )
    flat = [pl.Series([word for one in side for word in one], dtype=pl.String) for side in sides]
    placed = links.join(offsets, on="pair", how="left", maintain_order="left")
    words = pl.DataFrame(
        {
            "source_word": flat[0].gather(placed["source_start"] + placed["source_position"]),
            "target_word": flat[1].gather(placed["target_start"] + placed["target_position"]),
        }
    )
    counted = words.group_by("source_word", "target_word").agg(pl.len().cast(pl.Int64).alias("count"))
    counted = counted.with_columns(probability=pl.col("count") / pl.col("count").sum().over("source_word"))
    ranked = _ranked(counted.filter(pl.col("count") >= min_count), None, n_best)
    return Ranked(ranked, f"alignment of {name}", len(kept), links.height)


def from_file(
    path: Path, *, n_best: int, min_count: int = 1, swapped: bool = False, name: str = ""
) -> Ranked:
    """Read a published lexicon. `swapped` reads it against its direction, without its probabilities.

    `min_count` drops entries whose count is lower; entries without one stay.
    """
    entries = read_entries(path, swapped)
    frame = pl.DataFrame(
        {
            "source_word": [entry.source for entry in entries],
            "target_word": [entry.target for entry in entries],
            "probability": [entry.probability for entry in entries],
            "count": [entry.count for entry in entries],
        },
        schema={
            "source_word": pl.String, "target_word": pl.String, "probability": pl.Float64, "count": pl.Int64,
        },
    )  # fmt: skip
    frame = frame.filter(pl.col("count").is_null() | (pl.col("count") >= min_count))
    frame = frame.unique(["source_word", "target_word"], keep="first", maintain_order=True)
    file_rank = pl.int_range(1, pl.len() + 1).over("source_word")
    return Ranked(_ranked(frame, file_rank, n_best), name or path.name)


def _ranked(frame: pl.DataFrame, file_rank: pl.Expr | None, n_best: int) -> pl.DataFrame:
    """Add `rank` and `file_rank`, and keep what is among the first `n_best` by either."""
    if file_rank is not None:
        frame = frame.with_columns(file_rank=file_rank)
        # Without numbers the file's order is the only one there is.
        numbers = pl.col("probability").is_not_null() | pl.col("count").is_not_null()
        tie = pl.when(numbers).then(0).otherwise(pl.col("file_rank"))
    else:
        tie = pl.lit(0)
    frame = frame.with_columns(_tie=tie).sort(
        "source_word", "probability", "count", "_tie", "target_word",
        descending=[False, True, True, False, False],
        nulls_last=True,
    )  # fmt: skip
    frame = frame.with_columns(rank=pl.int_range(1, pl.len() + 1).over("source_word"))
    if file_rank is None:
        frame = frame.with_columns(file_rank=pl.col("rank"))
    frame = frame.filter((pl.col("rank") <= n_best) | (pl.col("file_rank") <= n_best))
    return frame.select(_RANKED).with_columns(pl.col("rank", "file_rank").cast(pl.Int32))
