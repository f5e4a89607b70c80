"""Perturb examples by the rankings of many attributions at once: rows of the `perturbations` table.

A kept set is evaluated once, whichever methods, ratios, sides and draws come to it; what differs is batched by
length over examples. Soft masks of one draw share their random numbers over methods and sides, so that methods are
compared on the same luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xlwh.draws import stream
from xlwh.faithfulness.inputs import embedding_output, perturbed, probabilities, repeated, stand_in
from xlwh.faithfulness.selection import (
    Mask,
    Released,
    Scores,
    attributable,
    keep_probability,
    kept,
    kept_hash,
    order,
    rationale_size,
    released,
    reversed_probability,
)
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded, encode

if TYPE_CHECKING:
    import polars as pl

    from xlwh.study import Faithfulness

SIDES = ("sufficiency", "comprehensiveness")
"""Those of the contract of `perturbations`, whose module needs Polars."""
SOFT = {"bernoulli": keep_probability, "bernoulli_reversed": reversed_probability}

RELEASED = frozenset({"zero_id", "bernoulli_reversed"})
"""Ways of masking of the released code, which cuts inputs in its own way and is written for BERT's layout."""


class Ranking(NamedTuple):
    """Scores of one method for one example, `[tokens]`; `repeat` tells draws of random scores apart."""

    method: str
    repeat: int
    scores: Scores


@dataclass(frozen=True)
class Subject:
    """An example (its index in the encoded batch), the class whose probability counts, and what ranks its tokens.

    Rankings with a repeat of 1 or more are further draws of the same method.
    """

    example: int
    target: int
    rankings: tuple[Ranking, ...]


class Row(NamedTuple):
    """One row of `perturbations`, without the columns that identify the example."""

    subject: int
    method: str
    importance: str
    mode: str
    masking: str
    masked_at: str
    empty_input: str
    mask_token: str | None
    query: str
    side: str
    ratio: float | None
    repeat: int
    num_attributable: int
    k: int | None
    kept_hash: str | None
    p_full: float
    p_perturbed: float
    p_empty: float


@dataclass(frozen=True)
class Perturbed:
    """Rows, and how many inputs the model was run on for them."""

    rows: list[Row]
    num_evaluated: int


def perturb(
    loaded: LoadedModel, encoded: Encoded, subjects: Sequence[Subject], settings: Faithfulness
) -> Perturbed:
    """Every perturbation that the settings ask for, of every subject.

    Memory: one model call of `settings.batch_tokens` sub-tokens, and the rows themselves.
    """
    free = [attributable(encoded, subject.example, _keeps_query(settings)) for subject in subjects]
    targets = np.array([subject.target for subject in subjects], dtype=np.int64)
    whole = probabilities(
        loaded, repeated(encoded, [s.example for s in subjects]), targets, settings.batch_tokens
    )
    rows: list[Row] = []
    evaluated = len(subjects)
    for masking in settings.masking:
        hard = _Hard(loaded, encoded, subjects, free, settings, masking)
        rows += hard.rows(whole)
        evaluated += hard.num_evaluated
    if settings.soft_draws:
        for soft_masking in settings.soft_masking:
            soft = _Soft(loaded, encoded, subjects, free, settings, soft_masking)
            rows += soft.rows(whole)
            evaluated += soft.num_evaluated
    return Perturbed(rows, evaluated)


def perturbation_rows(
    loaded: LoadedModel,
    examples: pl.DataFrame,
    scores: Mapping[str, Callable[[str, str, int], Scores]],
    draws: Mapping[str, Callable[[str, int, int], Scores]],
    settings: Faithfulness,
) -> tuple[pl.DataFrame, int]:
    """Rows of `perturbations` of some examples, and how many inputs were evaluated for them.

    `examples` has the class whose probability counts as `target`. By method, `scores(example_id, target, length)` are
    its attributions, and `draws(name, number, length)` the numbered draws of one whose scores are random.
    """
    import polars as pl

    encoded = encode(loaded, examples)
    classes = {label: index for index, label in enumerate(loaded.labels or ())}
    subjects = []
    for index, (example, target) in enumerate(examples.select("example_id", "target").iter_rows()):
        size = int(encoded.lengths[index])
        rankings = [Ranking(method, 0, known(example, target, size)) for method, known in scores.items()]
        rankings += [
            Ranking(method, number, draw(encoded.names[index], number, size))
            for method, draw in draws.items()
            for number in range(max(settings.random_draws, settings.soft_draws))
        ]
        subjects.append(Subject(index, classes[target], tuple(rankings)))
    made = perturb(loaded, encoded, subjects, settings)
    rows = pl.DataFrame(made.rows, schema=list(Row._fields), orient="row", infer_schema_length=None)
    keys = encoded.keys.with_columns(examples["target"], model=pl.lit(loaded.key))
    return keys[rows["subject"].to_list()].hstack(rows), made.num_evaluated


