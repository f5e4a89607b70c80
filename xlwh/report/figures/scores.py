"""How well the models do, and how their tokenizers cut the languages: what every paper's figures are read against."""

from __future__ import annotations

import polars as pl

from xlwh.report.charts import Dot, Key, Point, dots, legend, scatter
from xlwh.report.charts.layout import above
from xlwh.report.figures.base import (
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
from xlwh.report.theme import series

FERTILITY = {
    "fertility": "sub-tokens per word",
    "splitting_ratio": "share of words split",
    "unknown_ratio": "share of unknown sub-tokens",
    "characters_per_token": "characters per sub-token",
}


def task_scores(frames: Frames, chosen: Selection) -> Drawn:
    """Score per language with its 95 % interval, one colour per model."""
    rows = frames["task_scores"].sort("model", "language")
    models, languages = values(rows, "model"), values(rows, "language")
    marks = [
        Dot(r["language"], r["model"], r["value"], r["ci_low"], r["ci_high"], f"n = {r['n']:,}")
        for r in rows.iter_rows(named=True)
    ]
    chances = rows["chance"].drop_nulls().unique() if "chance" in rows.columns else pl.Series([])
    chance = float(chances[0]) if len(chances) == 1 else None
    chart = dots(
        marks,
        rows=languages,
        names=models,
        title=f"{chosen['metric'].replace('_', ' ')}, 95 % interval",
        reference=chance,
        reference_name="chance" if chance is not None else "",
    )
    shown = ["model", "language", "value", "ci_low", "ci_high", "n", "chance", "num_truncated"]
    note = "Whiskers are 95 % intervals over examples; the dashed line is uniform guessing."
    return Drawn(
        above(legend(named(models)), chart), rows.select(c for c in shown if c in rows.columns), note
    )


def fertility(frames: Frames, chosen: Selection) -> Drawn:
    """One tokenizer statistic per language, one colour per model."""
    rows = frames["fertility"].sort("model", "language")
    measure = next(name for name, title in FERTILITY.items() if title == chosen["measure"])
    # Models that share a tokenizer lie on each other: they are one series, named after all of them.
    shared = (
        rows.select("model", "language", measure)
        .group_by("model")
        .agg(pl.struct("language", measure).sort_by("language").alias("curve"))
        .group_by("curve")
        .agg(pl.col("model").sort())
        .sort(pl.col("model").list.first())
    )
    series_of = {model: _joined(models) for models in shared["model"].to_list() for model in models}
    names = list(dict.fromkeys(series_of[model] for model in values(rows, "model")))
    marks = {
        (r["language"], series_of[r["model"]]): Dot(
            r["language"], series_of[r["model"]], r[measure], note=f"{r['words']:,} words"
        )
        for r in rows.iter_rows(named=True)
    }
    chart = dots(
        list(marks.values()),
        rows=values(rows, "language"),
        names=names,
        title=chosen["measure"],
        reference=1.0 if measure == "fertility" else None,
        bars=True,
        digits=3,
        include=() if measure == "fertility" else (0.0,),
    )
    shown = ["model", "language", *FERTILITY, "words", "segmenter"]
    note = "Special tokens and lone blanks are left out. Models that share a tokenizer are drawn once."
    return Drawn(above(legend(named(names)), chart), rows.select(shown), note)


def published(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Printed numbers against the same ones measured here, each by the measurement that comes closest to the paper's."""
    rows = frames["published_vs_measured"].filter(pl.col("measured").is_not_null(), pl.col("choice") == 1)
    if rows.is_empty():
        return Missing(
            f"No number of the paper {chosen['paper']} was measured here: no model of the study is named as "
            "published (`published_as` in study.toml).",
            'xlwh sql "select * from published_vs_measured"',
        )
    models = values(rows, "published_model")
    points = [
        Point(
            f"{r['source_language']}→{r['language']}",
            r["published_model"],
            r["published"],
            r["measured"],
            y_low=r["low"],
            y_high=r["high"],
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = scatter(points, names=models, x_title="published", y_title="measured here", diagonal=True)
    shown = [
        "table", "published_model", "source_language", "language", "metric", "value_unit", "published", "measured",
        "low", "high", "difference", "setting",
    ]  # fmt: skip
    return Drawn(
        above(legend(named(models)), chart),
        rows.select(shown),
        "On the dashed line both are the same; bars are 95 % intervals of what was measured.",
    )


def named(names: list[str]) -> list[Key]:
    """A legend's entries in the order of the series colours."""
    return [Key(name, series(number)) for number, name in enumerate(names)]


def _joined(models: list[str]) -> str:
    return ", ".join(models) if len(models) <= 3 else f"{models[0]}, {models[1]} and {len(models) - 2} more"


SECTION = Section(
    "scores",
    "Scores and tokenization",
    "How well does each model do in each language, and into how many pieces does its tokenizer cut it?",
    (
        Figure(
            "task_scores",
            "Task scores",
            "How well does each model do its task in each language?",
            ("task_scores",),
            task_scores,
            "xlwh materialize predictions",
            (DATASET, SPLIT, Filter("metric", "Metric", prefer=("accuracy", "f1")), VARIANT),
            each=("dataset", "metric"),
            needs=("model", "language", "value", "ci_low", "ci_high", "n"),
        ),
        Figure(
            "fertility",
            "Tokenization",
            "Into how many pieces does each tokenizer cut a language's words?",
            ("fertility",),
            fertility,
            "xlwh materialize tokens",
            (Filter("measure", "Measure", values=tuple(FERTILITY.values())), DATASET, SPLIT),
            each=("dataset",),
            needs=("model", "language", *FERTILITY, "words", "segmenter"),
        ),
        Figure(
            "published_vs_measured",
            "Published and measured",
            "Are the papers' printed numbers found again?",
            ("published_vs_measured",),
            published,
            "xlwh materialize published_results",
            (Filter("paper", "Paper"), Filter("metric", "Metric")),
            each=("paper", "metric"),
            needs=("published_model", "published", "measured", "low", "high", "choice", "setting"),
        ),
    ),
)
