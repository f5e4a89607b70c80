"""Probabilities of perturbed inputs, for every attribution method whose faithfulness the study measures.

What is explained is each language's own prediction. Methods have files of their own, so that a new one leaves the
others as they are; those that are made together share what they evaluate.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.corpora import sample
from xlwh.steps.attribution.stored import Stored
from xlwh.steps.attribution.targets import num_explained_own
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import CLASSIFICATION, Corpus, corpora
from xlwh.steps.models.selftests import forget_refused, refused_methods, require_some, without
from xlwh.steps.upstream import identity, required
from xlwh.store import Slot, Staging, fingerprint, schema
from xlwh.study import Faithfulness

if TYPE_CHECKING:
    from xlwh.faithfulness.perturbations import Ranking, Subject
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

CODE_VERSION = "2"

RANDOM = "random"
"""The method that needs no attributions: its scores are drawn here."""

EXAMPLES_AT_ONCE = 32
"""Examples perturbed together, and between two checkpoints: what a kill can cost."""


@dataclass(frozen=True)
class _Job:
    """One method on one dataset: the slot it fills."""

    corpus: Corpus
    method: str
    slot: Slot
    fingerprint: str


def run(context: Context, key: Key) -> StepResult:
    """Write `perturbations` of one model in one language, a file per dataset and method.

    Finished examples are staged, so a killed run goes on where it stopped.
    """
    model, language = str(key.model), str(key.language)
    settings = context.study.faithfulness
    if settings is None:
        return not_applicable("The study has no [faithfulness] section.")
    found = [corpus for corpus in corpora(context, model, language) if corpus.task in CLASSIFICATION]
    if not found:
        return not_applicable(f"`{model}` is evaluated on no classification dataset in `{language}`.")
    if context.zoo.pin(model).task != "sequence_classification":
        return not_applicable(f"`{model}` has no sequence classification head.")
    refused = refused_methods(context, model, methods(context))
    require_some(refused, methods(context))
    forget_refused(context, (_slot(model, corpus, method) for corpus in found for method in refused))
    tried = [method for method in methods(context) if method not in refused]
    jobs = [[_job(context, settings, model, corpus, method) for method in tried] for corpus in found]
    if not context.force:
        jobs = [
            [job for job in row if not context.warehouse.is_fresh(job.slot, job.fingerprint)] for row in jobs
        ]
    if not any(jobs):
        return StepResult(status="fresh", reason=without(model, refused))
    watch, loaded = Stopwatch(), context.load(model, "perturbations")
    metadata: dict[str, object] = {}
    rows = examples = 0
    for together in filter(None, jobs):
        made = _finished(context, settings, loaded, together)
        rows += made.rows
        examples += made.examples
        metadata[together[0].corpus.dataset] = made.summary
    return StepResult(
        "written", rows, examples, watch.seconds, reason=without(model, refused), metadata=metadata
    )


def methods(context: Context) -> tuple[str, ...]:
    """The methods that are tested, `random` last."""
    settings = context.study.faithfulness
    chosen = None if settings is None else settings.methods
    if chosen is None:
        chosen = tuple(name for name, given in context.study.attribution.methods if given is not None)
    return (*(name for name in chosen if name != RANDOM), RANDOM)


def _job(context: Context, settings: Faithfulness, model: str, corpus: Corpus, method: str) -> _Job:
    """What one method on one dataset depends on; MissingDataError naming the first input still to be made."""
    key = Key(model, language=corpus.language)
    keys = (model, corpus.language)
    inputs = [required(context, Slot("predictions", keys, corpus.dataset), key), corpus.entry]
    if method != RANDOM:
        inputs.append(required(context, Slot("token_attributions", keys, f"{corpus.dataset}.{method}"), key))
    parameters = {
        **settings.model_dump(mode="json", exclude={"methods", "batch_tokens"}),
        "method": method,
        "seed": context.study.seed,
        "attributed": context.study.attribution.max_examples,
    }
    identities = (*context.zoo.pin(model).identity, *map(identity, inputs))
    print_ = fingerprint("perturbations", CODE_VERSION, parameters, identities)
    return _Job(corpus, method, _slot(model, corpus, method), print_)


def _slot(model: str, corpus: Corpus, method: str) -> Slot:
    return Slot("perturbations", (model, corpus.language), f"{corpus.dataset}.{method}")


@dataclass(frozen=True)
class _Made:
    rows: int
    examples: int
    summary: dict[str, object]


def _finished(context: Context, settings: Faithfulness, loaded: LoadedModel, jobs: Sequence[_Job]) -> _Made:
    """Do what is left of some methods on one dataset and commit it."""
    corpus = jobs[0].corpus
    chosen = _chosen(context, loaded.key, corpus)
    provenance = context.zoo.pin(loaded.key).provenance
    with ExitStack() as held:
        stagings = [
            held.enter_context(context.warehouse.staging([job.slot], job.fingerprint)) for job in jobs
        ]
        # A kill can leave one method ahead of the others: what it has is not perturbed again.
        staged = [staging.done("example_id") for staging in stagings]
        complete = set.intersection(*staged)
        left = chosen.filter(~pl.col("example_id").is_in(list(complete)))
        done, total = chosen.height - left.height, chosen.height
        what = f"{corpus.dataset}: perturbations ({', '.join(job.method for job in jobs)})"
        context.progress(what, done, total)
        evaluated = rows = 0
        for start in range(0, left.height, EXAMPLES_AT_ONCE):
            part = left[start : start + EXAMPLES_AT_ONCE]
            evaluated += _perturb(context, settings, loaded, jobs, part, stagings, staged)
            done += part.height
            context.progress(what, done, total)
        for staging in stagings:
            rows += staging.finish(provenance=provenance)[0].rows
    summary: dict[str, object] = {"methods": [job.method for job in jobs], "inputs_evaluated": evaluated}
    return _Made(rows, chosen.height, summary)


def _chosen(context: Context, model: str, corpus: Corpus) -> pl.DataFrame:
    """example_id and `predicted` of the examples to perturb: those that are attributed, or a part of them."""
    frame = context.warehouse.scan(
        "predictions", model=model, language=corpus.language, dataset=corpus.dataset
    )
    predicted = frame.select("example_id", "predicted").collect()
    limit = num_explained_own(context)
    return predicted if limit is None else sample(predicted, limit, context.study.seed)


def _perturb(
    context: Context,
    settings: Faithfulness,
    loaded: LoadedModel,
    jobs: Sequence[_Job],
    chosen: pl.DataFrame,
    stagings: Sequence[Staging],
    staged: Sequence[set[str]],
) -> int:
    """Perturb some examples and stage a chunk per method; how many inputs the model was run on."""
    from xlwh.faithfulness.perturbations import Row, perturb
    from xlwh.models.tokenize import encode

    corpus = jobs[0].corpus
    examples = corpus.frame.join(chosen.lazy(), on="example_id").collect()
    encoded = encode(loaded, examples)
    subjects = _subjects(context, settings, loaded, jobs, examples, encoded)
    made = perturb(loaded, encoded, subjects, settings)
    rows = pl.DataFrame(made.rows, schema=list(Row._fields), orient="row", infer_schema_length=None)
    keys = encoded.keys.with_columns(
        model=pl.lit(loaded.key), target=examples["predicted"], subject=pl.int_range(encoded.keys.height)
    )
    frame = rows.join(keys.with_columns(pl.col("subject").cast(pl.Int64)), on="subject")
    types = schema("perturbations")
    typed = frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())
    for job, staging, known in zip(jobs, stagings, staged, strict=True):
        wanted = (pl.col("method") == job.method) & ~pl.col("example_id").is_in(list(known))
        staging.append({job.slot: typed.filter(wanted)})
    return made.num_evaluated


def _subjects(
    context: Context,
    settings: Faithfulness,
    loaded: LoadedModel,
    jobs: Sequence[_Job],
    examples: pl.DataFrame,
    encoded: Encoded,
) -> list[Subject]:
    """The examples with the scores of every method."""
    from xlwh.attribution.random import draw
    from xlwh.faithfulness.perturbations import Ranking, Subject

    classes = {label: index for index, label in enumerate(loaded.labels or ())}
    targets = examples.select("example_id", target="predicted")
    scores = {
        job.method: Stored(context, loaded.key, job.corpus, job.method, targets)
        for job in jobs
        if job.method != RANDOM
    }
    drawn = any(job.method == RANDOM for job in jobs)
    subjects = []
    for index, row in enumerate(examples.select("example_id", "predicted").rows(named=True)):
        size = int(encoded.lengths[index])
        rankings: list[Ranking] = []
        for method, known in scores.items():
            found = known.of(row["example_id"], row["predicted"], size)
            rankings.append(Ranking(method, 0, found))
        if drawn:
            draws = max(settings.random_draws, settings.soft_draws)
            rankings += [
                Ranking(RANDOM, number, draw(encoded.names[index], number, size)) for number in range(draws)
            ]
        subjects.append(Subject(index, classes[row["predicted"]], tuple(rankings)))
    return subjects
