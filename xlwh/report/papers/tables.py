"""The tables of a paper with the measured numbers in them, and why a number is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from xlwh.errors import MissingDataError
from xlwh.report.charts.base import number
from xlwh.report.papers.contents import Paper, TableTitle
from xlwh.report.views import FrameViews
from xlwh.study import Model, Study


@dataclass(frozen=True)
class Cell:
    """One number of a paper's table, in the unit that it is printed in."""

    published: float
    measured: float | None
    difference: float | None
    low: float | None
    high: float | None
    beyond: bool | None
    """Whether the published number lies outside of the measured one's interval by more than its rounding; None where there is none."""
    setting: str
    """What was measured, and of which model; empty where nothing was."""
    others: int
    """Further measurements of it in the view."""
    reason: str
    """Why nothing was measured; empty where something was."""
    mark: str
    """The paper's mark of significance: + better, − worse, or empty."""
    partial: str
    """Of a mean over some of the table's languages: how many."""


@dataclass(frozen=True)
class PaperTable:
    """One table."""

    title: TableTitle
    unit: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    digits: Mapping[tuple[str, str], int]

    def told(self, place: tuple[str, str], value: float | None, *, signed: bool = False) -> str:
        """A number with as many decimals as are printed; empty for None."""
        if value is None:
            return ""
        text = number(value, self.digits[place])
        return f"+{text}" if signed and value > 0 else text

    @property
    def measured(self) -> int:
        """Cells that have a measured number."""
        return sum(cell.measured is not None for cell in self.cells.values())

    @property
    def compared(self) -> int:
        """Cells with an interval."""
        return sum(cell.beyond is not None for cell in self.cells.values())

    @property
    def beyond(self) -> int:
        """Cells whose published number lies outside of the interval."""
        return sum(bool(cell.beyond) for cell in self.cells.values())

    @property
    def about(self) -> str:
        """Unit and how many there are, in a sentence."""
        text = f"In {self.unit}; {self.measured:,} of {len(self.cells):,} measured"
        if self.compared:
            text += f", {self.beyond:,} of {self.compared:,} with the published number beyond the interval"
        if any(cell.mark for cell in self.cells.values()):
            text += "; raised + and \u2212: better or worse than all heads with significance, says the paper"
        return f"{text}."

    @property
    def reasons(self) -> dict[str, list[tuple[str, str]]]:
        """Why numbers are missing -> the cells, the most frequent reason first."""
        found: dict[str, list[tuple[str, str]]] = {}
        for place, cell in self.cells.items():
            if cell.reason:
                found.setdefault(cell.reason, []).append(place)
        return dict(sorted(found.items(), key=lambda each: -len(each[1])))

    @property
    def settings(self) -> dict[str, int]:
        """What was measured -> cells, the most frequent first."""
        found: dict[str, int] = {}
        for cell in self.cells.values():
            if cell.setting:
                found[cell.setting] = found.get(cell.setting, 0) + 1
        return dict(sorted(found.items(), key=lambda each: -each[1]))


_UNITS = {"percent": "%", "share": "share", "count": "count", "ratio": "ratio"}
_KEY = ("paper", "table", "dataset", "source_language", "language", "metric", "variant")


def paper_tables(paper: Paper, views: FrameViews, study: Study | None) -> list[PaperTable]:
    """The paper's tables in their order.

    Raises:
        MissingDataError: where the warehouse has no published numbers, or an older catalogue.
    """
    rows, printed, models = (views.frame(n) for n in ("published_vs_measured", "published_results", "models"))
    if rows is None or printed is None or models is None or "table_row" not in rows.columns:
        raise MissingDataError("This warehouse's views are not those of this version. Run: xlwh catalogue")
    rows = rows.filter(pl.col("paper") == paper.published)
    if rows.is_empty():
        raise MissingDataError(
            "This warehouse has no published numbers yet. Run: xlwh materialize published_results"
        )
    # In the order in which the paper prints them, which the view's rows are not in.
    order = printed.with_row_index("place").select(
        "place", *_KEY, published_model="model", printed_unit="value_unit", printed_value="value"
    )
    rows = rows.join(order, on=[*_KEY, "published_model"]).sort("place", "choice")
    missing = Missing(study, models)
    return [_table(title, rows.filter(pl.col("table") == title.number), missing) for title in paper.tables]


def _table(title: TableTitle, rows: pl.DataFrame, missing: Missing) -> PaperTable:
    cells: dict[tuple[str, str], Cell] = {}
    digits: dict[tuple[str, str], int] = {}
    others = dict[tuple[str, str], int]()
    for row in rows.iter_rows(named=True):
        place = (row["table_row"], row["table_column"])
        if place in cells:
            others[place] = others.get(place, 0) + 1
            continue
        digits[place] = _digits(row, title.digits)
        scale = 100.0 if row["printed_unit"] == "percent" else 1.0
        measured, difference, low, high = (
            None if row[name] is None else scale * row[name]
            for name in ("measured", "difference", "low", "high")
        )
        is_measured = row["measured"] is not None
        some = row["languages_measured"] < row["languages_published"]
        cells[place] = Cell(
            published=scale * row["published"],
            measured=measured,
            difference=difference,
            low=low,
            high=high,
            beyond=row["beyond_interval"],
            setting=f"{row['model']}: {row['setting']}" if is_measured else "",
            others=0,
            reason="" if is_measured else missing.reason(row, title.command),
            mark=_mark(row["note"]),
            partial=f"{row['languages_measured']} of {row['languages_published']} languages"
            if is_measured and some
            else "",
        )
    units = [_UNITS.get(u, u) for u in rows["printed_unit"].unique(maintain_order=True)]
    return PaperTable(
        title,
        ", ".join(units),
        tuple(dict.fromkeys(row for row, _ in cells)),
        tuple(dict.fromkeys(column for _, column in cells)),
        {place: replace(cell, others=others.get(place, 0)) for place, cell in cells.items()},
        digits,
    )


