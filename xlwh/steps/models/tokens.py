"""Tokenize what a model is evaluated on: sub-tokens, their words, and what was cut off.

Of questions and contexts all sub-tokens are stored, however long: a model sees them in windows, and positions of
answers and attributions count in the uncut input. Of translations only the source has a place in the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from xlwh.models.answers import UNCUT
from xlwh.models.tokenize import encode, tokens_frame
from xlwh.models.translation import sources
from xlwh.models.words import segmenter_name
from xlwh.steps.job import Frames, Job
from xlwh.steps.models.evaluated import (
    CHUNK,
    CLASSIFICATION,
    QUESTION_ANSWERING,
    TAGGING,
    TRANSLATION,
    evaluated,
)
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    task: str | None
    segmenter: str


class _Tokens(Pieced):
    version = "1"
    libraries = ("transformers", "tokenizers")
    at_once = CHUNK

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        model, language = partition.model, partition.language
        found = [
            corpus
            for corpus in evaluated(partition)
            if corpus.task in (*CLASSIFICATION, TAGGING, QUESTION_ANSWERING, None)
            or (corpus.task == TRANSLATION and partition.pin(model).task == TRANSLATION)
        ]
        if not found:
            raise NotApplicable(f"`{model}` is evaluated on nothing that is tokenized here in `{language}`.")
        use = partition.use(model, "max_length", only_tokens=True)
        for corpus in found:
            yield Job(
                {"tokens": Slot("tokens", (model, language), corpus.dataset)},
                _Params(corpus.task, segmenter_name(language)),
                (corpus.entry,),
                use,
                together=f"{corpus.dataset}: tokens",
            )

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Rows of `tokens`."""
        (job,) = jobs
        loaded, examples = work.load(job, "tokens"), work.pieces_of(job, "examples", pieces)
        if job.params.task == QUESTION_ANSWERING:
            loaded = replace(loaded, max_length=UNCUT)
        elif job.params.task == TRANSLATION:
            examples = sources(examples)
        encoded = encode(loaded, examples)
        work.count("truncated_examples", int((encoded.num_truncated > 0).sum()))
        work.count("truncated_tokens", int(encoded.num_truncated.sum()))
        yield [{"tokens": tokens_frame(loaded, encoded)}]


STEP = _Tokens()
