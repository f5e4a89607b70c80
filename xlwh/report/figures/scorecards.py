"""All four analyses side by side: scorecards and the correlations between metrics."""

from __future__ import annotations

import polars as pl

from xlwh.report.charts import Cell, Dot, Point, dots, heat, legend, number, scatter
from xlwh.report.charts.base import interval
from xlwh.report.charts.heat import scale
from xlwh.report.charts.layout import above
from xlwh.report.figures.base import (
    ALL,
    DATASET,
    SPLIT,
    Drawn,
    Figure,
    Filter,
    Frames,
    Missing,
    Section,
    Selection,
    values,
)
from xlwh.report.figures.consistency import bounds
from xlwh.report.figures.scores import named

METRICS = {
    "target_score": "score in the target language",
    "transfer_gap": "transfer gap",
    "ccta": "consistency (CCTA)",
    "ccta_excess": "consistency above the shuffled null",
    "calign_best": "concept alignment, best layer",
    "calign_last": "concept alignment, last layer",
    "colap_best": "concept overlap, best layer",
    "colap_last": "concept overlap, last layer",
    "head_rho": "head-rank correlation",
    "head_rho_corrected": "head-rank correlation without noise",
    "pruning_gain": "gain by pruning",
    "faithfulness_difference": "difference in faithfulness",
    "fertility_difference": "difference in fertility",
}
_SIGNED = {"transfer_gap", "ccta_excess", "head_rho", "head_rho_corrected", "pruning_gain", "faithfulness_difference", "fertility_difference"}  # fmt: skip
_TITLES = tuple(METRICS.values())
_COMMAND = "xlwh materialize"
_KEYS = ["model", "dataset", "source_language", "target_language"]


def _column(title: str) -> str:
    return next(name for name, told in METRICS.items() if told == title)


