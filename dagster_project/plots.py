"""Small pictures for Dagster's metadata: how the scores lie, how well attributions converged, how training went."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl

from xlwh.errors import SqlError
from xlwh.report.charts import svg
from xlwh.report.figures import Drawn, Views, all_figures, render
from xlwh.report.figures.base import first
from xlwh.report.theme import plain
from xlwh.store import Warehouse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_LANGUAGES = 8
"""Heat maps side by side at most."""


def plot(warehouse: Warehouse, table: str) -> dict[str, Any]:
    """Metadata with a picture of a table's current rows; empty for tables that have none, or no rows."""
    draw: Mapping[str, Callable[[Warehouse], dict[str, Any]]] = {
        "ccta_pairs": _scores,
        "attribution_runs": _convergence,
        "concept_matches": lambda w: _curves(w, "calign"),
        "concept_languages": lambda w: _curves(w, "colap"),
        "head_samples": _heads,
    }
    return draw[table](warehouse) if table in draw else {}


def view_plot(views: Views, name: str) -> dict[str, Any]:
    """Metadata with the explorer's figure of a view; empty for views that have none, or no rows."""
    drawn_from = [figure for figure in all_figures().values() if figure.views[0] == name]
    if not drawn_from:
        return {}
    try:
        drawn = render(drawn_from[0], views, {})
    except SqlError:
        # Too many rows for a figure; whoever asks for it in the explorer is told so.
        return {}
    if not isinstance(drawn, Drawn):
        return {}
    title = drawn_from[0].title
    image = base64.b64encode(plain(svg(drawn.picture, title), "light").encode()).decode()
    return {title: dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{image})")}


def learning_curve(curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Metadata with a picture of a training: its checks' `step`, `train_loss`, `dev_loss` and `dev_score`."""
    figure, axes = _figure("training step", "loss")
    steps = [point["step"] for point in curve]
    for name, colour in (("train_loss", "#bbbbbb"), ("dev_loss", "#777777")):
        axes.plot(steps, [point[name] for point in curve], marker=".", color=colour, label=name)
    scores = axes.twinx()
    scores.plot(
        steps, [point["dev_score"] for point in curve], marker="o", color="#3465a4", label="dev_score"
    )
    scores.set_ylabel("dev score, a share", color="#3465a4")
    axes.legend(frameon=False)
    return {"learning curve": _image(figure)}


def _scores(warehouse: Warehouse) -> dict[str, Any]:
    """Histogram of the pairs' scores with the shuffled null's behind it."""
    frame = warehouse.scan("ccta_pairs").select("score", "null_shuffled").collect()
    if frame.is_empty():
        return {}
    figure, axes = _figure("score, a share", "pairs")
    for column, colour in (("null_shuffled", "#bbbbbb"), ("score", "#3465a4")):
        axes.hist(frame[column].to_numpy(), bins=40, range=(0, 1), color=colour, alpha=0.7, label=column)
    axes.legend(frameon=False)
    return {"scores": _image(figure)}


def _convergence(warehouse: Warehouse) -> dict[str, Any]:
    """Share of runs whose completeness error is at most x, per method."""
    frame = (
        warehouse.scan("attribution_runs")
        .filter(pl.col("relative_delta").is_not_null())
        .select("method", "relative_delta")
        .collect()
    )
    if frame.is_empty():
        return {}
    figure, axes = _figure("relative completeness error", "share of runs")
    for (method,), group in frame.group_by("method", maintain_order=True):
        shares = np.linspace(0, 1, 201)
        errors = np.quantile(group["relative_delta"].to_numpy(), shares)
        axes.plot(errors.clip(1e-8), shares, label=str(method))
    axes.set_xscale("log")
    axes.legend(frameon=False)
    return {"completeness": _image(figure)}


def _curves(warehouse: Warehouse, metric: str) -> dict[str, Any]:
    """CALIGN or COLAP by layer: a colour for each pair of languages; dotted before fine-tuning, solid for languages
    that were fine-tuned on, dashed for others, as in the paper."""
    frame = (
        warehouse.scan("concept_profiles")
        .filter(
            (pl.col("metric") == metric) & (pl.col("variant") == "strict") & pl.col("score").is_not_null()
        )
        .filter((pl.col("stack") == "encoder") & ((pl.col("unit") == "tokens") | pl.col("unit").is_null()))
        .select("model", "role", "corpus", "lexicon", "languages", "seed", "layer", "score")
        .collect()
    )
    if frame.is_empty():
        return {}
    figure, axes = _figure("layer", f"{metric}, a share")
    styles = {"base": ":", "fine-tuned": "-", "zero-shot": "--"}
    pairs = sorted(frame["languages"].unique())
    for (role, languages, *_), curve in sorted(
        frame.partition_by("role", "languages", "model", "corpus", "lexicon", "seed", as_dict=True).items(),
        key=str,
    ):
        points = curve.sort("layer")
        axes.plot(points["layer"], points["score"], styles[role], color=f"C{pairs.index(languages) % 10}")
    for number, languages in enumerate(pairs):
        axes.plot([], [], color=f"C{number % 10}", label=languages)
    for role, style in styles.items():
        if role in frame["role"]:
            axes.plot([], [], style, color="#777777", label=role)
    axes.legend(frameon=False, fontsize=6)
    return {"by layer": _image(figure)}


def _heads(warehouse: Warehouse) -> dict[str, Any]:
    """Mean marginal of every head, a heat map (layers by heads) per language, of each model's first game."""
    game = ["model", "dataset", "sampler"]
    frame = (
        warehouse.scan("head_samples")
        .filter(pl.col("unit") == "head")
        .group_by(*game, "language", "layer", "head")
        .agg(pl.col("marginal").mean())
        .sort(*game, "language")
        .collect()
    )
    pictures: dict[str, Any] = {}
    for (model, dataset, sampler), group in frame.group_by(game, maintain_order=True):
        if str(model) in pictures:
            continue
        languages, more = first(
            group["language"].unique(maintain_order=True).to_list(), _MOST_LANGUAGES, "languages"
        )
        shape = (int(group["layer"].max()) + 1, int(group["head"].max()) + 1)  # type: ignore[arg-type]
        reach = float(group["marginal"].abs().max()) or 1.0  # type: ignore[arg-type]
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.6 * len(languages), 2.0), dpi=80, layout="constrained")
        for place, language in enumerate(languages):
            axes = figure.add_subplot(1, len(languages), place + 1)
            values = np.full(shape, np.nan)
            own = group.filter(pl.col("language") == language)
            values[own["layer"].to_numpy(), own["head"].to_numpy()] = own["marginal"].to_numpy()
            axes.imshow(values, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto")
            axes.set_title(f"{language}", fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
        figure.supxlabel(f"heads, {dataset}, {sampler}, blue: useful, at most {reach:.3f}.{more}", fontsize=7)
        figure.supylabel("layers", fontsize=7)
        pictures[str(model)] = _image(figure)
    return {f"head values, {model}": image for model, image in pictures.items()}


def _figure(x: str, y: str) -> tuple[Any, Axes]:
    # matplotlib's objects without pyplot: nothing global, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0, 2.4), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _image(figure: Any) -> dg.MarkdownMetadataValue:
    """A figure as Markdown that carries its PNG: a few kilobytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return dg.MetadataValue.md(
        f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
    )
