"""Bilingual lexica, from files or from word alignments of parallel text, and what concepts are matched through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from xlwh.study.base import Key, Part

Direction = tuple[Key, Key]


class LexiconFile(Part):
    """A file of translations from one language into another."""

    source: Key = Field(description="Language of the words that are translated.")
    target: Key = Field(description="Language of the translations.")
    path: str = Field(
        description="MUSE, XLing-Eval, hunalign, Moses or `a -> b: Probability = p, Count = c`."
    )
    reversed: bool = Field(False, description="Read the file against its direction.")


_DIAGONAL: Mapping[str, object] = {
    "iterations": 5,
    "null_probability": 0.08,
    "tension": 4.0,
    "alpha": 0.01,
    "spelling": 0.0,
}
"""Defaults of model "diagonal" that are not those of "hmm": the numbers of `fast_align -d -o -v`."""


class Aligner(Part):
    """The word alignment model: an HMM whose two directions agree, or IBM 2 with a diagonal prior, as in the paper of
    fast_align.
    """

    model: Literal["hmm", "diagonal"] = Field(
        "hmm", description="hmm: the better one by far; diagonal: that of fast_align."
    )
    iterations: int = Field(
        3,
        ge=1,
        description="Passes over the text; of hmm after three passes of the diagonal model. Diagonal: 5 by default.",
    )
    null_probability: float = Field(
        0.1, gt=0, lt=1, description="That a word is linked to none. Diagonal: 0.08 by default."
    )
    tension: float = Field(
        2.0,
        ge=0,
        le=14,
        description="Preference for the diagonal; of hmm in its first passes only. Diagonal: 4 by default.",
    )
    optimise_tension: bool = Field(True, description="Diagonal: fit the tension to the text.")
    tension_update: Literal["gradient", "released"] = Field(
        "gradient",
        description="Diagonal: how it is fitted: by the likelihood's gradient, or by the step of the program fast_align, "
        "whose links come out then.",
    )
    alpha: float = Field(
        0.1, ge=0, description="Prior of variational Bayes; 0 is plain EM. Diagonal: 0.01 by default."
    )
    spelling: float = Field(
        0.3, ge=0, description="hmm: prior of two words that are spelled alike, at most; 0 ignores spelling."
    )
    lower_case: bool = Field(True, description="Align without case; the lexicon keeps it.")
    command: str | None = Field(
        None,
        description="Another program instead, with {input}, {forward} and {reverse}: `eflomal-align -i {input} -f "
        "{forward} -r {reverse}`.",
    )
    max_words: int = Field(100, ge=1, description="Leave out sentence pairs with a longer side.")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_model(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        if "model1_iterations" in said:
            raise ValueError(
                '`model1_iterations` is gone: drop it. The default, `model = "hmm"`, finds another word order without it'
            )
        return {**_DIAGONAL, **said} if said.get("model") == "diagonal" else said

    @model_validator(mode="after")
    def _settings_of_the_model(self) -> Aligner:
        if self.model == "hmm" and not (self.optimise_tension and self.tension_update == "gradient"):
            raise ValueError(
                '`optimise_tension` and `tension_update` are of the diagonal model: add `model = "diagonal"`'
            )
        if self.model == "diagonal" and self.spelling:
            raise ValueError('`spelling` is of `model = "hmm"`; the diagonal model ignores spelling')
        return self


class Lexicon(Part):
    """A lexicon in one or more directions: from files, or from the word alignment of parallel datasets."""

    datasets: tuple[Key, ...] = Field(
        (), description="Parallel datasets of the study, aligned together where they have both languages."
    )
    pairs: tuple[Direction, ...] = Field(
        (), description="Directions [source, target] to make of the datasets."
    )
    files: tuple[LexiconFile, ...] = Field((), description="Files to read instead.")
    n_best: int = Field(20, ge=1, description="Translations kept of a word.")
    min_count: int = Field(1, ge=1, description="Least links of a translation, of those with a count.")
    aligner: Aligner = Field(default_factory=Aligner)

    @model_validator(mode="after")
    def _one_source(self) -> Lexicon:
        if bool(self.datasets) == bool(self.files):
            raise ValueError("give either `datasets` with `pairs`, or `files`")
        if bool(self.datasets) != bool(self.pairs):
            raise ValueError("`datasets` and `pairs` go together: the directions to align")
        directions = list(self.directions())
        if len(set(directions)) < len(directions):
            raise ValueError("a direction is given twice")
        if any(source == target for source, target in directions):
            raise ValueError("source and target are the same language")
        return self

    def directions(self) -> Iterator[Direction]:
        """All (source, target) of the lexicon."""
        yield from self.pairs
        for file in self.files:
            yield file.source, file.target


class ConceptAlignment(Part):
    """What CALIGN and COLAP are computed from: which lexica, how far, and the random baselines."""

    lexica: tuple[Key, ...] | None = Field(None, description="Lexica to match through; default: all.")
    floor: float = Field(
        0.5, ge=0, le=1, description="Store pairs of concepts with at least this share of types matched."
    )
    draws: int = Field(5, ge=1, description="Random draws of each baseline.")