class _Hard:
    """Whole tokens kept or replaced."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        subjects: Sequence[Subject],
        free: Sequence[Mask],
        settings: Faithfulness,
        masking: str,
    ) -> None:
        self._loaded, self._encoded, self._subjects = loaded, encoded, subjects
        self._settings, self._masking = settings, masking
        self._released = _released(loaded, encoded, subjects, settings) if masking in RELEASED else None
        self._free = free if self._released is None else [cut.rankable for cut in self._released]
        self._inputs: list[tuple[int, Mask]] = []
        self._known: dict[tuple[int, bytes], int] = {}
        self.num_evaluated = 0

    def rows(self, whole: NDArray[np.float64]) -> list[Row]:
        """Rows of all subjects; `whole` `[subjects]` are the probabilities of the unperturbed inputs."""
        planned = list(self._planned())
        empty = [self._input(subject, self._empty(subject)) for subject in range(len(self._free))]
        values = self._evaluate(whole)
        replaced = stand_in(self._loaded, self._masking)
        token = None if replaced is None else str(self._loaded.tokenizer.convert_ids_to_tokens(replaced))
        hashes = [kept_hash(keep, self._free[subject]) for subject, keep in self._inputs]
        return [
            Row(
                subject,
                ranking.method,
                importance,
                "hard",
                self._masking,
                "tokens",
                "attributable" if self._released is None else "all",
                token,
                _query(self._encoded, self._subjects[subject], self._settings),
                side,
                ratio,
                ranking.repeat,
                int(self._free[subject].sum()),
                k,
                hashes[place],
                float(whole[subject]),
                float(values[place]),
                float(values[empty[subject]]),
            )
            for subject, ranking, importance, side, ratio, k, place in planned
        ]

    def _planned(self) -> Iterator[tuple[int, Ranking, str, str, float, int, int]]:
        for subject, free in enumerate(self._free):
            sizes = {ratio: self._size(subject, ratio) for ratio in self._settings.ratios}
            for ranking, importance in product(self._subjects[subject].rankings, self._settings.importance):
                ordered = order(_important(ranking.scores, importance), free)
                places = {
                    (k, side): self._input(subject, self._kept(subject, ordered, k, side))
                    for k, side in product(set(sizes.values()), SIDES)
                }
                for (ratio, k), side in product(sizes.items(), SIDES):
                    yield subject, ranking, importance, side, ratio, k, places[k, side]

    def _size(self, subject: int, ratio: float) -> int:
        if self._released is not None:
            return self._released[subject].size(ratio)
        return rationale_size(ratio, int(self._free[subject].sum()))

    def _kept(self, subject: int, ordered: NDArray[np.int64], k: int, side: str) -> Mask:
        if self._released is not None:
            return self._released[subject].kept(ordered, k, side)
        return kept(ordered, k, self._free[subject], side)

    def _empty(self, subject: int) -> Mask:
        return ~self._free[subject] if self._released is None else self._released[subject].empty

    def _input(self, subject: int, keep: Mask) -> int:
        """Number of the perturbed input that keeps these tokens."""
        key = (subject, keep.tobytes())
        if key not in self._known:
            self._known[key] = len(self._inputs)
            self._inputs.append((subject, keep))
        return self._known[key]

    def _evaluate(self, whole: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.array([whole[subject] for subject, _ in self._inputs])
        # What keeps everything is the whole input, which is known already.
        wanted = [place for place, (_, keep) in enumerate(self._inputs) if not keep.all()]
        chosen = [self._inputs[place] for place in wanted]
        inputs = perturbed(
            self._loaded,
            self._encoded,
            [self._subjects[subject].example for subject, _ in chosen],
            [keep for _, keep in chosen],
            self._masking,
        )
        targets = np.array([self._subjects[subject].target for subject, _ in chosen], dtype=np.int64)
        replaced = stand_in(self._loaded, self._masking) is not None
        unperturbed = repeated(self._encoded, [self._subjects[subject].example for subject, _ in chosen])
        values[wanted] = probabilities(
            self._loaded,
            inputs,
            targets,
            self._settings.batch_tokens,
            unperturbed=unperturbed if replaced else None,
        )
        self.num_evaluated = len(wanted)
        return values


class _Soft:
    """Entries of the word vectors kept with a probability that the scores give."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        subjects: Sequence[Subject],
        free: Sequence[Mask],
        settings: Faithfulness,
        masking: str,
    ) -> None:
        self._loaded, self._encoded, self._subjects = loaded, encoded, subjects
        self._settings, self._masking = settings, masking
        self._released = None
        if masking in RELEASED:
            embedding_output(loaded)  # Refused by name, before anything is computed.
            self._released = _released(loaded, encoded, subjects, settings)
        self._free = free if self._released is None else [cut.rankable for cut in self._released]
        self._width = loaded.family.vector_size(loaded.model)
        self._noise = lru_cache(maxsize=8)(self._drawn)
        self.num_evaluated = 0

    def rows(self, whole: NDArray[np.float64]) -> list[Row]:
        """Rows of all subjects; `whole` `[subjects]` are the probabilities of the unperturbed inputs."""
        planned = list(self._planned())
        # One more row a subject, with nothing left of the attributable tokens.
        points: list[tuple[int, int, Scores]] = [
            (subject, draw, probability) for subject, draw, *_, probability in planned
        ]
        if self._released is None:
            points += [(subject, 0, np.where(free, -1.0, 1.0)) for subject, free in enumerate(self._free)]
        inputs = repeated(self._encoded, [self._subjects[subject].example for subject, *_ in points])
        targets = np.array([self._subjects[subject].target for subject, *_ in points], dtype=np.int64)

        def multiplier(rows: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
            chosen = [points[row] for row in rows.tolist()]
            return [
                self._noise(subject, draw) < probability[:, None] for subject, draw, probability in chosen
            ]

        after_norm = self._released is not None
        values = probabilities(
            self._loaded, inputs, targets, self._settings.batch_tokens, multiplier, after_norm=after_norm
        )
        self.num_evaluated = len(points)
        empty = values[len(planned) :] if self._released is None else self._hard_baseline(self._released)
        return [
            Row(
                subject,
                ranking.method,
                importance,
                "soft",
                self._masking,
                "word_vectors" if self._released is None else "embedding_output",
                "attributable" if self._released is None else "all",
                None,
                _query(self._encoded, self._subjects[subject], self._settings),
                side,
                None,
                draw,
                int(self._free[subject].sum()),
                None,
                None,
                float(whole[subject]),
                float(values[place]),
                float(empty[subject]),
            )
            for place, (subject, draw, ranking, importance, side, _) in enumerate(planned)
        ]

    def _planned(self) -> Iterator[tuple[int, int, Ranking, str, str, Scores]]:
        probability = SOFT[self._masking]
        for subject, free in enumerate(self._free):
            for draw in range(self._settings.soft_draws):
                # Of random scores the released code draws one set an example, and soft masks of it.
                for ranking in _of_draw(
                    self._subjects[subject].rankings, draw if self._released is None else 0
                ):
                    for importance, side in product(self._settings.importance, SIDES):
                        scores = _important(ranking.scores, importance)
                        yield subject, draw, ranking, importance, side, probability(scores, free, side)

    def _hard_baseline(self, cuts: Sequence[Released]) -> NDArray[np.float64]:
        """Probabilities with id 0 everywhere but in the query, `[subjects]`: the soft baseline of the released code."""
        examples = [subject.example for subject in self._subjects]
        inputs = perturbed(self._loaded, self._encoded, examples, [cut.empty for cut in cuts], "zero_id")
        targets = np.array([subject.target for subject in self._subjects], dtype=np.int64)
        self.num_evaluated += len(examples)
        return probabilities(
            self._loaded,
            inputs,
            targets,
            self._settings.batch_tokens,
            unperturbed=repeated(self._encoded, examples),
        )

    def _drawn(self, subject: int, draw: int) -> NDArray[np.float32]:
        """Uniform numbers in [0, 1), `[tokens, width]`, seeded by the example and the draw."""
        example = self._subjects[subject].example
        drawn = stream("soft", self._encoded.names[example], draw)
        return drawn.uniform32(int(self._encoded.lengths[example]), self._width)


def _released(
    loaded: LoadedModel, encoded: Encoded, subjects: Sequence[Subject], settings: Faithfulness
) -> list[Released] | None:
    """How the released code cuts each example; None for models that are not of the layout it is written for."""
    separator = loaded.tokenizer.sep_token_id
    if loaded.family.embedding_output(loaded.model) is None or not isinstance(separator, int):
        return None
    return [released(encoded, subject.example, separator, _keeps_query(settings)) for subject in subjects]


def _of_draw(rankings: Sequence[Ranking], draw: int) -> Iterator[Ranking]:
    """The rankings that a soft draw is taken of: of random scores the draw's own, of all others the one there is."""
    repeated_methods = {ranking.method for ranking in rankings if ranking.repeat > 0}
    for ranking in rankings:
        if ranking.repeat == (draw if ranking.method in repeated_methods else 0):
            yield ranking


def _important(scores: Scores, importance: str) -> Scores:
    return np.abs(scores) if importance == "abs" else scores


def _keeps_query(settings: Faithfulness) -> bool:
    """Of the settings for one dataset."""
    assert isinstance(settings.keep_query, bool), (
        "several datasets' settings: `Faithfulness.keeps_query` says of each"
    )
    return settings.keep_query


def _query(encoded: Encoded, subject: Subject, settings: Faithfulness) -> str:
    segments = encoded.segment[encoded.row(subject.example)]
    if not (segments == 1).any():
        return "none"
    return "kept" if _keeps_query(settings) else "perturbed"
