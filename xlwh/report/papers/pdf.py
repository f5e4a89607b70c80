"""The reports of one paper or several as a PDF, set by Typst; the same pieces serve the LaTeX folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlwh.errors import XlwhError
from xlwh.report.export import captioned, picture
from xlwh.report.figures import Drawn
from xlwh.report.markup import visible
from xlwh.report.page import asset
from xlwh.report.papers.pages import (
    HOW_TO_READ,
    PaperFigure,
    PaperReport,
    heading,
    left_out,
    letter,
    places,
    several,
)
from xlwh.report.papers.tables import PaperTable
from xlwh.store.files import write_whole

_WIDTH, _HEIGHT = 760.0, 430.0
"""The largest drawing that a landscape page holds below its title, in points."""
_POINTS = 0.75
"""Points per unit of a drawing."""


def pdf(reports: Sequence[PaperReport]) -> bytes:
    """The reports as a PDF. It needs `pip install 'xlwh[export]'`: vl-convert-python for the figures, typst for the pages."""
    try:
        import typst
    except ImportError:
        raise XlwhError(
            "PDF reports need the package typst: pip install 'xlwh[export]'. HTML needs nothing."
        ) from None
    with tempfile.TemporaryDirectory(prefix="xlwh-report-") as name:
        folder = Path(name)
        content = contents(reports, folder)
        (folder / "data.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        (folder / "main.typ").write_text(asset("paper.typ"), encoding="utf-8")
        made = typst.compile(str(folder / "main.typ"), root=str(folder), format="pdf")
    return bytes(made)


def contents(reports: Sequence[PaperReport], folder: Path) -> dict[str, Any]:
    """What the template prints, as JSON; the figures are written to `folder` as PDF.

    Of several papers the names of files begin with the paper's.
    """
    one = len(reports) == 1
    versions = " · ".join(f"{name} {number}" for name, number in reports[0].status.versions.items())
    content: dict[str, Any] = {
        "title": reports[0].paper.title if one else several(reports),
        "versions": versions,
        "reports": [_report(report, folder, "" if one else f"{report.paper.name}-") for report in reports],
    }
    seen: dict[str, Any] = _seen(content)
    return seen


def _report(report: PaperReport, folder: Path, before: str) -> dict[str, Any]:
    return {
        "title": report.paper.title,
        "about": f"{report.paper.source}. {report.from_warehouse}",
        "summary": report.summary,
        "how": HOW_TO_READ,
        "tables": [_table(table, before) for table in report.tables],
        "figures": [
            _figure(figure, f"{before}figure-{number}", folder)
            for number, figure in enumerate(report.figures, 1)
        ],
        "differing": report.differing,
        "differences": [[each.key, each.paper, each.here] for each in report.differences or ()],
    }


def _seen(value: Any) -> Any:
    """The same with characters that cannot be seen, or that turn the text around, made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {name: _seen(each) for name, each in value.items()}
    return [_seen(each) for each in value] if isinstance(value, list) else value


def _table(table: PaperTable, before: str) -> dict[str, Any]:
    letters = {reason: letter(number) for number, reason in enumerate(table.reasons)}
    lines = [
        f"({letters[reason]}) {reason} – {places(table, cells)}" for reason, cells in table.reasons.items()
    ]
    if table.settings:
        told = "; ".join(f"{setting} ({count})" for setting, count in table.settings.items())
        lines.append(f"Measured (cells): {told}.")
    return {
        "file": f"{before}table-{table.title.number}",
        "name": f"{table.title.name}. {table.title.title}",
        "about": table.about,
        "columns": [heading(column) for column in table.columns],
        "rows": [
            {
                "name": row,
                "cells": [_cell(table, (row, column), letters) for column in table.columns],
            }
            for row in table.rows
        ],
        "lines": lines,
    }


def _cell(table: PaperTable, place: tuple[str, str], letters: dict[str, str]) -> dict[str, Any] | None:
    cell = table.cells.get(place)
    if cell is None:
        return None
    return {
        "published": table.told(place, cell.published),
        "mark": cell.mark,
        "measured": table.told(place, cell.measured),
        "difference": cell.partial or table.told(place, cell.difference, signed=True),
        "beyond": bool(cell.beyond),
        "why": letters[cell.reason] if cell.reason else "",
    }


def _figure(figure: PaperFigure, stem: str, folder: Path) -> dict[str, Any]:
    pictures = []
    for place, drawn in enumerate(figure.found.drawn, 1):
        name = f"{stem}-{place}.pdf"
        write_whole(folder / name, picture(drawn, figure.figure.title, "pdf"))
        pictures.append({"path": name, "note": drawn.note, **_size(drawn)})
    lines = [] if pictures else [f"{each.reason} Run: {each.command}" for each in figure.found.missing[:1]]
    left = left_out(figure)
    return {
        "title": figure.shown.title,
        "axes": figure.shown.axes,
        "pictures": pictures,
        "lines": [*lines, left] if left else lines,
    }


def _size(drawn: Drawn) -> dict[str, float]:
    """Points that a drawing takes on a page, at most as many as there are."""
    drawing, _ = captioned(drawn)
    width, height = drawing.width * _POINTS, drawing.height * _POINTS
    scale = min(1.0, _WIDTH / width, _HEIGHT / height)
    return {"width": round(width * scale, 2), "height": round(height * scale, 2)}
