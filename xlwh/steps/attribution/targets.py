"""What is explained of each task: a class, a word's tag, where an answer starts and ends, a written sub-token.

A target is a row with `example_id` and `target`, its name in `token_attributions`. Its output is such a row with
`label` (the class or tag; NULL for positions), `position` (the sub-token whose output it is, as in `tokens`; NULL for a
class), `output` (the model's output that holds it) and `logits` (that output as predicted: its entry at the target, or
its only one, is F of the input).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.steps.attribution.explained import explained, num_explained_own, part
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.job import Job, options_of
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, TAGGING, TRANSLATION, Corpus
from xlwh.steps.planning import Partition
from xlwh.steps.work import Work
from xlwh.store import Entry, Slot
from xlwh.study import Inputs

if TYPE_CHECKING:
    from xlwh.attribution.base import Item
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

    Placed = tuple[Encoded, list[Item], list[Sequence[int]]]


@dataclass(frozen=True)
class Chosen:
    """What the predictions of one language choose: see `explained`."""

    language: str
    policy: str
    limit: int | None


@dataclass(frozen=True)
class Choice:
    """Which targets of a dataset there are."""

    by: tuple[Chosen, ...]
    words: int | None
    """Words or written sub-tokens of an example; None is all of them."""
    seed: int | None
    """None where nothing is drawn."""


@dataclass(frozen=True)
class Explained:
    """A task's targets: what they are made from, which they are, and where they lie in the model's inputs."""

    head: str
    table: str
    """What holds the predictions that are explained."""
    options: tuple[str, ...]
    """Options of the model that reach its inputs, beside those that all have."""
    targets: Callable[[Work, Job, Choice], pl.DataFrame]
    outputs: Callable[[Work, Job, pl.DataFrame], pl.DataFrame]
    """The outputs of some targets, in their order."""
    place: Callable[[Work, Job, LoadedModel, pl.DataFrame, pl.DataFrame], Placed]
    """Of examples and outputs: the encoded inputs, an item for each output, and for each the positions (as in `tokens`)
    of the sub-tokens of its input."""


def choice_of(partition: Partition, corpus: Corpus) -> Choice:
    """What the study says of a dataset. Tags, answers and translations are always the language's own."""
    study, settings, classes = partition.study, partition.study.attribution, corpus.task in CLASSIFICATION
    gold = settings.target == "gold" and (classes or corpus.task == TAGGING)
    languages = [corpus.language]
    if classes and settings.target == "source_prediction":
        available = study.dataset_languages(corpus.dataset)
        languages = [each for each in study.source_languages(partition.model) if each in available]
    by = [Chosen(each, "gold" if gold else "own_prediction", settings.max_examples) for each in languages]
    # Faithfulness is about each language's own class.
    if classes and study.faithfulness is not None and (gold or corpus.language not in languages):
        by.append(Chosen(corpus.language, "own_prediction", num_explained_own(study)))
    words = settings.words_per_example if corpus.task in (TAGGING, TRANSLATION) else None
    is_drawn = words is not None or any(each.limit is not None for each in by)
    return Choice(tuple(by), words, study.seed if is_drawn else None)


def predictions_of(partition: Partition, corpus: Corpus, choice: Choice) -> tuple[Entry, list[Entry]]:
    """The files of the predictions that are explained, and of those of other languages that choose a class."""
    languages = dict.fromkeys((corpus.language, *(each.language for each in choice.by)))
    # A class that another language's row chose explains this one only if it says the same.
    require_parallel(partition, corpus.dataset, languages)
    own, *others = (
        partition.required(
            Slot(EXPLAINED[str(corpus.task)].table, (partition.model, language), corpus.dataset)
        )
        for language in languages
    )
    return own, others


_NONE, _LOGITS = pl.lit(None), pl.lit("logits")
_PLACE = pl.col("target").str.extract(r"^(\d+):").cast(pl.Int32)
"""What a target's name begins with: a word's number, or that of a written sub-token."""


def _own(work: Work, job: Job, table: str) -> pl.LazyFrame:
    """Predictions of the job's language."""
    (language,) = {slot.partition["language"] for slot in job.slots.values()}
    return work.scan(job, table, language=language)


