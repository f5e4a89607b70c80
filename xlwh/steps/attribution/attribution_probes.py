"""Checks of attributions: what is lost without some tokens beside what they say, and their change under noise.

What is explained is what `token_attributions` has, a few examples of it. Methods have files of their own; those of one
pass of the model are made together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from xlwh.steps.attribution.asked import LIBRARIES, OPTIONS, Method, asked
from xlwh.steps.attribution.explained import part
from xlwh.steps.attribution.stored import Stored
from xlwh.steps.attribution.targets import EXPLAINED
from xlwh.steps.job import Frames, Job, cut, which
from xlwh.steps.models.evaluated import evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot, schema

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Params:
    method: Method
    task: str
    draws: int
    radius: float
    max_examples: int = which()
    seed: int = which()
    batch_tokens: int = cut()


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
            corpus
            for corpus in evaluated(partition)
            if corpus.task in EXPLAINED and EXPLAINED[corpus.task].head == head
            if settings.datasets is None or corpus.dataset in settings.datasets
        ]
        if not found:
            raise NotApplicable(f"`{model}` has nothing to check in `{language}`.")
        methods, keys = list(asked(partition, settings.methods)), (model, language)
        for corpus in found:
            task = EXPLAINED[str(corpus.task)]
            predicted = partition.required(Slot(task.table, keys, corpus.dataset))
            use = partition.use(model, *OPTIONS, *task.options)
            for each in methods:
                slot = (keys, f"{corpus.dataset}.{each.method.name}")
                yield Job(
                    {"attribution_probes": Slot("attribution_probes", *slot)},
                    _Params(
                        each.method,
                        str(corpus.task),
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
                    libraries=each.registered.libraries,
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """What is explained of some examples."""
        job = jobs[0]
        targets = work.scan(job, "token_attributions").select("example_id", "target").unique().collect()
        examples = work.scan(job, "examples").select("example_id").collect()
        explained = examples.join(targets, on="example_id", how="semi", maintain_order="left")
        chosen = part(explained, job.params.max_examples, job.params.seed)
        return chosen.join(targets.sort("target"), on="example_id", maintain_order="left_right")

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `attribution_probes`."""
        from xlwh.attribution.probes import noises, removals, under_noise

        first = jobs[0]
        params, loaded = first.params, work.load(first, "attributions")
        task, examples = EXPLAINED[params.task], work.pieces_of(first, "examples", pieces)
        outputs = task.outputs(work, first, pieces)
        encoded, items, _ = task.place(work, first, loaded, examples, outputs)
        known = {job.name: Stored(work, job, pieces) for job in jobs}
        run = first.tools([job.name for job in jobs])
        parameters = {job.name: job.params.method.parameters for job in jobs}
        removed = removals(loaded, encoded, items, params.draws, params.batch_tokens)
        rows: dict[str, list[dict[str, Any]]] = {job.name: [] for job in jobs}
        for index, (item, target) in enumerate(zip(items, outputs.iter_rows(named=True), strict=True)):
            noise: float | None = None
            changed: list[dict[str, NDArray[np.float64]]] = []
            if params.radius and removed[index]:
                noise, drawn = noises(loaded, encoded, item.example, params.draws, params.radius)
                changed = under_noise(loaded, encoded, item, run, parameters, drawn, params.batch_tokens)
            for method, made in rows.items():
                size = int(encoded.lengths[item.example])
                values = known[method].of(target["example_id"], target["target"], size)
                for draw, removal in enumerate(removed[index]):
                    difference = changed[draw][method] - values if changed else None
                    made.append(
                        {
                            "index": index,
                            "draw": draw,
                            "num_removed": len(removal.places),
                            "attributed": float(values[removal.places].sum()),
                            "lost": removal.lost,
                            "noise": noise,
                            "norm": float(np.linalg.norm(values)),
                            "change": None if difference is None else float(np.linalg.norm(difference)),
                        }
                    )
        keys = encoded.keys[[item.example for item in items]].with_columns(
            model=pl.lit(loaded.key), target=outputs["target"], index=pl.int_range(len(items))
        )
        yield [{"attribution_probes": _with_keys(made, keys, method)} for method, made in rows.items()]


STEP = _Probes()


def _with_keys(rows: Sequence[dict[str, Any]], keys: pl.DataFrame, method: str) -> pl.DataFrame:
    """Rows with the columns that identify them, which are found by `index`."""
    known = {*keys.columns, "method"}
    numbers = {name: dtype for name, dtype in schema("attribution_probes").items() if name not in known}
    frame = pl.DataFrame(rows, schema={"index": pl.Int64, **numbers})
    return frame.join(keys, on="index", maintain_order="left").with_columns(method=pl.lit(method))
