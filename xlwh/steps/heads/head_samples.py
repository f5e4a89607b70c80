"""Sample what removing heads changes, round by round: every round is a file of its own.

So a killed run goes on with the round it was in, a larger budget adds rounds to those that are there, and rounds
that another machine made can be put beside them. A round's numbers follow from the seed and its number (and, with
adaptive samplers, from the rounds before it), so whoever makes it gets the same file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.heads.game import fitting, game_of, head_settings, input_parameters, valued_examples
from xlwh.steps.models.evaluated import Corpus
from xlwh.steps.models.selftests import load
from xlwh.steps.upstream import identity
from xlwh.store import Entry, Slot, fingerprint, schema
from xlwh.study import Heads, Sampler

if TYPE_CHECKING:
    from xlwh.heads.engine import Engine
    from xlwh.heads.sampler import Marginals
    from xlwh.heads.sequences import Evidence

CODE_VERSION = "1"
_ROWS, _UNDECIDED = "xlwh.evaluated_rows", "xlwh.undecided_players"
"""Metadata of a round's file: its own evaluated rows, and who is still measured after it."""


@dataclass(frozen=True)
class _Job:
    """One sampler on one dataset: the chain of its rounds."""

    corpus: Corpus
    name: str
    sampler: Sampler
    base: str

    @property
    def first(self) -> int:
        return self.sampler.first_permutation // self.sampler.round_permutations

    def slot(self, model: str, number: int) -> Slot:
        part = f"{self.corpus.dataset}.{self.name}.{number:06d}"
        return Slot("head_samples", (model, self.corpus.language), part)

    def print_of(self, number: int, before: str) -> str:
        """Fingerprint of a round; an adaptive one depends on `before`, that of the round before it."""
        chained = before if self.sampler.adaptive else ""
        return fingerprint("head_samples", CODE_VERSION, {"round": number}, (self.base, chained))


@dataclass(frozen=True)
class _Done:
    """How far the rounds of a job have come."""

    number: int
    """Of the next round."""
    before: str
    """Fingerprint of the last round."""
    rows: int
    """Evaluated in all rounds so far."""
    undecided: int | None
    """Players still measured; None before the first round."""

    def enough(self, sampler: Sampler) -> bool:
        """Whether no further round is asked for."""
        if self.undecided is None:
            return False
        return self.rows >= sampler.max_rows or self.undecided == 0


def run(context: Context, key: Key) -> StepResult:
    """Write `head_samples` of one model in one language, a file per dataset, sampler and round."""
    model, language = str(key.model), str(key.language)
    heads = head_settings(context, model)
    if isinstance(heads, StepResult):
        return heads
    found = fitting(context, model, language)
    jobs = [
        _job(context, heads, model, found[dataset], name)
        for dataset in heads.datasets
        if dataset in found
        for name in heads.samplers
    ]
    if not jobs:
        return not_applicable(f"`{model}` has no dataset that heads are valued on in `{language}`.")
    watch, written, marginals = Stopwatch(), 0, 0
    metadata: dict[str, object] = {}
    for job in jobs:
        done, made = _made(context, model, job)
        kept = made
        if context.force or not done.enough(job.sampler):
            # A probing warehouse ends the step here: something is to be made.
            start = done if not context.force else _Done(job.first, "", 0, None)
            context.warehouse.is_fresh(
                job.slot(model, start.number), job.print_of(start.number, start.before)
            )
            for reached, entry in _rounds(context, heads, model, job, start):
                done = reached
                written += 1
                marginals += entry.rows
                kept = [*(e for e in kept if e.slot != entry.slot), entry]
        _drop_others(context, model, job, kept)
        metadata[f"{job.corpus.dataset}.{job.name}: evaluated rows"] = done.rows
        metadata[f"{job.corpus.dataset}.{job.name}: undecided players"] = done.undecided or 0
    if not written:
        return StepResult(status="fresh")
    return StepResult("written", marginals, 0, watch.seconds, metadata=metadata)


def _job(context: Context, heads: Heads, model: str, corpus: Corpus, name: str) -> _Job:
    sampler = heads.samplers[name]
    budget = {"max_rows", "max_minutes", "first_permutation"}
    parameters = {
        **input_parameters(context, model),
        "sampler": sampler.model_dump(mode="json", exclude=budget),
        "score": heads.score,
        "precision": heads.precision,
        "max_examples": heads.max_examples,
        "groups": heads.groups if "group" in sampler.players else (),
    }
    inputs = (*context.zoo.pin(model).identity, identity(corpus.entry))
    return _Job(corpus, name, sampler, fingerprint("head_samples", CODE_VERSION, parameters, inputs))


def _made(context: Context, model: str, job: _Job) -> tuple[_Done, list[Entry]]:
    """The rounds that are there and up to date, from the first one on without a gap."""
    done = _Done(job.first, "", 0, None)
    entries: list[Entry] = []
    while True:
        entry = context.warehouse.current(job.slot(model, done.number))
        print_ = job.print_of(done.number, done.before)
        if (
            entry is None
            or entry.fingerprint != print_
            or not (context.warehouse.root / entry.file).is_file()
        ):
            return done, entries
        told = pl.read_parquet_metadata(context.warehouse.root / entry.file)
        done = _Done(done.number + 1, print_, done.rows + int(told[_ROWS]), int(told[_UNDECIDED]))
        entries.append(entry)


