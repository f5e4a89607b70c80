"""Run a model over the examples it is evaluated on, and store what it says of each: a class, an answer, a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from xlwh.models.labels import require_known
from xlwh.models.predictions import HEADS, Options
from xlwh.models.words import segmenter_name
from xlwh.steps.job import Frames, Job, Stored, options_of
from xlwh.steps.models.evaluated import CHUNK, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    head: str
    segmenter: str


class _Predictions(Pieced):
    version = "3"
    libraries = ("torch", "transformers", "tokenizers")
    at_once = CHUNK

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        model, language = partition.model, partition.language
        corpora = evaluated(partition)
        asked = [name for name, head in HEADS.items() if any(c.task in (*head.tasks, None) for c in corpora)]
        if not asked:
            raise NotApplicable(
                f"`{model}` is evaluated on no classes, questions or translations in `{language}`."
            )
        name = partition.pin(model).task
        if name not in asked:
            raise NotApplicable(f"`{model}` has no {asked[0].replace('_', ' ')} head.")
        head = HEADS[name]
        use = partition.use(model, "max_length", "dtype", "attention", *head.options)
        for corpus in corpora:
            if corpus.task in (*head.tasks, None):
                yield Job(
                    {
                        table: Slot(table, (model, language), corpus.dataset)
                        for table in ("predictions", *head.beside)
                    },
                    _Params(name, segmenter_name(language)),
                    (corpus.entry,),
                    use,
                    name=corpus.dataset,
                    together=f"{corpus.dataset}: predictions",
                )

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """What the head says of some examples."""
        (job,) = jobs
        loaded, head = work.load(job, "predictions"), HEADS[job.params.head]
        if loaded.labels is not None:
            # Of the whole dataset: some examples may have few of the labels.
            gold = work.scan(job, "examples").select(pl.col("label").drop_nulls().unique()).collect()
            require_known(loaded.key, loaded.labels, gold["label"], f"dataset `{job.name}`")
        examples = work.pieces_of(job, "examples", pieces)
        for part, progress in work.parts(examples, head.at_once):
            yield [head.rows(loaded, part, options_of(job, Options), progress)]

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Accuracy, or what became of questions and translations."""
        return {job.name: HEADS[job.params.head].summary(rows)}


STEP = _Predictions()
