"""What the report of a paper says, before it is written as a file of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xlwh.report.figures import Everything, Figure, everything, figure
from xlwh.report.papers.contents import Paper, Shown, paper
from xlwh.report.papers.settings import Difference, differences, grouped, read_settings
from xlwh.report.papers.tables import PaperTable, paper_tables
from xlwh.report.status import Status, ago, status
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse
from xlwh.study import load

MOST = 24
"""Drawings of one figure: a report says what it leaves out."""


@dataclass(frozen=True)
class PaperFigure:
    """A figure that stands for figures of the paper, for every choice that a report on paper shows."""

    shown: Shown
    figure: Figure
    found: Everything


@dataclass(frozen=True)
class PaperReport:
    """The report of one paper."""

    paper: Paper
    status: Status
    made: str
    study: str
    """Name of the study file; empty where none was given."""
    tables: tuple[PaperTable, ...]
    figures: tuple[PaperFigure, ...]
    differences: tuple[Difference, ...] | None
    """None where there is no study to compare."""

    @property
    def printed(self) -> int:
        """Numbers of the paper."""
        return sum(len(table.cells) for table in self.tables)

    @property
    def measured(self) -> int:
        """Those of them that were measured."""
        return sum(table.measured for table in self.tables)

    @property
    def compared(self) -> int:
        """Those with an interval."""
        return sum(table.compared for table in self.tables)

    @property
    def beyond(self) -> int:
        """Those whose published number lies outside of the interval."""
        return sum(table.beyond for table in self.tables)

    @property
    def from_warehouse(self) -> str:
        """When it was made, and of what, in a sentence."""
        of = f" of the study {self.study}" if self.study else ""
        return (
            f"Made {self.made} from commit {self.status.commit} of a warehouse{of}, last written "
            f"{ago(self.status.committed_at)}."
        )

    @property
    def summary(self) -> str:
        """How many of the paper's numbers there are, in one or two sentences."""
        text = f"{self.measured:,} of {self.printed:,} printed numbers were measured here."
        if self.compared:
            text += (
                f" Of {self.compared:,} with an interval, {self.beyond:,} have the published number outside of the 95 % "
                "interval of the measured one."
            )
        return text

    @property
    def differing(self) -> str:
        """What is said over the list of settings."""
        if self.differences is None:
            return "No study file was given (--study FILE), so settings are not compared."
        if not self.differences:
            return "Every setting is that of the paper's full study."
        return (
            f"{len(self.differences):,} {_plural('setting', len(self.differences))} other than in the paper's full study "
            f"(`xlwh init --paper {self.paper.name}`). What only this study has is not listed."
        )


def several(reports: Sequence[PaperReport]) -> str:
    """Title of the reports of several papers."""
    return f"Published and measured: {', '.join(report.paper.name for report in reports)}"


def _plural(noun: str, count: int) -> str:
    return f"{noun} is" if count == 1 else f"{noun}s are"


HOW_TO_READ = (
    "Each cell has the published number, below it the one measured here, and the difference, measured less published. "
    "Marked (*) is a cell whose published number lies outside of the 95 % interval of the measured one by more than it was "
    "rounded in print: an interval "
    "knows of the examples alone, not of other checkpoints, seeds or software. Empty cells have a letter that says why. "
    "Where a number was measured in several ways, the one is shown that comes closest to the paper's; the view "
    "`published_vs_measured` has the others."
)
"""For readers of any of the files."""


def paper_report(warehouse: Warehouse, name: str, study: Path | None = None) -> PaperReport:
    """The report of a paper over a warehouse; `study` is the study file that filled it.

    Raises:
        XlwhError: for a paper that is not known.
        MissingDataError: where the warehouse has no published numbers.
        StudyError: for an unusable study file.
    """
    wanted = paper(name)
    settings = None if study is None else load(study)
    found = status(warehouse)
    with closing(warehouse.connect()) as connection:
        views = FrameViews(connection.cursor)
        tables = paper_tables(wanted, views, settings)
        figures = []
        for shown in wanted.figures:
            own = figure(shown.figure)
            figures.append(PaperFigure(shown, own, everything(own, views, MOST, shown.selection, shown.also)))
    return PaperReport(
        wanted,
        found,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "" if study is None else study.name,
        tuple(tables),
        tuple(figures),
        None if study is None else _differences(name, study),
    )


def _differences(name: str, study: Path) -> tuple[Difference, ...]:
    from xlwh import papers

    return tuple(grouped(differences(papers.settings(name), read_settings(study))))


_SHORT = {"sufficiency_ratio.": "suff. ", "comprehensiveness_ratio.": "comp. "}


def heading(name: str) -> str:
    """A column's name as a table's head: metrics in words and short, everything else as it is."""
    for long, short in _SHORT.items():
        if long in name:
            return name.replace(long, short).replace("_", " ")
    return name.replace("unknown_", "unknown ")


def letter(number: int) -> str:
    """a, b, ..., z, aa, ab, ... for the so many-th reason, counted from 0."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def places(table: PaperTable, cells: list[tuple[str, str]]) -> str:
    """Which cells a reason is of: all, whole rows or columns, or a number of them."""
    if len(cells) == len(table.cells):
        return "every cell"
    told: list[str] = []
    left = set(cells)
    for kind, names, at in (("row", table.rows, 0), ("column", table.columns, 1)):
        whole = [
            name
            for name in names
            if (line := {place for place in table.cells if place[at] == name}) and line <= left
        ]
        left -= {place for place in left if place[at] in whole}
        if whole:
            told.append(f"{kind}{'s' if len(whole) > 1 else ''} {_some(whole)}")
    if left:
        told.append(_some([f"{row} / {column}" for row, column in cells if (row, column) in left]))
    return "; ".join(told)


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def left_out(figure: PaperFigure) -> str:
    """What of a figure is not in the report, in one line; empty where nothing is."""
    if not figure.found.left_out:
        return ""
    told = "; ".join(
        ", ".join(f"{k} {v}" for k, v in each.items() if k not in figure.shown.selection)
        for each in figure.found.left_out
    )
    return (
        f"Not drawn here, {len(figure.found.left_out)} more choices: {told}. "
        f"`xlwh report --figures FOLDER --only {figure.shown.figure} --set COLUMN=VALUE` draws them."
    )
