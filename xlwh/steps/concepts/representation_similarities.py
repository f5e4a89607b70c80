"""How alike languages are at every layer of a model, from vectors that are stored already."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.places import Place, places_of
from xlwh.corpora import sample
from xlwh.draws import stream
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.sentences import sentences
from xlwh.steps.corpora.parallelism import not_parallel, refuse_differing
from xlwh.steps.upstream import identity, required
from xlwh.store import Entry, Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.concepts.similarity import Score

CODE_VERSION = "1"

MOST_SENTENCES = 2_000
"""Sentence pairs compared, the same in every language: the matrices grow with their square."""
MOST_WORDS = 20_000
"""Words per language for anisotropy and the probe: the bound on memory."""
TRAIN_SHARE = 0.7

Files = Mapping[tuple[str, str, Place], Entry]
"""(table, language, place) -> the file."""


def run(context: Context, key: Key) -> StepResult:
    """Write `representation_similarities` of one model, a file per dataset."""
    model, settings = str(key.model), context.study.concepts
    if settings is None or model not in (settings.models or context.study.models):
        return not_applicable(f"The study asks for no concepts of `{model}`.")
    places = places_of(context.zoo.pin(model), settings)
    languages = settings.needed_languages(context.study.languages)
    corpora: dict[str, list[str]] = {}
    for language in languages:
        for texts in sentences(context, language):
            corpora.setdefault(texts.dataset, []).append(language)
    if not corpora or not places:
        return not_applicable(f"There are no vectors of `{model}` to compare.")
    watch, rows, examples = Stopwatch(), 0, 0
    for corpus, present in corpora.items():
        files = {
            (table, language, place): required(
                context, Slot(table, (model, language), f"{corpus}.{place}"), Key(model, None, language)
            )
            for table in ("activations", "sentence_vectors")
            for language in present
            for place in places
        }
        # Languages that are no translations are compared as wholes, but not sentence by sentence.
        apart = sorted({str(row["target_language"]) for row in not_parallel(context, corpus, present)})
        parameters = {
            "languages": present,
            "places": list(map(str, places)),
            "seed": context.study.seed,
            "apart": apart,
        }
        inputs = map(identity, files.values())
        refuse_differing(context, corpus, present)
        current = fingerprint("representation_similarities", CODE_VERSION, parameters, inputs)
        slot = Slot("representation_similarities", (model,), corpus)
        if not context.force and context.warehouse.is_fresh(slot, current):
            continue
        frames = []
        for number, place in enumerate(places):
            context.progress(f"{corpus}: comparing languages", number, len(places))
            found = [
                {"measure": measure, "source_language": source, "target_language": target, **_told(score)}
                for measure, source, target, score in _measured(context, files, place, present, apart)
            ]
            frames.append(_frame(found, model, corpus, place))
        context.progress(f"{corpus}: comparing languages", len(places), len(places))
        frame = pl.concat(frames)
        context.warehouse.write({slot: frame}, current)
        rows += frame.height
    if not rows:
        return StepResult(status="fresh")
    return StepResult("written", rows, examples, watch.seconds)


def _measured(
    context: Context, files: Files, place: Place, languages: list[str], apart: Collection[str]
) -> Iterator[tuple[str, str, str, Score]]:
    """(measure, source language, target language, score) of everything at one place.

    Languages that are `apart` are no translations of the others, so their sentences are not paired.
    """
    from xlwh.concepts.similarity import anisotropy, language_probe, linear_cka, retrieval

    means = {
        language: _sentences(context, files["sentence_vectors", language, place]) for language in languages
    }
    for source, target in combinations(languages, 2):
        if source in apart or target in apart:
            continue
        both = means[source].join(means[target], on="example_id", maintain_order="left", suffix="_target")
        # Translations share their example ids; a handful may do so by accident.
        if both.height < 10:
            continue
        both = sample(both, MOST_SENTENCES, context.study.seed)
        first, second = _matrix(both["vector"]), _matrix(both["vector_target"])
        shuffled = stream("cka", context.study.seed)
        yield "cka", source, target, linear_cka(first, second, shuffled)
        forward, backward, mutual = retrieval(first, second)
        yield "retrieval", source, target, forward
        yield "retrieval", target, source, backward
        yield "mutual_retrieval", source, target, mutual
    train: dict[str, NDArray[np.float16]] = {}
    test: dict[str, NDArray[np.float16]] = {}
    for language in languages:
        words = _words(context, files["activations", language, place])
        if words.height < 2:
            continue
        vectors = _matrix(words["vector"])
        yield "anisotropy", language, language, anisotropy(vectors)
        # By example, so that translations of a sentence are never on both sides.
        ids = words.select("example_id").unique()
        chosen = sample(ids.sort("example_id"), round(TRAIN_SHARE * ids.height), context.study.seed)
        inside = words["example_id"].is_in(chosen["example_id"].to_list()).to_numpy()
        if inside.any() and not inside.all():
            train[language], test[language] = vectors[inside], vectors[~inside]
    if len(train) > 1:
        yield "language_probe", "all", "all", language_probe(train, test)


def _sentences(context: Context, entry: Entry) -> pl.DataFrame:
    frame = pl.scan_parquet(context.warehouse.root / entry.file, glob=False)
    return frame.select("example_id", "vector").drop_nulls().collect()


def _words(context: Context, entry: Entry) -> pl.DataFrame:
    """Vectors of at most MOST_WORDS words, whole examples, the same examples in every language."""
    frame = pl.scan_parquet(context.warehouse.root / entry.file, glob=False)
    usable = frame.filter(pl.col("vector").is_not_null())
    counts = usable.group_by("example_id").len().sort("example_id").collect()
    share = min(1.0, MOST_WORDS / max(1, counts["len"].sum()))
    chosen = sample(counts, max(1, int(share * counts.height)), context.study.seed)["example_id"]
    wanted = chosen.to_list()
    return usable.filter(pl.col("example_id").is_in(wanted)).select("example_id", "vector").collect()


def _matrix(vectors: pl.Series) -> NDArray[np.float16]:
    width = len(vectors[0])
    return vectors.cast(pl.Array(pl.Float16, width)).to_numpy()


def _told(score: Score) -> dict[str, object]:
    return {"value": score.value, "null_value": score.null, "num_units": score.units}


def _frame(rows: list[dict[str, object]], model: str, corpus: str, place: Place) -> pl.DataFrame:
    types = schema("representation_similarities")
    columns = {name: types[name] for name in _ROW}
    frame = pl.DataFrame(rows, schema=columns).with_columns(
        model=pl.lit(model),
        corpus=pl.lit(corpus),
        stack=pl.lit(place.stack),
        convention=pl.lit(place.convention, pl.String),
        layer=pl.lit(place.layer),
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())


_ROW = ("measure", "source_language", "target_language", "value", "null_value", "num_units")
