"""Count what BLEU and chrF are made from, sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from xlwh.models.translation_statistics import statistics, version
from xlwh.steps.job import Frames, Job, Stored
from xlwh.steps.models.evaluated import TRANSLATION, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    sacrebleu: str
    """Its full version, which stands in the signature."""


class _TranslationStatistics(Whole):
    version = "1"
    libraries = ("sacrebleu",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset of translations."""
        model, language = partition.model, partition.language
        found = [corpus.dataset for corpus in evaluated(partition) if corpus.task == TRANSLATION]
        if not found:
            raise NotApplicable(f"`{model}` is evaluated on no translations into `{language}`.")
        if partition.pin(model).task != TRANSLATION:
            raise NotApplicable(f"`{model}` writes no text.")
        for dataset in found:
            outputs = partition.required(Slot("predictions", (model, language), dataset))
            slot = Slot("translation_statistics", (model, language), dataset)
            yield Job({"translation_statistics": slot}, _Params(version()), (outputs,), name=dataset)

    def make(self, work: Work, job: Job) -> Frames:
        """Counts of what was written where a reference is known."""
        known = work.scan(job, "predictions").filter(pl.col("label").is_not_null()).collect()
        work.examples += known.height
        made = statistics(known, known["predicted"].to_list(), known["label"].to_list())
        return {"translation_statistics": made}

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """The signature of each metric."""
        signatures = rows["translation_statistics"].select("metric", "signature").unique().sort("metric")
        return {job.name: dict(signatures.collect().iter_rows())}


STEP = _TranslationStatistics()
