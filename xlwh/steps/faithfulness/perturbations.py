"""Probabilities of perturbed inputs, for every attribution method whose faithfulness the study measures.

What is explained is each language's own prediction. Methods have files of their own, so that a new one leaves the
others as they are; those that are made together share what they evaluate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from xlwh.steps.attribution.explained import explained, num_explained_own
from xlwh.steps.attribution.stored import Stored
from xlwh.steps.job import Frames, Job, which
from xlwh.steps.models.evaluated import CLASSIFICATION, evaluated
from xlwh.steps.models.selftests import allowed
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot
from xlwh.study import Faithfulness, Study

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
    libraries = ("torch", "transformers", "tokenizers")
    at_once = 32

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset and method; methods on one dataset are made together."""
        model, language, study = partition.model, partition.language, partition.study
        if study.faithfulness is None:
            raise NotApplicable("The study has no [faithfulness] section.")
        found = [corpus for corpus in evaluated(partition) if corpus.task in CLASSIFICATION]
        if not found:
            raise NotApplicable(f"`{model}` is evaluated on no classification dataset in `{language}`.")
        if partition.pin(model).task != "sequence_classification":
            raise NotApplicable(f"`{model}` has no sequence classification head.")
        tried = allowed(partition, model, methods(study))
        settings = study.faithfulness.model_copy(update={"methods": None, "max_examples": None})
        limit = num_explained_own(study)
        use, keys = partition.use(model, "max_length", "labels", "dtype", "attention"), (model, language)
        for corpus in found:
            shared = (partition.required(Slot("predictions", keys, corpus.dataset)), corpus.entry)
            for method in tried:
                part = f"{corpus.dataset}.{method}"
                own = (
                    () if method == RANDOM else (partition.required(Slot("token_attributions", keys, part)),)
                )
                yield Job(
                    {"perturbations": Slot("perturbations", keys, part)},
                    _Params(method, settings, limit, None if limit is None else study.seed),
                    (*shared, *own),
                    use,
                    name=method,
                    together=f"{corpus.dataset}: perturbations",
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The examples to perturb, with their own class as the `target`: those that are attributed, or a part of them."""
        columns = ("split", "example_id", "label", "predicted")
        predicted = work.scan(jobs[0], "predictions").select(columns).collect()
        return explained(predicted, "own_prediction", jobs[0].params.max_examples, jobs[0].params.seed)

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `perturbations` of every method."""
        from xlwh.attribution.random import draw
        from xlwh.faithfulness.perturbations import Ranking, Row, Subject, perturb
        from xlwh.models.tokenize import encode

        settings, loaded = jobs[0].params.settings, work.load(jobs[0], "perturbations")
        examples = work.pieces_of(jobs[0], "examples", pieces).join(
            pieces.select("example_id", "target"), on="example_id", maintain_order="left"
        )
        encoded = encode(loaded, examples)
        classes = {label: index for index, label in enumerate(loaded.labels or ())}
        targets = examples.select("example_id", "target")
        scores = {job.name: Stored(work, job, targets) for job in jobs if job.name != RANDOM}
        drawn = any(job.name == RANDOM for job in jobs)
        draws = range(max(settings.random_draws, settings.soft_draws) if drawn else 0)
        subjects = []
        for index, (example, predicted) in enumerate(targets.iter_rows()):
            size = int(encoded.lengths[index])
            rankings = [
                Ranking(method, 0, known.of(example, predicted, size)) for method, known in scores.items()
            ]
            rankings += [
                Ranking(RANDOM, number, draw(encoded.names[index], number, size)) for number in draws
            ]
            subjects.append(Subject(index, classes[predicted], tuple(rankings)))
        made = perturb(loaded, encoded, subjects, settings)
        work.count("inputs evaluated", made.num_evaluated)
        rows = pl.DataFrame(made.rows, schema=list(Row._fields), orient="row", infer_schema_length=None)
        keys = encoded.keys.with_columns(
            model=pl.lit(loaded.key),
            target=examples["target"],
            subject=pl.int_range(encoded.keys.height, dtype=pl.Int64),
        )
        frame = rows.join(keys, on="subject")
        yield [{"perturbations": frame.filter(method=job.name)} for job in jobs]


STEP = _Perturbations()


def methods(study: Study) -> tuple[str, ...]:
    """The methods that are tested, `random` last."""
    settings = study.faithfulness
    chosen = None if settings is None else settings.methods
    if chosen is None:
        chosen = tuple(name for name, given in study.attribution.methods if given is not None)
    return (*(name for name in chosen if name != RANDOM), RANDOM)
