"""The figures, listed once: what each shows, from which views, and the function that draws it.

Adding one is a function in one of the modules here, and its `Figure` in that module's list. Users' packages add
theirs under the entry point group `xlwh.figures`, each a `Figure` or a list of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points

from xlwh.errors import XlwhError
from xlwh.report.figures import concepts, consistency, faithfulness, heads, scorecards, scores
from xlwh.report.figures.base import (
    Drawn,
    Everything,
    Figure,
    Filter,
    Missing,
    Offer,
    Section,
    Views,
    everything,
    render,
)

SECTIONS: tuple[Section, ...] = (
    scores.SECTION,
    consistency.SECTION,
    faithfulness.SECTION,
    concepts.SECTION,
    heads.SECTION,
    scorecards.SECTION,
)
"""One per paper, in the order in which they are shown, after the scores that all of them need."""

__all__ = [
    "SECTIONS",
    "Drawn",
    "Everything",
    "Figure",
    "Filter",
    "Missing",
    "Offer",
    "Section",
    "Views",
    "all_figures",
    "everything",
    "figure",
    "render",
    "sections",
    "views_of",
]


@cache
def sections() -> tuple[Section, ...]:
    """The sections with their figures, and those of installed packages in one of their own."""
    added: list[Figure] = []
    for point in entry_points(group="xlwh.figures"):
        found = point.load()
        added += [found] if isinstance(found, Figure) else list(found)
    if not added:
        return SECTIONS
    return (*SECTIONS, Section("added", "Added figures", "Figures of installed packages.", tuple(added)))


def all_figures() -> dict[str, Figure]:
    """Every figure by name."""
    return {figure.name: figure for section in sections() for figure in section.figures}


def figure(name: str) -> Figure:
    """The figure of that name; `XlwhError` with the names there are."""
    known = all_figures()
    if name not in known:
        raise XlwhError(f"There is no figure `{name}`. Figures: {', '.join(known)}.")
    return known[name]


def views_of(figures: Iterable[Figure]) -> list[str]:
    """The views that some figures read, each once."""
    return list(dict.fromkeys(view for each in figures for view in each.views))
