"""Faithfulness of attribution methods, and the disparity between multilingual and monolingual models."""

from __future__ import annotations

import polars as pl

from xlwh.report.charts import Cell, Dot, Point, dots, heat, legend, number, scatter
from xlwh.report.charts.heat import scale
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
from xlwh.report.figures.consistency import bounds
from xlwh.report.figures.scores import named

_SIDE = Filter("side", "Metric", prefer=("sufficiency",))
_HOW = (
    Filter("mode", "Mode", prefer=("hard",)),
    Filter("masking", "Masking", prefer=("mask",)),
    Filter("importance", "Ranked by", prefer=("abs", "signed")),
    VARIANT,
)
_ORIGIN = Filter("origin", "Origin", prefer=("measured",))
_MEASURES = {
    "ratio": ("ratio to random attributions", 1.0, "chance"),
    "difference": ("difference from random attributions", 0.0, "chance"),
    "score": ("score", None, ""),
}
_COMMAND = "xlwh materialize +faithfulness"


def methods(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Each method against random attributions, one colour per model."""
    measure, (title, reference, name) = next(
        (key, told) for key, told in _MEASURES.items() if told[0] == chosen["measure"]
    )
    rows = frames["faithfulness"].filter(pl.col(measure).is_not_null()).sort("method", "model")
    if measure != "score":
        rows = rows.filter(pl.col("method") != "random")
    if rows.is_empty():
        return Missing(f"There is no {title} with these settings.", _COMMAND)
    models = values(rows, "model")
    marks = [
        Dot(
            r["method"],
            r["model"],
            r[measure],
            r[f"{measure}_low"],
            r[f"{measure}_high"],
            f"n = {r['n']:,}, {r['saturated']:,} saturated",
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=values(rows, "method"),
        names=models,
        title=f"{title}, 95 % interval",
        reference=reference,
        reference_name=name,
        bars=True,
    )
    shown = [
        "method",
        "model",
        "n",
        "saturated",
        measure,
        f"{measure}_low",
        f"{measure}_high",
        "score",
        "unnormalized",
        "random_score",
    ]
    note = "Saturated examples, in which masking everything costs nothing, are counted and left out."
    return Drawn(above(legend(named(models)), chart), rows.select(list(dict.fromkeys(shown))), note)  # fmt: skip


def disparity(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Multilingual minus monolingual, per method over all datasets and languages, and over all methods."""
    rows = frames["faithfulness_disparity"].filter(
        pl.col("scope").is_in(["method", "all"]) & pl.col("disparity").is_not_null()
    )
    if rows.is_empty():
        return Missing(
            "No multilingual model has a monolingual counterpart with these settings.",
            "xlwh materialize +faithfulness_disparity",
        )
    rows = rows.with_columns(pl.col("method").fill_null("all methods")).sort(
        "scope", "method", "multilingual_model", descending=[True, False, False]
    )
    models = values(rows, "multilingual_model")
    marks = [
        Dot(
            r["method"],
            r["multilingual_model"],
            r["disparity"],
            r["disparity_low"],
            r["disparity_high"],
            f"{r['n']} cells, p = {number(r['p_value'])}",
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=list(dict.fromkeys(rows["method"])),
        names=models,
        title="ratio of the multilingual model minus that of its counterparts, 95 % interval",
        reference=0.0,
        reference_name="no difference",
    )
    shown = [
        "method",
        "multilingual_model",
        "n",
        "multilingual_ratio",
        "monolingual_ratio",
        "disparity",
        "disparity_low",
        "disparity_high",
        "t",
        "p_value",
    ]
    note = "Left of the line the multilingual model's attributions are less faithful. Cells are taken as independent, which methods on the same data are not."
    return Drawn(above(legend(named(models)), chart), rows.select(shown), note)  # fmt: skip


def cells(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """The disparity of every dataset and language, by method."""
    rows = frames["faithfulness_disparity"].filter(
        (pl.col("scope") == "cell") & pl.col("disparity").is_not_null()
    )
    if rows.is_empty():
        return Missing(
            "No multilingual model has a monolingual counterpart with these settings.",
            "xlwh materialize +faithfulness_disparity",
        )
    rows = rows.sort("multilingual_model", "dataset", "language", "method")
    low, high = bounds(rows["disparity"], signed=True)
    drawn = [
        Cell(
            f"{r['multilingual_model']} · {r['dataset']} {r['language']}",
            r["method"],
            r["disparity"],
            f"against {r['monolingual_model']}: {number(r['multilingual_ratio'])} and {number(r['monolingual_ratio'])}",
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = heat(
        drawn,
        rows=list(dict.fromkeys(cell.row for cell in drawn)),
        columns=values(rows, "method"),
        low=low,
        high=high,
        diverging=True,
        cell=(112.0, 24.0),
    )
    shown = [
        "multilingual_model",
        "monolingual_model",
        "dataset",
        "language",
        "method",
        "multilingual_ratio",
        "monolingual_ratio",
        "disparity",
    ]
    return Drawn(above(scale(low, high, True, title="disparity"), chart), rows.select(shown), "Orange: the multilingual model's attributions are less faithful.")  # fmt: skip


def tokenization(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Correlation of the disparity with how differently the tokenizers cut."""
    kind = chosen["kind"].lower()
    rows = frames["faithfulness_tokenization"].filter(pl.col(kind).is_not_null())
    if rows.is_empty():
        return Missing(
            "No correlation is defined: too few pairs of models, or no variation.",
            "xlwh materialize +faithfulness_tokenization",
        )
    rows = rows.with_columns(
        method=pl.col("method").fill_null("mean over methods"),
        multilingual_model=pl.col("multilingual_model").fill_null("all models"),
    ).filter(pl.col("multilingual_model") == "all models").sort("method", "measure")  # fmt: skip
    measures = values(rows, "measure")
    marks = [
        Dot(r["method"], r["measure"], r[kind], r[f"{kind}_low"], r[f"{kind}_high"], f"n = {r['n']}")
        for r in rows.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=values(rows, "method"),
        names=measures,
        title=f"{chosen['kind']} correlation, 95 % interval",
        reference=0.0,
        include=(-1.0, 1.0),
        digits=2,
    )
    shown = ["method", "measure", "n", kind, f"{kind}_low", f"{kind}_high"]
    note = "One point of a correlation is a dataset and language. Few of them make the intervals wide."
    return Drawn(above(legend(named(measures)), chart), rows.select(shown), note)  # fmt: skip


_CUTS = {
    "fertility": "sub-tokens per word",
    "splitting_ratio": "share of words that are cut",
    "unknown_ratio": "share of unknown sub-tokens",
}


def cuts(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """The disparity of each dataset and language against how differently the two tokenizers cut it."""
    measure = next(name for name, title in _CUTS.items() if title == chosen["measure"])
    place = ["model", "dataset", "language"]
    if chosen.get("origin") == "published":
        printed = frames["published_results"].filter(pl.col("metric") == measure)
        cut = printed.select(*place, pl.lit(None, pl.String).alias("split"), value="value")
    else:
        cut = frames["fertility"].select(*place, "split", value=measure)
    cells = (
        frames["faithfulness_disparity"]
        .filter((pl.col("scope") == "cell") & pl.col("disparity").is_not_null())
        .group_by("multilingual_model", "monolingual_model", "dataset", "split", "language")
        .agg(pl.col("disparity").mean(), pl.len().cast(pl.Int64).alias("methods"))
    )
    for side in ("multilingual", "monolingual"):
        own = cut.rename({"model": f"{side}_model", "value": side})
        cells = cells.join(own, on=[f"{side}_model", "dataset", "split", "language"], nulls_equal=True)
    rows = cells.with_columns(difference=pl.col("multilingual") - pl.col("monolingual")).sort(
        "multilingual_model", "dataset", "language", "monolingual_model"
    )
    if rows.is_empty():
        return Missing(
            f"No pair of models has both a disparity and the {chosen['measure']} of the same dataset.",
            "xlwh materialize +faithfulness_tokenization",
        )
    models = values(rows, "multilingual_model")
    points = [
        Point(f"{r['dataset']} {r['language']}", r["multilingual_model"], r["difference"], r["disparity"])
        for r in rows.iter_rows(named=True)
    ]
    chart = scatter(
        points,
        names=models,
        x_title=f"{chosen['measure']}, multilingual less monolingual",
        y_title="disparity, mean over methods",
        width=620,
    )
    shown = [
        "multilingual_model", "monolingual_model", "dataset", "language", "methods", "multilingual", "monolingual",
        "difference", "disparity",
    ]  # fmt: skip
    note = (
        "A point is a dataset in a language. Below 0 the multilingual model's attributions are less faithful."
    )
    return Drawn(above(legend(named(models)), chart), rows.select(shown), note)


SECTION = Section(
    "faithfulness",
    "Faithfulness",
    "Do attributions show what the models use, and less so in multilingual models?",
    (
        Figure(
            "faithfulness",
            "Methods against chance",
            "Which attribution methods are more faithful than random ones?",
            ("faithfulness",),
            methods,
            _COMMAND,
            (
                Filter("measure", "Measure", values=tuple(title for title, _, _ in _MEASURES.values())),
                _SIDE,
                DATASET,
                SPLIT,
                Filter("language", "Language"),
                *_HOW,
            ),
            each=("side", "dataset", "language"),
            needs=("method", "model", "n", "saturated", "ratio", "difference", "score", "random_score"),
        ),
        Figure(
            "faithfulness_disparity",
            "Multilingual and monolingual models",
            "Are attributions of multilingual models less faithful?",
            ("faithfulness_disparity",),
            disparity,
            "xlwh materialize +faithfulness_disparity",
            (_ORIGIN, _SIDE, *_HOW),
            each=("origin", "side"),
            needs=(
                "scope",
                "multilingual_model",
                "method",
                "n",
                "disparity",
                "disparity_low",
                "disparity_high",
                "p_value",
            ),
        ),
        Figure(
            "faithfulness_cells",
            "Disparity by dataset and language",
            "Where is the disparity large?",
            ("faithfulness_disparity",),
            cells,
            "xlwh materialize +faithfulness_disparity",
            (_ORIGIN, _SIDE, *_HOW),
            each=("origin", "side"),
            needs=(
                "scope",
                "multilingual_model",
                "monolingual_model",
                "dataset",
                "language",
                "method",
                "disparity",
            ),
        ),
        Figure(
            "faithfulness_cuts",
            "Disparity against tokenization",
            "Is the disparity larger where the tokenizers differ more?",
            ("faithfulness_disparity", "fertility", "published_results"),
            cuts,
            "xlwh materialize +faithfulness_tokenization",
            (Filter("measure", "Tokenization", values=tuple(_CUTS.values())), _ORIGIN, _SIDE, *_HOW),
            each=("origin", "side"),
            needs=(
                "scope",
                "multilingual_model",
                "monolingual_model",
                "dataset",
                "split",
                "language",
                "disparity",
            ),
        ),
        Figure(
            "faithfulness_tokenization",
            "Disparity and tokenization",
            "Does the disparity go with how a tokenizer cuts a language?",
            ("faithfulness_tokenization",),
            tokenization,
            "xlwh materialize +faithfulness_tokenization",
            (Filter("kind", "Correlation", values=("Pearson", "Spearman")), _ORIGIN, _SIDE, *_HOW),
            each=("origin", "side"),
            needs=("multilingual_model", "method", "measure", "n", "pearson", "spearman"),
        ),
    ),
    views=("faithfulness_examples", "perturbations"),
)
