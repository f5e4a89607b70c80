"""What every chart shares: a picture, axes with round ticks, numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from xlwh.report.markup import Markup, el, join
from xlwh.report.theme import colour

SIZE = 12.0
"""Font size of axis labels, in pixels."""
FONT = "'Noto Sans', 'Noto Sans Arabic', 'Noto Sans Devanagari', 'Noto Sans Thai', system-ui, sans-serif"


@dataclass(frozen=True)
class Picture:
    """A drawing of known size, in pixels."""

    width: float
    height: float
    content: Markup


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels, with round ticks."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`; smaller than `start` on vertical axes."""
    ticks: tuple[float, ...]
    step: float

    @staticmethod
    def over(
        values: Iterable[float | None],
        start: float,
        end: float,
        *,
        include: Iterable[float] = (),
        count: int = 5,
        whole: bool = False,
    ) -> Axis:
        """The axis over finite values and `include`, widened to round numbers; `whole`: ticks at whole numbers only."""
        found = [v for v in (*values, *include) if v is not None and math.isfinite(v)] or [0.0, 1.0]
        low, high = min(found), max(found)
        if high - low < 1e-9:
            low, high = low - max(0.05, abs(low) * 0.05), high + max(0.05, abs(high) * 0.05)
        step = _round_step((high - low) / max(1, count))
        if whole:
            step = max(1.0, math.ceil(step))
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        ticks = tuple(low + i * step for i in range(round((high - low) / step) + 1))
        return Axis(low, high, start, end, ticks, step)

    def at(self, value: float) -> float:
        """Pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """A tick as text, with as many decimals as the steps need."""
        digits = 0
        while digits < 6 and abs(round(self.step, digits) - self.step) > 1e-9 * self.step:
            digits += 1
        return number(tick, digits)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next((m * power for m in (1.0, 2.0, 2.5, 5.0) if m * power >= raw - 1e-12), 10.0 * power)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals and a true minus; – where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.replace("-", "")
    return text.replace("-", "\u2212")


def interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A number and its interval: `0.301 [0.279, 0.323]`."""
    if low is None or high is None:
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def label(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = "muted",
    size: float = SIZE,
    bold: bool = False,
    turn: float | None = None,
) -> Markup:
    """A text; `anchor` start, middle or end; vertically centred on y."""
    return el(
        "text",
        text,
        x=x,
        y=y + size * 0.35,
        text_anchor=anchor,
        fill=colour(fill),
        font_size=size,
        font_weight="600" if bold else None,
        transform=None if turn is None else f"rotate({turn} {x:.1f} {y:.1f})",
    )


def rule(x1: float, y1: float, x2: float, y2: float, stroke: str = "grid", width: float = 1.0) -> Markup:
    """A straight line."""
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour(stroke), stroke_width=width)


def horizontal(axis: Axis, top: float, bottom: float, title: str) -> Markup:
    """Grid, ticks and title of a horizontal axis below `bottom`."""
    parts = []
    for tick in axis.ticks:
        x = axis.at(tick)
        parts += [rule(x, top, x, bottom), label(x, bottom + 12, axis.label(tick), anchor="middle")]
    if title:
        parts.append(label((axis.start + axis.end) / 2, bottom + 32, title, anchor="middle", fill="ink"))
    return join(parts)


def vertical(axis: Axis, left: float, right: float, title: str) -> Markup:
    """Grid, ticks and title of a vertical axis to the left of `left`."""
    parts = []
    for tick in axis.ticks:
        y = axis.at(tick)
        parts += [rule(left, y, right, y), label(left - 7, y, axis.label(tick), anchor="end")]
    if title:
        middle = (axis.start + axis.end) / 2
        parts.append(label(left - 46, middle, title, anchor="middle", fill="ink", turn=-90))
    return join(parts)


def svg(picture: Picture, description: str, title: str = "") -> Markup:
    """A complete SVG element, as wide as its place allows up to its own size; `description` is for screen readers."""
    head = []
    height = picture.height
    if title:
        head.append(label(0, 12, title, fill="ink", size=15, bold=True))
        height += 30
    return el(
        "svg",
        head,
        el("g", picture.content, transform="translate(0 30)") if title else picture.content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {picture.width:.0f} {height:.0f}",
        width=round(picture.width),
        height=round(height),
        role="img",
        aria_label=description,
        font_family=FONT,
        class_="chart",
    )


def hover(*lines: str) -> Markup:
    """What is shown of a mark under the pointer."""
    return el("title", "\n".join(line for line in lines if line))
