"""Probabilities of perturbed inputs, for every attribution method whose faithfulness the study measures.

What is explained is each language's own prediction. Methods have files of their own, so that a new one leaves the
others as they are; those that are made together share what they evaluate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from xlwh.attribution.targets import explained
from xlwh.steps.attribution.explained import LIBRARIES, num_explained_own, stored
from xlwh.steps.job import Frames, Job, which
from xlwh.steps.models.evaluated import CLASSIFICATION, evaluated
from xlwh.steps.models.selftests import allowed
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot
from xlwh.study import Faithfulness

RANDOM = "random"
"""The method that needs no attributions: its scores are drawn here."""


@dataclass(frozen=True)
class _Params:
    method: str
    settings: Faithfulness
    max_examples: int | None = which()
    seed: int | None = which()
    """None where no examples are drawn."""


class _Perturbations(Pieced):
    version = "3"
    libraries = LIBRARIES
    at_once = 2048
    checkpoint: ClassVar[int] = 32
    """Examples between two checkpoints on a CPU: what a kill can cost. On a GPU all are planned together."""

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset and method, `random` last; methods on one dataset are made together."""
        model, language, study = partition.model, partition.language, partition.study
        if study.faithfulness is None:
            raise NotApplicable("The study has no [faithfulness] section.")
        found = [corpus for corpus in evaluated(partition) if corpus.task in CLASSIFICATION]
        if not found:
            raise NotApplicable(f"`{model}` is evaluated on no classification dataset in `{language}`.")
        found = [corpus for corpus in found if study.tests_faithfulness(model, corpus.dataset)]
        used = study.attribution_methods(model)
        if not found or not used:
            raise NotApplicable(f"The study does not test the attributions of `{model}` in `{language}`.")
        if partition.pin(model).task != "sequence_classification":
            raise NotApplicable(f"`{model}` has no sequence classification head.")
        wanted = study.faithfulness.methods
        if wanted is None:
            wanted = used
        named = [name for name in wanted if name in used and name != RANDOM]
        methods = allowed(partition, model, [*named, RANDOM])
        settings = study.faithfulness.model_copy(update={"methods": None, "max_examples": None})
        limit = num_explained_own(study)
        use, keys = partition.use(model, "max_length", "labels", "dtype", "attention"), (model, language)
        for corpus in found:
            how = settings.model_copy(update={"keep_query": settings.keeps_query(corpus.dataset)})
            shared = (partition.required(Slot("predictions", keys, corpus.dataset)), corpus.entry)
            for method in methods:
                part = f"{corpus.dataset}.{method}"
                own = [] if method == RANDOM else [partition.required(Slot("token_attributions", keys, part))]
                yield Job(
                    {"perturbations": Slot("perturbations", keys, part)},
                    _Params(method, how, limit, None if limit is None else study.seed),
                    (*shared, *own),
                    use,
                    name=method,
                    together=f"{corpus.dataset}: perturbations",
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The examples to perturb, with their own class as the `target`: those that are attributed, or a part of them."""
        params, columns = jobs[0].params, ("split", "example_id", "label", "predicted")
        predicted = work.scan(jobs[0], "predictions").select(columns).collect()
        return explained(predicted, "own_prediction", params.max_examples, params.seed)

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `perturbations` of every method."""
        from xlwh.attribution.random import draw
        from xlwh.faithfulness.perturbations import perturbation_rows

        loaded = work.load(jobs[0], "perturbations")
        some = pieces.height if loaded.device.type == "cuda" else self.checkpoint
        for part, progress in work.parts(pieces, some):
            targets = part.select("example_id", "target")
            examples = work.pieces_of(jobs[0], "examples", part)
            rows, count = perturbation_rows(
                loaded,
                examples.join(targets, on="example_id", maintain_order="left"),
                {job.name: stored(work, job, targets) for job in jobs if job.name != RANDOM},
                {job.name: draw for job in jobs if job.name == RANDOM},
                jobs[0].params.settings,
            )
            work.count("inputs evaluated", count)
            yield [{"perturbations": rows.filter(method=job.name)} for job in jobs]
            progress(part.height, part.height)


STEP = _Perturbations()
