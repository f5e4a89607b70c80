"""Context-free spaces shared by languages: word vectors from `.vec` files, or from a model's own input embeddings.

In an `input_embeddings` space the vector of a word is the mean of the input embeddings of its sub-tokens. The other
languages are rotated onto the pivot by orthogonal Procrustes on a dictionary, with the customary preparation
(Artetxe, Labaka and Agirre 2018): vectors are scaled to length 1, mean-centred per language, and scaled to length 1
again for the fit. The means are those of the dictionary's words, so that a word's vector depends on the model and
the dictionaries only, never on the corpus:

- pivot: v = x / |x| - m, with m the mean over the pivot words of the space's first dictionary (only one of them, so
  that adding a language leaves the others as they are);
- language with a dictionary: v = (x / |x| - m_l) R, with m_l the mean over that dictionary's foreign words;
- language without one: v = x / |x| - m, as it lies beside the pivot in the model. Without any dictionary, m = 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlwh.consistency.pairs import Vectors
from xlwh.corpora.dictionaries import Dictionary
from xlwh.draws import key_of
from xlwh.errors import CorpusError

Floats = NDArray[np.floating[Any]]
Embed = Callable[[Sequence[str]], tuple[Floats, NDArray[np.bool_]]]
"""Words to vectors `[n, d]`, and which of them have one `[n]`."""

_SHARED_WORDS = 20
"""Words spelt alike that say whether two files are aligned."""
_NEARER = 0.1
"""By how much their cosine has to exceed that of other words. Unaligned: 0 within a few hundredths."""
_PULL = 1e-3
"""Weight of the pull towards no rotation in directions that the pairs leave undetermined (fewer pairs than
dimensions): next to nothing beside even one pair."""
_HELD_OUT = 10
"""One pivot word in so many is held out to measure the alignment."""
_MOST_QUERIES = 1000
"""Held-out words looked up; each is compared with every pivot word."""


@dataclass(frozen=True)
class Rotation:
    """How vectors of one language are brought into the space."""

    mean: Floats
    """`[d]`, subtracted from vectors of length 1."""
    matrix: Floats | None
    """`[d, d]`, orthogonal; None leaves them as they are."""

    def apply(self, vectors: Floats) -> Floats:
        """Vectors `[n, d]` in the shared space, not normalised."""
        centred = unit(vectors) - self.mean
        return centred if self.matrix is None else centred @ self.matrix


@dataclass(frozen=True)
class AlignmentReport:
    """How a language was aligned, and how well words find their translation among all pivot words."""

    pairs: int
    """Distinct pairs of the dictionary."""
    used: int
    """Pairs of which both words have a vector; all of them are in the fit."""
    identical: int
    """Used pairs of two equal words."""
    held_out: int
    """Foreign words that were looked up, with a rotation fitted without them and their translations. Words that are
    their own translation are not, since a shared vocabulary finds those without any alignment."""
    precision_before: float | None
    """Share of them whose nearest pivot word is a translation, vectors centred but not rotated."""
    precision_after: float | None


def agree(source: Vectors, target: Vectors) -> bool | None:
    """Whether words that both languages spell alike (names, numbers) lie near each other, as in aligned files they do.

    Their mean cosine is compared with that of the same words paired anew; None with fewer than 20 of them. In files
    that nobody aligned both are about 0.
    """
    shared = source.rows.join(target.rows, on="unit", suffix="_target").sort("unit")
    if shared.height < _SHARED_WORDS or source.dimension != target.dimension:
        return None
    left = source.matrix[shared["row"].to_numpy()]
    right = target.matrix[shared["row_target"].to_numpy()]
    same = float(np.einsum("nd,nd->n", left, right).mean())
    other = float(np.einsum("nd,nd->n", left, np.roll(right, 1, axis=0)).mean())
    return same - other > _NEARER


def mean_of_pieces(
    embedding: Floats, pieces: NDArray[np.integer[Any]], owner: NDArray[np.integer[Any]], n: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Mean input embedding of each word's sub-tokens `[n, d]`, and which words have any `[n]`.

    `pieces` are rows of `embedding` and `owner` is the word of each, in ascending order.
    """
    counts = np.bincount(owner, minlength=n)
    vectors = np.zeros((n, embedding.shape[1]), dtype=np.float64)
    covered = counts > 0
    if len(pieces):
        starts = np.concatenate([[0], np.cumsum(counts[covered])[:-1]])
        sums = np.add.reduceat(embedding[pieces].astype(np.float64), starts, axis=0)
        vectors[covered] = sums / counts[covered, None]
    return vectors, covered


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0.0, 1.0, lengths)