def _rounds(
    context: Context, heads: Heads, model: str, job: _Job, done: _Done
) -> Iterator[tuple[_Done, Entry]]:
    """Make rounds until there are enough, or the minutes are over."""
    from xlwh.heads.sampler import sample_round
    from xlwh.heads.sequences import Evidence

    sampler = job.sampler
    examples = valued_examples(context, heads, job.corpus)
    if examples.is_empty():
        yield _empty(context, model, job, done)
        return
    engine = _engine(context, heads, model, examples, sampler)
    ids = examples["example_id"].to_list()
    evidence = Evidence(len(engine.players))
    for number in range(job.first, done.number):
        _observe_again(context, model, job, number, engine, evidence)
    what, deadline = f"{job.corpus.dataset}: {job.name}", time.monotonic() + 60 * (sampler.max_minutes or 1e9)
    while not done.enough(sampler) and time.monotonic() < deadline:
        measured = ~evidence.decided(sampler.delta)
        if not sampler.adaptive:
            measured[:] = True
        counted = done.rows

        def report(rows: int) -> None:
            nonlocal counted
            counted += rows
            context.progress(what, min(counted, sampler.max_rows), sampler.max_rows)

        marginals = sample_round(engine, sampler, context.study.seed, done.number, measured, ids, report)
        marginals.observe(evidence, sampler.antithetic)
        left = int((~evidence.decided(sampler.delta)).sum()) if sampler.adaptive else len(engine.players)
        if sampler.estimator == "exact":
            left = 0
        print_ = job.print_of(done.number, done.before)
        told = {**context.zoo.pin(model).provenance, _ROWS: str(marginals.rows), _UNDECIDED: str(left)}
        slot = job.slot(model, done.number)
        frame = _frame(model, job, marginals, engine, examples)
        (entry,) = context.warehouse.write({slot: frame}, print_, told)
        done = _Done(done.number + 1, print_, done.rows + marginals.rows, left)
        yield done, entry


def _engine(context: Context, heads: Heads, model: str, examples: pl.DataFrame, sampler: Sampler) -> Engine:
    import numpy as np

    from xlwh.heads.engine import Engine, check_precision

    loaded = load(context, model, "heads")
    players, encoded, gold = game_of(context, loaded, examples, sampler.players, heads)
    engine = Engine(loaded, encoded, players, gold, heads.score, heads.precision)
    if heads.precision != "float32":
        exact = Engine(loaded, encoded, players, gold, heads.score)
        check_precision(exact, engine, np.arange(min(len(encoded), 256)))
    return engine


def _observe_again(
    context: Context, model: str, job: _Job, number: int, engine: Engine, evidence: Evidence
) -> None:
    """Add an earlier round's file to the evidence, as it was added when it was made."""
    import numpy as np

    from xlwh.heads.players import Player
    from xlwh.heads.sampler import WHOLE_SET, Marginals

    entry = context.warehouse.current(job.slot(model, number))
    if entry is None:
        return
    frame = pl.read_parquet(context.warehouse.root / entry.file)
    index = {name: place for place, name in enumerate(engine.players.names)}
    player = [index[Player(*row)] for row in frame.select("unit", "layer", "head").iter_rows()]
    every = np.full(frame.height, WHOLE_SET, dtype=np.int64)
    marginals = Marginals(
        frame["permutation"].to_numpy(),
        every,
        np.array(player, dtype=np.int64),
        every,
        frame["marginal"].to_numpy(),
        0,
    )
    marginals.observe(evidence, job.sampler.antithetic)


def _frame(
    model: str, job: _Job, marginals: Marginals, engine: Engine, examples: pl.DataFrame
) -> pl.DataFrame:
    import numpy as np

    from xlwh.heads.sampler import WHOLE_SET

    names = engine.players.names
    estimator = "antithetic" if job.sampler.antithetic else job.sampler.estimator
    ids = pl.Series([*examples["example_id"].to_list(), "*"])
    of = np.where(marginals.example == WHOLE_SET, len(ids) - 1, marginals.example)
    columns: dict[str, object] = {
        "model": pl.repeat(model, len(marginals), dtype=pl.String, eager=True),
        "dataset": job.corpus.dataset,
        "split": examples["split"][0],
        "language": job.corpus.language,
        "sampler": job.name,
        "estimator": estimator,
        "permutation": marginals.permutation,
        "example_id": ids.gather(of),
        "unit": pl.Series([p.unit for p in names]).gather(marginals.player),
        "layer": np.array([p.layer for p in names])[marginals.player],
        "head": np.array([p.head for p in names])[marginals.player],
        "remaining": pl.Series(marginals.remaining).replace(-1, None),
        "marginal": marginals.value,
    }
    types = schema("head_samples")
    frame = pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in types.items())
    return frame.sort("permutation", "example_id", "unit", "layer", "head")


def _empty(context: Context, model: str, job: _Job, done: _Done) -> tuple[_Done, Entry]:
    """A file without rows that says: there is no example with a gold label."""
    print_ = job.print_of(done.number, done.before)
    slot = job.slot(model, done.number)
    frame = pl.DataFrame(schema=schema("head_samples"))
    (entry,) = context.warehouse.write({slot: frame}, print_, {_ROWS: "0", _UNDECIDED: "0"})
    return _Done(done.number + 1, print_, 0, 0), entry


def _drop_others(context: Context, model: str, job: _Job, kept: list[Entry]) -> None:
    """Take out rounds of the same name that were made under other settings.

    Rounds of a sampler that is not adaptive stay wherever they begin: another machine may have made them.
    """
    keep = {entry.slot for entry in kept}
    prefix = job.slot(model, 0).part.rpartition(".")[0] + "."
    stale = []
    for entry in context.warehouse.entries("head_samples"):
        slot = entry.slot
        if slot.keys != (model, job.corpus.language) or not slot.part.startswith(prefix) or slot in keep:
            continue
        number = slot.part.removeprefix(prefix)
        if not number.isdigit():  # of a dataset whose name goes on
            continue
        if job.sampler.adaptive or entry.fingerprint != job.print_of(int(number), ""):
            stale.append(slot)
    if stale:
        context.warehouse.drop(stale)
