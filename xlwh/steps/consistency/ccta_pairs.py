"""Score every parallel pair of a model's source languages with one target language (CCTA).

Which class is compared follows `attribution.target`: the one predicted on the source side (the same class on both
sides), the gold class, or each side's own prediction; the row bears the source side's class. Of answers to questions
the start and the end are compared, each side's own: two rows per pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.corpora import sample
from xlwh.errors import MissingDataError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.consistency.word_vectors import alignment_of, current_fingerprint, reason_not_covered, slot_of
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, corpora
from xlwh.steps.models.selftests import refused_methods, require_some, without
from xlwh.steps.upstream import command, identity, required
from xlwh.store import Entry, Slot, fingerprint, schema
from xlwh.study import Consistency

if TYPE_CHECKING:
    from xlwh.consistency.pairs import Vectors

CODE_VERSION = "2"

PAIRED = {
    **dict.fromkeys(CLASSIFICATION, "sequence_classification"),
    QUESTION_ANSWERING: QUESTION_ANSWERING,
}
"""Tasks whose attributions are compared between languages, with the head that they need."""

ENDS = ("start", "end")
"""Targets of an answer."""

EXAMPLES_AT_ONCE = 10_000
"""Examples worked on between two checkpoints: the bound on memory beside the rows that are written."""


@dataclass(frozen=True)
class _Job:
    """One dataset: its source languages, and what its pairs depend on."""

    dataset: str
    task: str
    sources: tuple[str, ...]
    slot: Slot
    fingerprint: str


def run(context: Context, key: Key) -> StepResult:
    """Write `ccta_pairs` of one model with one target language, a file per dataset.

    Finished examples are staged, so a killed run goes on where it stopped.
    """
    model, language = str(key.model), str(key.language)
    consistency = context.study.consistency
    reason = reason_not_covered(context.study, language, model)
    if consistency is None or reason is not None:
        return not_applicable(reason or "The study has no [consistency] section.")
    datasets = _datasets(context, model, language)
    if not datasets:
        return not_applicable(f"`{model}` is evaluated on no classes or questions in `{language}`.")
    if not any(PAIRED[task] == context.zoo.pin(model).task for task in datasets.values()):
        wanted = PAIRED[next(iter(datasets.values()))].replace("_", " ")
        return not_applicable(f"`{model}` has no {wanted} head.")
    sources = {dataset: _sources(context, model, dataset) for dataset in datasets}
    if not any(sources.values()):
        wanted = ", ".join(context.study.source_languages(model))
        return not_applicable(
            f"No dataset of `{model}` has vectors and texts in a source language ({wanted})."
        )
    refused = refused_methods(context, model, consistency.methods)
    require_some(refused, consistency.methods)
    left = tuple(method for method in consistency.methods if method not in refused)
    consistency = consistency.model_copy(update={"methods": left})
    jobs = [
        _job(context, consistency, model, language, dataset, task, sources[dataset])
        for dataset, task in datasets.items()
        if sources[dataset]
    ]
    if not context.force:
        jobs = [job for job in jobs if not context.warehouse.is_fresh(job.slot, job.fingerprint)]
    if not jobs:
        return StepResult(status="fresh", reason=without(model, refused))
    watch, rows, examples = Stopwatch(), 0, 0
    metadata: dict[str, object] = {}
    for job in jobs:
        entry = _score(context, consistency, model, language, job)
        summary = _summary(context, model, language, job, entry)
        rows += entry.rows
        examples += int(summary.unique("source_language")["examples_in_both"].sum())
        metadata[job.dataset] = summary.to_dicts()
    return StepResult(
        "written", rows, examples, watch.seconds, reason=without(model, refused), metadata=metadata
    )


def _datasets(context: Context, model: str, language: str) -> dict[str, str]:
    """The datasets whose pairs can be scored and that the study does not leave out, with their task."""
    consistency = context.study.consistency
    chosen = None if consistency is None else consistency.datasets
    return {
        corpus.dataset: corpus.task
        for corpus in corpora(context, model, language)
        if corpus.task is not None and corpus.task in PAIRED
        if chosen is None or corpus.dataset in chosen
    }


def _sources(context: Context, model: str, dataset: str) -> tuple[str, ...]:
    """The model's source languages that have the dataset and a place in the space."""
    return tuple(
        language
        for language in context.study.source_languages(model)
        if reason_not_covered(context.study, language, model) is None
        and dataset in context.study.evaluations(model, language)
        and dataset in _datasets(context, model, language)
    )