def _digits(row: Mapping[str, Any], usual: int) -> int:
    """Decimals; BLEU is printed with one or two, counts with none."""
    if row["printed_unit"] == "count":
        return 0
    if row["printed_unit"] == "BLEU":
        return 1 if row["printed_value"] >= 1 else 2
    return usual


def _mark(note: str | None) -> str:
    """The paper's mark of significance; other notes stand in the table already."""
    return {"significantly better": "+", "significantly worse": "\u2212"}.get(note or "", "")


class Missing:
    """Why a number is not there, as far as the study and the stored models tell."""

    def __init__(self, study: Study | None, models: pl.DataFrame) -> None:
        self._study = study
        named = models.filter(pl.col("published_as").is_not_null())
        self._stored = {plain(name) for name in named["published_as"]}

    def reason(self, row: Mapping[str, Any], command: str) -> str:
        """A sentence without a full stop."""
        name = _measured_of(row["published_model"])
        study = self._study
        if study is None:
            if plain(name) not in self._stored:
                return f"no model of this warehouse is published as `{name}`"
            return f"not in this warehouse; run {command}"
        models = _published(study, name)
        if not models:
            return f"no model of the study is published as `{name}`"
        datasets = _datasets(study, row)
        if not datasets:
            return f"the study has no dataset `{row['dataset']}`"
        evaluated = {key: model for key, model in models.items() if set(datasets) & set(model.datasets)}
        if not evaluated:
            return f"`{name}` is not evaluated on `{datasets[0]}`"
        if row["language"] != "overall":
            languages = {
                language
                for model in evaluated.values()
                for language in (
                    model.languages or (lang for each in datasets for lang in study.dataset_languages(each))
                )
            }
            if row["language"] not in languages:
                return f"`{name}` is not evaluated in this language of `{datasets[0]}`"
        if row["metric"] not in ("bleu", "fertility", "unknown_ratio", "unknown_tokens"):
            trained = (model.finetune for model in evaluated.values())
            sources = {"+".join(sorted(each.languages)) for each in trained if each is not None}
            if sources and row["source_language"] not in sources:
                return f"no `{name}` of the study is fine-tuned on `{row['source_language']}`"
        section, wanted = _section(row["metric"])
        settings = getattr(study, section) if section else None
        if section and settings is None:
            return f"the study has no section `{section}`"
        if wanted:
            used = {method for key in evaluated for method in study.attribution_methods(key)}
            if not {wanted, f"released_{wanted}"} & used:
                return f"the study has no attribution method `{wanted}`"
        others = row["metric"] in ("accuracy_zero_shot.michel", "accuracy_zero_shot.random")
        if study.heads is not None and others and row["source_language"] not in study.heads.zero_shot_from:
            return f"`heads.zero_shot_from` of the study does not name `{row['source_language']}`"
        if row["language"] == "overall":
            return "no language of this row was measured"
        if section == "faithfulness":
            return f"not materialized yet, or undefined: random attributions score 0; run {command}"
        return f"not materialized yet; run {command}"


def measured_by(study: Study, printed: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Models and datasets of a study that some printed numbers are measured with; none where it measures none of them.

    A table of an analysis that the study has no section for is not measured by the scores that stand in it too.
    """
    own = [metric for metric in printed["metric"].unique() if _section(metric)[0]]
    if own:
        printed = printed.filter(
            pl.col("metric").is_in(
                [metric for metric in own if getattr(study, _section(metric)[0]) is not None]
            )
        )
    names = {plain(_measured_of(name)) for name in printed["model"]}
    datasets = dict.fromkeys(name for row in printed.iter_rows(named=True) for name in _datasets(study, row))
    models = [
        key
        for key, model in study.models.items()
        if model.published_as is not None
        and plain(model.published_as) in names
        and set(datasets) & set(model.datasets)
    ]
    return models, [name for name in datasets if any(name in study.models[key].datasets for key in models)]


def _measured_of(name: str) -> str:
    """The model whose numbers stand in a row: of a zero-shot translation the one that it is zero-shot from."""
    head, found, source = name.partition(" zero-shot from ")
    return f"{head.rsplit(' ', 1)[0]} {source} fine-tuned" if found else name


def plain(name: str) -> str:
    """As the macro `plain_name`: without case and punctuation."""
    return "".join(c for c in name.lower() if c.isascii() and c.isalnum())


def _published(study: Study, name: str) -> dict[str, Model]:
    return {
        key: model
        for key, model in study.models.items()
        if model.published_as is not None and plain(model.published_as) == plain(name)
    }


def _datasets(study: Study, row: Mapping[str, Any]) -> list[str]:
    """Datasets of the study that the paper's name stands for; those of translations have their languages in theirs."""
    wanted = plain(row["dataset"])
    if row["metric"] != "bleu":
        return [key for key in study.datasets if plain(key) == wanted]
    source, target = row["source_language"], row["language"]
    if source == "*":
        return [key for key in study.datasets if plain(key).startswith(wanted)]
    known = {wanted, wanted + source, wanted + source + target}
    return [key for key in study.datasets if plain(key) in known]


def _section(metric: str) -> tuple[str, str]:
    """The section of the study that a metric needs, and the attribution method."""
    head, _, tail = metric.partition(".")
    if head.startswith("ccta"):
        return "consistency", ""
    if head.endswith("_ratio") and tail:
        return "faithfulness", tail
    if head in ("accuracy_targeted", "accuracy_zero_shot", "pruned_heads_targeted"):
        return "heads", ""
    return "", ""
