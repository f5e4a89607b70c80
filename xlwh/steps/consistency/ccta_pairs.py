"""Score every parallel pair of a model's source languages with one target language (CCTA).

Which class is compared follows `attribution.target`: the one predicted on the source side (the same class on both
sides), the gold class, or each side's own prediction; the row bears the source side's class. Of answers to questions
the start and the end are compared, each side's own: two rows per pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.attribution.targets import explained
from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.consistency.word_vectors import alignment_of, reason_not_covered, slot_of
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.job import Frames, Job, Stored
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, evaluated
from xlwh.steps.models.selftests import allowed
from xlwh.steps.planning import NotApplicable, Partition, command
from xlwh.steps.work import Pieced, Work
from xlwh.store import Entry, Slot
from xlwh.study import Consistency

if TYPE_CHECKING:
    from xlwh.consistency.pairs import Vectors

HEADS = {
    **dict.fromkeys(CLASSIFICATION, "sequence_classification"),
    QUESTION_ANSWERING: QUESTION_ANSWERING,
}
"""Tasks whose attributions are compared between languages, with the head that they need."""

ENDS = ("start", "end")
"""Targets of an answer."""

OWN = "own_prediction"
"""The policy by which each side's own prediction is compared; answers always are."""


@dataclass(frozen=True)
class _Params:
    task: str
    sources: tuple[str, ...]
    alignments: Mapping[str, str]
    """Language -> how it is brought into the space."""
    policy: str
    settings: Consistency
    seed: int
    max_examples: int | None


