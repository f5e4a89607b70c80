"""Store what every head attends to on a few short examples, the same ones in every language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from xlwh.corpora import sample
from xlwh.steps.corpora.parallelism import refuse_differing
from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel


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
        """A row per example and head."""
        examples = self._shown(work, job)
        work.examples += examples.height
        work.progress(f"{job.name}: attention", 0, 1)
        rows = list(_rows(work.load(job, "attention_weights"), examples)) if examples.height else []
        frame = pl.DataFrame(rows, schema=schema("attention_maps"))
        return {"attention_maps": frame.sort("split", "example_id", "layer", "head")}

    def _shown(self, work: Work, job: Job) -> pl.DataFrame:
        """Some of the examples that heads are valued on, short in all languages; one that shares none has no say."""
        params: _Params = job.params
        characters = pl.col("text").str.len_chars() + pl.col("text_pair").str.len_chars().fill_null(0)
        short = characters <= self.max_characters
        valued_in = {
            language: game.valued_examples(
                work.scan(job, "examples", language=language), params.max_examples, params.seed
            )
            for language in (entry.slot.partition["language"] for entry in job.reads)
        }
        candidates = valued_in.pop(job.slots["attention_maps"].partition["language"]).filter(short)
        for valued in valued_in.values():
            if valued.join(candidates, on="example_id", how="semi").height:
                candidates = candidates.join(
                    valued.filter(short), on="example_id", how="semi", maintain_order="left"
                )
        return sample(candidates, params.shown, params.seed)


STEP = _AttentionMaps()


def _rows(loaded: LoadedModel, examples: pl.DataFrame) -> Iterator[dict[str, object]]:
    from xlwh.heads.attention import attention_maps
    from xlwh.models.tokenize import KEYS, encode

    for found in attention_maps(loaded, encode(loaded, examples)):
        keys = dict(zip(KEYS, examples.select(KEYS).row(found.row), strict=True))
        for head, weights in enumerate(found.weights.astype(np.float16)):
            yield {
                "model": loaded.key,
                **keys,
                "layer": found.site,
                "head": head,
                "tokens": found.tokens,
                "is_special": found.special,
                "weights": pl.Series(weights.ravel()),
            }