def _job(
    context: Context,
    consistency: Consistency,
    model: str,
    language: str,
    dataset: str,
    task: str,
    sources: tuple[str, ...],
) -> _Job:
    """What one dataset depends on; MissingDataError naming the first input that is still to be made.

    CorpusError where the languages are not translations of each other.
    """
    require_parallel(context, dataset, (*sources, language))
    inputs = []
    for side in dict.fromkeys((*sources, language)):
        key = Key(model, language=side)
        inputs.append(required(context, Slot("tokens", (model, side), dataset), key))
        inputs.append(required(context, Slot("predictions", (model, side), dataset), key))
        inputs += [
            required(context, Slot("token_attributions", (model, side), f"{dataset}.{method}"), key)
            for method in consistency.methods
        ]
        inputs.append(required(context, slot_of(context.study, model, side), key))
    parameters = {
        **consistency.model_dump(mode="json", exclude={"models", "datasets"}),
        "sources": sources,
        "target": context.study.attribution.target,
        "max_examples": context.study.attribution.max_examples,
        "seed": context.study.seed,
    }
    print_ = fingerprint("ccta_pairs", CODE_VERSION, parameters, map(identity, inputs))
    return _Job(dataset, task, sources, Slot("ccta_pairs", (model, language), dataset), print_)


def _score(context: Context, consistency: Consistency, model: str, language: str, job: _Job) -> Entry:
    """Score what is left of a dataset and commit it."""
    vectors = {side: _vectors(context, model, side) for side in dict.fromkeys((*job.sources, language))}
    classes = {source: _classes(context, model, source, language, job) for source in job.sources}
    wanted = sorted(set().union(*(frame["example_id"].to_list() for frame in classes.values())))
    what = f"{job.dataset}: pairs"
    with context.warehouse.staging([job.slot], job.fingerprint) as staging:
        staged = staging.done("example_id")
        left = [example for example in wanted if example not in staged]
        context.progress(what, len(wanted) - len(left), len(wanted))
        for start in range(0, len(left), EXAMPLES_AT_ONCE):
            part = left[start : start + EXAMPLES_AT_ONCE]
            frames = _frames(context, consistency, model, language, job, part, classes, vectors)
            staging.append({job.slot: pl.concat(frames)})
            context.progress(what, len(wanted) - len(left) + start + len(part), len(wanted))
        if wanted and not staging.done("example_id"):
            raise MissingDataError(
                f"{job.slot}: none of {len(wanted)} examples has attributions of the class that is compared in both "
                f"languages. Run: {command('token_attributions', Key(model, language=language))}"
            )
        return staging.finish(provenance=context.zoo.pin(model).provenance)[0]


def _frames(
    context: Context,
    consistency: Consistency,
    model: str,
    language: str,
    job: _Job,
    examples: Sequence[str],
    classes: dict[str, pl.DataFrame],
    vectors: dict[str, Vectors],
) -> Iterator[pl.DataFrame]:
    """Rows of `ccta_pairs` of some examples, source language by source language."""
    from xlwh.consistency.pairs import ccta_pairs, explained

    alignments = {
        source: _alignment(context, source, language, vectors[source], vectors[language])
        for source in job.sources
    }
    columns = schema("ccta_pairs")
    target_units = _units(context, consistency, model, language, job.dataset, examples)
    for source in job.sources:
        own = source == language
        units = target_units if own else _units(context, consistency, model, source, job.dataset, examples)
        scored = ccta_pairs(
            explained(units, classes[source].select("split", "example_id", "target", explained="target")),
            explained(target_units, classes[source]),
            vectors[source],
            vectors[language],
            normalizations=consistency.normalizations,
            draws=consistency.draws,
            seed=f"{context.study.seed}\x1f{job.dataset}",
            identical=own,
        )
        constants = {
            "model": model,
            "dataset": job.dataset,
            "source_language": source,
            "target_language": language,
            "alignment": alignments[source],
            "target_policy": "own_prediction"
            if job.task == QUESTION_ANSWERING
            else context.study.attribution.target,
            "space": consistency.space,
            "unit": consistency.unit,
        }
        yield scored.with_columns(
            pl.lit(value, dtype=pl.String).alias(name) for name, value in constants.items()
        ).select(list(columns))


