"""Attention heads: what they are worth, whether languages agree on it, and what pruning does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import polars as pl

from xlwh.report.charts import Cell, Dot, Key, Line, dots, grid, heat, legend, lines, matrix, number
from xlwh.report.charts.base import interval
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
    first,
    values,
)
from xlwh.report.figures.consistency import bounds
from xlwh.report.figures.scores import named
from xlwh.report.theme import series

_PANELS = 24
_MODEL = Filter("model", "Model")
_SAMPLER = Filter("sampler", "Sampler")
_UNIT = Filter("unit", "Unit", prefer=("head",))
_HEAD = (_MODEL, DATASET, SPLIT, _SAMPLER, _UNIT)
_RHO = {
    "rho_apart": "between independent halves",
    "rho_corrected": "without sampling noise",
    "rho": "as it comes out",
}


def heat_maps(frames: Frames, chosen: Selection) -> Drawn:
    """Value of each head, layers from bottom to top, a panel per language."""
    rows = frames["head_shapley"].sort("language", "layer", "head")
    low, high = bounds(rows["value"], signed=True)
    languages = values(rows, "language")
    heads = [str(h) for h in rows["head"].unique().sort().to_list()]
    layers = [str(layer) for layer in rows["layer"].unique().sort(descending=True).to_list()]
    panels = []
    shown_languages, more = first(languages, _PANELS, "languages")
    for language in shown_languages:
        cells = [
            Cell(
                str(r["layer"]),
                str(r["head"]),
                r["value"],
                f"{interval(r['value'], r['value_low'], r['value_high'], 4)}, rank {r['value_rank']}, n = {r['n']:,}",
                link=_link(r),
            )
            for r in rows.filter(pl.col("language") == language).iter_rows(named=True)
        ]
        panels.append(
            heat(
                cells,
                rows=layers,
                columns=heads,
                title=language,
                x_title="head",
                y_title="layer",
                low=low,
                high=high,
                diverging=True,
                numbers=False,
                cell=(22.0, 18.0),
            )
        )
    wide = max(1, min(4, int(1040 // max(panel.width for panel in panels))))
    picture = above(
        scale(low, high, True, digits=4, title="mean marginal, a share"), grid(panels, columns=wide)
    )
    shown = ["language", "layer", "head", "value", "value_low", "value_high", "value_rank", "n"]
    note = (
        "Blue heads help, orange heads do harm. Point at a head for its interval, click for all its languages."
        f"{more}"
    )
    return Drawn(picture, rows.select(shown), note, cut=more)


def _link(row: dict[str, object]) -> str:
    names = ("model", "dataset", "split", "sampler", "unit", "layer", "head", "variant")
    return "/head?" + urlencode({name: row[name] for name in names})


def one_head(frames: Frames, chosen: Selection) -> Drawn:
    """The value of one head in every language with its interval."""
    rows = frames["head_shapley"].sort("language")
    marks = [
        Dot(
            r["language"],
            "",
            r["value"],
            r["value_low"],
            r["value_high"],
            f"rank {r['value_rank']}, n = {r['n']:,}",
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=values(rows, "language"),
        names=[""],
        title="mean marginal, a share",
        reference=0.0,
        reference_name="no effect",
        digits=4,
    )
    shown = [
        "language",
        "value",
        "value_low",
        "value_high",
        "sd",
        "value_rank",
        "n",
        "value_even",
        "value_odd",
    ]
    return Drawn(chart, rows.select(c for c in shown if c in rows.columns), "Intervals are those of the chosen variant, at error 0.1.")  # fmt: skip


def ranks(frames: Frames, chosen: Selection) -> Drawn:
    """Rank correlation of head values between languages."""
    measure = next(name for name, title in _RHO.items() if title == chosen["kind"])
    rows = frames["head_rank_correlation"].sort("source_language", "target_language")
    different = rows.filter(pl.col("source_language") != pl.col("target_language"))
    cells = [
        Cell(
            r["source_language"],
            r["target_language"],
            r[measure] if r["source_language"] != r["target_language"] else r["ceiling_source"],
            f"rho {number(r['rho'])}, halves {number(r['rho_apart'])}, ceiling {number(r['ceiling'])}",
        )
        for r in rows.iter_rows(named=True)
    ]
    languages = sorted({*values(rows, "source_language"), *values(rows, "target_language")})
    chart = heat(cells, rows=languages, columns=languages, low=-1.0, high=1.0, diverging=True)
    shown = [
        "source_language",
        "target_language",
        "rho",
        "rho_low",
        "rho_high",
        "rho_apart",
        "ceiling",
        "rho_corrected",
        "players",
    ]
    note = (
        "The diagonal is each language's noise ceiling: the correlation between its own halves. Correlations without "
        "sampling noise may exceed 1."
    )
    return Drawn(above(scale(-1.0, 1.0, True, title="Spearman's rho"), chart), different.select(shown), note)


def affinity(frames: Frames, chosen: Selection) -> Drawn:
    """In how many languages a head is among the twenty most valuable."""
    rows = frames["head_affinity"].sort("layer", "head")
    most = float(max(rows["languages"].to_list(), default=1))
    cells = [
        Cell(
            str(r["layer"]),
            str(r["head"]),
            float(r["languages_in_top"]),
            f"mean rank {number(r['mean_rank'], 1)}, worst {r['worst_rank']}"
            + (f", sets {r['specific_language']} apart" if r["specific_language"] else ""),
            link=_link(r),
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = heat(
        cells,
        rows=[str(layer) for layer in rows["layer"].unique().sort(descending=True).to_list()],
        columns=[str(h) for h in rows["head"].unique().sort().to_list()],
        x_title="head",
        y_title="layer",
        low=0.0,
        high=most,
        digits=0,
        cell=(30.0, 24.0),
    )
    agnostic, apart = int(rows["agnostic"].sum() or 0), int(rows["specific_language"].is_not_null().sum())
    note = f"{agnostic} heads are among the top twenty of every language; {apart} set one language apart."
    shown = [
        "layer",
        "head",
        "languages",
        "languages_in_top",
        "mean_value",
        "mean_rank",
        "worst_rank",
        "agnostic",
        "specific_language",
    ]
    return Drawn(
        above(scale(0, most, digits=0, title="languages with it in their top twenty"), chart),
        rows.select(shown),
        note,
    )


def decisions(frames: Frames, chosen: Selection) -> Drawn:
    """How many heads are known to do harm or good, per language."""
    rows = frames["pruning_decisions"]
    order = ["prune", "keep", "undecided"]
    counts = (
        rows.group_by("language", "decision")
        .agg(pl.len().cast(pl.Int64).alias("heads"))
        .sort("language", "decision")
    )
    marks = [Dot(r["language"], r["decision"], float(r["heads"])) for r in counts.iter_rows(named=True)]
    chart = dots(
        marks, rows=values(rows, "language"), names=order, title="heads", bars=True, digits=0, include=(0.0,)
    )
    waiting = (
        rows["more_observations"].drop_nulls().drop_nans()
        if "more_observations" in rows.columns
        else pl.Series([])
    )
    note = "Strict decisions hold for all heads together at error 0.1, however often one looked; asymptotic ones in the limit of many observations, none below 1,024, or below 100 times the squared skewness."
    if waiting.len():
        note += f" The median undecided head needs about {int(waiting.median() or 0):,} more observations."  # type: ignore[arg-type]
    return Drawn(above(legend(named(order)), chart), counts, note)


def curves(frames: Frames, chosen: Selection) -> Drawn:
    """Accuracy against heads removed, a panel per language, a line per ranking."""
    rows = frames["pruning_curves"].sort("language", "ranking", "num_removed")
    languages, rankings = values(rows, "language"), values(rows, "ranking")
    domain = [v for c in ("accuracy_min", "accuracy_max") for v in rows[c].drop_nulls().to_list()]
    panels = []
    shown_languages, more = first(languages, _PANELS, "languages")
    for language in shown_languages:
        drawn = []
        for place, ranking in enumerate(rankings):
            part = rows.filter((pl.col("language") == language) & (pl.col("ranking") == ranking))
            if part.is_empty():
                continue
            several = part["draws"].max() != 1
            drawn.append(
                Line(
                    ranking,
                    part["num_removed"].to_list(),
                    part["accuracy"].to_list(),
                    series(place),
                    part["accuracy_min"].to_list() if several else (),
                    part["accuracy_max"].to_list() if several else (),
                    "6 4" if ranking == "random" else "",
                )
            )
        panels.append(
            lines(
                drawn,
                title=language,
                x_title="heads removed",
                y_title="accuracy",
                y_domain=domain,
                width=400,
                height=240,
            )
        )
    keys = [
        Key(name, series(place), "6 4" if name == "random" else "") for place, name in enumerate(rankings)
    ]
    note = f"The least valuable heads go first; the band of random removals spans its draws.{more}"
    return Drawn(
        above(legend(keys, 820), grid(panels, columns=2)),
        rows.drop("model", "dataset", "split", strict=False),
        note,
        cut=more,
    )


def effects(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Change of accuracy when each language's own harmful heads go."""
    rows = frames["pruning_effects"].filter(pl.col("is_targeted")).sort("ranking", "draw", "language")
    if rows.is_empty():
        return Missing("No language was pruned by its own mask.", "xlwh materialize +pruning_effects")
    # Random masks have several draws: their mean stands for them, and the table has each.
    averaged = rows.group_by("language", "ranking", maintain_order=True).agg(
        pl.col("effect", "effect_low", "effect_high").mean(),
        pl.col("num_removed").mean(),
        pl.col("holm_p").min(),
        pl.len(),
    )
    rankings = values(rows, "ranking")
    marks = [
        Dot(
            r["language"],
            r["ranking"],
            r["effect"],
            r["effect_low"],
            r["effect_high"],
            f"{r['num_removed']:.0f} heads removed, Holm p {number(r['holm_p'])}",
        )
        for r in averaged.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=values(rows, "language"),
        names=rankings,
        title="change of accuracy, 95 % interval",
        reference=0.0,
        reference_name="no change",
    )
    shown = [
        "language",
        "ranking",
        "draw",
        "num_removed",
        "before",
        "after",
        "effect",
        "effect_low",
        "effect_high",
        "holm_p",
        "mcnemar_p",
    ]
    note = "On examples that no head was valued on. Of random masks the mean over draws is drawn, with the mean ends of their intervals."
    return Drawn(above(legend(named(rankings)), chart), rows.select(shown), note)  # fmt: skip


