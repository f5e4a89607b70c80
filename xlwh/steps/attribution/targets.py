"""What is explained of each task: a class, a word's tag, where an answer starts and ends, a written sub-token.

A target is a row with `example_id`, `target` (its name in `token_attributions`), `label` (the class or tag; NULL for
positions), `position` (the sub-token whose output it is, as in `tokens`; NULL for a class), `output` (the model's
output that holds it) and `logits` (that output as predicted: its entry at the target, or its only one, is F of the
input).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.corpora import sample
from xlwh.steps.base import Context, Key
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, TAGGING, TRANSLATION, Corpus
from xlwh.steps.upstream import required
from xlwh.store import Entry, Slot
from xlwh.study import Study

if TYPE_CHECKING:
    from xlwh.attribution.base import Item
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

Targets = Callable[[Context, str, Corpus], pl.DataFrame]
Places = Callable[
    ["Context", "LoadedModel", pl.DataFrame, pl.DataFrame], "tuple[Encoded, list[Item], list[Sequence[int]]]"
]


@dataclass(frozen=True)
class Explained:
    """A task's targets: what they are made from, which they are, and where they lie in the model's inputs.

    `place(context, loaded, examples, targets)` encodes the examples and gives the encoded inputs, an item for each
    target, and for each target the positions (as in `tokens`) of the sub-tokens of its input.
    """

    head: str
    needs: Callable[[Context, str, Corpus], list[Entry]]
    targets: Targets
    place: Places


def sources(context: Context, model: str, corpus: Corpus) -> list[str]:
    """Languages whose predictions choose a class: the sources that the dataset has, or its own language.

    Tags and answers are always the language's own.
    """
    if corpus.task not in CLASSIFICATION or context.study.attribution.target != "source_prediction":
        return [corpus.language]
    available = context.study.dataset_languages(corpus.dataset)
    return [language for language in context.study.source_languages(model) if language in available]


def explains_own(context: Context, corpus: Corpus) -> bool:
    """Whether each language's own class is explained beside the targets: faithfulness is about it."""
    policy = context.study.attribution.target
    return (
        corpus.task in CLASSIFICATION
        and context.study.faithfulness is not None
        and policy != "own_prediction"
    )


def num_explained_own(study: Study) -> int | None:
    """Examples of which that is so: those that faithfulness takes; None is all."""
    faithfulness = study.faithfulness
    limits = (study.attribution.max_examples, faithfulness.max_examples if faithfulness else None)
    return min((limit for limit in limits if limit is not None), default=None)


def _entries(table: str) -> Callable[[Context, str, Corpus], list[Entry]]:
    def entries(context: Context, model: str, corpus: Corpus) -> list[Entry]:
        languages = dict.fromkeys((*sources(context, model, corpus), corpus.language))
        # A class that another language's row chose explains this one only if it says the same.
        require_parallel(context, corpus.dataset, languages)
        return [
            required(context, Slot(table, (model, language), corpus.dataset), Key(model, language=language))
            for language in languages
        ]

    return entries


def _sampled(context: Context, frame: pl.DataFrame) -> pl.DataFrame:
    return _part(context, frame, context.study.attribution.max_examples)


