"""Sample what removing heads changes, round by round: every round is a file of its own.

So a killed run goes on with the round it was in, a larger budget adds rounds to those that are there, and rounds
that another machine made can be put beside them. A round's numbers follow from the seed and its number (and, with
adaptive samplers, from the rounds before it), so whoever makes it gets the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import polars as pl

from xlwh.heads.examples import valued_examples
from xlwh.steps.heads import game
from xlwh.steps.history import EVALUATED_ROWS
from xlwh.steps.job import Frames, Job, cut, options_of
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot, schema
from xlwh.store.reading import StoredFile
from xlwh.study import Inputs, Sampler

_ROWS, _UNDECIDED = EVALUATED_ROWS, "xlwh.undecided_players"
"""Metadata of a round's file: its own evaluated rows, and how many players are still measured after it."""


@dataclass(frozen=True)
class _Params:
    name: str
    """Of the sampler."""
    sampler: Sampler
    groups: tuple[tuple[str, ...], ...]
    score: Literal["accuracy", "probability"]
    precision: str
    max_examples: int | None
    seed: int | None
    """None where nothing is drawn."""
    round: int = 0
    done: int = cut(0)
    """Rows evaluated in the rounds before, to tell how far the sampler is."""


class _HeadSamples(Whole):
    version = "1"
    libraries = game.LIBRARIES
    goes_on = True

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset, sampler and round that is there or is to be made next."""
        heads, use = game.head_settings(partition), game.use_of(partition)
        for corpus in game.valued_corpora(partition, heads):
            for name, sampler in heads.samplers.items():
                draws = sampler.estimator != "exact" or heads.max_examples is not None
                params = _Params(
                    name,
                    sampler,
                    heads.groups if "group" in sampler.players else (),
                    heads.score,
                    heads.precision,
                    heads.max_examples,
                    partition.study.seed if draws else None,
                )
                rounds = Job(
                    {},
                    params,
                    (corpus.entry,),
                    use,
                    name=f"{corpus.dataset}.{name}",
                    together=f"{corpus.dataset}: {name}",
                    minutes=sampler.max_minutes,
                )
                yield from _rounds(partition, rounds)

    def make(self, work: Work, job: Job) -> Frames:
        """The marginals of one round; no rows where no example has a gold label."""
        from xlwh.heads.engine import engine_on
        from xlwh.heads.rounds import Rounds

        params: _Params = job.params
        what = job.together
        if what not in work.kept:
            # One at a time: it holds its inputs.
            work.kept.clear()
            examples = valued_examples(work.scan(job, "examples"), params.max_examples, params.seed)
            if examples.is_empty():
                work.provenance = {_ROWS: "0", _UNDECIDED: "0"}
                return {"head_samples": pl.DataFrame(schema=schema("head_samples"))}
            engine = engine_on(
                work.load(job, "heads"),
                examples,
                params.sampler.players,
                params.groups,
                options_of(job, Inputs).tagged_piece,
                params.score,
                params.precision,
            )
            work.kept[what] = Rounds(engine, params.sampler, params.seed or 0, examples)
        rounds: Rounds = work.kept[what]
        for file in work.files(job, "head_samples")[rounds.observed :]:
            rounds.observe_rows(file.scan().collect())
        marginals = rounds.draw(params.round, params.done, partial(work.progress, what))
        work.provenance = {_ROWS: str(marginals.rows), _UNDECIDED: str(rounds.undecided)}
        work.tell(f"{job.name}: evaluated rows", params.done + marginals.rows)
        work.tell(f"{job.name}: undecided players", rounds.undecided)
        rows, model = rounds.rows(marginals), job.slots["head_samples"].partition["model"]
        return {"head_samples": rows.with_columns(model=pl.lit(model), sampler=pl.lit(params.name))}


STEP = _HeadSamples()


def _rounds(partition: Partition, sampler: Job) -> Iterator[Job]:
    """The rounds of a sampler that are there, and the one to be made next.

    Rounds of a sampler that is not adaptive count wherever they begin: another machine may have made them. Those
    that were made under other settings are superseded: their samples would be counted together with the new ones.
    """

    def of(number: int, before: tuple[Entry, ...] = (), done: int = 0) -> Job:
        slot = Slot("head_samples", (partition.model, partition.language), f"{sampler.name}.{number:06d}")
        params = replace(sampler.params, round=number, done=done)
        return replace(sampler, slots={slot.table: slot}, params=params, reads=(*sampler.reads, *before))

    settings: Sampler = sampler.params.sampler
    slots = [(*entry.slot.part.rpartition("."), entry.slot) for entry in partition.stored("head_samples")]
    stored = {int(number): slot for name, _, number, slot in slots if name == sampler.name}
    number = settings.first_permutation // settings.round_permutations
    found: dict[int, Job] = {}
    before: tuple[Entry, ...] = ()
    done, undecided = 0, 1
    while (entry := partition.made(job := of(number, before, done))) is not None:
        found[number] = job
        rows, undecided = _told(partition.file(entry))
        done, number = done + rows, number + 1
        if settings.adaptive:
            # What a round measures is decided by all before it.
            before = (*before, entry)
    if done < settings.max_rows and undecided:
        found[number] = job
    if not settings.adaptive:
        others = {each: of(each) for each in stored if each not in found}
        found |= {each: other for each, other in others.items() if partition.made(other)}
    partition.supersede(slot for each, slot in stored.items() if each not in found)
    yield from (found[each] for each in sorted(found))


@lru_cache(maxsize=4096)
def _told(file: StoredFile) -> tuple[int, int]:
    """Evaluated rows of a round and the players undecided after it. A file of the warehouse never changes."""
    told = file.metadata()
    return int(told[_ROWS]), int(told[_UNDECIDED])