def pivot_mean(dictionary: Dictionary, embed: Embed) -> Floats:
    """Mean `[d]` of the pivot's vectors of length 1 over the words of a dictionary."""
    vectors, covered = embed(list(dict.fromkeys(pivot for pivot, _ in dictionary.pairs)))
    return _mean(vectors, covered)


def align(
    dictionary: Dictionary, embed_pivot: Embed, embed_foreign: Embed, mean: Floats
) -> tuple[Rotation, AlignmentReport]:
    """The rotation of a language onto the pivot, whose vectors have `mean` subtracted.

    Raises `CorpusError` where no pair has a vector on both sides.
    """
    sides = [list(dict.fromkeys(side)) for side in zip(*dictionary.pairs, strict=True)]
    pivot_words, foreign_words = sides
    pivot, pivot_covered = embed_pivot(pivot_words)
    foreign, foreign_covered = embed_foreign(foreign_words)
    pivot_row = {word: row for row, word in enumerate(pivot_words) if pivot_covered[row]}
    foreign_row = {word: row for row, word in enumerate(foreign_words) if foreign_covered[row]}
    used = [(p, f) for p, f in dictionary.pairs if p in pivot_row and f in foreign_row]
    if not used:
        raise CorpusError(
            f"None of the dictionary's {len(dictionary.pairs)} pairs has a vector on both sides; "
            f"the first pair is {dictionary.pairs[0]}."
        )
    foreign_mean = _mean(foreign, foreign_covered)
    pivot, foreign = unit(unit(pivot) - mean), unit(unit(foreign) - foreign_mean)
    pairs = np.array([(pivot_row[p], foreign_row[f]) for p, f in used])
    matrix = procrustes(foreign[pairs[:, 1]], pivot[pairs[:, 0]])
    held_out, before, after = _precision(used, pairs, pivot, foreign)
    report = AlignmentReport(
        pairs=len(dictionary.pairs),
        used=len(used),
        identical=sum(p == f for p, f in used),
        held_out=held_out,
        precision_before=before,
        precision_after=after,
    )
    return Rotation(foreign_mean, matrix), report


def procrustes(foreign: Floats, pivot: Floats) -> Floats:
    """The orthogonal R `[d, d]` that makes `foreign @ R` closest to `pivot`, both `[n, d]` (Schönemann 1966)."""
    from scipy.linalg import orthogonal_procrustes

    pull = _PULL * np.eye(pivot.shape[1])
    matrix: Floats = orthogonal_procrustes(np.vstack([foreign, pull]), np.vstack([pivot, pull]))[0]
    return matrix


def _mean(vectors: Floats, covered: NDArray[np.bool_]) -> Floats:
    mean: Floats = unit(vectors[covered]).mean(axis=0) if covered.any() else np.zeros(vectors.shape[1])
    return mean


def _precision(
    used: Sequence[tuple[str, str]], pairs: NDArray[np.int_], pivot: Floats, foreign: Floats
) -> tuple[int, float | None, float | None]:
    held = np.array([key_of("held out", p) % _HELD_OUT == 0 for p, _ in used])
    excluded = set(pairs[~held, 1].tolist())
    translations: Mapping[int, set[int]] = defaultdict(set)
    names: dict[int, str] = {}
    for (p, f), (pivot_row, foreign_row) in zip(used, pairs.tolist(), strict=True):
        translations[foreign_row].add(pivot_row)
        names[foreign_row] = f
        if p == f:
            excluded.add(foreign_row)
    rows = set(pairs[held, 1].tolist()) - excluded
    queries = sorted(rows, key=lambda row: key_of("query", names[row]))[:_MOST_QUERIES]
    if not queries or held.all():
        return 0, None, None
    matrix = procrustes(foreign[pairs[~held, 1]], pivot[pairs[~held, 0]])
    candidates = np.unique(pairs[:, 0])
    shares = []
    for vectors in (foreign[queries], foreign[queries] @ matrix):
        similarity = vectors.astype(np.float32) @ pivot[candidates].T.astype(np.float32)
        nearest = candidates[np.argmax(similarity, axis=1)].tolist()
        shares.append(
            sum(n in translations[query] for n, query in zip(nearest, queries, strict=True)) / len(queries)
        )
    return len(queries), shares[0], shares[1]
