"""A figure's numbers as a table: HTML, Markdown, LaTeX, CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl

from xlwh.report.charts.base import number
from xlwh.report.markup import Markup, data, el, visible

_LONG = 32
"""Characters of a text beyond which its cell is wrapped."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "\u2212": "$-$", "–": "--", "→": r"$\rightarrow$",
}  # fmt: skip


def told(value: Any, digits: int = 4) -> str:
    """A value as people read it; nothing for NULL."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value != 0 and value == value and not 1e-4 <= abs(value) < 1e7:
            return f"{value:.3g}".replace("-", "\u2212")
        return number(value, digits)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\u2212")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def html_table(
    frame: pl.DataFrame,
    *,
    limit: int = 500,
    describe: Callable[[str], str] = lambda column: "",
    caption: str = "",
) -> Markup:
    """The first `limit` rows. Column heads are buttons where a script sorts, plain text where none runs."""
    numeric = {name for name, dtype in frame.schema.items() if dtype.is_numeric()}
    head = [
        el("th", name, scope="col", class_="num" if name in numeric else None, title=describe(name) or None)
        for name in frame.columns
    ]
    body = [
        el(
            "tr",
            [
                el("td", told(value), class_="num") if name in numeric else _text_cell(value)
                for name, value in zip(frame.columns, row, strict=True)
            ],
        )
        for row in frame.head(limit).iter_rows()
    ]
    more = (
        el("p", f"The first {limit:,} of {frame.height:,} rows.", class_="hint")
        if frame.height > limit
        else None
    )
    table = el(
        "table",
        el("caption", caption, class_="unseen") if caption else None,
        el("thead", el("tr", head)),
        el("tbody", body),
    )
    return el("div", el("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption), more)


def _text_cell(value: Any) -> Markup:
    text = told(value)
    return el("td", data(text) if text else "", class_="long" if len(text) > _LONG else None)


def markdown(frame: pl.DataFrame) -> str:
    """A GitHub table."""

    def cell(value: Any) -> str:
        return (
            re.sub(r"\s*\n\s*", " ", visible(told(value)))
            .replace("\\", "\\\\")
            .replace("|", "\\|")
            .replace("<", "&lt;")
        )

    lines = [
        "| " + " | ".join(cell(name) for name in frame.columns) + " |",
        "|" + "|".join(" ---: " if dtype.is_numeric() else " --- " for dtype in frame.dtypes) + "|",
    ]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in frame.iter_rows()]
    return "\n".join(lines) + "\n"


def latex(frame: pl.DataFrame) -> str:
    """A `tabular` with booktabs rules; every character that TeX would act on is escaped."""
    columns = "".join("r" if dtype.is_numeric() else "l" for dtype in frame.dtypes)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [" & ".join(latex_text(name) for name in frame.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(latex_text(told(value)) for value in row) + r" \\" for row in frame.iter_rows()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def latex_text(text: str) -> str:
    """A text in which every character that TeX would act on is escaped."""
    return "".join(_LATEX.get(character, character) for character in visible(text).replace("\n", " "))


def safe_csv(frame: pl.DataFrame, header: bool = True) -> str:
    """CSV; texts that a spreadsheet would run as formulas get a leading '."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow([_guarded(name) for name in frame.columns])
    for row in frame.iter_rows():
        writer.writerow([_guarded(value) for value in row])
    return out.getvalue()


def _guarded(value: Any) -> Any:
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value
