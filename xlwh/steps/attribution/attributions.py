"""Attribute predictions to sub-tokens, for every method and every target that the study compares.

Methods have files of their own; those of one pass of the model are made together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from xlwh.selftest import capability_of
from xlwh.steps.attribution.asked import LIBRARIES, OPTIONS, Method, asked
from xlwh.steps.attribution.targets import EXPLAINED, Choice, choice_of, predictions_of
from xlwh.steps.job import Frames, Job, Stored, cut, which
from xlwh.steps.models.evaluated import evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot

if TYPE_CHECKING:
    from xlwh.attribution.base import Attribution, Item
    from xlwh.models.tokenize import Encoded

    Made = tuple[Mapping[str, Any], Item, Sequence[int], Attribution]


@dataclass(frozen=True)
class _Params:
    method: Method
    task: str
    choice: Choice = which()
    tolerance: float | None = which()
    batch_tokens: int = cut()


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
        offered = [corpus for corpus in evaluated(partition) if corpus.task in EXPLAINED]
        if not offered:
            raise NotApplicable(f"`{model}` is evaluated on nothing that is attributed in `{language}`.")
        heads = [EXPLAINED[str(corpus.task)].head for corpus in offered]
        if partition.pin(model).task not in heads:
            raise NotApplicable(f"`{model}` has no {heads[0].replace('_', ' ')} head.")
        methods = list(asked(partition))
        for corpus in offered:
            task = EXPLAINED[str(corpus.task)]
            if task.head != partition.pin(model).task:
                continue
            choice = choice_of(partition, corpus)
            own, others = predictions_of(partition, corpus, choice)
            use = partition.use(model, *OPTIONS, *task.options)
            for each in methods:
                slot = ((model, language), f"{corpus.dataset}.{each.method.name}")
                yield Job(
                    {table: Slot(table, *slot) for table in ("attribution_runs", "token_attributions")},
                    _Params(each.method, str(corpus.task), choice, each.tolerance, settings.batch_tokens),
                    (corpus.entry, own),
                    use,
                    name=each.method.name,
                    together=f"{corpus.dataset}: {each.passed_in}",
                    tools=each.make,
                    chosen_by=tuple(others),
                    libraries=each.registered.libraries,
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The targets."""
        params = jobs[0].params
        return EXPLAINED[params.task].targets(work, jobs[0], params.choice)

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of both tables, checkpoint by checkpoint."""
        first = jobs[0]
        task, loaded = EXPLAINED[first.params.task], work.load(first, capability_of(first.name))
        outputs = task.outputs(work, first, pieces)
        examples = work.pieces_of(first, "examples", pieces)
        encoded, items, positions = task.place(work, first, loaded, examples, outputs)
        wanted, done = outputs.rows(named=True), 0
        run = first.tools([job.name for job in jobs])
        parameters = {job.name: job.params.method.parameters for job in jobs}
        results = run(loaded, encoded, items, parameters, first.params.batch_tokens)
        while finished := list(islice(results, self.checkpoint)):
            yield [
                _frames(
                    job,
                    encoded,
                    [(wanted[i], items[i], positions[i], made[job.name]) for i, made in finished],
                )
                for job in jobs
            ]
            done += len(finished)
            work.within(done, pieces.height)

    def taken_over(self, job: Job, frames: Frames) -> Frames:
        """Rows whose `converged` follows the tolerance of now."""
        tolerance, runs = job.params.tolerance, frames["attribution_runs"]
        if tolerance is None:
            return frames
        old = runs["parameters"].unique().to_list()
        new = [json.dumps(json.loads(text) | {"tolerance": tolerance}, sort_keys=True) for text in old]
        runs = runs.with_columns(pl.col("parameters").replace_strict(old, new, return_dtype=pl.String))
        return {**frames, "attribution_runs": _flagged(runs, tolerance)}

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """How many there are, and whether they add up."""
        runs, name = rows["attribution_runs"].collect(), job.slots["attribution_runs"].part
        summary: dict[str, object] = {f"{name}: attributions": runs.height}
        if runs["converged"].null_count() < runs.height:
            summary[f"{name}: converged"] = runs["converged"].mean()
            summary[f"{name}: median relative delta"] = runs["relative_delta"].median()
            summary[f"{name}: median gradient rows"] = runs["num_gradient_rows"].median()
        used = {json.loads(text).get("baseline") for text in runs["parameters"].unique()} - {None}
        if used:
            summary[f"{name}: baseline"] = ", ".join(sorted(used))
        return summary


STEP = _Attributions()


def _flagged(runs: pl.DataFrame, tolerance: float | None) -> pl.DataFrame:
    within = pl.lit(None) if tolerance is None else pl.col("relative_delta") <= tolerance
    return runs.with_columns(converged=within)


def _frames(job: Job, encoded: Encoded, results: Sequence[Made]) -> Frames:
    """Rows of both tables for some finished attributions."""
    assert job.model is not None
    keys = encoded.keys[[item.example for _, item, *_ in results]]
    shared = keys.with_columns(
        model=pl.lit(job.model.key),
        method=pl.lit(job.name),
        target=pl.Series([row["target"] for row, *_ in results]),
    )
    tolerance, made = job.params.tolerance, [attribution for *_, attribution in results]
    described = job.params.method.parameters.model_dump(mode="json")
    if tolerance is not None:
        described["tolerance"] = tolerance
    runs = shared.with_columns(
        pl.Series(name, values, dtype)
        for name, dtype, values in (
            (
                "f_input",
                pl.Float64,
                [
                    row["logits"][item.target if len(row["logits"]) > 1 else 0]
                    if attribution.f_input is None
                    else attribution.f_input
                    for row, item, _, attribution in results
                ],
            ),
            ("f_baseline", pl.Float64, [each.f_baseline for each in made]),
            ("convergence_delta", pl.Float64, [each.delta for each in made]),
            ("relative_delta", pl.Float64, [each.relative_delta for each in made]),
            ("num_gradient_rows", pl.Int32, [each.num_gradient_rows for each in made]),
            ("num_forward_rows", pl.Int32, [each.num_forward_rows for each in made]),
            (
                "parameters",
                pl.String,
                [json.dumps({**described, **each.details}, sort_keys=True) for each in made],
            ),
        )
    )
    lengths = [len(each.values) for each in made]
    tokens = shared[np.repeat(np.arange(len(results)), lengths).tolist()].with_columns(
        position=pl.Series(np.concatenate([positions for *_, positions, _ in results])),
        attribution=pl.Series(np.concatenate([each.values for each in made])),
    )
    return {"attribution_runs": _flagged(runs, tolerance), "token_attributions": tokens}
