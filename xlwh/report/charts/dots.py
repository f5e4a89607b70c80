"""Values with intervals, one row per category: a forest plot, or bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlwh.report.charts.base import Axis, Picture, horizontal, hover, interval, label
from xlwh.report.markup import Markup, cut, el, join, text_width
from xlwh.report.theme import colour, series

_ROW = 13.0
_GAP = 11.0


@dataclass(frozen=True)
class Dot:
    """One value."""

    row: str
    series: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def dots(
    values: Sequence[Dot],
    *,
    rows: Sequence[str],
    names: Sequence[str],
    title: str,
    width: float = 640.0,
    reference: float | None = None,
    reference_name: str = "",
    bars: bool = False,
    together: bool = False,
    digits: int = 3,
    include: Sequence[float] = (),
) -> Picture:
    """Rows from top to bottom, in each one the series in the order of `names`, or `together` on one line.

    `reference` is drawn as a line, named `reference_name`.
    """
    left = min(220.0, max([text_width(cut(row, 34), 12) for row in rows] or [0.0]) + 14)
    marks = [v for dot in values for v in (dot.value, dot.low, dot.high)]
    including = (*include, *(() if reference is None else (reference,)))
    axis = Axis.over(marks, left, width - 18, include=including)
    each = (1 if together else len(names)) * _ROW + _GAP
    top = 18.0 if reference_name else 6.0
    bottom = top + each * len(rows)
    parts: list[Markup] = []
    for number in range(0, len(rows), 2):
        parts.append(
            el(
                "rect",
                x=0,
                y=top + number * each,
                width=width,
                height=each,
                fill=colour("raised"),
                opacity=0.55,
            )
        )
    parts.append(horizontal(axis, top, bottom, title))
    if reference is not None:
        x = axis.at(reference)
        parts.append(
            el(
                "line",
                x1=x,
                x2=x,
                y1=top - 4,
                y2=bottom,
                stroke=colour("ink"),
                stroke_width=1.2,
                stroke_dasharray="4 3",
            )
        )
        if reference_name:
            near_end = x > (left + width) / 2
            parts.append(
                label(
                    x + (-4 if near_end else 4),
                    6,
                    reference_name,
                    anchor="end" if near_end else "start",
                    size=11,
                )
            )
    places = {row: top + number * each + each / 2 for number, row in enumerate(rows)}
    middle = 0.0 if together else (len(names) - 1) / 2
    offsets = {name: 0.0 if together else (n - middle) * _ROW for n, name in enumerate(names)}
    parts += [label(left - 10, y, cut(row, 34), anchor="end", fill="ink") for row, y in places.items()]
    for dot in values:
        if dot.value is None or dot.row not in places or dot.series not in offsets:
            continue
        y = places[dot.row] + offsets[dot.series]
        shade = series(list(names).index(dot.series))
        about = hover(
            f"{dot.row} · {dot.series}" if dot.series else dot.row,
            interval(dot.value, dot.low, dot.high, digits),
            dot.note,
        )
        parts.append(_mark(axis, dot, y, shade, about, reference or 0.0, bars))
    return Picture(width, bottom + 42, join(parts))


def _mark(axis: Axis, dot: Dot, y: float, shade: str, about: Markup, base: float, bars: bool) -> Markup:
    assert dot.value is not None
    x = axis.at(dot.value)
    parts = []
    if bars:
        start = axis.at(min(max(base, axis.low), axis.high))
        parts.append(
            el(
                "rect",
                x=min(x, start),
                y=y - 4.5,
                width=abs(x - start),
                height=9,
                fill=shade,
                opacity=0.75,
                rx=1.5,
            )
        )
    if dot.low is not None and dot.high is not None:
        parts.append(
            el(
                "line",
                x1=axis.at(dot.low),
                x2=axis.at(dot.high),
                y1=y,
                y2=y,
                stroke=colour("ink") if bars else shade,
                stroke_width=1.4 if bars else 2.2,
                stroke_linecap="round",
            )
        )
    if not bars:
        parts.append(el("circle", cx=x, cy=y, r=4.6, fill=shade, stroke=colour("panel"), stroke_width=1.2))
    return el("g", about, parts, class_="mark")