def _examples(work: Work, job: Job, choice: Choice) -> pl.DataFrame:
    """Those of which something is explained, where it is the language's own."""
    (chosen,) = choice.by
    return part(work.scan(job, "examples").select("example_id").collect(), chosen.limit, choice.seed)


def _class_targets(work: Work, job: Job, choice: Choice) -> pl.DataFrame:
    """The classes of the study's policy. The same examples in every language."""
    columns = ("split", "example_id", "label", "predicted")
    classes = [
        explained(
            work.scan(job, "predictions", language=each.language).select(columns).collect(),
            each.policy,
            each.limit,
            choice.seed,
        )
        for each in choice.by
    ]
    here = _own(work, job, "predictions").select("example_id").collect()
    targets = pl.concat(classes).select("example_id", "target").unique(maintain_order=True)
    return targets.join(here, on="example_id", how="semi", maintain_order="left")


def _class_outputs(work: Work, job: Job, targets: pl.DataFrame) -> pl.DataFrame:
    predicted = _own(work, job, "predictions").select("example_id", "logits")
    return _outputs(targets, predicted, label=pl.col("target"))


def _outputs(
    targets: pl.DataFrame,
    predicted: pl.LazyFrame,
    on: Sequence[str] = ("example_id",),
    label: pl.Expr = _NONE,
    position: pl.Expr = _NONE,
    output: pl.Expr = _LOGITS,
    logits: pl.Expr = pl.col("logits"),  # noqa: B008 - an expression never changes
) -> pl.DataFrame:
    """Targets with what was predicted of them."""
    joined = targets.lazy().join(predicted, on=on, maintain_order="left")
    return joined.select(
        "example_id",
        "target",
        label=label.cast(pl.String),
        position=position.cast(pl.Int32),
        output=output,
        logits=logits,
    ).collect()


def _place_whole(
    work: Work, job: Job, loaded: LoadedModel, examples: pl.DataFrame, outputs: pl.DataFrame
) -> Placed:
    """One input per example; a class or, at a position, a tag."""
    from xlwh.attribution.base import Item
    from xlwh.models.tokenize import encode

    encoded = encode(loaded, examples)
    row = {str(name): index for index, name in enumerate(examples["example_id"])}
    classes = {label: index for index, label in enumerate(loaded.labels or ())}
    items = [
        Item(row[target["example_id"]], classes[target["label"]], target["position"], target["output"])
        for target in outputs.rows(named=True)
    ]
    return encoded, items, [range(int(encoded.lengths[item.example])) for item in items]


def _tag_targets(work: Work, job: Job, choice: Choice) -> pl.DataFrame:
    """The predicted (policy `gold`: the gold) tags of a few words of each sentence, named `<word_index>:<tag>`."""
    column = "label" if choice.by[0].policy == "gold" else "predicted"
    words = (
        _own(work, job, "token_predictions")
        .filter((pl.col("status") == "tagged") & pl.col(column).is_not_null())
        .select("example_id", "word_index", label=column)
        .collect()
    )
    words = words.join(_examples(work, job, choice), on="example_id", how="semi", maintain_order="left")
    words = _drawn(words, "word_index", choice)
    return words.select("example_id", target=pl.format("{}:{}", "word_index", "label"))


def _drawn(frame: pl.DataFrame, within: str, choice: Choice) -> pl.DataFrame:
    """The chosen number of rows of each example, drawn by the seed; `within` numbers the rows of an example."""
    if choice.words is None or frame.is_empty():
        return frame
    ranks = [
        hashlib.sha256(f"{choice.seed}\x1f{example}\x1f{place}".encode()).hexdigest()
        for example, place in frame.select("example_id", within).iter_rows()
    ]
    order = pl.col("rank").rank("ordinal").over("example_id")
    return frame.with_columns(rank=pl.Series(ranks)).filter(order <= choice.words).drop("rank")


def _tag_outputs(work: Work, job: Job, targets: pl.DataFrame) -> pl.DataFrame:
    predicted = _own(work, job, "token_predictions").select("example_id", "word_index", "position", "logits")
    return _outputs(
        targets.with_columns(word_index=_PLACE),
        predicted,
        ("example_id", "word_index"),
        label=pl.col("target").str.replace(r"^\d+:", ""),
        position=pl.col("position"),
    )


