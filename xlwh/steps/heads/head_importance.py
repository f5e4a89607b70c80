"""Value heads by gradients and by what their attention looks like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from xlwh.heads.examples import valued_examples
from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job, options_of
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, schema
from xlwh.study import Inputs


@dataclass(frozen=True)
class _Params:
    methods: tuple[str, ...]
    max_examples: int | None
    seed: int | None


class _HeadImportance(Whole):
    version = "1"
    libraries = game.LIBRARIES

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        heads = game.head_settings(partition)
        corpora = game.valued_corpora(partition, heads)
        if not heads.importance:
            raise NotApplicable("The study asks for no other measures of importance.")
        seed = None if heads.max_examples is None else partition.study.seed
        params, use = _Params(heads.importance, heads.max_examples, seed), game.use_of(partition)
        for corpus in corpora:
            slot = Slot("head_importance", (partition.model, partition.language), corpus.dataset)
            yield Job({"head_importance": slot}, params, (corpus.entry,), use, name=corpus.dataset)

    def make(self, work: Work, job: Job) -> Frames:
        """A row per method and head: the mean over the valued examples."""
        from xlwh.heads.importance import LOOKS, head_importance

        params: _Params = job.params
        examples = valued_examples(work.scan(job, "examples"), params.max_examples, params.seed)
        work.examples += examples.height
        work.progress(f"{job.name}: importance", 0, examples.height)
        if examples.is_empty():
            return {"head_importance": pl.DataFrame(schema=schema("head_importance"))}
        loaded = work.load(job, "heads")
        if LOOKS.keys() & set(params.methods):
            work.load(job, "attention_weights")
        tagged_piece = options_of(job, Inputs).tagged_piece
        rows = head_importance(loaded, examples, params.methods, tagged_piece)
        work.progress(f"{job.name}: importance", examples.height, examples.height)
        return {"head_importance": rows}


STEP = _HeadImportance()