def _alignment(
    context: Context, source: str, target: str, source_vectors: Vectors, target_vectors: Vectors
) -> str:
    """How two languages came into one space, as `ccta_pairs.alignment` says it."""
    from xlwh.consistency.spaces import agree

    if source == target:
        return "same_language"
    kinds = {alignment_of(context.study, language) for language in (source, target)}
    if kinds == {"given"}:
        near = agree(source_vectors, target_vectors)
        return "unchecked" if near is None else "given" if near else "none"
    return "none" if "none" in kinds else "rotated"


def _vectors(context: Context, model: str, language: str) -> Vectors:
    """Vectors of a language; MissingDataError if the tokens have changed since they were made."""
    from xlwh.consistency.pairs import vectors

    slot = slot_of(context.study, model, language)
    if not context.warehouse.is_fresh(slot, current_fingerprint(context, model, language)):
        raise MissingDataError(
            f"{slot} was made from other tokens, models or files than the current ones. "
            f"Run: {command('word_vectors', Key(model, language=language))}"
        )
    return vectors(context.warehouse.scan("word_vectors", space=slot.keys[0], language=language).collect())


def _classes(context: Context, model: str, source: str, language: str, job: _Job) -> pl.DataFrame:
    """split, example_id, `target` (the class of the row) and `explained` (the class on the target language's side).

    Of the examples that both languages have and that are attributed. A question has a row for each end of its answer.
    """
    settings = context.study.attribution
    dataset = job.dataset

    def predicted(side: str) -> pl.DataFrame:
        frame = context.warehouse.scan("predictions", model=model, language=side, dataset=dataset)
        return frame.select("split", "example_id", "label", "predicted").collect()

    chosen = predicted(source)
    if settings.max_examples is not None:
        chosen = sample(chosen, settings.max_examples, context.study.seed)
    column = "label" if settings.target == "gold" else "predicted"
    if job.task == QUESTION_ANSWERING:
        asked = chosen.join(
            predicted(language), on=["split", "example_id"], how="semi", maintain_order="left"
        )
        return pl.concat(
            asked.select("split", "example_id", target=pl.lit(end), explained=pl.lit(end)) for end in ENDS
        )
    both = chosen.select("split", "example_id", target=column).join(
        predicted(language).select("split", "example_id", own="predicted"), on=["split", "example_id"]
    )
    explained = "own" if settings.target == "own_prediction" else "target"
    return both.drop_nulls("target").select("split", "example_id", "target", explained=explained)


def _units(
    context: Context,
    consistency: Consistency,
    model: str,
    language: str,
    dataset: str,
    examples: Sequence[str],
) -> pl.DataFrame:
    """Attributions of words (or sub-tokens) of some examples, of every method and class."""
    from xlwh.consistency.pairs import unit_attributions

    wanted = pl.col("example_id").is_in(list(examples))
    tokens = context.warehouse.scan("tokens", model=model, language=language, dataset=dataset)
    attributions = context.warehouse.scan(
        "token_attributions", model=model, language=language, dataset=dataset
    )
    methods = pl.col("method").is_in(list(consistency.methods))
    return unit_attributions(tokens.filter(wanted), attributions.filter(wanted & methods), consistency.unit)


def _summary(context: Context, model: str, language: str, job: _Job, entry: Entry) -> pl.DataFrame:
    """Per source language, method and normalisation: pairs scored, pairs missing, and the means of the pairs.

    `missing` are examples that both languages have and that one of them has no attributions of the class for.
    """
    scored = (
        pl.scan_parquet(context.warehouse.root / entry.file)
        .group_by("source_language", "method", "normalization")
        .agg(
            pl.len().alias("pairs"),
            pl.col("score", "null_uniform", "null_shuffled").mean().round(4),
            pl.col("source_coverage", "target_coverage").mean().round(4),
            pl.col("degenerate").sum(),
            pl.col("alignment").first(),
        )
        .collect()
    )
    counts = pl.DataFrame(
        [
            {
                "source_language": source,
                "examples_in_both": _classes(context, model, source, language, job).height,
            }
            for source in job.sources
        ]
    )
    joined = counts.join(scored, on="source_language", how="left")
    return joined.with_columns(missing=pl.col("examples_in_both") - pl.col("pairs").fill_null(0)).sort(
        "source_language", "method", "normalization"
    )
