"""Store what every head attends to on a few short examples, the same ones in every language."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from xlwh.heads.examples import short_examples, valued_examples
from xlwh.steps.corpora.parallelism import refuse_differing
from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, schema


@dataclass(frozen=True)
class _Params:
    max_examples: int | None
    shown: int
    """Examples."""
    seed: int


class _AttentionMaps(Whole):
    version = "1"
    libraries = game.LIBRARIES
    max_characters: ClassVar[int] = 100
    """Of an example, both texts together, in any language: a picture of more tokens cannot be read.

    It bounds the size: a model of 72 heads takes at most 4.3 MB a language for 3 examples (100 x 100 half-precision
    numbers a head, in scripts of one token a character), and usually some 0.3 MB.
    """

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset; which examples are short is asked in all languages that the model is evaluated in."""
        heads = game.head_settings(partition)
        if not heads.attention_examples:
            raise NotApplicable("The study shows no examples' attention.")
        own = game.valued_corpora(partition, heads)
        use = partition.use(partition.model, "max_length", "dtype", "attention")
        languages = [game.fitting(partition, language) for language in partition.study.all_languages()]
        params = _Params(heads.max_examples, heads.attention_examples, partition.study.seed)
        for corpus in own:
            parallel = [corpora[corpus.dataset] for corpora in languages if corpus.dataset in corpora]
            refuse_differing(partition, corpus.dataset, [each.language for each in parallel])
            slot = Slot("attention_maps", (partition.model, partition.language), corpus.dataset)
            reads = tuple(each.entry for each in parallel)
            yield Job({"attention_maps": slot}, params, reads, use, name=corpus.dataset)

    def make(self, work: Work, job: Job) -> Frames:
        """A row per example and head, on some of the examples that heads are valued on."""
        from xlwh.heads.attention import attention_maps

        params: _Params = job.params
        valued = {
            language: valued_examples(
                work.scan(job, "examples", language=language), params.max_examples, params.seed
            )
            for language in (entry.slot.partition["language"] for entry in job.reads)
        }
        own = valued.pop(job.slots["attention_maps"].partition["language"])
        examples = short_examples(own, valued.values(), self.max_characters, params.shown, params.seed)
        work.examples += examples.height
        work.progress(f"{job.name}: attention", 0, examples.height)
        if examples.is_empty():
            return {"attention_maps": pl.DataFrame(schema=schema("attention_maps"))}
        rows = attention_maps(work.load(job, "attention_weights"), examples)
        work.progress(f"{job.name}: attention", examples.height, examples.height)
        return {"attention_maps": rows}


STEP = _AttentionMaps()
