"""Figures as files for a paper, and their tables."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.errors import MissingDataError, XlwhError
from xlwh.report.charts import Picture, svg
from xlwh.report.charts.base import label
from xlwh.report.charts.layout import above
from xlwh.report.figures import Drawn, Figure, Missing, all_figures, figure, render
from xlwh.report.figures.base import Selection, chosen_text
from xlwh.report.markup import join, text_width, visible
from xlwh.report.tables import latex, markdown, safe_csv
from xlwh.report.theme import COLOURS, Mode, plain
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse
from xlwh.store.files import write_whole

ENDINGS = {"csv": "csv", "latex": "tex", "markdown": "md", "parquet": "parquet"}
"""Kind of a table's file -> the end of its name."""
_CAPTION = 10.0
"""Font size of what was chosen, in pixels."""
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
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Path]:
    """Write figures and their tables into a folder, those that have rows unless they are named; yields the paths.

    `chosen` holds for the figures that know its columns; `tell` is called for each figure that does not, and for each
    that is left out. Raises `XlwhError` for a column or value that none of the figures has, before anything is
    written, and `MissingDataError` where a named figure, or all, could not be written.
    """
    wanted = [figure(name) for name in only] or list(all_figures().values())
    reasons = []
    with closing(warehouse.connect()) as connection:
        views = FrameViews(connection.cursor)
        drawn = [(each, render(each, views, chosen)) for each in wanted]
        _refuse_unknown(drawn, chosen)
        folder.mkdir(parents=True, exist_ok=True)
        for each, found in drawn:
            reason = _unusable(found)
            if reason or not isinstance(found, Drawn):
                reasons.append(f"{each.name}: {reason}")
                continue
            foreign = [column for column in chosen if column not in found.choice]
            if foreign:
                tell(f"{each.name} has no choice {', '.join(foreign)}: it is drawn for all that there is")
            for kind in formats:
                path = folder / f"{each.name}.{kind}"
                write_whole(path, picture(found, each.title, kind, mode))
                yield path
            for kind in tables:
                path = folder / f"{each.name}.{ENDINGS[kind]}"
                write_whole(path, table(found, kind))
                yield path
    if reasons and (only or len(reasons) == len(wanted)):
        raise MissingDataError("\n".join(reasons))
    for reason in reasons:
        tell(f"Left out {reason}")


def _refuse_unknown(drawn: Sequence[tuple[Figure, Drawn | Missing]], chosen: Selection) -> None:
    """Refuse a choice that no figure knows: the files would show something else than what was asked for."""
    known = {each.column: each for figure, _ in drawn for each in figure.filters}
    offers = [offer for _, found in drawn for offer in found.offers]
    for column, value in chosen.items():
        if column not in known:
            raise XlwhError(
                f"--set {column}={value}: none of these figures has a choice `{column}`. "
                f"Choices: {', '.join(known)}."
            )
        if not value:
            raise XlwhError(f"--set {column}=: a value is missing.")
        own = [offer for offer in offers if offer.filter.column == column]
        if own and all(offer.unmet for offer in own):
            there = dict.fromkeys(known_value for offer in own for known_value in offer.values)
            raise XlwhError(f"--set {column}={value}: there is no such value. Values: {', '.join(there)}.")


def _unusable(found: Drawn | Missing) -> str:
    """Why a figure is not written: nothing to draw, or a choice that it cannot meet. Empty where it is written."""
    unmet = "; ".join(offer.refusal for offer in found.offers if offer.unmet)
    if unmet:
        return f"there is {unmet}."
    return f"{found.reason} Run: {found.command}" if isinstance(found, Missing) else ""


def refuse_unmet(found: Drawn | Missing) -> Drawn:
    """The drawing, for a file: `MissingDataError` where there is none, or where it shows another choice than asked."""
    reason = _unusable(found)
    if reason or not isinstance(found, Drawn):
        raise MissingDataError(reason[0].upper() + reason[1:])
    return found


def table(drawn: Drawn, kind: str) -> bytes:
    """A figure's numbers as a file: csv, latex, markdown or parquet, with what was chosen.

    CSV and Parquet have a column for each choice, LaTeX a comment and Markdown a line.
    """
    if kind in ("csv", "parquet"):
        constant = [pl.lit(v).alias(k) for k, v in drawn.choice.items() if k not in drawn.table.columns]
        frame = drawn.table.select(pl.all(), *constant)
        if kind == "csv":
            return safe_csv(frame).encode("utf-8")
        content = io.BytesIO()
        frame.write_parquet(content)
        return content.getvalue()
    said = visible(chosen_text(drawn.offers)).replace("\n", " ")
    if kind == "latex":
        return f"% {said}\n{latex(drawn.table)}".encode()
    return f"{markdown(drawn.table)}\n{said}\n".encode()


def picture(drawn: Drawn, title: str, kind: str, mode: Mode = "light") -> bytes:
    """A drawing as a file: svg, png or pdf, with what was chosen, and what is not drawn, below it. The last two need `vl-convert-python`."""
    drawing, said = captioned(drawn)
    markup = plain(svg(drawing, f"{title}. {said}".rstrip(". ")), mode)
    if kind == "svg":
        return markup.encode("utf-8")
    # Without a background a dark drawing would be unreadable on paper.
    size = f'width="{drawing.width:.0f}" height="{drawing.height:.0f}"'
    ground = f'<rect {size} fill="{COLOURS[mode]["panel"]}"/>'
    at = markup.index(">") + 1
    return _converted(markup[:at] + ground + markup[at:], kind)


def captioned(drawn: Drawn) -> tuple[Picture, str]:
    """A drawing as a file has it, and the text below it: what was chosen, and what is not drawn."""
    said = chosen_text(drawn.offers)
    if drawn.cut:
        said = f"{said}. {drawn.cut.strip()}".removeprefix(". ")
    return (above(drawn.picture, _caption(said, drawn.picture.width)) if said else drawn.picture), said


def _caption(text: str, width: float) -> Picture:
    """A text in as many lines as it needs below a drawing."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, _CAPTION) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    step = _CAPTION * 1.4
    widest = max(width, *(text_width(line, _CAPTION) for line in lines))
    parts = [label(0, step * (n + 0.5), line, size=_CAPTION) for n, line in enumerate(lines)]
    return Picture(widest, step * len(lines), join(parts))


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
