"""Sample what removing heads changes, round by round: every round is a file of its own.

So a killed run goes on with the round it was in, a larger budget adds rounds to those that are there, and rounds
that another machine made can be put beside them. A round's numbers follow from the seed and its number (and, with
adaptive samplers, from the rounds before it), so whoever makes it gets the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job, ModelUse, cut
from xlwh.steps.models.evaluated import Corpus
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot, schema
from xlwh.study import Heads, Sampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xlwh.heads.engine import Engine
    from xlwh.heads.sampler import Marginals
    from xlwh.heads.sequences import Evidence

_ROWS, _UNDECIDED = "xlwh.evaluated_rows", "xlwh.undecided_players"
"""Metadata of a round's file: its own evaluated rows, and how many players are still measured after it."""


@dataclass(frozen=True)
class _Params:
    round: int
    name: str
    """Of the sampler."""
    sampler: Sampler
    groups: tuple[tuple[str, ...], ...]
    score: str
    precision: str
    max_examples: int | None
    seed: int | None
    """None where nothing is drawn."""
    done: int = cut()
    """Rows evaluated in the rounds before, to tell how far the sampler is."""


class _HeadSamples(Whole):
    version = "1"
    libraries = game.LIBRARIES
    goes_on = True

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset, sampler and round that is there or is to be made next.

        Rounds of a sampler that is not adaptive count wherever they begin: another machine may have made them. Rounds
        that were made under other settings are replaced.
        """
        heads, use = game.head_settings(partition), game.use_of(partition)
        for corpus in game.valued_corpora(partition, heads):
            for name in heads.samplers:
                yield from _rounds(partition, heads, use, corpus, name)

    def make(self, work: Work, job: Job) -> Frames:
        """The marginals of one round; no rows where no example has a gold label."""
        from xlwh.heads.sampler import sample_round

        params = job.params
        sampler, what = params.sampler, job.together
        if what not in work.kept:
            # One at a time: it holds its inputs.
            work.kept.clear()
            work.kept[what] = _game(work, job)
        drawn: _Game | None = work.kept[what]
        if drawn is None:
            work.provenance = {_ROWS: "0", _UNDECIDED: "0"}
            return {"head_samples": pl.DataFrame(schema=schema("head_samples"))}
        drawn.catch_up(work, job)
        measured = drawn.measured(sampler)
        counted = params.done

        def report(rows: int) -> None:
            nonlocal counted
            counted += rows
            work.progress(what, min(counted, sampler.max_rows), sampler.max_rows)

        ids = drawn.examples["example_id"].to_list()
        marginals = sample_round(drawn.engine, sampler, params.seed or 0, params.round, measured, ids, report)
        drawn.observe(marginals, sampler)
        left = 0 if sampler.estimator == "exact" else int(drawn.measured(sampler).sum())
        work.provenance = {_ROWS: str(marginals.rows), _UNDECIDED: str(left)}
        work.tell(f"{job.name}: evaluated rows", params.done + marginals.rows)
        work.tell(f"{job.name}: undecided players", left)
        return {"head_samples": _frame(job, marginals, drawn)}


STEP = _HeadSamples()


def _rounds(
    partition: Partition, heads: Heads, use: ModelUse, corpus: Corpus, sampler_name: str
) -> Iterator[Job]:
    sampler, part = heads.samplers[sampler_name], f"{corpus.dataset}.{sampler_name}"
    draws = sampler.estimator != "exact" or heads.max_examples is not None

    def of(number: int, before: tuple[Entry, ...] = (), done: int = 0) -> Job:
        slot = Slot("head_samples", (partition.model, partition.language), f"{part}.{number:06d}")
        params = _Params(
            round=number,
            name=sampler_name,
            sampler=sampler,
            groups=heads.groups if "group" in sampler.players else (),
            score=heads.score,
            precision=heads.precision,
            max_examples=heads.max_examples,
            seed=partition.study.seed if draws else None,
            done=done,
        )
        return Job(
            {"head_samples": slot},
            params,
            (corpus.entry, *before),
            use,
            name=part,
            together=f"{corpus.dataset}: {sampler_name}",
            minutes=sampler.max_minutes,
        )

    slots = [(*entry.slot.part.rpartition("."), entry.slot) for entry in partition.stored("head_samples")]
    stored = {int(number): slot for name, _, number, slot in slots if name == part}
    number = sampler.first_permutation // sampler.round_permutations
    found: dict[int, Job] = {}
    before: tuple[Entry, ...] = ()
    done, undecided = 0, 1
    while (entry := partition.made(job := of(number, before, done))) is not None:
        found[number] = job
        rows, undecided = _told(partition.root / entry.file)
        done, number = done + rows, number + 1
        if sampler.adaptive:
            # What a round measures is decided by all before it.
            before = (*before, entry)
    if done < sampler.max_rows and undecided:
        found[number] = job
    if not sampler.adaptive:
        others = {each: of(each) for each in stored if each not in found}
        found |= {each: other for each, other in others.items() if partition.made(other)}
    partition.supersede(slot for each, slot in stored.items() if each not in found)
    yield from (found[each] for each in sorted(found))


@lru_cache(maxsize=4096)
def _told(file: Path) -> tuple[int, int]:
    """Evaluated rows of a round and the players undecided after it. A file of the warehouse never changes."""
    told = pl.read_parquet_metadata(file)
    return int(told[_ROWS]), int(told[_UNDECIDED])


@dataclass
class _Game:
    """A game that rounds are drawn from, and the evidence of the rounds so far."""

    engine: Engine
    examples: pl.DataFrame
    evidence: Evidence
    observed: int = 0
    """Rounds in `evidence`; it is only looked at in adaptive samplers."""

    def measured(self, sampler: Sampler) -> NDArray[np.bool_]:
        """The players that are not decided yet; with samplers that are not adaptive all: `[players]`."""
        undecided = ~self.evidence.decided(sampler.delta)
        return undecided if sampler.adaptive else np.ones_like(undecided)

    def observe(self, marginals: Marginals, sampler: Sampler) -> None:
        """Add a round to the evidence."""
        marginals.observe(self.evidence, sampler.antithetic)
        self.observed += 1

    def catch_up(self, work: Work, job: Job) -> None:
        """Add the files of earlier rounds, as they were added when they were made."""
        for file in work.files(job, "head_samples")[self.observed :]:
            self.observe(_marginals(pl.read_parquet(file), self.engine), job.params.sampler)


def _game(work: Work, job: Job) -> _Game | None:
    """None if there is no example with a gold label."""
    from xlwh.heads.engine import Engine, check_precision
    from xlwh.heads.sequences import Evidence

    params = job.params
    examples = game.valued_examples(work.scan(job, "examples"), params.max_examples, params.seed)
    if examples.is_empty():
        return None
    loaded = work.load(job, "heads")
    players, encoded, gold = game.game_of(job, loaded, examples, params.sampler.players, params.groups)
    engine = Engine(loaded, encoded, players, gold, params.score, params.precision)
    if params.precision != "float32":
        exact = Engine(loaded, encoded, players, gold, params.score)
        check_precision(exact, engine, np.arange(min(len(encoded), 256)))
    return _Game(engine, examples, Evidence(len(players)))


def _marginals(frame: pl.DataFrame, engine: Engine) -> Marginals:
    """The marginals of a file, as far as evidence needs them."""
    from xlwh.heads.players import Player
    from xlwh.heads.sampler import WHOLE_SET, Marginals

    index = {name: place for place, name in enumerate(engine.players.names)}
    player = [index[Player(*row)] for row in frame.select("unit", "layer", "head").iter_rows()]
    every = np.full(frame.height, WHOLE_SET, dtype=np.int64)
    return Marginals(
        frame["permutation"].to_numpy(),
        every,
        np.array(player, dtype=np.int64),
        every,
        frame["marginal"].to_numpy(),
        0,
    )


def _frame(job: Job, marginals: Marginals, drawn: _Game) -> pl.DataFrame:
    from xlwh.heads.sampler import WHOLE_SET

    (slot,), sampler, names = job.slots.values(), job.params.sampler, drawn.engine.players.names
    model, language = slot.keys
    ids = pl.Series([*drawn.examples["example_id"].to_list(), "*"])
    of = np.where(marginals.example == WHOLE_SET, len(ids) - 1, marginals.example)
    columns: dict[str, object] = {
        "model": pl.repeat(model, len(marginals), dtype=pl.String, eager=True),
        "dataset": drawn.examples["dataset"][0],
        "split": drawn.examples["split"][0],
        "language": language,
        "sampler": job.params.name,
        "estimator": "antithetic" if sampler.antithetic else sampler.estimator,
        "permutation": marginals.permutation,
        "example_id": ids.gather(of),
        "unit": pl.Series([p.unit for p in names]).gather(marginals.player),
        "layer": np.array([p.layer for p in names], dtype=np.int16)[marginals.player],
        "head": np.array([p.head for p in names], dtype=np.int16)[marginals.player],
        "remaining": pl.Series(marginals.remaining).replace(-1, None),
        "marginal": marginals.value,
    }
    return pl.DataFrame(columns).sort("permutation", "example_id", "unit", "layer", "head")
