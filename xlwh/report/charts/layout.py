"""Pictures side by side, and the key to their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlwh.report.charts.base import Picture, label
from xlwh.report.markup import el, join, text_width


@dataclass(frozen=True)
class Key:
    """One entry of a legend; `dash` for lines, None for a dot."""

    name: str
    colour: str
    dash: str | None = None


def grid(pictures: Sequence[Picture], columns: int = 2, gap: float = 18.0) -> Picture:
    """Pictures in rows of so many, each row as high as its highest."""
    parts, y, widest = [], 0.0, 0.0
    for start in range(0, len(pictures), columns):
        x = 0.0
        row = pictures[start : start + columns]
        for picture in row:
            parts.append(el("g", picture.content, transform=f"translate({x:.1f} {y:.1f})"))
            x += picture.width + gap
        widest = max(widest, x - gap)
        y += max(picture.height for picture in row) + gap
    return Picture(widest, max(0.0, y - gap), join(parts))


def above(first: Picture, second: Picture, gap: float = 8.0) -> Picture:
    """One picture over the other, such as a legend over its chart."""
    return grid([first, second], columns=1, gap=gap)


def legend(keys: Sequence[Key], width: float = 640.0) -> Picture:
    """Names with their colours, in as many lines as they need."""
    parts, x, y = [], 0.0, 9.0
    for key in keys:
        long = text_width(key.name, 12) + (42 if key.dash is not None else 30)
        if x and x + long > width:
            x, y = 0.0, y + 18
        if key.dash is None:
            parts.append(el("circle", cx=x + 6, cy=y, r=4.6, fill=key.colour))
            offset = 15
        else:
            parts.append(
                el(
                    "line",
                    x1=x,
                    x2=x + 22,
                    y1=y,
                    y2=y,
                    stroke=key.colour,
                    stroke_width=2,
                    stroke_dasharray=key.dash or None,
                )
            )
            offset = 28
        parts.append(label(x + offset, y, key.name, fill="ink"))
        x += long
    return Picture(width, y + 11, join(parts))
