"""Attribute predictions to sub-tokens, for every method and every target that the study compares.

Methods have files of their own; those of one pass of the model are made together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import polars as pl

from xlwh.attribution.base import CPU_BATCH_TOKENS
from xlwh.attribution.methods import Described
from xlwh.attribution.rows import attribution_rows, convergence, with_tolerance
from xlwh.attribution.targets import Choice, targets_of
from xlwh.models.fitting import batch_tokens_for
from xlwh.selftest import capability_of
from xlwh.steps.attribution.explained import (
    EXPLAINED,
    LIBRARIES,
    asked,
    choice_of,
    explained_in,
    language_of,
    placed,
    predictions_of,
)
from xlwh.steps.job import Frames, Job, Stored, cut, which
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    method: Described
    task: str
    choice: Choice = which()
    tolerance: float | None = which()
    batch_tokens: int | None = cut()


class _Attributions(Pieced):
    version = "1"
    libraries = LIBRARIES
    counted = ("token_attributions",)
    piece = ("example_id", "target")
    at_once = 2048
    checkpoint: ClassVar[int] = 64
    """Attributions between two checkpoints: what a kill can cost."""

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset and method."""
        model, language, settings = partition.model, partition.language, partition.study.attribution
        offered = explained_in(partition)
        if not offered:
            raise NotApplicable(f"`{model}` is evaluated on nothing that is attributed in `{language}`.")
        heads = [explained.head for *_, explained in offered]
        head = partition.pin(model).task
        if head not in heads:
            raise NotApplicable(f"`{model}` has no {heads[0].replace('_', ' ')} head.")
        methods = list(asked(partition))
        for corpus, task, explained in offered:
            if explained.head != head:
                continue
            choice = choice_of(partition, corpus)
            own, *others = predictions_of(partition, corpus, explained.table, choice)
            use = partition.use(model, *explained.options)
            for each in methods:
                slot = ((model, language), f"{corpus.dataset}.{each.method.name}")
                yield Job(
                    {table: Slot(table, *slot) for table in ("attribution_runs", "token_attributions")},
                    _Params(each.method, task, choice, each.tolerance, settings.batch_tokens),
                    (corpus.entry, own),
                    use,
                    name=each.method.name,
                    together=f"{corpus.dataset}: {each.passed_in}",
                    tools=each.make,
                    chosen_by=tuple(others),
                    libraries=each.libraries,
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The targets."""
        job, choice = jobs[0], jobs[0].params.choice
        task, language = EXPLAINED[job.params.task], language_of(job)
        languages = {language, *(each.language for each in choice.by)}
        predictions = {each: work.scan(job, task.table, language=each) for each in languages}
        examples = work.scan(job, "examples").select("example_id").collect()
        return targets_of(task.kind, choice, predictions, examples, language)

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of both tables, checkpoint by checkpoint."""
        first, done = jobs[0], 0
        loaded = work.load(first, capability_of(first.name))
        explained = placed(work, first, loaded, pieces)
        parameters = {job.name: job.params.method.parameters for job in jobs}
        described = {name: each.model_dump(mode="json") for name, each in parameters.items()}
        run = first.tools(list(parameters))
        batch_tokens = batch_tokens_for(loaded, CPU_BATCH_TOKENS, first.params.batch_tokens, gradients=True)
        results = run(loaded, explained.encoded, explained.items, parameters, batch_tokens)
        while finished := list(islice(results, self.checkpoint)):
            yield [
                attribution_rows(
                    explained,
                    [(place, made[job.name]) for place, made in finished],
                    loaded.key,
                    job.name,
                    described[job.name],
                    job.params.tolerance,
                )
                for job in jobs
            ]
            done += len(finished)
            work.within(done, pieces.height)

    def taken_over(self, job: Job, frames: Frames) -> Frames:
        """Rows whose `converged` follows the tolerance of now."""
        runs, tolerance = frames["attribution_runs"], job.params.tolerance
        return (
            frames if tolerance is None else {**frames, "attribution_runs": with_tolerance(runs, tolerance)}
        )

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """How many there are, and whether they add up."""
        part, found = job.slots["attribution_runs"].part, convergence(rows["attribution_runs"].collect())
        return {f"{part}: {name}": value for name, value in found.items()}


STEP = _Attributions()
