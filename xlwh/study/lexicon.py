"""Bilingual lexica, from files or from word alignments of parallel text, and what concepts are matched through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

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


class Aligner(Part):
    """The word alignment model: IBM 2 with a diagonal prior, as in the paper of fast_align."""

    iterations: int = Field(5, ge=1, description="Passes over the text with a preference for the diagonal.")
    model1_iterations: int = Field(
        0, ge=0, description="Passes without one before: for languages of very different word order."
    )
    null_probability: float = Field(0.08, gt=0, lt=1, description="That a word is linked to none.")
    tension: float = Field(4.0, ge=0, le=14, description="Preference for the diagonal, to begin with.")
    optimise_tension: bool = Field(True, description="Fit the tension to the text.")
    tension_update: Literal["gradient", "released"] = Field(
        "gradient",
        description="How it is fitted: by the likelihood's gradient, or by the step of the program fast_align, "
        "whose links come out then.",
    )
    alpha: float = Field(0.01, ge=0, description="Prior of variational Bayes; 0 is plain EM.")
    lower_case: bool = Field(True, description="Align without case; the lexicon keeps it.")
    command: str | None = Field(
        None,
        description="Another program instead, with {input}, {forward} and {reverse}: `eflomal-align -i {input} -f "
        "{forward} -r {reverse}`.",
    )
    max_words: int = Field(100, ge=1, description="Leave out sentence pairs with a longer side.")


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