def _part(context: Context, frame: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """A smaller part lies within a larger one."""
    return frame if limit is None else sample(frame, limit, context.study.seed)


def _class_targets(context: Context, model: str, corpus: Corpus) -> pl.DataFrame:
    """The classes of the study's policy. The same examples in every language."""

    def predicted(language: str) -> pl.DataFrame:
        frame = context.warehouse.scan("predictions", model=model, language=language, dataset=corpus.dataset)
        return frame.select("example_id", "predicted", "label", "logits").collect()

    column = "label" if context.study.attribution.target == "gold" else "predicted"
    chosen = [
        _sampled(context, predicted(language)).select("example_id", target=column)
        for language in sources(context, model, corpus)
    ]
    own = predicted(corpus.language)
    if explains_own(context, corpus):
        explained = _part(context, own, num_explained_own(context.study))
        chosen.append(explained.select("example_id", target="predicted"))
    targets = pl.concat(chosen).drop_nulls().unique(maintain_order=True)
    return targets.join(own.select("example_id", "logits"), on="example_id").select(
        "example_id",
        "target",
        label="target",
        position=pl.lit(None, pl.Int32),
        output=pl.lit("logits"),
        logits="logits",
    )


def _place_whole(
    context: Context, loaded: LoadedModel, examples: pl.DataFrame, targets: pl.DataFrame
) -> tuple[Encoded, list[Item], list[Sequence[int]]]:
    """One input per example; a class or, at a position, a tag."""
    from xlwh.attribution.base import Item
    from xlwh.models.tokenize import encode

    encoded = encode(loaded, examples)
    row = {str(name): index for index, name in enumerate(examples["example_id"])}
    classes = {label: index for index, label in enumerate(loaded.labels or ())}
    items = [
        Item(row[target["example_id"]], classes[target["label"]], target["position"], target["output"])
        for target in targets.rows(named=True)
    ]
    return encoded, items, [range(int(encoded.lengths[item.example])) for item in items]


def _tag_targets(context: Context, model: str, corpus: Corpus) -> pl.DataFrame:
    """The predicted (policy `gold`: the gold) tags of a few words of each sentence, named `<word_index>:<tag>`."""
    settings = context.study.attribution
    frame = context.warehouse.scan(
        "token_predictions", model=model, language=corpus.language, dataset=corpus.dataset
    )
    column = "label" if settings.target == "gold" else "predicted"
    words = (
        frame.filter((pl.col("status") == "tagged") & pl.col(column).is_not_null())
        .select("example_id", "word_index", "position", "logits", label=column)
        .collect()
    )
    sentences = _sampled(context, corpus.frame.select("example_id").collect())
    words = words.join(sentences, on="example_id", how="semi", maintain_order="left")
    words = _drawn(words, "word_index", settings.words_per_example, context.study.seed)
    return words.select(
        "example_id",
        pl.format("{}:{}", "word_index", "label").alias("target"),
        "label",
        "position",
        pl.lit("logits").alias("output"),
        "logits",
    )


def _drawn(frame: pl.DataFrame, within: str, count: int | None, seed: int) -> pl.DataFrame:
    """At most `count` rows of each example, drawn by the seed; `within` numbers the rows of an example."""
    if count is None or frame.is_empty():
        return frame
    ranks = [
        hashlib.sha256(f"{seed}\x1f{example}\x1f{place}".encode()).hexdigest()
        for example, place in frame.select("example_id", within).iter_rows()
    ]
    order = pl.col("rank").rank("ordinal").over("example_id")
    return frame.with_columns(rank=pl.Series(ranks)).filter(order <= count).drop("rank")


def _answer_targets(context: Context, model: str, corpus: Corpus) -> pl.DataFrame:
    """The start and the end of every answer that was found."""
    frame = context.warehouse.scan(
        "answer_spans", model=model, language=corpus.language, dataset=corpus.dataset
    )
    spans = frame.select("example_id", "start_position", "end_position", "start_logit", "end_logit").collect()
    questions = _sampled(context, corpus.frame.select("example_id").collect())
    spans = spans.join(questions, on="example_id", how="semi", maintain_order="left")
    return pl.concat(
        spans.select(
            "example_id",
            target=pl.lit(end),
            label=pl.lit(None, pl.String),
            position=f"{end}_position",
            output=pl.lit(f"{end}_logits"),
            logits=pl.concat_list(f"{end}_logit"),
        )
        for end in ("start", "end")
    )


def _written_targets(context: Context, model: str, corpus: Corpus) -> pl.DataFrame:
    """A few sub-tokens of each translation as the model wrote it, named by their place, `<place>:output`."""
    settings = context.study.attribution
    frame = context.warehouse.scan(
        "predictions", model=model, language=corpus.language, dataset=corpus.dataset
    )
    written = _sampled(context, frame.select("example_id", "logits").collect())
    tokens = written.with_columns(position=pl.int_ranges(pl.col("logits").list.len())).explode(
        "logits", "position"
    )
    tokens = _drawn(tokens, "position", settings.words_per_example, context.study.seed)
    return tokens.select(
        "example_id",
        pl.format("{}:output", "position").alias("target"),
        pl.lit(None, pl.String).alias("label"),
        pl.col("position").cast(pl.Int32),
        pl.lit("logits").alias("output"),
        pl.concat_list("logits").alias("logits"),
    )


def _place_written(
    context: Context, loaded: LoadedModel, examples: pl.DataFrame, targets: pl.DataFrame
) -> tuple[Encoded, list[Item], list[Sequence[int]]]:
    """The source texts, with what the model wrote forced on its decoder."""
    from xlwh.attribution.base import Item
    from xlwh.models.translation import encode_translations

    (dataset,), (language,) = examples["dataset"].unique(), examples["language"].unique()
    written = context.warehouse.scan("predictions", model=loaded.key, language=language, dataset=dataset)
    outputs = written.select("example_id", text_pair="predicted").collect()
    paired = examples.drop("text_pair").join(outputs, on="example_id", maintain_order="left")
    encoded = encode_translations(loaded, paired)
    row = {str(name): index for index, name in enumerate(paired["example_id"])}
    items = []
    for target in targets.rows(named=True):
        index, place = row[target["example_id"]], target["position"]
        items.append(Item(index, (encoded.forced or ())[index][place], place, target["output"]))
    return encoded, items, [range(int(encoded.lengths[item.example])) for item in items]


def _place_windows(
    context: Context, loaded: LoadedModel, examples: pl.DataFrame, targets: pl.DataFrame
) -> tuple[Encoded, list[Item], list[Sequence[int]]]:
    """The window of each example in which its answer was found."""
    from xlwh.attribution.base import Item
    from xlwh.models.answers import windows

    (dataset,), (language,) = examples["dataset"].unique(), examples["language"].unique()
    spans = context.warehouse.scan("answer_spans", model=loaded.key, language=language, dataset=dataset)
    chosen = dict(spans.select("example_id", "window").collect().iter_rows())
    cut = windows(loaded, examples, context.study.models[loaded.key])
    row = {str(name): index for index, name in enumerate(examples["example_id"])}
    items, positions = [], []
    for target in targets.rows(named=True):
        window = cut.of(row[target["example_id"]])[chosen[target["example_id"]]]
        inside = cut.position[cut.row(window)]
        (place,) = np.flatnonzero(inside == target["position"]).tolist()
        items.append(Item(window, 0, place, target["output"]))
        positions.append(inside.tolist())
    return cut, items, positions


_CLASSES = Explained("sequence_classification", _entries("predictions"), _class_targets, _place_whole)

EXPLAINED: dict[str, Explained] = {
    **dict.fromkeys(CLASSIFICATION, _CLASSES),
    TAGGING: Explained(TAGGING, _entries("token_predictions"), _tag_targets, _place_whole),
    QUESTION_ANSWERING: Explained(
        QUESTION_ANSWERING, _entries("answer_spans"), _answer_targets, _place_windows
    ),
    TRANSLATION: Explained(TRANSLATION, _entries("predictions"), _written_targets, _place_written),
}
"""What is explained, by `examples.task`."""
