"""Consistency of token attributions across languages (CCTA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from xlwh.report.charts import Cell, Dot, Point, dots, grid, heat, legend, scatter
from xlwh.report.charts.base import interval, number
from xlwh.report.charts.heat import scale
from xlwh.report.charts.layout import above
from xlwh.report.figures.base import (
    ALL,
    DATASET,
    SPLIT,
    VARIANT,
    Drawn,
    Figure,
    Filter,
    Frames,
    Missing,
    Section,
    Selection,
    values,
)
from xlwh.report.figures.scores import named


@dataclass(frozen=True)
class _Measure:
    column: str
    title: str
    signed: bool


_MEASURES = (
    _Measure("excess_shuffled", "excess over the shuffled null", True),
    _Measure("excess_uniform", "excess over the uniform null", True),
    _Measure("score", "score C(s, t)", False),
)
_METHOD = Filter("method", "Method", prefer=("lig",))
_SETTING = (
    DATASET,
    SPLIT,
    Filter("target_policy", "Target", prefer=("source_prediction",)),
    Filter("space", "Space"),
    Filter("unit", "Unit", prefer=("word",)),
    Filter("normalization", "Weights", prefer=("abs",)),
    VARIANT,
)
_MEASURE = Filter("measure", "Measure", values=tuple(m.title for m in _MEASURES))
_COMMAND = "xlwh materialize +ccta"
_NEEDS = ("model", "source_language", "target_language", "is_self", "score", "excess_shuffled")


def _measure(chosen: Selection) -> _Measure:
    return next(m for m in _MEASURES if m.title == chosen["measure"])


_NO_PAIRS = Missing(
    "There are only self pairs, which score 1 by identity, or pairs whose attributions did not converge.",
    _COMMAND,
)


def _others(rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs of different languages that have a score: not those of which no attribution converged."""
    return rows.filter(~pl.col("is_self") & pl.col("score").is_not_null())


