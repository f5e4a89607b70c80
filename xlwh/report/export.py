"""Figures as files for a paper, and their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from xlwh.errors import MissingDataError, XlwhError
from xlwh.report.charts import Picture, svg
from xlwh.report.figures import Drawn, all_figures, figure, render
from xlwh.report.figures.base import Selection
from xlwh.report.tables import latex, markdown, safe_csv
from xlwh.report.theme import COLOURS, Mode, plain
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse

_TABLES = {"csv": (safe_csv, "csv"), "latex": (latex, "tex"), "markdown": (markdown, "md")}
PNG_SCALE = 3.0
"""Pixels per unit of a drawing: about 290 dots an inch at its printed size."""


def export(
    warehouse: Warehouse,
    folder: Path,
    only: Sequence[str],
    formats: Sequence[str],
    tables: Sequence[str],
    chosen: Selection,
    mode: Mode,
) -> Iterator[Path]:
    """Write figures and their tables into a folder, those that have rows unless they are named; yields the paths.

    Raises `MissingDataError` where nothing could be written.
    """
    names = list(only) or list(all_figures())
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    with closing(warehouse.connect()) as connection:
        views = FrameViews(connection.cursor)
        for name in names:
            wanted = figure(name)
            drawn = render(wanted, views, chosen)
            if not isinstance(drawn, Drawn):
                reasons.append(f"{name}: {drawn.reason} Run: {drawn.command}")
                continue
            for kind in formats:
                path = folder / f"{name}.{kind}"
                path.write_bytes(picture(drawn.picture, wanted.title, kind, mode))
                yield path
            for kind in tables:
                write, ending = _TABLES[kind]
                path = folder / f"{name}.{ending}"
                path.write_text(write(drawn.table), encoding="utf-8")
                yield path
    if reasons and (only or len(reasons) == len(names)):
        raise MissingDataError("\n".join(reasons))


def picture(drawing: Picture, description: str, kind: str, mode: Mode = "light") -> bytes:
    """A drawing as a file: svg, png or pdf. The last two need the package `vl-convert-python`."""
    markup = plain(svg(drawing, description), mode)
    if kind == "svg":
        return markup.encode("utf-8")
    # Without a background a dark drawing would be unreadable on paper.
    size = f'width="{drawing.width:.0f}" height="{drawing.height:.0f}"'
    ground = f'<rect {size} fill="{COLOURS[mode]["panel"]}"/>'
    at = markup.index(">") + 1
    return _converted(markup[:at] + ground + markup[at:], kind)


def _converted(markup: str, kind: str) -> bytes:
    try:
        import vl_convert
    except ImportError:
        raise XlwhError(
            f"{kind} files need the package vl-convert-python: pip install 'xlwh[export]'. SVG needs nothing."
        ) from None
    converter: Any = vl_convert
    # Few fonts have the minus sign; the converter then takes it from any other font, slanted or bold.
    markup = markup.replace("\u2212", "–")
    if kind == "png":
        return bytes(converter.svg_to_png(markup, scale=PNG_SCALE))
    return bytes(converter.svg_to_pdf(markup))
