"""Vectors of the words of corpora in a shared space: rows of `word_vectors`, and what is to be said of them.

Words are looked up in a file, or they, or their sub-tokens, have a model's input embeddings (see `spaces`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.consistency.checks import require_coverage, require_direction
from xlwh.consistency.embeddings import input_embedding, word_embedder
from xlwh.consistency.spaces import Rotation, align, pivot_mean
from xlwh.consistency.vectors import read_vectors
from xlwh.corpora.dictionaries import read_dictionary
from xlwh.models.words import segmenter_name
from xlwh.study import Space

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

Found = tuple[pl.DataFrame, dict[str, object]]
"""The columns `word`, `matched` (the spelling it was found under) and `vector`, and facts by name."""


@dataclass(frozen=True)
class Embedded:
    """How words, or sub-tokens, of a language lie in a space of a model's input embeddings."""

    unit: str
    pivot: str
    alignment: str
    dictionaries: tuple[str, ...]
    """Languages of the dictionaries; the first one's is where the pivot is centred."""
    foreign_first: tuple[str, ...]
    """Those of them whose entries begin with the foreign word."""
    segmenters: tuple[str, str]
    """Of the language and of the pivot."""
    min_coverage: float


def alignment_of(space: Space, language: str) -> str:
    """How a language is brought into a space: given, pivot, procrustes or none."""
    if space.kind == "vec":
        return "given"
    if language == space.pivot:
        return "pivot"
    return "procrustes" if language in space.dictionaries else "none"


def embedded(space: Space, language: str, unit: str) -> Embedded:
    """What a study says of a language in a space of input embeddings: no other dictionary than those it names matters."""
    pivot, used = str(space.pivot), dict.fromkeys(list(space.dictionaries)[:1])
    if language in space.dictionaries and language != pivot:
        used[language] = None
    return Embedded(
        unit=unit,
        pivot=pivot,
        alignment=alignment_of(space, language),
        dictionaries=tuple(used),
        foreign_first=tuple(each for each in used if each in space.reversed_dictionaries),
        segmenters=(segmenter_name(language), segmenter_name(pivot)),
        min_coverage=space.min_coverage,
    )


def vocabulary(tokens: pl.LazyFrame) -> list[str]:
    """Distinct words of rows of `tokens`, sorted."""
    return sorted(tokens.select(pl.col("word").drop_nulls().unique()).collect()["word"].to_list())


def from_file(tokens: pl.LazyFrame, path: Path, language: str, space: str, min_coverage: float) -> Found:
    """Vectors of the words of rows of `tokens` that a `.vec` file has; CorpusError where they are too few.

    `space` is the study's name of it.
    """
    words = vocabulary(tokens)
    found = read_vectors(path, words)
    require_coverage(
        len(words),
        len(found.words),
        min_coverage,
        where=str(path),
        language=language,
        space=space,
        missing=found.missing,
        examples=found.examples,
    )
    return _rows(found.words, found.matched, found.vectors), asdict(found.report)


def from_embeddings(
    tokens: pl.LazyFrame,
    loaded: LoadedModel,
    how: Embedded,
    dictionaries: Mapping[str, Path],
    language: str,
    space: str,
) -> Found:
    """Vectors of the words, or sub-tokens, of rows of `tokens` from a model's input embeddings.

    `dictionaries` has the file of each of those that `how` names; `space` is the study's name of the space.
    CorpusError where a dictionary is read backwards, aligns nothing, or too few words have a vector.
    """
    embedding, words, facts = input_embedding(loaded), vocabulary(tokens), dict[str, object]()
    embed, embed_pivot = word_embedder(loaded, language), word_embedder(loaded, how.pivot)
    read = {
        name: read_dictionary(path, foreign_first=name in how.foreign_first)
        for name, path in dictionaries.items()
    }
    rotation = Rotation(np.zeros(embedding.shape[1]), None)
    if read:
        first = how.dictionaries[0]
        checked = language if language in read else first
        if language in (checked, how.pivot):
            require_direction(
                read[checked],
                words,
                language == how.pivot,
                where=f"{dictionaries[checked]}: the dictionary of `{checked}`",
                language=language,
                space=space,
                is_reversed=checked in how.foreign_first,
            )
        rotation = Rotation(pivot_mean(read[first], embed_pivot), None)
    if how.alignment == "procrustes":
        rotation, report = align(read[language], embed_pivot, embed, rotation.mean)
        facts = {f"dictionary_{name}": value for name, value in asdict(report).items()}
    if how.unit == "token":
        pieces = _sub_tokens(tokens)
        asked, raw = pieces["token"], embedding[pieces["token_id"].to_numpy()]
        covered = np.ones(len(asked), dtype=bool)
    else:
        asked = pl.Series(words, dtype=pl.String)
        raw, covered = embed(words)
    found = asked.filter(pl.Series(covered)).to_list()
    require_coverage(
        len(asked),
        len(found),
        how.min_coverage,
        where=f"`{loaded.key}`",
        language=language,
        space=space,
        missing=asked.filter(pl.Series(~covered)).to_list(),
    )
    facts |= {"asked": len(asked), "found": len(found), "dimension": embedding.shape[1]}
    return _rows(found, found, rotation.apply(raw[covered])), facts


def _rows(words: Sequence[str], matched: Sequence[str], vectors: NDArray[np.floating[Any]]) -> pl.DataFrame:
    columns = {
        "word": pl.Series(words, dtype=pl.String),
        "matched": pl.Series(matched, dtype=pl.String),
        "vector": pl.Series(list(vectors.astype(np.float32)), dtype=pl.List(pl.Float32)),
    }
    return pl.DataFrame(columns).sort("word")


def _sub_tokens(tokens: pl.LazyFrame) -> pl.DataFrame:
    """Distinct sub-tokens that stand in words: `token` and its row of the embedding. UNK has no meaning of its own."""
    return (
        tokens.filter(~pl.col("is_special") & ~pl.col("is_unknown") & pl.col("word_index").is_not_null())
        .group_by("token")
        .agg(pl.col("token_id").min())
        .sort("token")
        .collect()
    )