def transfer(frames: Frames, chosen: Selection) -> Drawn:
    """Change of accuracy in one language by the mask of another."""
    rows = frames["pruning_effects"].sort("mask_language", "language")
    averaged = rows.group_by("mask_language", "language", maintain_order=True).agg(
        pl.col("effect").mean(), pl.col("holm_p").min(), pl.col("num_removed").mean()
    )
    low, high = bounds(averaged["effect"], signed=True)
    cells = [
        Cell(
            r["mask_language"],
            r["language"],
            r["effect"],
            f"{r['num_removed']:.0f} heads removed, smallest Holm p {number(r['holm_p'])}",
        )
        for r in averaged.iter_rows(named=True)
    ]
    chart = heat(
        cells,
        rows=values(rows, "mask_language"),
        columns=values(rows, "language"),
        x_title="evaluated in",
        y_title="mask of",
        low=low,
        high=high,
        diverging=True,
        digits=3,
        cell=(56.0, 26.0),
    )
    shown = [
        "mask_language",
        "language",
        "num_removed",
        "before",
        "after",
        "effect",
        "effect_low",
        "effect_high",
        "holm_p",
    ]
    note = "The diagonal is targeted pruning, everything else zero-shot."
    return Drawn(above(scale(low, high, True, digits=3, title="change of accuracy"), chart), rows.select(shown), note)  # fmt: skip


