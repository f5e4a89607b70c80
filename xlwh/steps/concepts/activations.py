"""Words' vectors of one model in one language, at every layer that the study asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.frequency import Choice, Policy, choose, occurrences
from xlwh.concepts.health import health
from xlwh.concepts.places import Place, places_of
from xlwh.models.segments import words_of
from xlwh.models.words import segmenter_name
from xlwh.steps.concepts.sentences import Texts, files, has_texts, settings_of
from xlwh.steps.job import Frames, Job, Stored, cut
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot

if TYPE_CHECKING:
    from xlwh.concepts.activations import Vectors
    from xlwh.models import LoadedModel

TABLES = ("activations", "sentence_vectors")

WINDOW_BYTES = 1 << 26
"""Vectors in memory at a time, all layers together: also what a kill can cost."""
WINDOW_EXAMPLES = 512


@dataclass(frozen=True)
class _Params:
    dataset: str
    counted: tuple[str, ...]
    """Datasets that are clustered together: on all of them it is decided which words are kept."""
    language: str
    place: Place
    aggregation: Any
    policy: Policy
    segmenter: str
    batch_tokens: int = cut()


class _Activations(Pieced):
    version = "2"
    libraries = ("torch", "transformers", "tokenizers")
    at_once = 2_000
    apart = "example_id"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset and layer; the layers of a dataset are made in one pass."""
        study, settings = partition.study, settings_of(partition)
        model, language = partition.model, partition.language
        if language not in settings.needed_languages(study.languages):
            raise NotApplicable(f"The study clusters no words of `{language}`.")
        found = {
            dataset: files(partition, dataset, language)
            for dataset in settings.datasets
            if has_texts(study, dataset, language)
        }
        if not found:
            raise NotApplicable(f"None of the concepts' datasets is read in `{language}`.")
        use = partition.use(model, "max_length", "dtype", "attention")
        places = places_of(use.pin, settings)
        if not places:
            raise NotApplicable(f"`{model}` has none of the stacks {', '.join(settings.stacks)}.")
        # The seed matters only where there is something to draw.
        seed = study.seed if settings.max_occurrences is not None else 0
        policy = Policy(settings.min_count, settings.max_occurrences, seed)
        for dataset in found:
            counted = tuple(found) if settings.pool else (dataset,)
            entries = tuple(entry for each in counted for entry in found[each])
            for place in places:
                yield Job(
                    {table: Slot(table, (model, language), f"{dataset}.{place}") for table in TABLES},
                    _Params(
                        dataset,
                        counted,
                        language,
                        place,
                        settings.aggregation,
                        policy,
                        segmenter_name(language),
                        settings.batch_tokens,
                    ),
                    entries,
                    use,
                    together=f"{dataset}: activations",
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The examples, and where they stand."""
        params = jobs[0].params
        return Texts(work, jobs[0], params.dataset, params.language).ids()

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Vectors at every place, window by window: whole examples, of WINDOW_BYTES in all."""
        job, params = jobs[0], jobs[0].params
        loaded = work.load(job, "activations")
        choice = _choice(work, job, self.at_once)
        texts = Texts(work, job, params.dataset, params.language)
        examples = texts.read(pieces)
        kept = choice.of(_occurrences(params, params.dataset, examples))
        width = loaded.family.hidden_size(loaded.config)
        for window in _windows(kept, max(1, WINDOW_BYTES // (2 * width * len(jobs)))):
            yield _extracted(loaded, jobs, examples, window, texts.segment)
            work.within(int(window["example"][-1]) + 1, pieces.height)

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """What is odd about the vectors of a layer."""
        return {f"{job.params.dataset}, {job.params.place}": health(rows["activations"])}


STEP = _Activations()


def _choice(work: Work, job: Job, at_once: int) -> Choice:
    """Which words are kept: counted once for all passes over the same datasets."""
    params, known = job.params, (job.reads, job.params.policy)
    if known not in work.kept:
        work.kept[known] = choose(_counted(work, job, at_once), params.policy)
    choice: Choice = work.kept[known]
    work.tell(f"{params.dataset}: word types", f"{choice.num_kept_types} of {choice.num_types} kept")
    return choice


def _counted(work: Work, job: Job, at_once: int) -> Iterator[pl.DataFrame]:
    for dataset in job.params.counted:
        texts = Texts(work, job, dataset, job.params.language)
        ids = texts.ids()
        for start in range(0, ids.height, at_once):
            part = ids[start : start + at_once]
            yield _occurrences(job.params, dataset, texts.read(part))
            work.progress(f"{dataset}: counting words", start + part.height, ids.height)


def _occurrences(params: _Params, dataset: str, examples: pl.DataFrame) -> pl.DataFrame:
    seed = params.policy.seed
    return occurrences(dataset, params.language, examples["example_id"], words_of(examples), seed)


def _windows(kept: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """Rows of whole examples that follow one another, about `most` words at a time."""
    if not kept.height:
        return
    example = kept["example"].to_numpy()
    starts = np.flatnonzero(np.diff(example, prepend=-1))
    begin = 0
    for number, start in enumerate(starts):
        full = start - starts[begin] >= most or number - begin >= WINDOW_EXAMPLES
        if full:
            yield kept[int(starts[begin]) : int(start)]
            begin = number
    yield kept[int(starts[begin]) :]


def _extracted(
    loaded: LoadedModel, jobs: Sequence[Job], examples: pl.DataFrame, window: pl.DataFrame, segment: int
) -> list[Frames]:
    """Rows of both tables for each job's place; `segment` is what the first text is in `examples`."""
    from xlwh.concepts.activations import find_words, word_vectors
    from xlwh.models.tokenize import NONE, encode

    params = jobs[0].params
    used, example = np.unique(window["example"].to_numpy(), return_inverse=True)
    encoded = encode(loaded, examples[used.tolist()])
    spans = find_words(encoded, example, window["word_index"].to_numpy().astype(np.int64))
    vectors = word_vectors(
        loaded,
        encoded,
        spans,
        [job.params.place for job in jobs],
        params.aggregation,
        batch_tokens=params.batch_tokens,
    )
    indices = window["word_index"].to_list()
    where = [encoded.occurrences[at][word] for at, word in zip(example.tolist(), indices, strict=True)]
    texts = encoded.keys.with_columns(model=pl.lit(loaded.key))
    words = texts[example.tolist()].with_columns(
        aggregation=pl.lit(params.aggregation),
        word_index=window["word_index"],
        word=window["word"],
        position=_given(spans.first, spans.first != NONE),
        num_tokens=pl.Series(spans.count),
        segment=pl.Series([place.segment + segment for place in where], dtype=pl.Int32),
        char_start=pl.Series([place.start for place in where], dtype=pl.Int32),
        char_end=pl.Series([place.end for place in where], dtype=pl.Int32),
    )
    return [_at(job.params.place, vectors[job.params.place], words, texts) for job in jobs]


def _at(place: Place, found: Vectors, words: pl.DataFrame, texts: pl.DataFrame) -> Frames:
    """The rows of one place, of words and of the texts that they are in."""
    columns = {
        "stack": pl.lit(place.stack),
        "convention": pl.lit(place.convention, pl.String),
        "layer": pl.lit(place.layer),
    }
    reason = pl.Series(found.reason.tolist(), dtype=pl.String)
    there = reason.is_null().to_numpy()
    return {
        "activations": words.with_columns(
            **columns, vector=_given(found.values, there), norm=_given(found.norm, there), reason=reason
        ),
        "sentence_vectors": texts.with_columns(
            **columns,
            num_tokens=pl.Series(found.averaged),
            vector=_given(found.sentences, found.averaged > 0),
        ),
    }


def _given(values: NDArray[Any], there: NDArray[np.bool_]) -> pl.Series:
    """Values `[rows]` or `[rows, width]`, NULL where there is none."""
    series = pl.Series(values)
    if there.all():
        return series
    return pl.DataFrame({"value": series, "there": there}).select(
        pl.when("there").then("value").alias("value")
    )["value"]
