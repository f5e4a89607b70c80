"""Which concepts of one language match which of another through a lexicon, at every rank, and by chance.

Everything here is on word types: a concept is the set of words with an occurrence in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.clusterings import Clustering
from xlwh.draws import Stream, stream

Ints = NDArray[np.int64]

CELLS_AT_ONCE = 1 << 22
"""Looked-up ranks held at once, beside one rank for each (source word, target concept)."""


@dataclass(frozen=True)
class Types:
    """The words of a clustering's concepts: pair i says that `vocabulary[words[i]]` occurs in `concepts[i]`."""

    concepts: Ints
    words: Ints
    vocabulary: list[str]
    num_concepts: int

    @property
    def sizes(self) -> Ints:
        """Different words in each concept."""
        return np.bincount(self.concepts, minlength=self.num_concepts)

    def shuffled(self, drawn: Stream) -> Types:
        """The same concept sizes and words, put together at random. Every word stays in as many concepts.

        A word that falls twice into a concept is exchanged with random others; the few that remain are merged.
        """
        words = self.words[drawn.permutation(len(self.words))]
        for _ in range(50):
            twice = _repeated(self.concepts, words)
            if not len(twice):
                break
            others = drawn.choice(len(words), len(twice))
            for one, other in zip(twice, others, strict=True):
                words[one], words[other] = words[other], words[one]
        keys = np.unique(self.concepts * len(self.vocabulary) + words)
        width = max(1, len(self.vocabulary))
        return Types(keys // width, keys % width, self.vocabulary, self.num_concepts)


def _repeated(concepts: Ints, words: Ints) -> Ints:
    """Positions whose (concept, word) has come before."""
    order: Ints = np.lexsort((words, concepts))
    same = (np.diff(concepts[order]) == 0) & (np.diff(words[order]) == 0)
    repeated: Ints = order[1:][same]
    return repeated


def types_of(members: pl.DataFrame, num_concepts: int) -> Types:
    """Types of a clustering from `concept`, `word` of its occurrences."""
    pairs = members.select("concept", "word").unique().sort("concept", "word")
    vocabulary = pairs["word"].unique().sort()
    words = pairs["word"].replace_strict(vocabulary, pl.int_range(len(vocabulary), eager=True))
    return Types(
        pairs["concept"].cast(pl.Int64).to_numpy(),
        words.cast(pl.Int64).to_numpy(),
        vocabulary.to_list(),
        num_concepts,
    )


@dataclass(frozen=True)
class Translations:
    """Translations between the words of two clusterings, with both ranks."""

    source: Ints
    target: Ints
    rank: Ints
    file_rank: Ints
    max_rank: int


def translations_of(lexicon: pl.DataFrame, source: Types, target: Types, max_rank: int) -> Translations:
    """The part of a lexicon (source_word, target_word, rank, file_rank) that both vocabularies have."""
    sides = [
        pl.DataFrame({f"{side}_word": types.vocabulary, side: range(len(types.vocabulary))})
        for side, types in (("source", source), ("target", target))
    ]
    found = lexicon.filter((pl.col("rank") <= max_rank) | (pl.col("file_rank") <= max_rank))
    found = found.join(sides[0], on="source_word").join(sides[1], on="target_word").sort("source", "rank")
    source_ids, target_ids, rank, file_rank = (
        found[name].cast(pl.Int64).to_numpy().copy() for name in ("source", "target", "rank", "file_rank")
    )
    return Translations(source_ids, target_ids, rank, file_rank, max_rank)


def covered(translations: Translations) -> int:
    """Source words with a translation."""
    return len(np.unique(translations.source))


@dataclass(frozen=True)
class Matching:
    """Clusterings of two languages that are matched through a lexicon, and how."""

    lexicon: str
    source: str
    """Language."""
    target: str
    sides: tuple[tuple[Clustering, Clustering], ...]
    """What is matched, place by place."""
    clusters: int
    seeds: tuple[int, ...]
    depth: int
    floor: float
    draws: int
    seed: int


def matched(
    how: Matching, lexicon: pl.DataFrame, names: Sequence[str], members: Sequence[pl.DataFrame]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `concept_pairings`, of which there is one, and of `concept_matches`, for two clusterings.

    `lexicon` are rows of the table; `members` the `concept` and `word` of the occurrences of both clusterings, which
    have these `names`.
    """
    source, target = (types_of(side, how.clusters) for side in members)
    translations = translations_of(lexicon, source, target, how.depth)
    seed = (how.seed, how.lexicon, *names)
    found = matches(source, target, translations, floor=how.floor, draws=how.draws, seed=seed)
    key = {
        "model": how.sides[0][0].model,
        "lexicon": how.lexicon,
        "source_clustering": names[0],
        "target_clustering": names[1],
    }
    facts = {
        **key,
        "source_language": how.source,
        "target_language": how.target,
        "max_rank": how.depth,
        "floor": how.floor,
        "num_draws": how.draws,
        "source_concepts": how.clusters,
        "source_types": len(source.vocabulary),
        "source_types_covered": covered(translations),
    }
    return pl.DataFrame([facts]), found.with_columns(**{name: pl.lit(value) for name, value in key.items()})


def matches(
    source: Types,
    target: Types,
    translations: Translations,
    *,
    floor: float,
    draws: int,
    seed: Sequence[object],
) -> pl.DataFrame:
    """Pairs of concepts with at least a `floor` of the source types matched, measured and of both baselines.

    Columns: baseline, draw, source_concept, target_concept, source_types, target_types, matched, matched_in_file; as in
    the table `concept_matches`. Draw d of a baseline is decided by `seed`, the baseline and d alone.
    """
    ranks = _ranks(target, translations, source)
    frames = [_found(source, target, translations, ranks, floor, "none", 0)]
    lexical = np.unique(translations.source)
    for draw in range(1, draws + 1):
        order = np.arange(len(source.vocabulary))
        order[lexical] = lexical[stream(*seed, "shuffled_lexicon", draw).permutation(len(lexical))]
        moved = [table[order] for table in ranks]
        frames.append(_found(source, target, translations, moved, floor, "shuffled_lexicon", draw))
        labels = stream(*seed, "random_labels", draw)
        other = source.shuffled(labels), target.shuffled(labels)
        by_chance = _ranks(other[1], translations, source)
        frames.append(_found(*other, translations, by_chance, floor, "random_labels", draw))
    return pl.concat(frames)


def _ranks(target: Types, translations: Translations, source: Types) -> list[NDArray[np.int16]]:
    """Best rank of a translation of each source word in each target concept: `[words, concepts]`, twice.

    max_rank + 1 where there is none.
    """
    order = np.argsort(target.words, kind="stable")
    starts = np.searchsorted(target.words[order], np.arange(len(target.vocabulary) + 1))
    counts = np.diff(starts)[translations.target]
    rows = np.repeat(np.arange(len(counts)), counts)
    # The concepts of each translation, one translation after the other.
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    concepts = target.concepts[order][starts[translations.target][rows] + within]
    words = translations.source[rows]
    tables = []
    for given in (translations.rank, translations.file_rank):
        table = np.full(
            (len(source.vocabulary), target.num_concepts), translations.max_rank + 1, dtype=np.int16
        )
        limited = np.minimum(given, translations.max_rank + 1).astype(np.int16)
        np.minimum.at(table, (words, concepts), limited[rows])
        tables.append(table)
    return tables


def _found(
    source: Types,
    target: Types,
    translations: Translations,
    ranks: Sequence[NDArray[np.int16]],
    floor: float,
    baseline: str,
    draw: int,
) -> pl.DataFrame:
    """Rows of one baseline and draw."""
    from scipy import sparse

    depth = translations.max_rank
    member = sparse.csr_array(
        (np.ones(len(source.words), dtype=np.int32), (source.concepts, source.words)),
        shape=(source.num_concepts, len(source.vocabulary)),
    )
    any_rank = sparse.csr_array((np.minimum(*ranks) <= depth).astype(np.int32))
    counts = (member @ any_rank).tocoo()
    sizes = source.sizes
    enough = (counts.data > 0) & (counts.data / np.maximum(sizes[counts.row], 1) >= floor)
    order = np.lexsort((counts.col[enough], counts.row[enough]))
    sources, targets = (side[enough][order].astype(np.int64) for side in (counts.row, counts.col))
    matched = [_by_rank(member, table, sources, targets, depth) for table in ranks]
    return pl.DataFrame(
        {
            "baseline": pl.repeat(baseline, len(sources), dtype=pl.String, eager=True),
            "draw": pl.repeat(draw, len(sources), dtype=pl.Int32, eager=True),
            "source_concept": pl.Series(sources, dtype=pl.Int32),
            "target_concept": pl.Series(targets, dtype=pl.Int32),
            "source_types": pl.Series(sizes[sources], dtype=pl.Int32),
            "target_types": pl.Series(target.sizes[targets], dtype=pl.Int32),
            "matched": pl.Series(matched[0], dtype=pl.Array(pl.Int32, depth)).cast(pl.List(pl.Int32)),
            "matched_in_file": pl.Series(matched[1], dtype=pl.Array(pl.Int32, depth)).cast(pl.List(pl.Int32)),
        }
    )


def _by_rank(
    member: Any, ranks: NDArray[np.int16], sources: Ints, targets: Ints, depth: int
) -> NDArray[np.int32]:
    """How many words of each source concept match its target concept within rank 1, 2, …, depth: `[pairs, depth]`."""
    sizes = np.diff(member.indptr)[sources]
    counts = np.zeros((len(sources), depth + 2), dtype=np.int32)
    for first, last in _chunks(sizes):
        lengths = sizes[first:last]
        rows = np.repeat(np.arange(first, last), lengths)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        words = member.indices[member.indptr[sources[rows]] + within]
        np.add.at(counts, (rows, ranks[words, targets[rows]]), 1)
    return np.cumsum(counts[:, 1 : depth + 1], axis=1, dtype=np.int32)


def _chunks(sizes: Ints) -> Iterator[tuple[int, int]]:
    """Runs of pairs with about CELLS_AT_ONCE words in all."""
    start, held = 0, 0
    for at, size in enumerate(sizes.tolist()):
        held += size
        if held >= CELLS_AT_ONCE:
            yield start, at + 1
            start, held = at + 1, 0
    if start < len(sizes):
        yield start, len(sizes)


def languages(members: pl.DataFrame, *, draws: int, seed: Sequence[object]) -> pl.DataFrame:
    """How much of each concept of a mixed clustering is of each language, measured and with random labels.

    From `concept`, `language`, `word` of its occurrences. Columns: baseline, draw, concept, language, num_tokens,
    num_types; as in the table `concept_languages`. With random labels a concept keeps its number of occurrences.
    """
    frames = [_counted(members["concept"], members, "none", 0)]
    # In a fixed order, whatever order the occurrences are stored in.
    members = members.sort("language", "word", "concept")
    for draw in range(1, draws + 1):
        order = stream(*seed, "random_labels", draw).permutation(members.height)
        frames.append(_counted(members["concept"].gather(order), members, "random_labels", draw))
    return pl.concat(frames)


def _counted(concepts: pl.Series, members: pl.DataFrame, baseline: str, draw: int) -> pl.DataFrame:
    counted = (
        members.select("language", "word")
        .with_columns(concept=concepts)
        .group_by("concept", "language", "word")
        .agg(pl.len().cast(pl.Int64).alias("tokens"))
        .group_by("concept", "language")
        .agg(num_tokens=pl.col("tokens").sum(), num_types=pl.len().cast(pl.Int64))
        .sort("concept", "language")
    )
    return counted.select(
        pl.lit(baseline).alias("baseline"), pl.lit(draw, dtype=pl.Int32).alias("draw"), pl.col("concept").cast(pl.Int32),
        "language", "num_tokens", "num_types",
    )  # fmt: skip
