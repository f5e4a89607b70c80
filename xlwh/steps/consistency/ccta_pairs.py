"""Score every parallel pair of a model's source languages with one target language (CCTA).

Which class is compared follows `attribution.target`: the one predicted on the source side (the same class on both
sides), the gold class, or each side's own prediction; the row bears the source side's class. Of answers to questions
the start and the end are compared, each side's own: two rows per pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from xlwh.attribution.targets import explained
from xlwh.consistency.compared import Side, attributed, lacking, means, pairs, scored
from xlwh.consistency.words import alignment_of
from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.consistency.word_vectors import reason_not_covered, slot_of
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.job import Frames, Job, Stored
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, evaluated
from xlwh.steps.models.selftests import allowed
from xlwh.steps.plan import command
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot
from xlwh.study import Consistency

HEADS = {
    **dict.fromkeys(CLASSIFICATION, "sequence_classification"),
    QUESTION_ANSWERING: QUESTION_ANSWERING,
}
"""Tasks whose attributions are compared between languages, with the head that they need."""

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
    version = "3"
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
            needed = HEADS[next(iter(compared.values()))].replace("_", " ")
            raise NotApplicable(f"`{model}` has no {needed} head.")
        wanted = study.source_languages(model)
        covered = {
            source: _compared(partition, consistency, source)
            for source in wanted
            if reason_not_covered(study, source, model) is None
        }
        if not datasets.keys() & {dataset for its in covered.values() for dataset in its}:
            raise NotApplicable(
                f"No dataset of `{model}` has vectors and texts in a source language ({', '.join(wanted)})."
            )
        used = study.attribution_methods(model)
        methods = tuple(allowed(partition, model, [name for name in consistency.methods if name in used]))
        settings = consistency.model_copy(update={"models": None, "datasets": None, "methods": methods})
        space = study.spaces[consistency.space]
        for dataset, task in datasets.items():
            sources = tuple(source for source, its in covered.items() if dataset in its)
            if not sources:
                continue
            sides = tuple(dict.fromkeys((*sources, language)))
            require_parallel(partition, dataset, sides)
            inputs = [
                slot
                for keys in ((model, side) for side in sides)
                for slot in (
                    Slot("tokens", keys, dataset),
                    Slot("predictions", keys, dataset),
                    *(Slot("token_attributions", keys, f"{dataset}.{method}") for method in methods),
                    slot_of(study, *keys),
                )
            ]
            yield Job(
                {"ccta_pairs": Slot("ccta_pairs", (model, language), dataset)},
                _Params(
                    task,
                    sources,
                    {side: alignment_of(space, side) for side in sides},
                    OWN if task == QUESTION_ANSWERING else study.attribution.target,
                    settings,
                    study.seed,
                    study.attribution.max_examples,
                ),
                tuple(map(partition.required, inputs)),
                name=dataset,
                together=f"{dataset}: pairs",
            )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The pairs whose class is attributed on both sides: `split`, and `explained`, the target side's class.

        MissingDataError if there is none among the examples that both languages have.
        """
        (job,) = jobs
        params, slot = job.params, job.slots["ccta_pairs"]
        model, language = slot.keys
        columns = ("split", "example_id", "label", "predicted")
        predicted = {
            side: work.scan(job, "predictions", language=side).select(columns).collect()
            for side in params.alignments
        }
        chosen = {
            source: explained(predicted[source], params.policy, params.max_examples, params.seed)
            for source in params.sources
        }
        wanted = pairs(
            chosen,
            predicted[language],
            own=params.policy == OWN,
            answers=params.task == QUESTION_ANSWERING,
        )
        found = attributed(wanted, work.scan(job, "token_attributions"), language)
        if wanted.height and found.is_empty():
            raise MissingDataError(
                f"{slot}: none of {wanted['example_id'].n_unique()} examples has attributions of the "
                "class that is compared in both languages. "
                f"Run: {command('token_attributions', Key(model, language=language))}"
            )
        work.tell(f"{job.name}: without attributions", lacking(wanted, found, params.settings.methods))
        return wanted.join(found, on=self.piece, how="semi", maintain_order="left")

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `ccta_pairs`, source language by source language."""
        (job,) = jobs
        params, (model, language) = job.params, job.slots["ccta_pairs"].keys
        tables = ("tokens", "token_attributions", "word_vectors")
        sides = {
            side: Side(side, alignment, *(work.scan(job, table, language=side) for table in tables))
            for side, alignment in params.alignments.items()
        }
        seed = f"{params.seed}\x1f{job.name}"
        rows = pl.concat(
            scored(part, sides[str(source)], sides[language], params.settings, seed)
            for (source,), part in pieces.group_by("source_language", maintain_order=True)
        )
        keys = {"model": model, "dataset": job.name, "target_policy": params.policy}
        yield [{"ccta_pairs": rows.with_columns(**{name: pl.lit(key) for name, key in keys.items()})}]

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Pairs and means per source language, method and normalisation."""
        return {job.name: means(rows["ccta_pairs"])}


STEP = _CctaPairs()


def _compared(partition: Partition, consistency: Consistency, language: str) -> dict[str, str]:
    """The datasets whose pairs can be scored and that the study does not leave out, with their task."""
    return {
        corpus.dataset: corpus.task
        for corpus in evaluated(partition, language=language)
        if corpus.task is not None and corpus.task in HEADS
        if consistency.datasets is None or corpus.dataset in consistency.datasets
    }
