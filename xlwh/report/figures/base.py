"""What a figure is: the views it needs, what of them can be chosen, and a pure function from rows to a drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

import polars as pl

from xlwh.report.charts import Picture

Frames = Mapping[str, pl.DataFrame]
"""View -> its rows, already narrowed to the selection."""
Selection = Mapping[str, str]
"""Column (or a choice of the figure's own) -> value."""

ALL = "(all)"
"""Value of an optional filter that leaves everything in."""


class Views(Protocol):
    """Where rows come from."""

    def frame(self, name: str) -> pl.DataFrame | None:
        """All rows of a view; None if the warehouse has no such view."""


@dataclass(frozen=True)
class Filter:
    """Something to choose: a column of the figure's first view, or, with `values`, a setting of the figure itself."""

    column: str
    label: str
    prefer: tuple[str, ...] = ()
    """Values chosen first where they occur."""
    values: tuple[str, ...] = ()
    optional: bool = False
    """Leaves everything in until a value is chosen."""


@dataclass(frozen=True)
class Offer:
    """A filter with the values that can be chosen and the one that is."""

    filter: Filter
    values: tuple[str, ...]
    chosen: str
    unmet: str = ""
    """What was asked for where the data does not have it: `chosen` stands for it, and the reader is told."""

    @property
    def refusal(self) -> str:
        """What is wrong with the value that was asked for, and what there is."""
        return f"no {self.filter.column} `{self.unmet}`; there is: {', '.join(self.values)}"


@dataclass(frozen=True)
class Drawn:
    """A drawing, the numbers in it, and how to read it."""

    picture: Picture
    table: pl.DataFrame
    note: str
    offers: tuple[Offer, ...] = ()
    cut: str = ""
    """What of the rows is not drawn: the end of the note, which stands below the drawing in a file too."""

    @property
    def choice(self) -> dict[str, str]:
        """What was chosen, by the filters' columns."""
        return {offer.filter.column: offer.chosen for offer in self.offers}


@dataclass(frozen=True)
class Missing:
    """Why there is nothing to draw, and the command that mends it."""

    reason: str
    command: str
    offers: tuple[Offer, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One figure."""

    name: str
    title: str
    question: str
    views: tuple[str, ...]
    """The first one is what its filters choose from, and what has to have rows."""
    draw: Callable[[Frames, Selection], Drawn | Missing]
    command: str
    """Fills the views."""
    filters: tuple[Filter, ...] = ()
    each: tuple[str, ...] = ()
    """Filters of which a report on paper, where nothing can be chosen, shows every value."""
    needs: tuple[str, ...] = ()
    """Columns without which it cannot be drawn; `draw` may rely on them."""


@dataclass(frozen=True)
class Section:
    """What one paper asks, with its figures."""

    name: str
    title: str
    question: str
    figures: tuple[Figure, ...]
    views: tuple[str, ...] = field(default=())
    """Public views of the section beyond those that its figures read."""


VARIANT = Filter("variant", "Variant", prefer=("strict",))
DATASET = Filter("dataset", "Dataset")
SPLIT = Filter("split", "Split", prefer=("test", "dev"))


def render(figure: Figure, views: Views, wanted: Selection) -> Drawn | Missing:
    """Draw a figure for what is wanted; where the data cannot meet a wish, its offer says so (`Offer.unmet`)."""
    frames: dict[str, pl.DataFrame] = {}
    for name in figure.views:
        frame = views.frame(name)
        if frame is None:
            return Missing(f"This warehouse has no view {name}.", "xlwh catalogue")
        frames[name] = frame
    main = frames[figure.views[0]]
    if main.is_empty():
        return Missing(f"The view {figure.views[0]} has no rows yet.", figure.command)
    absent = [column for column in figure.needs if column not in main.columns]
    if absent:
        return Missing(f"The view {figure.views[0]} has no column {', '.join(absent)}.", "xlwh catalogue")
    offers = offered(figure.filters, main, wanted)
    chosen = {offer.filter.column: offer.chosen for offer in offers}
    narrowed = {name: narrow(frame, offers) for name, frame in frames.items()}
    drawn = figure.draw(narrowed, chosen)
    if isinstance(drawn, Missing):
        return Missing(drawn.reason, drawn.command, offers)
    return replace(drawn, offers=offers)


@dataclass(frozen=True)
class Everything:
    """A figure for every combination of the filters that a report on paper shows one by one."""

    drawn: tuple[Drawn, ...]
    missing: tuple[Missing, ...]
    """Combinations of which there is nothing to draw."""
    left_out: tuple[Mapping[str, str], ...]
    """Combinations beyond the limit, by the filters' columns."""


def everything(
    figure: Figure,
    views: Views,
    most: int = 24,
    wanted: Selection = MappingProxyType({}),
    also: Sequence[str] = (),
) -> Everything:
    """The figure for every combination of the filters in `each`, at most so many; without such as `render` draws it.

    `wanted` holds for all of them; `also` names further filters of which every value is shown.
    """
    waiting: list[dict[str, str]] = [dict(wanted)]
    for column in (*figure.each, *also):
        if column in wanted:
            continue
        expanded = []
        for selection in waiting:
            offers = {offer.filter.column: offer for offer in render(figure, views, selection).offers}
            found = [v for v in offers[column].values if v != ALL] if column in offers else []
            expanded += [{**selection, column: value} for value in found] or [selection]
        waiting = expanded
    made = [render(figure, views, selection) for selection in waiting[:most]]
    return Everything(
        tuple(each for each in made if isinstance(each, Drawn)),
        tuple(each for each in made if isinstance(each, Missing)),
        tuple(waiting[most:]),
    )


def offered(filters: Sequence[Filter], frame: pl.DataFrame, wanted: Selection) -> tuple[Offer, ...]:
    """What can be chosen, one filter after the other: each offers what the choices before it leave."""
    offers: list[Offer] = []
    for each in filters:
        if each.values:
            chosen = wanted.get(each.column, "")
            known = chosen in each.values
            offers.append(
                Offer(each, each.values, chosen if known else each.values[0], "" if known else chosen)
            )
            continue
        if each.column not in frame.columns:
            continue
        values = [str(value) for value in frame[each.column].drop_nulls().unique().sort().to_list()]
        if not values:
            continue
        if each.optional:
            values = [ALL, *values]
        choice, unmet = wanted.get(each.column, ""), ""
        if choice not in values:
            unmet = choice
            choice = next((name for name in each.prefer if name in values), values[0])
        offer = Offer(each, tuple(values), choice, unmet)
        offers.append(offer)
        frame = narrow(frame, [offer])
    return tuple(offers)


def narrow(frame: pl.DataFrame, offers: Sequence[Offer]) -> pl.DataFrame:
    """The rows that agree with the choices, in the columns that the frame has."""
    for offer in offers:
        column = offer.filter.column
        if not offer.filter.values and offer.chosen != ALL and column in frame.columns:
            frame = frame.filter(pl.col(column).cast(pl.String) == offer.chosen)
    return frame


T = TypeVar("T")


def first(items: Sequence[T], most: int, what: str) -> tuple[list[T], str]:
    """The first so many, and a sentence for the figure's note on those that are left out; empty where none are."""
    if len(items) <= most:
        return list(items), ""
    left = ", ".join(str(item) for item in items[most:])
    return list(items[:most]), f" {most} of {len(items)} {what} are drawn; the table has the others: {left}."


def chosen_text(offers: Sequence[Offer]) -> str:
    """What was chosen, for captions: `model mbert, dataset xnli, variant strict`."""
    return ", ".join(f"{offer.filter.label.lower()} {offer.chosen}" for offer in offers)


def values(frame: pl.DataFrame, column: str) -> list[str]:
    """The distinct values of a column as texts, sorted."""
    return [str(value) for value in frame[column].drop_nulls().unique().sort().to_list()]


def share(value: float | None) -> float | None:
    """A number, or None for what cannot be drawn."""
    return None if value is None or value != value else float(value)