def _answer_targets(work: Work, job: Job, choice: Choice) -> pl.DataFrame:
    """The start and the end of every answer that was found."""
    answered = _own(work, job, "answer_spans").select("example_id").collect()
    answered = answered.join(_examples(work, job, choice), on="example_id", how="semi", maintain_order="left")
    return pl.concat(answered.select("example_id", target=pl.lit(end)) for end in ("start", "end"))


def _answer_outputs(work: Work, job: Job, targets: pl.DataFrame) -> pl.DataFrame:
    def of_end(column: str) -> pl.Expr:
        return pl.when(target="start").then(f"start_{column}").otherwise(f"end_{column}")

    return _outputs(
        targets,
        _own(work, job, "answer_spans"),
        position=of_end("position"),
        output=pl.format("{}_logits", "target"),
        logits=pl.concat_list(of_end("logit")),
    )


def _place_windows(
    work: Work, job: Job, loaded: LoadedModel, examples: pl.DataFrame, outputs: pl.DataFrame
) -> Placed:
    """The window of each example in which its answer was found."""
    from xlwh.attribution.base import Item
    from xlwh.models.answers import windows

    chosen = dict(_own(work, job, "answer_spans").select("example_id", "window").collect().iter_rows())
    cut = windows(loaded, examples, options_of(job, Inputs))
    row = {str(name): index for index, name in enumerate(examples["example_id"])}
    items, positions = [], []
    for target in outputs.rows(named=True):
        window = cut.of(row[target["example_id"]])[chosen[target["example_id"]]]
        inside = cut.position[cut.row(window)]
        (place,) = np.flatnonzero(inside == target["position"]).tolist()
        items.append(Item(window, 0, place, target["output"]))
        positions.append(inside.tolist())
    return cut, items, positions


def _written_targets(work: Work, job: Job, choice: Choice) -> pl.DataFrame:
    """A few sub-tokens of each translation as the model wrote it, named by their place, `<place>:output`."""
    written = _own(work, job, "predictions").select(
        "example_id", place=pl.int_ranges(pl.col("logits").list.len())
    )
    chosen = _examples(work, job, choice)
    tokens = (
        written.collect().join(chosen, on="example_id", how="semi", maintain_order="left").explode("place")
    )
    return _drawn(tokens, "place", choice).select("example_id", target=pl.format("{}:output", "place"))


def _written_outputs(work: Work, job: Job, targets: pl.DataFrame) -> pl.DataFrame:
    predicted = _own(work, job, "predictions").select("example_id", "logits")
    logits = pl.concat_list(pl.col("logits").list.get(_PLACE))
    return _outputs(targets, predicted, position=_PLACE, logits=logits)


def _place_written(
    work: Work, job: Job, loaded: LoadedModel, examples: pl.DataFrame, outputs: pl.DataFrame
) -> Placed:
    """The source texts, with what the model wrote forced on its decoder."""
    from xlwh.attribution.base import Item
    from xlwh.models.translation import encode_translations

    written = _own(work, job, "predictions").select("example_id", text_pair="predicted").collect()
    paired = examples.drop("text_pair").join(written, on="example_id", maintain_order="left")
    encoded = encode_translations(loaded, paired)
    row = {str(name): index for index, name in enumerate(paired["example_id"])}
    items = []
    for target in outputs.rows(named=True):
        index, place = row[target["example_id"]], target["position"]
        items.append(Item(index, (encoded.forced or ())[index][place], place, target["output"]))
    return encoded, items, [range(int(encoded.lengths[item.example])) for item in items]


_CLASSES = Explained(
    "sequence_classification", "predictions", ("labels",), _class_targets, _class_outputs, _place_whole
)

EXPLAINED: dict[str, Explained] = {
    **dict.fromkeys(CLASSIFICATION, _CLASSES),
    TAGGING: Explained(TAGGING, "token_predictions", ("labels",), _tag_targets, _tag_outputs, _place_whole),
    QUESTION_ANSWERING: Explained(
        QUESTION_ANSWERING,
        "answer_spans",
        ("doc_stride", "max_question"),
        _answer_targets,
        _answer_outputs,
        _place_windows,
    ),
    TRANSLATION: Explained(
        TRANSLATION, "predictions", (), _written_targets, _written_outputs, _place_written
    ),
}
"""What is explained, by `examples.task`."""
