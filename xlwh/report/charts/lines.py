"""Curves over a numeric axis: layers, heads removed, rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlwh.report.charts.base import Axis, Picture, horizontal, hover, interval, label, vertical
from xlwh.report.markup import Markup, el, join
from xlwh.report.theme import colour


@dataclass(frozen=True)
class Line:
    """One curve; `dash` as SVG writes it, empty for a solid line."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    dash: str = ""


def lines(
    curves: Sequence[Line],
    *,
    x_title: str,
    y_title: str,
    title: str = "",
    width: float = 420.0,
    height: float = 260.0,
    include: Sequence[float] = (),
    y_domain: Sequence[float] = (),
    whole: bool = True,
    reference: float | None = None,
    reference_name: str = "",
) -> Picture:
    """Curves with their bands. `y_domain` gives values that the vertical axis must reach, to share it between panels."""
    left, right, top, bottom = 58.0, width - 14, 26.0 if title else 10.0, height - 42
    heights = [v for curve in curves for v in (*curve.y, *curve.low, *curve.high)]
    references = () if reference is None else (reference,)
    x_axis = Axis.over([v for curve in curves for v in curve.x], left, right, whole=whole, count=7)
    y_axis = Axis.over(heights, bottom, top, include=(*include, *y_domain, *references))
    parts = [horizontal(x_axis, top, bottom, x_title), vertical(y_axis, left, right, y_title)]
    if title:
        parts.append(label(left, 9, title, fill="ink", bold=True))
    if reference is not None:
        y = y_axis.at(reference)
        parts.append(
            el(
                "line",
                x1=left,
                x2=right,
                y1=y,
                y2=y,
                stroke=colour("ink"),
                stroke_width=1.2,
                stroke_dasharray="4 3",
            )
        )
        if reference_name:
            parts.append(label(right, y - 8, reference_name, anchor="end", size=11))
    for curve in curves:
        parts.append(_band(curve, x_axis, y_axis))
    for curve in curves:
        parts.append(_curve(curve, x_axis, y_axis))
    return Picture(width, height, join(parts))


def _band(curve: Line, x_axis: Axis, y_axis: Axis) -> Markup:
    found = [
        (x_axis.at(x), y_axis.at(low), y_axis.at(high))
        for x, low, high in zip(curve.x, curve.low, curve.high, strict=False)
        if low is not None and high is not None
    ]
    if len(found) < 2:
        return Markup("")
    outline = [(x, low) for x, low, _ in found] + [(x, high) for x, _, high in reversed(found)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
    return el("polygon", points=points, fill=curve.colour, opacity=0.13)


def _curve(curve: Line, x_axis: Axis, y_axis: Axis) -> Markup:
    # A gap where a value is missing: nothing is drawn across it.
    runs: list[list[str]] = [[]]
    points = []
    lows = curve.low or [None] * len(curve.x)
    highs = curve.high or [None] * len(curve.x)
    for x, y, low, high in zip(curve.x, curve.y, lows, highs, strict=True):
        if y is None:
            runs.append([])
            continue
        px, py = x_axis.at(x), y_axis.at(y)
        runs[-1].append(f"{px:.1f},{py:.1f}")
        about = hover(curve.name, f"at {x:g}: {interval(y, low, high)}")
        points.append(
            el(
                "g",
                about,
                el("circle", cx=px, cy=py, r=8, fill="transparent"),
                el("circle", cx=px, cy=py, r=2.6, fill=curve.colour),
                class_="mark",
            )
        )
    drawn = [
        el(
            "polyline",
            points=" ".join(run),
            fill="none",
            stroke=curve.colour,
            stroke_width=1.9,
            stroke_dasharray=curve.dash or None,
            stroke_linejoin="round",
        )
        for run in runs
        if len(run) > 1
    ]
    return join([*drawn, *points])
