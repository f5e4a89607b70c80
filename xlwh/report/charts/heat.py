"""A matrix of coloured cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlwh.report.charts.base import Picture, hover, label, number
from xlwh.report.markup import Markup, cut, el, join, text_width
from xlwh.report.theme import colour, mix


@dataclass(frozen=True)
class Cell:
    """One cell; `note` is what stands under the value when it is pointed at, `link` where a click on it leads."""

    row: str
    column: str
    value: float | None
    note: str = ""
    link: str = ""


def heat(
    cells: Sequence[Cell],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str = "",
    x_title: str = "",
    y_title: str = "",
    low: float,
    high: float,
    diverging: bool = False,
    digits: int = 2,
    numbers: bool = True,
    cell: tuple[float, float] = (48.0, 26.0),
) -> Picture:
    """Cells coloured from `low` to `high`; with `diverging`, from -max to +max around 0. Empty cells are hatched."""
    wide, tall = cell
    left = max([text_width(cut(row, 28), 12) for row in rows] or [0.0]) + 12 + (16 if y_title else 0)
    top = (24.0 if title else 4.0) + 18
    largest = max(abs(low), abs(high), 1e-12)
    by_place = {(c.row, c.column): c for c in cells}
    parts: list[Markup] = []
    if title:
        parts.append(label(left, 9, title, fill="ink", bold=True))
    for number_, column in enumerate(columns):
        parts.append(label(left + (number_ + 0.5) * wide, top - 9, column, anchor="middle"))
    for line, row in enumerate(rows):
        y = top + line * tall
        parts.append(label(left - 7, y + tall / 2, cut(row, 28), anchor="end", fill="ink"))
        for number_, column in enumerate(columns):
            found = by_place.get((row, column))
            x = left + number_ * wide
            if found is None or found.value is None:
                parts.append(
                    el(
                        "rect",
                        x=x + 1,
                        y=y + 1,
                        width=wide - 2,
                        height=tall - 2,
                        fill="none",
                        stroke=colour("line"),
                        stroke_dasharray="2 3",
                    )
                )
                continue
            share = found.value / largest if diverging else (found.value - low) / max(high - low, 1e-12)
            parts.append(_cell(found, x, y, wide, tall, share, diverging, digits if numbers else None))
    height = top + len(rows) * tall
    wide_enough = len(columns) * wide
    if x_title:
        middle = max(wide_enough / 2, text_width(x_title, 12) / 2)
        parts.append(label(left + middle, height + 14, x_title, anchor="middle", fill="ink"))
        wide_enough = max(wide_enough, 2 * middle)
        height += 24
    if y_title:
        parts.append(label(8, top + len(rows) * tall / 2, y_title, anchor="middle", fill="ink", turn=-90))
    return Picture(left + wide_enough + 6, height + 6, join(parts))


def _cell(
    found: Cell,
    x: float,
    y: float,
    wide: float,
    tall: float,
    share: float,
    diverging: bool,
    digits: int | None,
) -> Markup:
    assert found.value is not None
    fill = mix(abs(share), "pos" if share >= 0 else "neg", "mid") if diverging else mix(share, "hi", "lo")
    ink = "on-hi" if abs(share) > 0.55 else "ink"
    parts = [
        hover(f"{found.row} → {found.column}", number(found.value, 4), found.note),
        el("rect", x=x + 0.5, y=y + 0.5, width=wide - 1, height=tall - 1, fill=fill, rx=2),
    ]
    if digits is not None:
        parts.append(
            label(x + wide / 2, y + tall / 2, number(found.value, digits), anchor="middle", fill=ink, size=11)
        )
    # No <a>: the drawing is one image to screen readers, so the link is the page's to make.
    return el("g", parts, class_="mark", data_drill=found.link or None)


def scale(low: float, high: float, diverging: bool = False, digits: int = 2, title: str = "") -> Picture:
    """The colours of a heat map with their values."""
    steps, wide = 24, 6.0
    if diverging:
        high = max(abs(low), abs(high))
        low = -high
    offset = text_width(number(low, digits), 11) + 6
    parts = []
    for step in range(steps):
        share = step / (steps - 1)
        around = 2 * share - 1
        fill = (
            mix(abs(around), "pos" if around >= 0 else "neg", "mid") if diverging else mix(share, "hi", "lo")
        )
        parts.append(el("rect", x=offset + step * wide, y=3, width=wide + 0.3, height=10, fill=fill))
    end = offset + steps * wide
    parts += [
        label(offset - 5, 8, number(low, digits), anchor="end", size=11),
        label(end + 5, 8, number(high, digits), size=11),
        label(end + 12 + text_width(number(high, digits), 11), 8, title, size=11),
    ]
    return Picture(end + 20 + text_width(number(high, digits) + title, 11), 18, join(parts))