class _CctaPairs(Pieced):
    version = "2"
    libraries = ("POT",)
    piece = ("source_language", "example_id", "target")
    at_once = 10_000

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        model, language, study = partition.model, partition.language, partition.study
        consistency = study.consistency
        reason = reason_not_covered(study, language, model)
        if consistency is None or reason is not None:
            raise NotApplicable(reason or "The study has no [consistency] section.")
        compared = _compared(partition, consistency, language)
        if not compared:
            raise NotApplicable(f"`{model}` is evaluated on no classes or questions in `{language}`.")
        head = partition.pin(model).task
        datasets = {dataset: task for dataset, task in compared.items() if HEADS[task] == head}
        if not datasets:
            lacking = HEADS[next(iter(compared.values()))].replace("_", " ")
            raise NotApplicable(f"`{model}` has no {lacking} head.")
        wanted = study.source_languages(model)
        covered = {
            source: _compared(partition, consistency, source)
            for source in wanted
            if reason_not_covered(study, source, model) is None
        }
        sources = {
            dataset: tuple(source for source, its in covered.items() if dataset in its)
            for dataset in datasets
        }
        if not any(sources.values()):
            raise NotApplicable(
                f"No dataset of `{model}` has vectors and texts in a source language ({', '.join(wanted)})."
            )
        methods = tuple(allowed(partition, model, consistency.methods))
        settings = consistency.model_copy(update={"models": None, "datasets": None, "methods": methods})
        for dataset, task in datasets.items():
            if not sources[dataset]:
                continue
            sides = tuple(dict.fromkeys((*sources[dataset], language)))
            require_parallel(partition, dataset, sides)
            yield Job(
                {"ccta_pairs": Slot("ccta_pairs", (model, language), dataset)},
                _Params(
                    task,
                    sources[dataset],
                    {side: alignment_of(study, side) for side in sides},
                    OWN if task == QUESTION_ANSWERING else study.attribution.target,
                    settings,
                    study.seed,
                    study.attribution.max_examples,
                ),
                tuple(each for side in sides for each in _inputs(partition, dataset, side, methods)),
                name=dataset,
                together=f"{dataset}: pairs",
            )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The pairs whose class is attributed on both sides: `split`, and `explained`, the target side's class.

        MissingDataError if there is none among the examples that both languages have.
        """
        (job,) = jobs
        model, language = job.slots["ccta_pairs"].keys
        pairs = _pairs(work, job, language)
        attributed = (
            work.scan(job, "token_attributions")
            .select("language", "split", "example_id", "method", "target")
            .unique()
            .collect()
        )
        source = attributed.rename({"language": "source_language"})
        target = attributed.filter(language=language).drop("language").rename({"target": "explained"})
        found = pairs.join(source, on=["split", *self.piece]).join(
            target, on=["split", "example_id", "explained", "method"]
        )
        if pairs.height and found.is_empty():
            raise MissingDataError(
                f"{job.slots['ccta_pairs']}: none of {pairs['example_id'].n_unique()} examples has attributions of the "
                "class that is compared in both languages. "
                f"Run: {command('token_attributions', Key(model, language=language))}"
            )
        work.tell(f"{job.name}: without attributions", _lacking(pairs, found, job.params.settings.methods))
        return pairs.join(found, on=self.piece, how="semi", maintain_order="left")

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `ccta_pairs`, source language by source language."""
        (job,) = jobs
        parts = pieces.group_by("source_language", maintain_order=True)
        yield [{"ccta_pairs": pl.concat(_scored(work, job, str(source), part) for (source,), part in parts)}]

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Pairs and means per source language, method and normalisation."""
        means = (
            rows["ccta_pairs"]
            .group_by("source_language", "method", "normalization")
            .agg(
                pl.len().alias("pairs"),
                pl.col("score", "null_uniform", "null_shuffled").mean().round(4),
                pl.col("source_coverage", "target_coverage").mean().round(4),
                pl.col("degenerate").sum(),
                pl.col("alignment").first(),
            )
            .sort("source_language", "method", "normalization")
        )
        return {job.name: means.collect().to_dicts()}


STEP = _CctaPairs()


def _compared(partition: Partition, consistency: Consistency, language: str) -> dict[str, str]:
    """The datasets whose pairs can be scored and that the study does not leave out, with their task."""
    return {
        corpus.dataset: corpus.task
        for corpus in evaluated(partition, language=language)
        if corpus.task is not None and corpus.task in HEADS
        if consistency.datasets is None or corpus.dataset in consistency.datasets
    }


def _inputs(partition: Partition, dataset: str, language: str, methods: Sequence[str]) -> Iterator[Entry]:
    """What one side is made from; MissingDataError names the first file that is still to be made."""
    keys = (partition.model, language)
    yield partition.required(Slot("tokens", keys, dataset))
    yield partition.required(Slot("predictions", keys, dataset))
    for method in methods:
        yield partition.required(Slot("token_attributions", keys, f"{dataset}.{method}"))
    yield partition.required(slot_of(partition.study, *keys))


def _pairs(work: Work, job: Job, language: str) -> pl.DataFrame:
    """source_language, split, example_id, `target` (the class of the row) and `explained` (that of the target side).

    Of the examples that both languages have and that are attributed. A question has a row for each end of its answer.
    """
    params, on = job.params, ["split", "example_id"]

    def predicted(side: str) -> pl.DataFrame:
        frame = work.scan(job, "predictions", language=side)
        return frame.select(*on, "label", "predicted").collect()

    own = predicted(language).select(*on, own="predicted")
    frames = []
    for source in params.sources:
        chosen = explained(predicted(source), params.policy, params.max_examples, params.seed)
        both = chosen.join(own, on=on, maintain_order="left").with_columns(source_language=pl.lit(source))
        if params.task == QUESTION_ANSWERING:
            both = pl.concat(both.with_columns(target=pl.lit(end), own=pl.lit(end)) for end in ENDS)
        other = "own" if params.policy == OWN else "target"
        frames.append(both.select("source_language", *on, "target", explained=other))
    return pl.concat(frames)


def _lacking(pairs: pl.DataFrame, found: pl.DataFrame, methods: Sequence[str]) -> list[dict[str, object]]:
    """How many pairs a side has no attributions of the class for, where there are any."""
    asked = pairs.group_by("source_language").agg(asked=pl.len())
    counts = found.group_by("source_language", "method").agg(pairs=pl.len())
    return (
        asked.join(pl.DataFrame({"method": methods}), how="cross")
        .join(counts, on=["source_language", "method"], how="left")
        .select("source_language", "method", missing=pl.col("asked") - pl.col("pairs").fill_null(0))
        .filter(pl.col("missing") > 0)
        .sort("source_language", "method")
        .to_dicts()
    )


def _scored(work: Work, job: Job, source: str, part: pl.DataFrame) -> pl.DataFrame:
    """Rows of `ccta_pairs` of some pairs with one source language."""
    from xlwh.consistency.pairs import ccta_pairs, vectors
    from xlwh.consistency.pairs import explained as of_classes

    params, (model, language) = job.params, job.slots["ccta_pairs"].keys
    settings, sides = params.settings, dict.fromkeys((source, language))
    units = {side: _units(work, job, side, part["example_id"]) for side in sides}
    known = {side: vectors(work.scan(job, "word_vectors", language=side).collect()) for side in sides}
    places = part.select("split", "example_id", "target", "explained")
    scored = ccta_pairs(
        of_classes(units[source], places.with_columns(explained="target")),
        of_classes(units[language], places),
        known[source],
        known[language],
        normalizations=settings.normalizations,
        draws=settings.draws,
        seed=f"{params.seed}\x1f{job.name}",
        identical=source == language,
    )
    constants = {
        "model": model,
        "dataset": job.name,
        "source_language": source,
        "target_language": language,
        "alignment": _alignment(params.alignments, source, language, known),
        "target_policy": params.policy,
        "space": settings.space,
        "unit": settings.unit,
    }
    return scored.with_columns(
        pl.lit(value, dtype=pl.String).alias(name) for name, value in constants.items()
    )


def _alignment(alignments: Mapping[str, str], source: str, target: str, known: Mapping[str, Vectors]) -> str:
    """How two languages came into one space, as `ccta_pairs.alignment` says it."""
    from xlwh.consistency.spaces import agree

    if source == target:
        return "same_language"
    kinds = {alignments[source], alignments[target]}
    if kinds == {"given"}:
        near = agree(known[source], known[target])
        return "unchecked" if near is None else "given" if near else "none"
    return "none" if "none" in kinds else "rotated"


def _units(work: Work, job: Job, language: str, examples: pl.Series) -> pl.DataFrame:
    """Attributions of words (or sub-tokens) of some examples, of every method and class."""
    from xlwh.consistency.pairs import unit_attributions

    wanted = pl.col("example_id").is_in(examples.unique().to_list())
    tokens = work.scan(job, "tokens", language=language).filter(wanted)
    attributions = work.scan(job, "token_attributions", language=language).filter(wanted)
    return unit_attributions(tokens, attributions, job.params.settings.unit)
