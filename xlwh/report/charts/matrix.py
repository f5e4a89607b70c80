"""A square matrix over the tokens of a text: what each attends to."""

from __future__ import annotations

from collections.abc import Sequence

from xlwh.report.charts.base import Picture, hover, label, number
from xlwh.report.markup import Markup, cut, el, join, text_width, visible
from xlwh.report.theme import colour, mix

_SIZE = 10.0


def matrix(
    weights: Sequence[Sequence[float]],
    names: Sequence[str],
    *,
    title: str = "",
    faint: Sequence[bool] = (),
    high: float = 1.0,
    cell: float = 14.0,
) -> Picture:
    """Rows from top to bottom, columns in the same order, darker up to `high`; names that are `faint` are greyed.

    Below a hundredth of `high` nothing is drawn, which keeps drawings small.
    """
    shown = [cut(visible(name), 12) for name in names]
    room = max([text_width(name, _SIZE) for name in shown] or [0.0]) + 10
    above = room + (22.0 if title else 0.0)
    side = cell * len(names)
    parts: list[Markup] = [
        el("rect", x=room, y=above, width=side, height=side, fill="none", stroke=colour("line"))
    ]
    if title:
        parts.append(label(room, 9, title, fill="ink", bold=True))
    for place, name in enumerate(shown):
        ink = "muted" if faint and faint[place] else "ink"
        middle = (place + 0.5) * cell
        parts.append(label(room - 5, above + middle, name, anchor="end", fill=ink, size=_SIZE))
        parts.append(label(room + middle - _SIZE * 0.35, above - 5, name, fill=ink, size=_SIZE, turn=-90))
    for row, values in enumerate(weights):
        for column, weight in enumerate(values):
            if weight < high / 100:
                continue
            rect = el(
                "rect",
                x=room + column * cell + 0.5,
                y=above + row * cell + 0.5,
                width=cell - 1,
                height=cell - 1,
                fill=mix(min(weight / high, 1.0), "hi", "lo"),
            )
            told = hover(f"{shown[row]} → {shown[column]}", number(weight))
            parts.append(el("g", told, rect, class_="mark"))
    return Picture(room + side + 2, above + side + 2, join(parts))
