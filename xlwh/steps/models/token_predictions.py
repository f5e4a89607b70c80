"""Run a tagger over what it is evaluated on, and store its logits word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import TAGGING, Corpus, corpora
from xlwh.steps.models.selftests import load
from xlwh.store import Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `token_predictions` of one model in one language, a file per dataset.

    Every gold word has a row: one that the tokenizer drops or that is cut off says so and has no prediction.
    """
    model, language = str(key.model), str(key.language)
    found = [corpus for corpus in corpora(context, model, language) if corpus.task == TAGGING]
    if not found:
        return not_applicable(f"`{model}` is evaluated on no tagged dataset in `{language}`.")
    pin = context.zoo.pin(model)
    if pin.task != TAGGING:
        return not_applicable(f"`{model}` has no token classification head.")
    options = context.study.models[model]
    parameters = {
        "max_length": options.max_length,
        "labels": options.labels,
        "dtype": options.dtype,
        "attention": options.attention,
        "tagged_piece": options.tagged_piece,
    }
    stale = []
    for corpus in found:
        slot = Slot("token_predictions", (model, language), corpus.dataset)
        inputs = (*pin.identity, corpus.entry.fingerprint)
        current = fingerprint("token_predictions", CODE_VERSION, parameters, inputs)
        if context.force or not context.warehouse.is_fresh(slot, current):
            stale.append((corpus, slot, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), load(context, model, "predictions")
    rows = examples = 0
    metadata: dict[str, object] = {}
    for corpus, slot, current in stale:
        frame = _predicted(context, loaded, corpus)
        context.warehouse.write({slot: frame}, current, pin.provenance)
        rows += frame.height
        examples += corpus.entry.rows
        metadata[corpus.dataset] = _summary(frame, loaded.labels or ())
    return StepResult("written", rows, examples, watch.seconds, metadata=metadata)


def _predicted(context: Context, loaded: LoadedModel, corpus: Corpus) -> pl.DataFrame:
    """Rows of `token_predictions`, in the order of the examples and their words."""
    from xlwh.models.labels import require_tags
    from xlwh.models.predict import predict_tokens, softmax
    from xlwh.models.tagging import TAGGED, word_places
    from xlwh.models.tokenize import KEYS, NONE, encode

    # Of the whole dataset: a chunk may have few tags.
    gold = corpus.frame.select(pl.col("word_labels").explode().drop_nulls().unique()).collect()
    require_tags(loaded.key, loaded.labels or (), gold["word_labels"], f"dataset `{corpus.dataset}`")
    labels = np.array(loaded.labels, dtype=object)
    piece = context.study.models[loaded.key].tagged_piece
    parts, before, total = [], 0, corpus.entry.rows
    for chunk in corpus.chunks():
        encoded = encode(loaded, chunk)
        places = word_places(encoded, piece)

        def report(done: int, _: int, before: int = before) -> None:
            context.progress(f"{corpus.dataset}: tags", before + done, total)

        (logits,) = predict_tokens(loaded, encoded, progress=report)
        before += len(encoded)
        sizes = np.diff(places.bounds)
        example = np.repeat(np.arange(len(encoded)), sizes)
        tagged = np.flatnonzero(places.status == TAGGED)
        chosen = logits[encoded.bounds[:-1][example[tagged]] + places.position[tagged]]
        answers = pl.DataFrame(
            {
                "row": tagged,
                "position": places.position[tagged],
                "predicted": labels[chosen.argmax(axis=1)].tolist(),
                "logits": chosen.tolist(),
                "probabilities": softmax(chosen).tolist(),
            },
            schema={
                "row": pl.Int64,
                **{
                    name: dtype
                    for name, dtype in schema("token_predictions").items()
                    if name in ("position", "predicted", "logits", "probabilities")
                },
            },
        )
        assert NONE not in places.position[tagged]
        keys = encoded.keys[example]
        where = [word for words in encoded.occurrences for word in words]
        words = pl.DataFrame(
            {
                "model": pl.repeat(loaded.key, len(example), dtype=pl.String, eager=True),
                **{name: keys[name] for name in KEYS},
                "word_index": np.arange(len(example)) - np.repeat(places.bounds[:-1], sizes),
                "word": pl.Series([place.word for place in where], dtype=pl.String),
                "segment": pl.Series([place.segment for place in where], dtype=pl.Int32),
                "char_start": pl.Series([place.start for place in where], dtype=pl.Int32),
                "char_end": pl.Series([place.end for place in where], dtype=pl.Int32),
                "status": pl.Series(places.status.tolist(), dtype=pl.String),
                "label": pl.Series(_gold(chunk), dtype=pl.String),
                "row": np.arange(len(example), dtype=np.int64),
            }
        )
        joined = words.join(answers, on="row", how="left", maintain_order="left")
        types = schema("token_predictions")
        parts.append(joined.select(pl.col(name).cast(dtype) for name, dtype in types.items()))
    return pl.concat(parts)


def _gold(chunk: pl.DataFrame) -> list[str | None]:
    """The gold tag of every word; None for all words of an example without tags."""
    gold: list[str | None] = []
    for words, tags in chunk.select("words", "word_labels").iter_rows():
        gold += [None] * len(words) if tags is None else tags
    return gold


def _summary(frame: pl.DataFrame, labels: Sequence[str]) -> dict[str, object]:
    """Token accuracy, what became of the words that were not tagged, and gold tags that the model does not have."""
    known = frame.filter(pl.col("label").is_not_null())
    right = known.select((pl.col("predicted") == pl.col("label")).fill_null(value=False).mean()).item()
    counts = dict(frame.group_by("status").len().sort("status").iter_rows())
    strange = sorted(set(known["label"].unique()) - set(labels))
    return {
        "words": frame.height,
        **counts,
        "token_accuracy": None if right is None else round(right, 4),
        **({"tags_unknown_to_the_model": strange} if strange else {}),
    }
