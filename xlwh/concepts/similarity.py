"""How alike two languages are in a model's hidden states, and how a layer's states lie in space."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.points import matrix
from xlwh.corpora import sample
from xlwh.draws import Stream, stream
from xlwh.store import schema

Array = NDArray[np.floating]
MOST_SENTENCES = 2_000
"""Sentence pairs compared, the same in every language: the matrices grow with their square."""
MOST_WORDS = 20_000
"""Words per language for anisotropy and the probe: the bound on memory."""
TRAIN_SHARE = 0.7
RIDGE = 1e-2
"""Regularisation of the probe, as a share of the mean variance of a dimension."""


@dataclass(frozen=True)
class Score:
    """A measure, and the same by chance."""

    value: float
    null: float | None
    units: int


def linear_cka(first: Array, second: Array, drawn: Stream | None = None) -> Score:
    """Linear centred kernel alignment of paired rows, `[n, width]` each (Kornblith et al. 2019, equation 4).

    1 if one is a rotation and scaling of the other. It rises with width / n whatever the data, so the null, with the
    pairs shuffled as `drawn`, says how much of it that is.
    """
    x, y = _centred(first), _centred(second)
    # With fewer rows than dimensions the kernels are the smaller matrices.
    if len(x) < x.shape[1]:
        left, right = x @ x.T, y @ y.T
        scale = np.linalg.norm(left) * np.linalg.norm(right)

        def aligned(order: NDArray[np.int64] | slice) -> float:
            kernel = right[order][:, order]
            return float((left * kernel).sum() / scale) if scale > 0 else 0.0
    else:
        scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)

        def aligned(order: NDArray[np.int64] | slice) -> float:
            return float(np.linalg.norm(x.T @ y[order]) ** 2 / scale) if scale > 0 else 0.0

    null = None if drawn is None else aligned(drawn.permutation(len(x)))
    return Score(min(1.0, aligned(slice(None))), null, len(x))


def retrieval(first: Array, second: Array) -> tuple[Score, Score, Score]:
    """Nearest neighbours by cosine between paired rows: first to second, second to first, and mutual.

    The share of rows whose nearest neighbour on the other side is their pair; for the mutual one, of pairs that are
    each other's nearest. By chance it is one in n, or one in n squared.
    """
    cosines = _unit(first) @ _unit(second).T
    n = len(cosines)
    rows = np.arange(n)
    forward, backward = cosines.argmax(axis=1) == rows, cosines.argmax(axis=0) == rows
    return (
        Score(float(forward.mean()), 1 / n, n),
        Score(float(backward.mean()), 1 / n, n),
        Score(float((forward & backward).mean()), 1 / n**2, n),
    )


def anisotropy(vectors: Array) -> Score:
    """Mean cosine over all pairs of different rows `[n, width]` (Ethayarajh 2019): 0 if they point everywhere alike.

    All pairs at once: the squared length of the sum of n unit vectors is n plus the cosines of all ordered pairs.
    """
    unit = _unit(vectors)
    n = len(unit)
    if n < 2:
        return Score(0.0, None, n)
    total = float((unit.sum(axis=0) ** 2).sum())
    own = float((unit**2).sum())
    return Score((total - own) / (n * (n - 1)), None, n)


def language_probe(train: Mapping[str, Array], test: Mapping[str, Array]) -> Score:
    """Accuracy of a linear classifier that tells the language of unseen vectors, `[n, width]` per language.

    Ridge regression on one indicator per language, with languages of equal weight, in training and in the score: so
    chance is one in as many languages as there are.
    """
    languages = sorted(train)
    width = next(iter(train.values())).shape[1]
    means = {language: train[language].mean(axis=0, dtype=np.float64) for language in languages}
    centre = np.mean(list(means.values()), axis=0)
    covariance, targets = np.zeros((width, width)), np.zeros((width, len(languages)))
    for column, language in enumerate(languages):
        rows = (train[language] - centre).astype(np.float32)
        covariance += (rows.T @ rows) / (len(rows) * len(languages))
        targets[:, column] = (means[language] - centre) / len(languages)
    penalty = RIDGE * max(float(np.trace(covariance)) / width, 1e-12)
    weights = np.linalg.solve(covariance + penalty * np.eye(width), targets)
    right = [
        float((((test[language] - centre) @ weights).argmax(axis=1) == column).mean())
        for column, language in enumerate(languages)
    ]
    return Score(float(np.mean(right)), 1 / len(languages), sum(len(rows) for rows in test.values()))


def measured(
    sentences: Mapping[str, pl.LazyFrame],
    words: Mapping[str, pl.LazyFrame],
    apart: Collection[str],
    seed: int,
) -> pl.DataFrame:
    """Every measure at one place: measure, source_language, target_language, value, null_value, num_units.

    `sentences` and `words` by language: example_id, vector (NULL where there is none), from `sentence_vectors` and
    `activations`. Languages `apart` are no translations of the others: they are not compared sentence by sentence.
    """
    columns = ("measure", "source_language", "target_language", "value", "null_value", "num_units")
    scores = [*_of_sentences(sentences, apart, seed), *_of_words(words, seed)]
    rows = [(*names, score.value, score.null, score.units) for *names, score in scores]
    types = {name: schema("representation_similarities")[name] for name in columns}
    return pl.DataFrame(rows, types, orient="row")


def _of_sentences(
    sentences: Mapping[str, pl.LazyFrame], apart: Collection[str], seed: int
) -> Iterator[tuple[str, str, str, Score]]:
    """(measure, source language, target language, score) of sentences that translate each other."""
    means = {
        language: rows.select("example_id", "vector").drop_nulls().collect()
        for language, rows in sentences.items()
        if language not in apart
    }
    for source, target in combinations(means, 2):
        both = means[source].join(means[target], on="example_id", maintain_order="left", suffix="_target")
        # Translations share their example ids; a handful may do so by accident.
        if both.height < 10:
            continue
        both = sample(both, MOST_SENTENCES, seed)
        first, second = matrix(both["vector"]), matrix(both["vector_target"])
        yield "cka", source, target, linear_cka(first, second, stream("cka", seed))
        forward, backward, mutual = retrieval(first, second)
        yield "retrieval", source, target, forward
        yield "retrieval", target, source, backward
        yield "mutual_retrieval", source, target, mutual


def _of_words(words: Mapping[str, pl.LazyFrame], seed: int) -> Iterator[tuple[str, str, str, Score]]:
    """The same of each language's words, and of all languages together."""
    train: dict[str, Array] = {}
    test: dict[str, Array] = {}
    for language, rows in words.items():
        usable = rows.filter(pl.col("vector").is_not_null())
        # Whole examples, the same ones in every language.
        counts = usable.group_by("example_id").len().sort("example_id").collect()
        share = min(1.0, MOST_WORDS / max(1, counts["len"].sum()))
        wanted = sample(counts, max(1, int(share * counts.height)), seed)["example_id"].implode()
        chosen = usable.filter(pl.col("example_id").is_in(wanted)).select("example_id", "vector").collect()
        if chosen.height < 2:
            continue
        vectors = matrix(chosen["vector"])
        yield "anisotropy", language, language, anisotropy(vectors)
        # By example, so that translations of a sentence are never on both sides.
        ids = chosen.select("example_id").unique().sort("example_id")
        drawn = sample(ids, round(TRAIN_SHARE * ids.height), seed)["example_id"].implode()
        inside = chosen["example_id"].is_in(drawn).to_numpy()
        if inside.any() and not inside.all():
            train[language], test[language] = vectors[inside], vectors[~inside]
    if len(train) > 1:
        yield "language_probe", "all", "all", language_probe(train, test)


def _centred(values: Array) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    return centred


def _unit(values: Array) -> NDArray[np.float32]:
    rows = values.astype(np.float32)
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
