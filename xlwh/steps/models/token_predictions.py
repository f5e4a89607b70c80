"""Run a tagger over what it is evaluated on, and store its logits word by word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from xlwh.models.labels import require_tags
from xlwh.models.predictions import tagged, tags
from xlwh.steps.job import Frames, Job, Stored, options
from xlwh.steps.models.evaluated import CHUNK, TAGGING, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot


class _TokenPredictions(Pieced):
    version = "1"
    libraries = ("torch", "transformers", "tokenizers")
    at_once = CHUNK

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per tagged dataset."""
        model, language = partition.model, partition.language
        found = [corpus for corpus in evaluated(partition) if corpus.task == TAGGING]
        if not found:
            raise NotApplicable(f"`{model}` is evaluated on no tagged dataset in `{language}`.")
        if partition.pin(model).task != TAGGING:
            raise NotApplicable(f"`{model}` has no token classification head.")
        use = partition.use(model, "max_length", "labels", "dtype", "attention", "tagged_piece")
        for corpus in found:
            yield Job(
                {"token_predictions": Slot("token_predictions", (model, language), corpus.dataset)},
                reads=(corpus.entry,),
                model=use,
                name=corpus.dataset,
                together=f"{corpus.dataset}: tags",
            )

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """A row for every gold word."""
        (job,) = jobs
        loaded = work.load(job, "predictions")
        # Of the whole dataset: some examples may have few tags.
        every = work.scan(job, "examples").select(pl.col("word_labels").explode().drop_nulls().unique())
        gold, labels = every.collect()["word_labels"].to_list(), loaded.labels or ()
        require_tags(loaded.key, labels, gold, f"dataset `{job.name}`")
        if unknown := sorted(set(gold) - set(labels)):
            work.tell(f"{job.name}: tags that the model does not have", unknown)
        examples = work.pieces_of(job, "examples", pieces)
        yield [{"token_predictions": tags(loaded, examples, options(job)["tagged_piece"], work.within)}]

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Token accuracy, and what became of the words."""
        return {job.name: tagged(rows["token_predictions"])}


STEP = _TokenPredictions()
