"""Points over two numeric axes, with their names and a fitted line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlwh.report.charts.base import Axis, Picture, horizontal, hover, interval, label, vertical
from xlwh.report.markup import Markup, el, join
from xlwh.report.theme import colour, series


@dataclass(frozen=True)
class Point:
    """One point, with intervals along both axes where there are any."""

    name: str
    series: str
    x: float | None
    y: float | None
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None


def scatter(
    points: Sequence[Point],
    *,
    names: Sequence[str],
    x_title: str,
    y_title: str,
    title: str = "",
    note: str = "",
    width: float = 460.0,
    height: float = 360.0,
    fit: bool = True,
    diagonal: bool = False,
) -> Picture:
    """Points coloured by series; `fit` draws the least-squares line over all of them, `diagonal` the line x = y."""
    left, right, top, bottom = 62.0, width - 16, 26.0 if title else 10.0, height - 42
    seen = [p for p in points if p.x is not None and p.y is not None]
    both = [v for p in seen for v in (p.x, p.y)] if diagonal else []
    x_axis = Axis.over([v for p in seen for v in (p.x, p.x_low, p.x_high)] + both, left, right)
    y_axis = Axis.over([v for p in seen for v in (p.y, p.y_low, p.y_high)] + both, bottom, top)
    parts = [horizontal(x_axis, top, bottom, x_title), vertical(y_axis, left, right, y_title)]
    if title:
        parts.append(label(left, 9, title, fill="ink", bold=True))
    if diagonal:
        parts.append(_line(x_axis, y_axis, 0.0, 1.0))
    elif fit and len(seen) > 2:
        slope = _slope(seen)
        if slope is not None:
            parts.append(_line(x_axis, y_axis, *slope))
    for point in seen:
        parts.append(_point(point, names, x_axis, y_axis))
    placed: list[tuple[float, float]] = []
    for point in sorted(seen, key=lambda p: p.y or 0.0):
        assert point.x is not None
        assert point.y is not None
        x, y = x_axis.at(point.x) + 7, y_axis.at(point.y) - 7
        # Names that would lie on another one are left to the pointer.
        if all(abs(x - a) > 22 or abs(y - b) > 11 for a, b in placed):
            placed.append((x, y))
            parts.append(label(x, y, point.name, fill="ink", size=11))
    if note:
        parts.append(label(right - 4, bottom - 10, note, anchor="end", fill="ink", size=11.5))
    return Picture(width, height, join(parts))


def _point(point: Point, names: Sequence[str], x_axis: Axis, y_axis: Axis) -> Markup:
    assert point.x is not None
    assert point.y is not None
    shade = series(list(names).index(point.series))
    x, y = x_axis.at(point.x), y_axis.at(point.y)
    whiskers = []
    if point.x_low is not None and point.x_high is not None:
        whiskers.append((x_axis.at(point.x_low), y, x_axis.at(point.x_high), y))
    if point.y_low is not None and point.y_high is not None:
        whiskers.append((x, y_axis.at(point.y_low), x, y_axis.at(point.y_high)))
    about = hover(
        f"{point.name} · {point.series}",
        f"x {interval(point.x, point.x_low, point.x_high)}",
        f"y {interval(point.y, point.y_low, point.y_high)}",
    )
    bars = [
        el("line", x1=a, y1=b, x2=c, y2=d, stroke=shade, stroke_width=1.3, opacity=0.55)
        for a, b, c, d in whiskers
    ]
    circle = el("circle", cx=x, cy=y, r=5, fill=shade, stroke=colour("panel"), stroke_width=1.2)
    return el("g", about, bars, circle, class_="mark")


def _slope(points: Sequence[Point]) -> tuple[float, float] | None:
    """Intercept and slope of the least-squares line; None where x does not vary."""
    pairs = [(p.x, p.y) for p in points if p.x is not None and p.y is not None]
    n = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    if spread < 1e-15:
        return None
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread
    return mean_y - slope * mean_x, slope


def _line(x_axis: Axis, y_axis: Axis, intercept: float, slope: float) -> Markup:
    """The part of y = intercept + slope x that lies inside the axes."""
    low, high = x_axis.low, x_axis.high
    if abs(slope) > 1e-12:
        ends = sorted(((y_axis.low - intercept) / slope, (y_axis.high - intercept) / slope))
        low, high = max(low, ends[0]), min(high, ends[1])
    if low >= high:
        return Markup("")
    return el(
        "line",
        x1=x_axis.at(low),
        y1=y_axis.at(intercept + slope * low),
        x2=x_axis.at(high),
        y2=y_axis.at(intercept + slope * high),
        stroke=colour("muted"),
        stroke_width=1.3,
        stroke_dasharray="5 4",
    )
