"""Checks of attributions: what is lost without some tokens beside what they say, and their change under noise.

What is explained is what `token_attributions` has, a few examples of it. Methods have files of their own; those of one
pass of the model are made together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.attribution.methods import registered, shared_pass
from xlwh.corpora import sample
from xlwh.steps.attribution.stored import MethodJob, Stored, passes
from xlwh.steps.attribution.targets import EXPLAINED
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import Corpus, corpora
from xlwh.steps.models.selftests import load, refused_methods, require_some, without
from xlwh.steps.upstream import identity, keep_only, required
from xlwh.store import Slot, fingerprint, schema
from xlwh.study import Probes

if TYPE_CHECKING:
    from xlwh.attribution.base import Item
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

CODE_VERSION = "1"

TARGETS_AT_ONCE = 8
"""Targets checked between two checkpoints: what a kill can cost."""


@dataclass(frozen=True)
class _Job(MethodJob):
    """One method on one dataset, and the slot it fills."""

    slot: Slot


def run(context: Context, key: Key) -> StepResult:
    """Write `attribution_probes` of one model in one language, a file per dataset and method.

    Finished examples are staged, so a killed run goes on where it stopped.
    """
    model, language = str(key.model), str(key.language)
    settings = context.study.attribution.probes
    if settings is None:
        return not_applicable("The study has no [attribution.probes] section.")
    if settings.models is not None and model not in settings.models:
        return not_applicable(f"The study does not check the attributions of `{model}`.")
    head = context.zoo.pin(model).task
    found = [
        corpus
        for corpus in corpora(context, model, language)
        if corpus.task in EXPLAINED and EXPLAINED[corpus.task].head == head
        if settings.datasets is None or corpus.dataset in settings.datasets
    ]
    if not found:
        return not_applicable(f"`{model}` has nothing to check in `{language}`.")
    chosen = [
        name
        for name, parameters in context.study.attribution.methods
        if parameters is not None and (settings.methods is None or name in settings.methods)
    ]
    refused = refused_methods(context, model, chosen)
    require_some(refused, chosen)
    jobs = [job for corpus in found for job in _jobs(context, settings, model, corpus, refused)]
    keep_only(context, ("attribution_probes",), (model, language), [job.slot for job in jobs])
    if not context.force:
        jobs = [job for job in jobs if not context.warehouse.is_fresh(job.slot, job.fingerprint)]
    if not jobs:
        return StepResult(status="fresh", reason=without(model, refused))
    watch, loaded = Stopwatch(), load(context, model, "attributions")
    rows = examples = 0
    for together in passes(jobs):
        made = _finished(context, settings, loaded, together)
        rows += made[0]
        examples += made[1]
    return StepResult("written", rows, examples, watch.seconds, reason=without(model, refused))


def _jobs(
    context: Context, settings: Probes, model: str, corpus: Corpus, refused: Collection[str]
) -> Iterator[_Job]:
    """Every method that is checked on one dataset, with the fingerprint of what it depends on."""
    keys = (model, corpus.language)
    for name, parameters in context.study.attribution.methods:
        if parameters is None or (settings.methods is not None and name not in settings.methods):
            continue
        if name in refused:
            continue
        part = f"{corpus.dataset}.{name}"
        attributed = required(
            context, Slot("token_attributions", keys, part), Key(model, language=corpus.language)
        )
        described = {
            **settings.model_dump(mode="json", exclude={"methods", "models", "datasets"}),
            "method": name,
            "seed": context.study.seed,
        }
        identities = (*context.zoo.pin(model).identity, *map(identity, (corpus.entry, attributed)))
        print_ = fingerprint("attribution_probes", CODE_VERSION, described, identities)
        method = registered(name, parameters, context.study.folder)
        yield _Job(corpus, name, method, parameters, print_, Slot("attribution_probes", keys, part))


def _finished(
    context: Context, settings: Probes, loaded: LoadedModel, jobs: Sequence[_Job]
) -> tuple[int, int]:
    """Do what is left of the jobs of one pass and commit it; rows, and targets."""
    corpus = jobs[0].corpus
    targets = EXPLAINED[str(corpus.task)].targets(context, loaded.key, corpus)
    ids = sample(targets.select("example_id").unique(), settings.max_examples, context.study.seed)
    targets = targets.join(ids, on="example_id", how="semi", maintain_order="left")
    with ExitStack() as held:
        stagings = [
            held.enter_context(context.warehouse.staging([job.slot], job.fingerprint)) for job in jobs
        ]
        staged = [staging.frames()["attribution_probes"] for staging in stagings]
        left = targets.join(
            pl.concat([targets.join(done, on=("example_id", "target"), how="anti") for done in staged]),
            on=("example_id", "target"),
            how="semi",
            maintain_order="left",
        )
        what = f"{corpus.dataset}: probes ({', '.join(job.method for job in jobs)})"
        done, total = targets.height - left.height, targets.height
        context.progress(what, done, total)
        for start in range(0, left.height, TARGETS_AT_ONCE):
            part = left[start : start + TARGETS_AT_ONCE]
            frames = _probed(context, settings, loaded, jobs, part)
            for job, staging, known in zip(jobs, stagings, staged, strict=True):
                frame = frames[job.method].join(known, on=("example_id", "target"), how="anti")
                staging.append({job.slot: frame})
            done += part.height
            context.progress(what, done, total)
        provenance = context.zoo.pin(loaded.key).provenance
        rows = sum(staging.finish(provenance=provenance)[0].rows for staging in stagings)
    return rows, total


def _probed(
    context: Context, settings: Probes, loaded: LoadedModel, jobs: Sequence[_Job], targets: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """Method -> rows of some targets."""
    from xlwh.attribution.probes import noises, removals, under_noise

    corpus = jobs[0].corpus
    examples = corpus.frame.join(targets.lazy().select("example_id").unique(), on="example_id").collect()
    encoded, items, _ = EXPLAINED[str(corpus.task)].place(context, loaded, examples, targets)
    wanted = targets.select("example_id", "target").rows()
    known = {job.method: Stored(context, loaded.key, corpus, job.method, targets) for job in jobs}
    batch_tokens = context.study.attribution.batch_tokens
    make = shared_pass(jobs[0].registered, [job.method for job in jobs], context.study.folder)
    parameters = {job.method: job.parameters for job in jobs}
    removed = removals(loaded, encoded, items, settings.draws, batch_tokens)
    rows: dict[str, list[dict[str, Any]]] = {job.method: [] for job in jobs}
    for index, (item, (example_id, target)) in enumerate(zip(items, wanted, strict=True)):
        noise: float | None = None
        changed: list[dict[str, NDArray[np.float64]]] = []
        if settings.radius and removed[index]:
            noise, drawn = noises(loaded, encoded, item.example, settings.draws, settings.radius)
            changed = under_noise(loaded, encoded, item, make, parameters, drawn, batch_tokens)
        for method, made in rows.items():
            values = known[method].of(example_id, target, int(encoded.lengths[item.example]))
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
    return {method: _typed(loaded, encoded, items, targets, method, made) for method, made in rows.items()}


def _typed(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    targets: pl.DataFrame,
    method: str,
    rows: Sequence[dict[str, Any]],
) -> pl.DataFrame:
    """Rows with the columns that identify them."""
    types = schema("attribution_probes")
    own = {name: dtype for name, dtype in types.items() if name not in encoded.keys.columns}
    numbers = {name: dtype for name, dtype in own.items() if name not in ("model", "method", "target")}
    frame = pl.DataFrame(rows, schema={"index": pl.Int64, **numbers})
    keys = encoded.keys[[item.example for item in items]].with_columns(
        model=pl.lit(loaded.key),
        method=pl.lit(method),
        target=targets["target"],
        index=pl.int_range(len(items)),
    )
    joined = frame.join(keys, on="index", maintain_order="left")
    return joined.select(pl.col(name).cast(dtype) for name, dtype in types.items())
