"""A transport plan: two columns of words, and between them the mass that travels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlwh.report.charts.base import Picture, hover, label, number
from xlwh.report.markup import Markup, cut, el, join
from xlwh.report.theme import colour, mix

_LINE = 19.0
_SIDE = 190.0
_BAR = 8.0


@dataclass(frozen=True)
class Node:
    """A word and its weight, a share."""

    name: str
    weight: float
    note: str = ""


@dataclass(frozen=True)
class Link:
    """Mass from one source word to one target word, and how similar the two are."""

    source: int
    target: int
    mass: float
    similarity: float


def flow(
    source: Sequence[Node],
    target: Sequence[Node],
    links: Sequence[Link],
    *,
    source_title: str,
    target_title: str,
    width: float = 760.0,
    unmatched: float = 0.02,
) -> Picture:
    """Words from top to bottom; a ribbon is as thick as its mass and as strong as its similarity.

    Links of less than `unmatched` similarity carry nothing to the score and are drawn faintly.
    """
    top = 26.0
    per_mass = max(90.0, min(260.0, 9.0 * max(len(source), len(target))))
    height = max(sum(_heights(nodes, per_mass)) for nodes in (source, target))
    left, right = _SIDE, width - _SIDE
    places = [_places(nodes, per_mass, top, height) for nodes in (source, target)]
    parts: list[Markup] = [
        label(left - 12, 9, source_title, anchor="end", fill="ink", bold=True),
        label(right + 12, 9, target_title, fill="ink", bold=True),
    ]
    spots = [list(places[0]), list(places[1])]
    for side, nodes in ((0, source), (1, target)):
        spots[side] = [y - node.weight * per_mass / 2 for y, node in zip(places[side], nodes, strict=True)]
    for link in sorted(links, key=lambda each: (each.source, each.target)):
        size = link.mass * per_mass
        y1, y2 = spots[0][link.source], spots[1][link.target]
        spots[0][link.source] += size
        spots[1][link.target] += size
        parts.append(_ribbon(link, source, target, (left + _BAR, right - _BAR), (y1, y2), size, unmatched))
    for number_, (node, y) in enumerate(zip(source, places[0], strict=True)):
        parts.append(_word(node, left, y, per_mass, "s1", "end", f"s{number_}"))
    for number_, (node, y) in enumerate(zip(target, places[1], strict=True)):
        parts.append(_word(node, right - _BAR, y, per_mass, "s2", "start", f"t{number_}"))
    return Picture(width, top + height + 12, join(parts))


def _heights(nodes: Sequence[Node], per_mass: float) -> list[float]:
    """Room of each word: a line of text, or its bar where that is higher."""
    return [max(_LINE, node.weight * per_mass + 5) for node in nodes]


def _places(nodes: Sequence[Node], per_mass: float, top: float, height: float) -> list[float]:
    """Middle of each word; the shorter side is spread over the same height."""
    heights = _heights(nodes, per_mass)
    gap = (height - sum(heights)) / max(1, len(nodes))
    places, y = [], top + gap / 2
    for each in heights:
        places.append(y + each / 2)
        y += each + gap
    return places


def _word(node: Node, x: float, y: float, per_mass: float, shade: str, anchor: str, name: str) -> Markup:
    size = max(1.0, node.weight * per_mass)
    text_x = x - 8 if anchor == "end" else x + _BAR + 8
    return el(
        "g",
        hover(node.name, f"weight {number(node.weight, 3)}", node.note),
        el("rect", x=x, y=y - size / 2, width=_BAR, height=size, fill=colour(shade), rx=1.5),
        el(
            "text",
            cut(node.name, 24),
            x=text_x,
            y=y + 4.5,
            text_anchor=anchor,
            fill=colour("ink"),
            font_size=13,
            font_weight="600" if node.weight >= 0.08 else None,
        ),
        class_="mark word",
        data_node=name,
    )


def _ribbon(
    link: Link,
    source: Sequence[Node],
    target: Sequence[Node],
    x: tuple[float, float],
    y: tuple[float, float],
    size: float,
    unmatched: float,
) -> Markup:
    (x1, x2), (y1, y2) = x, y
    middle = (x1 + x2) / 2
    path = (
        f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        f"L{x2:.1f} {y2 + size:.1f}C{middle:.1f} {y2 + size:.1f} {middle:.1f} {y1 + size:.1f} {x1:.1f} {y1 + size:.1f}Z"
    )
    similar = link.similarity > unmatched
    return el(
        "path",
        hover(
            f"{source[link.source].name} → {target[link.target].name}",
            f"mass {number(link.mass, 3)}, similarity {number(link.similarity, 3)}",
        ),
        d=path,
        fill=mix(link.similarity, "pos", "s8") if similar else colour("s8"),
        opacity=round(0.28 + 0.6 * max(0.0, link.similarity), 2) if similar else 0.13,
        class_="mark ribbon",
        data_source=f"s{link.source}",
        data_target=f"t{link.target}",
    )