def convergence(frames: Frames, chosen: Selection) -> Drawn:
    """How a few heads' values and intervals came to be."""
    rows = frames["head_convergence"].sort("layer", "head", "permutations")
    last = rows.group_by("layer", "head", maintain_order=True).last().sort("value")
    picked = pl.concat([last.head(1), last.slice(last.height // 2, 1), last.tail(1)]).unique(
        ["layer", "head"], maintain_order=True
    )
    drawn = []
    for place, r in enumerate(picked.iter_rows(named=True)):
        part = rows.filter((pl.col("layer") == r["layer"]) & (pl.col("head") == r["head"]))
        drawn.append(
            Line(
                f"layer {r['layer']} head {r['head']}",
                [float(i) for i in range(part.height)],
                part["value"].to_list(),
                series(place),
                part["value_low"].to_list(),
                part["value_high"].to_list(),
            )
        )
    chart = lines(
        drawn,
        x_title="permutations, as powers of 2",
        y_title="mean marginal",
        width=640,
        height=320,
        reference=0.0,
    )
    shown = ["layer", "head", "permutations", "n", "value", "value_low", "value_high"]
    note = "The worst head, the best and the one in the middle; bands are strict intervals, which hold at every point together."
    return Drawn(above(legend([Key(c.name, c.colour, "") for c in drawn]), chart), rows.select(shown), note)  # fmt: skip


def attention(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """What a head attends to on one example, a panel for each language that the first view has a row of."""
    everything = next(iter(frames.values())).sort("language")
    rows = everything.filter(pl.col("weights").is_not_null())
    if rows.is_empty():
        return Missing("No example is short enough in every language.", _ATTENTION)
    example = rows.row(0, named=True)
    high = max(max(weights) for weights in rows["weights"].to_list())
    _, more = first(rows["language"].to_list(), _PANELS, "languages")
    long = everything.filter(pl.col("weights").is_null())["language"].unique().sort().to_list()
    if long:
        more += f" Too long to have stored weights: {', '.join(long)}."
    panels = [
        matrix(
            _square(r["weights"], len(r["tokens"])),
            r["tokens"],
            title=r["language"],
            faint=r["is_special"],
            high=high,
        )
        for r in rows.head(_PANELS).iter_rows(named=True)
    ]
    wide = max(1, min(3, int(1040 // max(panel.width for panel in panels))))
    special = pl.DataFrame([_to_special(r) for r in rows.iter_rows(named=True)])
    note = (
        f"Layer {example['layer']}, head {example['head']}: a row is a token, its squares what it attends to, in the text's "
        f"own order. Grey tokens are added by the tokenizer.{more}"
    )
    if rows.height == 1:
        note += " The page of one head sets all languages side by side."
    picture = above(scale(0.0, high, title="share of attention"), grid(panels, columns=wide))
    return Drawn(picture, special, note, cut=more)


def _square(weights: Sequence[float], length: int) -> list[Sequence[float]]:
    return [weights[start : start + length] for start in range(0, len(weights), length)]


def _to_special(row: dict[str, Any]) -> dict[str, object]:
    """Where a head's attention goes on one example, in shares."""
    length = len(row["tokens"])
    kinds = {"to itself": 0.0, "to the token before": 0.0, "to the token after": 0.0}
    special = 0.0
    for place, weights in enumerate(_square(row["weights"], length)):
        kinds["to itself"] += weights[place] / length
        kinds["to the token before"] += weights[place - 1] / length if place else 0.0
        kinds["to the token after"] += weights[place + 1] / length if place + 1 < length else 0.0
        special += sum(w for w, added in zip(weights, row["is_special"], strict=True) if added) / length
    return {"language": row["language"], "tokens": length, "to special tokens": special, **kinds}


_COMMAND = "xlwh materialize +head_shapley"
_ATTENTION = "xlwh materialize +attention_maps"
_PRUNE = "xlwh materialize +pruning_effects"
_LANGUAGE = Filter("language", "Language")
_EXAMPLE = Filter("example_id", "Example")

SECTION = Section(
    "heads",
    "Attention heads (Shapley)",
    "Which heads do the work in which language, and does pruning the harmful ones help?",
    (
        Figure("head_values", "Values of the heads", "Which heads help and which do harm, language by language?", ("head_shapley",), heat_maps, _COMMAND, (*_HEAD, VARIANT), each=("model", "sampler"), needs=("language", "layer", "head", "value", "value_low", "value_high", "value_rank", "n")),
        Figure("head_ranks", "Agreement between languages", "Do languages agree on which heads matter?", ("head_rank_correlation",), ranks, _COMMAND, (Filter("kind", "Correlation", values=tuple(_RHO.values())), _MODEL, DATASET, SPLIT, _SAMPLER), each=("model",), needs=("source_language", "target_language", "rho", "rho_apart", "ceiling", "ceiling_source", "rho_corrected")),
        Figure("head_affinity", "Heads of all languages and of one", "Which heads serve every language?", ("head_affinity",), affinity, _COMMAND, (*_HEAD, VARIANT), each=("model",), needs=("layer", "head", "languages", "languages_in_top", "mean_rank", "worst_rank", "agnostic", "specific_language")),
        Figure("pruning_decisions", "Decisions", "How many heads are known to do harm?", ("pruning_decisions",), decisions, _COMMAND, (*_HEAD, VARIANT), each=("model", "variant"), needs=("language", "decision")),
        Figure("pruning_curves", "Pruning curves", "How much can be removed, and is that better than removing at random?", ("pruning_curves",), curves, _PRUNE, (_MODEL, DATASET, SPLIT), each=("model",), needs=("language", "ranking", "num_removed", "accuracy", "accuracy_min", "accuracy_max", "draws")),
        Figure("pruning_effects", "What pruning changes", "Does removing a language's harmful heads help it?", ("pruning_effects",), effects, _PRUNE, (_MODEL, DATASET, SPLIT, Filter("selection", "Masks", prefer=("strict",))), each=("model",), needs=("language", "ranking", "draw", "is_targeted", "effect", "effect_low", "effect_high", "holm_p", "num_removed")),
        Figure("pruning_transfer", "Masks across languages", "Does one language's mask serve another?", ("pruning_effects",), transfer, _PRUNE, (_MODEL, DATASET, SPLIT, Filter("ranking", "Ranking"), Filter("selection", "Masks", prefer=("strict",))), each=("model",), needs=("mask_language", "language", "effect", "holm_p", "num_removed")),
        Figure("head_convergence", "How values converge", "Were there enough samples?", ("head_convergence",), convergence, _COMMAND, (_MODEL, DATASET, SPLIT, _LANGUAGE, _SAMPLER, _UNIT), each=("model",), needs=("layer", "head", "permutations", "value", "value_low", "value_high")),
        Figure("head_attention", "What heads attend to", "What do the most and the least valuable head look at?", ("head_attention_extremes",), attention, "xlwh materialize +head_shapley +attention_maps", (_MODEL, DATASET, SPLIT, Filter("kind", "Head", prefer=("most valuable",)), Filter("language", "Language", prefer=("en",)), _EXAMPLE), each=("model", "kind"), needs=("language", "layer", "head", "tokens", "is_special", "weights")),
    ),
    views=("head_importance", "head_samples", "pruning_masks", "head_attention"),
)  # fmt: skip

ONE_HEAD = Figure("head", "One head", "What is this head worth in each language?", ("head_shapley",), one_head, _COMMAND, (*_HEAD, Filter("layer", "Layer"), Filter("head", "Head"), VARIANT))  # fmt: skip
"""Of the page of one head."""

ATTENDED = Figure("attended", "What it attends to", "What does this head look at, language by language?", ("attention_maps",), attention, _ATTENTION, (_EXAMPLE,))  # fmt: skip
"""Of the page of one head, over the rows of that head."""
