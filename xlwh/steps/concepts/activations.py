"""Words' vectors of one model in one language, at every layer that the study asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.concepts.frequency import Choice, Policy, choose, occurrences
from xlwh.concepts.health import health
from xlwh.concepts.places import Place, places_of
from xlwh.models.segments import words_of
from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.sentences import Sentences, sentences
from xlwh.steps.models.selftests import load
from xlwh.steps.upstream import keep_only
from xlwh.store import Slot, Staging, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.concepts.activations import Vectors
    from xlwh.models import LoadedModel
    from xlwh.study import Concepts

CODE_VERSION = "2"
TABLES = ("activations", "sentence_vectors")

WINDOW_BYTES = 1 << 26
"""Vectors in memory at a time, all layers together: also what a kill can cost."""
WINDOW_EXAMPLES = 512


def run(context: Context, key: Key) -> StepResult:
    """Write `activations` and `sentence_vectors`, a file of each per dataset and layer.

    Finished windows of examples survive a kill.
    """
    model, language = str(key.model), str(key.language)
    settings = context.study.concepts
    if settings is None or model not in (settings.models or context.study.models):
        return not_applicable(f"The study asks for no concepts of `{model}`.")
    if language not in settings.needed_languages(context.study.languages):
        return not_applicable(f"The study clusters no words of `{language}`.")
    found = sentences(context, language)
    if not found:
        return not_applicable(f"None of the concepts' datasets is read in `{language}`.")
    pin = context.zoo.pin(model)
    places = places_of(pin, settings)
    if not places:
        return not_applicable(f"`{model}` has none of the stacks {', '.join(settings.stacks)}.")
    watch = Stopwatch()
    jobs: dict[str, tuple[list[Place], str]] = {}
    for corpus in found:
        together = found if settings.pool else [corpus]
        current = _fingerprint(context, model, language, settings, together, corpus)
        stale = [
            place
            for place in places
            if context.force
            or not all(context.warehouse.is_fresh(slot, current) for slot in _slots(model, corpus, place))
        ]
        if stale:
            jobs[corpus.dataset] = stale, current
    keep_only(
        context, TABLES, (model, language), {s for c in found for p in places for s in _slots(model, c, p)}
    )
    if not jobs:
        return StepResult(status="fresh")
    loaded = load(context, model, "activations")
    metadata: dict[str, object] = {}
    choices: dict[str, Choice] = {}
    for corpus in found:
        if corpus.dataset not in jobs:
            continue
        stale, current = jobs[corpus.dataset]
        shared = "pool" if settings.pool else corpus.dataset
        if shared not in choices:
            choices[shared] = _choice(context, settings, found if settings.pool else [corpus])
        choice = choices[shared]
        _extract(context, loaded, corpus, choice, stale, settings, current)
        metadata[f"{corpus.dataset}: word types"] = f"{choice.num_kept_types} of {choice.num_types} kept"
        slots = [_slots(model, corpus, place)[0] for place in stale]
        metadata |= {f"{corpus.dataset}: {name}": n for name, n in _health(context, slots).items()}
    rows = sum(
        entry.rows
        for entry in context.warehouse.entries("activations")
        if entry.slot.keys == (model, language)
    )
    examples = sum(corpus.rows for corpus in found if corpus.dataset in jobs)
    return StepResult("written", rows, examples, watch.seconds, metadata=metadata)


def _slots(model: str, corpus: Sentences, place: Place) -> tuple[Slot, Slot]:
    """Files of `activations` and `sentence_vectors`."""
    words, means = (Slot(table, (model, corpus.language), f"{corpus.dataset}.{place}") for table in TABLES)
    return words, means


def _fingerprint(
    context: Context,
    model: str,
    language: str,
    settings: Concepts,
    together: list[Sentences],
    corpus: Sentences,
) -> str:
    """Of every file of one dataset: which layer it holds is in its name."""
    options = context.study.models[model]
    parameters = {
        "dataset": corpus.dataset,
        "min_count": settings.min_count,
        "max_occurrences": settings.max_occurrences,
        # The seed matters only where there is something to draw.
        "seed": context.study.seed if settings.max_occurrences is not None else None,
        "aggregation": settings.aggregation,
        "max_length": options.max_length,
        "dtype": options.dtype,
        "segmenter": segmenter_name(language),
    }
    inputs = [*context.zoo.pin(model).identity, *(name for texts in together for name in texts.inputs)]
    return fingerprint("activations", CODE_VERSION, parameters, inputs)


def _choice(context: Context, settings: Concepts, together: list[Sentences]) -> Choice:
    """Which words are kept, decided on all datasets that are clustered together."""
    seed, done, total = context.study.seed, 0, sum(corpus.rows for corpus in together)

    def chunks() -> Iterator[pl.DataFrame]:
        nonlocal done
        for corpus in together:
            for chunk in corpus.chunks():
                yield _occurrences(corpus, chunk, seed)
                done += chunk.height
                context.progress(f"{corpus.dataset}: counting words", done, total)

    return choose(chunks(), Policy(settings.min_count, settings.max_occurrences, seed))


def _occurrences(corpus: Sentences, chunk: pl.DataFrame, seed: int) -> pl.DataFrame:
    return occurrences(corpus.dataset, corpus.language, chunk["example_id"], words_of(chunk), seed)


def _extract(
    context: Context,
    loaded: LoadedModel,
    corpus: Sentences,
    choice: Choice,
    places: list[Place],
    settings: Concepts,
    current: str,
) -> None:
    """Stage the vectors window by window, and commit them."""
    slots = {place: _slots(loaded.key, corpus, place) for place in places}
    width = loaded.family.hidden_size(loaded.config)
    most = max(1, WINDOW_BYTES // (2 * width * len(places)))
    examples = 0
    with context.warehouse.staging([slot for both in slots.values() for slot in both], current) as staging:
        done = staging.done()
        for chunk in corpus.chunks():
            kept = choice.of(_occurrences(corpus, chunk, context.study.seed))
            if done:
                finished = chunk["example_id"].is_in(list(done))
                kept = kept.filter(~finished.gather(kept["example"]))
            for window in _windows(kept, most):
                _stage(loaded, corpus, chunk, window, places, settings, slots, staging)
                seen = examples + int(window["example"][-1]) + 1
                context.progress(f"{corpus.dataset}: activations", seen, corpus.rows)
            examples += chunk.height
        context.progress(f"{corpus.dataset}: activations", corpus.rows, corpus.rows)
        staging.finish(provenance=context.zoo.pin(loaded.key).provenance, apart="example_id")


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


def _stage(
    loaded: LoadedModel,
    corpus: Sentences,
    chunk: pl.DataFrame,
    window: pl.DataFrame,
    places: list[Place],
    settings: Concepts,
    slots: dict[Place, tuple[Slot, Slot]],
    staging: Staging,
) -> None:
    from xlwh.concepts.activations import find_words, word_vectors
    from xlwh.models.tokenize import encode

    used, example = np.unique(window["example"].to_numpy(), return_inverse=True)
    encoded = encode(loaded, chunk[used.tolist()])
    spans = find_words(encoded, example, window["word_index"].to_numpy().astype(np.int64))
    vectors = word_vectors(
        loaded, encoded, spans, places, settings.aggregation, batch_tokens=settings.batch_tokens
    )
    indices = window["word_index"].to_list()
    where = [encoded.occurrences[at][word] for at, word in zip(example.tolist(), indices, strict=True)]
    keys = encoded.keys[example.tolist()].with_columns(
        model=pl.lit(loaded.key),
        aggregation=pl.lit(settings.aggregation),
        word_index=window["word_index"],
        word=window["word"],
        position=_nullable(spans.first),
        num_tokens=pl.Series(spans.count),
        segment=pl.Series([place.segment + corpus.segment for place in where], dtype=pl.Int32),
        char_start=pl.Series([place.start for place in where], dtype=pl.Int32),
        char_end=pl.Series([place.end for place in where], dtype=pl.Int32),
    )
    frames: dict[Slot, pl.DataFrame] = {}
    for place, found in vectors.items():
        words, means = slots[place]
        frames[words] = _frame(keys, place, found)
        frames[means] = _means(encoded.keys.with_columns(model=pl.lit(loaded.key)), place, found)
    staging.append(frames)


def _means(keys: pl.DataFrame, place: Place, found: Vectors) -> pl.DataFrame:
    """Rows of `sentence_vectors` at one place."""
    types = schema("sentence_vectors")
    frame = keys.with_columns(
        stack=pl.lit(place.stack),
        convention=pl.lit(place.convention, pl.String),
        layer=pl.lit(place.layer),
        num_tokens=pl.Series(found.averaged),
        vector=pl.Series(found.sentences).cast(types["vector"]),
    )
    if not found.averaged.all():
        frame = frame.with_columns(vector=pl.when(pl.col("num_tokens") > 0).then("vector"))
    return frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())


def _frame(keys: pl.DataFrame, place: Place, found: Vectors) -> pl.DataFrame:
    """Rows of `activations` at one place."""
    types = schema("activations")
    reason = pl.Series("reason", found.reason.tolist(), dtype=pl.String)
    missing = reason.is_not_null()
    frame = keys.with_columns(
        stack=pl.lit(place.stack),
        convention=pl.lit(place.convention, pl.String),
        layer=pl.lit(place.layer),
        vector=pl.Series(found.values).cast(types["vector"]),
        norm=pl.Series(found.norm),
        reason=reason,
    )
    if missing.any():
        frame = frame.with_columns(
            pl.when(~missing).then(pl.col("vector")).alias("vector"),
            pl.when(~missing).then(pl.col("norm")).alias("norm"),
        )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())


def _nullable(values: np.ndarray) -> pl.Series:
    from xlwh.models.tokenize import NONE

    series = pl.Series(values, dtype=pl.Int32)
    return series.set(series == NONE, None)


def _health(context: Context, slots: list[Slot]) -> dict[str, int]:
    """What is odd about the vectors of some files, counted over all of them."""
    total: dict[str, int] = {}
    for slot in slots:
        entry = context.warehouse.current(slot)
        if entry is not None:
            for name, count in health(pl.scan_parquet(context.warehouse.root / entry.file)).items():
                total[name] = total.get(name, 0) + count
    return total