def matrix(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Source against target languages, a block of rows per model."""
    measure = _measure(chosen)
    everything = frames["ccta"].sort("model", "source_language", "target_language")
    rows = _others(everything)
    if rows.is_empty():
        return _NO_PAIRS
    low, high = bounds(rows[measure.column], measure.signed)
    several = rows["model"].n_unique() > 1

    def name(row: dict[str, object]) -> str:
        return f"{row['model']} · {row['source_language']}" if several else str(row["source_language"])

    cells = [
        Cell(
            name(r),
            r["target_language"],
            r[measure.column],
            f"score {number(r['score'])}, shuffled null {number(r['null_shuffled'])}, n = {r['n']}",
            link=f"/examples?model={r['model']}&source={r['source_language']}&target={r['target_language']}",
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = heat(
        cells,
        rows=list(dict.fromkeys(cell.row for cell in cells)),
        columns=values(everything, "target_language"),
        x_title="target language",
        low=low,
        high=high,
        diverging=measure.signed,
    )
    note = (
        "Self pairs score 1 by identity and are left empty. Read the excess over the shuffled null: word vectors "
        "alone already give most of the score."
    )
    shown = [
        "model", "source_language", "target_language", "n", "score", "null_uniform", "null_shuffled",
        "excess_uniform", "excess_shuffled", "excess_shuffled_low", "excess_shuffled_high", *_converged(rows),
    ]  # fmt: skip
    colours = scale(low, high, measure.signed, title=measure.title)
    return Drawn(above(colours, chart), rows.select(shown), note)


def excess(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """A measure per target language with its interval, one colour per attribution method."""
    measure = _measure(chosen)
    rows = _others(frames["ccta"]).sort("method", "target_language")
    if rows.is_empty():
        return _NO_PAIRS
    methods = values(rows, "method")
    marks = [
        Dot(
            r["target_language"],
            r["method"],
            r[measure.column],
            r[f"{measure.column}_low"],
            r[f"{measure.column}_high"],
            f"n = {r['n']}",
        )
        for r in rows.iter_rows(named=True)
    ]
    order = (
        rows.filter(pl.col("method") == ("lig" if "lig" in methods else methods[0]))
        .sort(measure.column, descending=True)["target_language"]
        .to_list()
    )
    languages = [*order, *(v for v in values(rows, "target_language") if v not in order)]
    chart = dots(
        marks,
        rows=languages,
        names=methods,
        title=f"{measure.title}, 95 % interval",
        reference=0.0 if measure.signed else None,
        reference_name="no excess" if measure.signed else "",
    )
    shown = ["target_language", "method", "n", *_with_interval(measure.column), *_converged(rows)]
    note = (
        "Rows of method random show what attributions without any meaning come to. Intervals are normal "
        "approximations over pairs taken as independent."
    )
    return Drawn(above(legend(named(methods)), chart), rows.select(shown), note)


def nulls(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """The score beside its two nulls, per target language."""
    rows = _others(frames["ccta"]).sort("target_language")
    if rows.is_empty():
        return _NO_PAIRS
    names = ["score", "uniform weights", "shuffled weights"]
    marks = []
    for r in rows.iter_rows(named=True):
        target = r["target_language"]
        marks += [
            Dot(target, names[0], r["score"], r["score_low"], r["score_high"], f"n = {r['n']}"),
            Dot(target, names[1], r["null_uniform"]),
            Dot(target, names[2], r["null_shuffled"]),
        ]
    chart = dots(
        marks,
        rows=values(rows, "target_language"),
        names=names,
        title="share of the mass that finds its meaning",
        together=True,
    )
    shown = ["target_language", "n", *_with_interval("score"), "null_uniform", "null_shuffled"]
    shown += ["source_coverage", "target_coverage", *_converged(rows)]
    note = "A score that does not leave the shuffled null behind says nothing about where attributions lie."
    return Drawn(above(legend(named(names)), chart), rows.select(shown), note)


def performance(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Consistency of a target language against the accuracy in it."""
    measure = _measure(chosen)
    correlated = frames["ccta_performance_correlation"]
    metric = next(iter(values(correlated, "metric")), "accuracy")
    scores = frames["task_scores"].filter(pl.col("metric") == metric)
    rows = (
        _others(frames["ccta"])
        .join(
            scores.select("model", "dataset", "split", "language", "value", "ci_low", "ci_high"),
            left_on=["model", "dataset", "split", "target_language"],
            right_on=["model", "dataset", "split", "language"],
        )
        .sort("model", "source_language", "target_language")
    )
    if rows.is_empty():
        return Missing(
            "No target language has both a consistency and a score.", "xlwh materialize +ccta predictions"
        )
    names = list(
        dict.fromkeys(f"{r['model']} from {r['source_language']}" for r in rows.iter_rows(named=True))
    )
    points = [
        Point(
            r["target_language"],
            f"{r['model']} from {r['source_language']}",
            r[measure.column],
            r["value"],
            r[f"{measure.column}_low"],
            r[f"{measure.column}_high"],
            r["ci_low"],
            r["ci_high"],
        )
        for r in rows.iter_rows(named=True)
    ]
    found = _correlation(correlated, measure.column, chosen.get("model", ALL))
    chart = scatter(
        points, names=names, x_title=measure.title, y_title=f"{metric} in the target language", width=600,
        height=400, note=found,
    )  # fmt: skip
    shown = ["model", "source_language", "target_language", *_with_interval(measure.column)]
    table = rows.select(*shown, pl.col("value").alias(metric), "ci_low", "ci_high")
    note = (
        "One point per target language, self pairs left out; the dashed line is a least-squares fit over all of "
        "them. A correlation of the score that random attributions have as well is the word vectors' doing."
    )
    return Drawn(above(legend(named(names)), chart), table, note)


def _correlation(rows: pl.DataFrame, measure: str, model: str) -> str:
    scope = "study" if model == ALL else "model"
    found = rows.filter(
        (pl.col("measure") == measure) & (pl.col("cells") == "off_diagonal") & (pl.col("scope") == scope)
    )
    if found.height != 1:
        return ""
    r = found.row(0, named=True)
    if r["pearson"] is None:
        return ""
    return f"Pearson {interval(r['pearson'], r['pearson_low'], r['pearson_high'], 2)}, {r['languages']} languages"


def correlations(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Correlation with accuracy of the score and both excesses, per model, one colour per method."""
    rows = frames["ccta_performance_correlation"].filter(pl.col("cells") == "off_diagonal")
    kind = chosen["kind"].lower()
    rows = rows.filter(pl.col(kind).is_not_null()).sort("scope", "model", "source_language", "method")
    if rows.is_empty():
        return Missing("No correlation is defined: too few languages, or no variation.", _COMMAND)
    methods = values(rows, "method")
    panels = []
    for measure in _MEASURES:
        part = rows.filter(pl.col("measure") == measure.column)
        if part.is_empty():
            continue
        names = list(dict.fromkeys(_scope(r) for r in part.iter_rows(named=True)))
        marks = [
            Dot(_scope(r), r["method"], r[kind], r[f"{kind}_low"], r[f"{kind}_high"], f"n = {r['n']}")
            for r in part.iter_rows(named=True)
        ]
        panels.append(
            dots(
                marks,
                rows=names,
                names=methods,
                title=f"{chosen['kind']} of performance with: {measure.title}",
                reference=0.0,
                include=(-1.0, 1.0),
                digits=2,
                width=560,
            )
        )
    shown = [
        "scope",
        "model",
        "source_language",
        "method",
        "measure",
        "n",
        "languages",
        *_with_interval(kind),
        "p",
    ]
    note = "Over target languages without the self pair, within models, with 95 % intervals from ten languages on; p is of Spearman's rho, by permuting languages."
    return Drawn(above(legend(named(methods)), grid(panels, columns=1)), rows.select(shown), note)


def _scope(row: dict[str, object]) -> str:
    return "all models" if row["scope"] == "study" else f"{row['model']} from {row['source_language']}"


def _converged(rows: pl.DataFrame) -> list[str]:
    """The columns that say how many attributions are behind a number, where there are any."""
    return [name for name in ("converged_share", "num_unconverged") if name in rows.columns]


def _with_interval(column: str) -> list[str]:
    return [column, f"{column}_low", f"{column}_high"]


def bounds(column: pl.Series, signed: bool) -> tuple[float, float]:
    """Lowest and highest value of a heat map's colours; around 0 where values have a sign."""
    numbers: Sequence[float] = [float(v) for v in column.drop_nulls().drop_nans().to_list()] or [0.0, 1.0]
    if signed:
        largest = max(abs(min(numbers)), abs(max(numbers)), 1e-6)
        return -largest, largest
    return min(numbers), max(numbers)


SECTION = Section(
    "ccta",
    "Consistency of attributions (CCTA)",
    "Do the models attend to the same words across languages, beyond what word vectors alone would give?",
    (
        Figure(
            "ccta_matrix",
            "Consistency between languages",
            "Which pairs of languages are attributed alike?",
            ("ccta",),
            matrix,
            _COMMAND,
            (_MEASURE, _METHOD, *_SETTING),
            needs=_NEEDS,
        ),
        Figure(
            "ccta_excess",
            "Consistency and its interval",
            "Is a language's consistency more than chance, and more than that of random attributions?",
            ("ccta",),
            excess,
            _COMMAND,
            (_MEASURE, Filter("model", "Model"), Filter("source_language", "Source"), *_SETTING),
            each=("model", "source_language"),
            needs=_NEEDS,
        ),
        Figure(
            "ccta_nulls",
            "The score and its nulls",
            "How much of the score do the word vectors give without any attribution?",
            ("ccta",),
            nulls,
            _COMMAND,
            (Filter("model", "Model"), Filter("source_language", "Source"), _METHOD, *_SETTING),
            each=("model", "source_language"),
            needs=_NEEDS,
        ),
        Figure(
            "ccta_performance",
            "Consistency and accuracy",
            "Is a model more accurate in languages where it attends as in its own?",
            ("ccta", "task_scores", "ccta_performance_correlation"),
            performance,
            _COMMAND,
            (_MEASURE, Filter("model", "Model", optional=True), _METHOD, *_SETTING),
            needs=_NEEDS,
        ),
        Figure(
            "ccta_correlation",
            "Correlations with accuracy",
            "Does that correlation hold for the excess, and not for random attributions?",
            ("ccta_performance_correlation",),
            correlations,
            _COMMAND,
            (Filter("kind", "Correlation", values=("Pearson", "Spearman")), *_SETTING),
            needs=("scope", "measure", "cells", "pearson", "spearman"),
        ),
    ),
    views=("ccta_overall", "word_attributions"),
)