def pairs(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """One metric for every model, source and target language."""
    column = _column(chosen["measure"])
    everything = frames["language_pair_scorecard"].sort(_KEYS)
    rows = everything.filter(pl.col(column).is_not_null())
    if rows.is_empty():
        return Missing(
            f"No pair of languages has a {chosen['measure']} yet{_reason(everything, column)}.", _COMMAND
        )
    low, high = bounds(rows[column], column in _SIGNED)
    cells = [
        Cell(
            f"{r['model']} · {r['source_language']}",
            r["target_language"],
            r[column],
            f"{r['metric']} {number(r['target_score'])}",
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = heat(
        cells,
        rows=list(dict.fromkeys(c.row for c in cells)),
        columns=values(rows, "target_language"),
        x_title="target language",
        low=low,
        high=high,
        diverging=column in _SIGNED,
    )
    shown = [*_KEYS, "metric", "source_score", *METRICS]
    note = "Missing cells were not measured; the table of the view says why, metric by metric."
    return Drawn(above(scale(low, high, column in _SIGNED, title=chosen["measure"]), chart), everything.select(c for c in shown if c in everything.columns), note)  # fmt: skip


def _reason(rows: pl.DataFrame, column: str) -> str:
    """The commonest reason that the view gives; nothing where it gives none."""
    if "missing" not in rows.columns:
        return ""
    found: list[str] = []
    for value in rows["missing"].to_list():
        entries = value if isinstance(value, list) else []
        found += [
            entry["value"] for entry in entries if isinstance(entry, dict) and entry.get("key") == column
        ]
    return f": {max(set(found), key=found.count)}" if found else ""


def against(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Two metrics of every pair of different languages."""
    x, y = _column(chosen["x"]), _column(chosen["y"])
    rows = frames["language_pair_scorecard"].filter(
        (pl.col("source_language") != pl.col("target_language")) & pl.col(x).is_not_null() & pl.col(y).is_not_null()
    ).sort(_KEYS)  # fmt: skip
    if rows.is_empty():
        return Missing("No pair of languages has both metrics yet.", _COMMAND)
    models = values(rows, "model")
    points = [
        Point(f"{r['source_language']}→{r['target_language']}", r["model"], r[x], r[y])
        for r in rows.iter_rows(named=True)
    ]
    found = frames["metric_correlations"].filter(
        pl.col("metric_a").is_in([x, y])
        & pl.col("metric_b").is_in([x, y])
        & (pl.col("metric_a") != pl.col("metric_b"))
    )
    found = found.filter(pl.col("scope") == ("study" if chosen.get("model", ALL) == ALL else "model"))
    told = ""
    if found.height == 1:
        r = found.row(0, named=True)
        if r["spearman"] is not None:
            told = f"Spearman {interval(r['spearman'], r['spearman_low'], r['spearman_high'], 2)}, {r['languages']} languages"
    chart = scatter(
        points, names=models, x_title=chosen["x"], y_title=chosen["y"], note=told, width=620, height=400
    )
    note = "One point per model and pair of languages. The correlation is within models; its interval takes languages as independent, not pairs."
    return Drawn(above(legend(named(models)), chart), rows.select(list(dict.fromkeys([*_KEYS, x, y]))), note)


def correlations(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Every metric against every other."""
    kind = chosen["kind"].lower()
    rows = frames["metric_correlations"].filter(pl.col(kind).is_not_null())
    if rows.is_empty():
        return Missing("No two metrics vary over the same pairs of languages yet.", _COMMAND)
    both = [
        Cell(
            r[a],
            r[b],
            r[kind],
            f"{interval(r[kind], r[f'{kind}_low'], r[f'{kind}_high'], 2)}, n = {r['n']}, Holm p {number(r['holm_p'])}",
        )
        for r in rows.iter_rows(named=True)
        for a, b in (("metric_a", "metric_b"), ("metric_b", "metric_a"))
    ]
    names = sorted({cell.row for cell in both})
    places = {name: str(place) for place, name in enumerate(names, start=1)}
    cells = [
        Cell(f"{places[c.row]}  {c.row}", places[c.column], c.value, f"{c.column}\n{c.note}") for c in both
    ]
    chart = heat(
        cells,
        rows=[f"{places[n]}  {n}" for n in names],
        columns=[places[n] for n in names],
        low=-1.0,
        high=1.0,
        diverging=True,
        cell=(42.0, 26.0),
    )
    shown = ["metric_a", "metric_b", "n", "languages", kind, f"{kind}_low", f"{kind}_high", "p", "holm_p"]
    significant = rows.filter(pl.col("holm_p") < 0.05).height
    note = f"{significant} of {rows.height} correlations keep p < 0.05 after Holm's correction; n is the pairs of languages that have both."
    return Drawn(above(scale(-1, 1, True, title=chosen["kind"]), chart), rows.select(c for c in shown if c in rows.columns), note)  # fmt: skip


def models(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """One metric per model, mean over target languages."""
    rows = frames["model_scorecard"].sort("model", "dataset")
    column = _column(chosen["measure"])
    column = column if column in rows.columns else {"fertility_difference": "fertility"}.get(column, column)
    if column not in rows.columns or rows[column].drop_nulls().is_empty():
        return Missing(f"No model has a {chosen['measure']} yet.", _COMMAND)
    rows = rows.with_columns(pl.col("dataset").fill_null("no dataset"))
    datasets = values(rows, "dataset")
    marks = [
        Dot(r["model"], r["dataset"], r[column], note=f"{r['metric'] or ''}")
        for r in rows.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=values(rows, "model"),
        names=datasets,
        title=f"{chosen['measure']}, mean over target languages",
        bars=True,
        include=(0.0,),
    )
    shown = [
        "model",
        "family",
        "num_parameters",
        "dataset",
        "split",
        "metric",
        "source_score",
        *(c for c in METRICS if c in rows.columns),
        "fertility",
    ]
    return Drawn(above(legend(named(datasets)), chart), rows.select(c for c in shown if c in rows.columns), "Means over target languages other than the source.")  # fmt: skip


_MODEL = Filter("model", "Model", optional=True)

SECTION = Section(
    "together",
    "All together",
    "How do transfer, consistency, concepts, heads and faithfulness go with each other over languages?",
    (
        Figure(
            "model_scorecard",
            "Models",
            "How do the models compare, metric by metric?",
            ("model_scorecard",),
            models,
            _COMMAND,
            (Filter("measure", "Metric", values=tuple(METRICS[m] for m in ("target_score", "transfer_gap", "ccta", "ccta_excess", "calign_best", "colap_best", "head_rho", "pruning_gain", "faithfulness_difference"))),),
            needs=("model", "dataset", "metric"),
        ),
        Figure(
            "language_pair_scorecard",
            "Pairs of languages",
            "What is known about each model between two languages?",
            ("language_pair_scorecard",),
            pairs,
            _COMMAND,
            (Filter("measure", "Metric", values=_TITLES), DATASET, SPLIT),
            needs=("model", "source_language", "target_language", "metric", "target_score"),
        ),
        Figure(
            "metric_pairs",
            "One metric against another",
            "Do two metrics go together over pairs of languages?",
            ("language_pair_scorecard", "metric_correlations"),
            against,
            _COMMAND,
            (
                Filter("x", "Across", values=(METRICS["ccta_excess"], *(t for t in _TITLES if t != METRICS["ccta_excess"]))),
                Filter("y", "Up", values=_TITLES),
                _MODEL,
            ),
            needs=("model", "source_language", "target_language", *METRICS),
        ),
        Figure(
            "metric_correlations",
            "Correlations of all metrics",
            "Which metrics tell the same story?",
            ("metric_correlations",),
            correlations,
            _COMMAND,
            (Filter("kind", "Correlation", values=("Spearman", "Pearson")), Filter("scope", "Over", prefer=("study",)), Filter("model", "Model"), DATASET),
            needs=("metric_a", "metric_b", "n", "pearson", "spearman", "holm_p"),
        ),
    ),
    views=("language_pair_scorecard", "model_scorecard"),
)  # fmt: skip
