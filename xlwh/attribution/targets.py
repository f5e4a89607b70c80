"""What is explained of each task, and where that lies in a model's inputs.

A target is a row with `example_id` and `target`, its name in `token_attributions`: a class; a word's tag,
`<word_index>:<tag>`; the `start` or the `end` of an answer; a sub-token of a translation as the model wrote it,
`<place>:output`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xlwh.attribution.base import Item
from xlwh.draws import chosen
from xlwh.models.answers import windows
from xlwh.models.tokenize import Encoded, encode
from xlwh.models.translation import encode_translations

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models import LoadedModel
    from xlwh.study import Inputs

ON = ("example_id", "target")


@dataclass(frozen=True)
class Chosen:
    """Whose predictions choose targets, by which policy, of how many examples (None is all)."""

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
class Placed:
    """Targets, and the inputs and outputs of a model that they are explained by: item i is target i."""

    targets: pl.DataFrame
    encoded: Encoded
    items: list[Item]
    f_input: list[float]
    """The output at each target, as it was predicted."""

    def keys(self, places: Sequence[int]) -> pl.DataFrame:
        """The examples of some targets (columns as in `Encoded.keys`), and `target`."""
        keys = self.encoded.keys[[self.items[place].example for place in places]]
        return keys.with_columns(self.targets["target"][list(places)])


Located = tuple[Encoded, list[Item], list[float]]


@dataclass(frozen=True)
class Kind:
    """Targets of a task."""

    named: Callable[[pl.LazyFrame, str], pl.LazyFrame]
    """Of predictions, and the column that has what is explained: every target; NULL names none."""
    on: tuple[str, ...]
    """Columns of the predictions that say which target they are of."""
    located: Callable[[LoadedModel, pl.DataFrame, Sequence[dict[str, Any]], Inputs], Located]
    """Of examples, and of targets as predicted with the `row` of their example: the inputs, and each target's item and
    output."""


def explained(predictions: pl.DataFrame, policy: str, limit: int | None, seed: int | None) -> pl.DataFrame:
    """The classes that the predictions of one language choose: `split`, `example_id`, `target`.

    `predictions` has `split`, `example_id`, `label` and `predicted`. The gold class under the policy `gold`, else the
    predicted one; examples without such a class have no row. Of a `sample` of the examples.
    """
    from xlwh.corpora import sample

    drawn = sample(predictions, limit, seed)
    return drawn.select("split", "example_id", target=_column(policy)).drop_nulls("target")


def targets_of(
    kind: Kind,
    choice: Choice,
    predictions: Mapping[str, pl.LazyFrame],
    examples: pl.DataFrame,
    language: str,
) -> pl.DataFrame:
    """The targets among a language's `examples` that some languages' predictions choose."""
    import polars as pl

    from xlwh.corpora import sample

    found = []
    for each in choice.by:
        predicted = predictions[each.language]
        there = examples if each.language == language else predicted.select("example_id").collect()
        drawn = sample(there.select("example_id"), each.limit, choice.seed).lazy()
        named = kind.named(predicted, _column(each.policy)).drop_nulls("target")
        found.append(named.join(drawn, on="example_id", how="semi", maintain_order="left").collect())
    targets = pl.concat(found).unique(maintain_order=True)
    targets = targets.join(examples, on="example_id", how="semi", maintain_order="left")
    return targets if choice.words is None else _drawn(targets, choice.words, choice.seed)


def place(
    kind: Kind,
    loaded: LoadedModel,
    examples: pl.DataFrame,
    targets: pl.DataFrame,
    predictions: pl.LazyFrame,
    inputs: Inputs,
) -> Placed:
    """Targets with the inputs that `examples`, which are theirs, become for the model that predicted them."""
    import polars as pl

    rows = examples.select("example_id", row=pl.int_range(pl.len())).lazy()
    columns = {"word_index": _place(pl.Int32)} if "word_index" in kind.on else {}
    there = (
        targets.lazy()
        .with_columns(**columns)
        .join(rows, on="example_id", maintain_order="left")
        .join(predictions, on=kind.on, maintain_order="left")
        .collect()
    )
    return Placed(there.select(ON), *kind.located(loaded, examples, there.rows(named=True), inputs))


def _column(policy: str) -> str:
    return "label" if policy == "gold" else "predicted"


def _place(dtype: type[pl.DataType]) -> pl.Expr:
    """What a target's name begins with: a word's number, or that of a written sub-token."""
    import polars as pl

    return pl.col("target").str.extract(r"^(\d+):").cast(dtype)


def _drawn(targets: pl.DataFrame, count: int, seed: int | None) -> pl.DataFrame:
    """At most `count` targets of each example, drawn by their places."""
    import polars as pl

    places = targets.with_row_index().with_columns(place=_place(pl.String))
    groups = places.group_by("example_id", maintain_order=True).agg("index", "place")
    kept = [
        rows[at] for example, rows, names in groups.iter_rows() for at in chosen(names, count, seed, example)
    ]
    return targets[pl.Series(kept, dtype=pl.UInt32)]


def _classes(predicted: pl.LazyFrame, column: str) -> pl.LazyFrame:
    return predicted.select("example_id", target=column)


def _tags(predicted: pl.LazyFrame, column: str) -> pl.LazyFrame:
    import polars as pl

    tagged = predicted.filter(status="tagged")
    return tagged.select("example_id", target=pl.format("{}:{}", "word_index", column))


def _ends(predicted: pl.LazyFrame, column: str) -> pl.LazyFrame:
    import polars as pl

    return pl.concat(predicted.select("example_id", target=pl.lit(end)) for end in ("start", "end"))


def _written(predicted: pl.LazyFrame, column: str) -> pl.LazyFrame:
    import polars as pl

    places = predicted.select("example_id", place=pl.int_ranges(pl.col("logits").list.len())).explode("place")
    return places.select("example_id", target=pl.format("{}:output", "place"))


def _locate_labels(
    loaded: LoadedModel, examples: pl.DataFrame, rows: Sequence[dict[str, Any]], inputs: Inputs
) -> Located:
    """One input per example; a class, or a tag at the position of its word."""
    columns = {label: index for index, label in enumerate(loaded.labels or ())}
    items = []
    for row in rows:
        position = row.get("position")
        label = row["target"] if position is None else row["target"].partition(":")[2]
        items.append(Item(row["row"], columns[label], position))
    f_input = [row["logits"][item.target] for row, item in zip(rows, items, strict=True)]
    return encode(loaded, examples), items, f_input


def _locate_ends(
    loaded: LoadedModel, examples: pl.DataFrame, rows: Sequence[dict[str, Any]], inputs: Inputs
) -> Located:
    """The window of each example in which its answer was found."""
    cut = windows(loaded, examples, inputs)
    items, f_input = [], []
    for row in rows:
        end, window = row["target"], cut.of(row["row"])[row["window"]]
        (position,) = np.flatnonzero(cut.position[cut.row(window)] == row[f"{end}_position"]).tolist()
        items.append(Item(window, 0, position, f"{end}_logits"))
        f_input.append(row[f"{end}_logit"])
    return cut, items, f_input


def _locate_written(
    loaded: LoadedModel, examples: pl.DataFrame, rows: Sequence[dict[str, Any]], inputs: Inputs
) -> Located:
    """The source texts, with what the model wrote forced on its decoder."""
    import polars as pl

    written = {row["example_id"]: row["predicted"] for row in rows}
    texts = pl.Series([written[example] for example in examples["example_id"]], dtype=pl.String)
    encoded = encode_translations(loaded, examples.with_columns(text_pair=texts))
    items, f_input = [], []
    for row in rows:
        position = int(row["target"].partition(":")[0])
        items.append(Item(row["row"], (encoded.forced or ())[row["row"]][position], position))
        f_input.append(row["logits"][position])
    return encoded, items, f_input


CLASSES = Kind(_classes, ("example_id",), _locate_labels)
TAGS = Kind(_tags, ("example_id", "word_index"), _locate_labels)
ANSWERS = Kind(_ends, ("example_id",), _locate_ends)
TRANSLATIONS = Kind(_written, ("example_id",), _locate_written)
