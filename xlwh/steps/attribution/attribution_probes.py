"""Checks of attributions: what is lost without some tokens beside what they say, and their change under noise.

What is explained is what `token_attributions` has, a few examples of it. Methods have files of their own; those of one
pass of the model are made together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from xlwh.attribution.methods import Described
from xlwh.corpora import sample
from xlwh.steps.attribution.explained import LIBRARIES, asked, explained_in, placed, stored
from xlwh.steps.job import Frames, Job, cut, which
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    method: Described
    task: str
    draws: int
    radius: float
    max_examples: int = which()
    seed: int = which()
    batch_tokens: int | None = cut()


class _Probes(Pieced):
    version = "2"
    libraries = LIBRARIES
    piece = ("example_id", "target")
    at_once = 8

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset and method."""
        model, language, study = partition.model, partition.language, partition.study
        settings = study.attribution.probes
        if settings is None:
            raise NotApplicable("The study has no [attribution.probes] section.")
        if settings.models is not None and model not in settings.models:
            raise NotApplicable(f"The study does not check the attributions of `{model}`.")
        head = partition.pin(model).task
        found = [
            (corpus, task, explained)
            for corpus, task, explained in explained_in(partition)
            if explained.head == head and (settings.datasets is None or corpus.dataset in settings.datasets)
        ]
        if not found:
            raise NotApplicable(f"`{model}` has nothing to check in `{language}`.")
        methods, keys = list(asked(partition, settings.methods)), (model, language)
        for corpus, task, explained in found:
            predicted = partition.required(Slot(explained.table, keys, corpus.dataset))
            use = partition.use(model, *explained.options)
            for each in methods:
                slot = (keys, f"{corpus.dataset}.{each.method.name}")
                yield Job(
                    {"attribution_probes": Slot("attribution_probes", *slot)},
                    _Params(
                        each.method,
                        task,
                        settings.draws,
                        settings.radius,
                        settings.max_examples,
                        study.seed,
                        study.attribution.batch_tokens,
                    ),
                    (corpus.entry, predicted, partition.required(Slot("token_attributions", *slot))),
                    use,
                    name=each.method.name,
                    together=f"{corpus.dataset}: probes of {each.passed_in}",
                    tools=each.make,
                    libraries=each.libraries,
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """What is explained of some examples."""
        job, params = jobs[0], jobs[0].params
        targets = work.scan(job, "token_attributions").select("example_id", "target").unique().collect()
        examples = work.scan(job, "examples").select("example_id").collect()
        explained = examples.join(targets, on="example_id", how="semi", maintain_order="left")
        chosen = sample(explained, params.max_examples, params.seed)
        return chosen.join(targets.sort("target"), on="example_id", maintain_order="left_right")

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `attribution_probes`."""
        from xlwh.attribution.base import CPU_BATCH_TOKENS
        from xlwh.attribution.probes import probe_rows
        from xlwh.models.fitting import batch_tokens_for

        first, params = jobs[0], jobs[0].params
        loaded = work.load(first, "attributions")
        parameters = {job.name: job.params.method.parameters for job in jobs}
        rows = probe_rows(
            loaded,
            placed(work, first, loaded, pieces),
            {job.name: stored(work, job, pieces) for job in jobs},
            first.tools(list(parameters)),
            parameters,
            params.draws,
            params.radius,
            batch_tokens_for(loaded, CPU_BATCH_TOKENS, params.batch_tokens, gradients=True),
        )
        yield [{"attribution_probes": rows[job.name]} for job in jobs]


STEP = _Probes()
