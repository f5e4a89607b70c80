"""Concepts in hidden states: alignment (CALIGN) and overlap (COLAP) per layer, and what is asked beside them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from xlwh.report.charts import Cell, Dot, Key, Line, dots, grid, heat, legend, lines, number
from xlwh.report.charts.heat import scale
from xlwh.report.charts.layout import above
from xlwh.report.figures.base import (
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
from xlwh.report.figures.scores import named
from xlwh.report.markup import cut
from xlwh.report.theme import SERIES, colour, series

_PANELS = 24
_CONCEPTS = 12
"""Pairs of concepts that are shown."""
_THRESHOLDS = ("least share of matching words", "translations of a word that count")
_DASHES = {"base": "2 4", "fine-tuned": "", "zero-shot": "8 4"}
"""As the paper draws them: dotted, solid, dashed."""
_PLACE = (
    Filter("corpus", "Corpus"),
    Filter("stack", "Stack", prefer=("encoder",)),
    Filter("convention", "Convention", prefer=("consumed",)),
)
_SEED = Filter("seed", "Seed")
_COMMAND = "xlwh materialize +concept_profiles"
_MEASURES = {
    "cka": "linear CKA",
    "mutual_retrieval": "mutual nearest neighbours",
    "retrieval": "retrieval",
    "anisotropy": "anisotropy (mean cosine)",
    "language_probe": "language identity probe",
}


def profiles(frames: Frames, chosen: Selection) -> Drawn:
    """Share of aligned or overlapping concepts per layer, a panel per pair of languages, a line per model."""
    rows = frames["concept_profiles"].sort("languages", "role", "model", "layer")
    pairs = values(rows, "languages")
    models = list(dict.fromkeys(zip(rows["model"], rows["role"], strict=True)))
    names = list(dict.fromkeys(model for model, _ in models))
    tops = [v for column in ("score", "score_high", "null") for v in rows[column].drop_nulls().to_list()]
    panels = []
    shown_pairs, more = first(pairs, _PANELS, "pairs")
    for pair in shown_pairs:
        part = rows.filter(pl.col("languages") == pair)
        curves = [
            _line(part.filter((pl.col("model") == m) & (pl.col("role") == role)), m, role, names)
            for m, role in models
        ]
        null = part.group_by("layer").agg(pl.col("null").mean()).sort("layer")
        chance = Line("chance", null["layer"].to_list(), null["null"].to_list(), colour("s8"), dash="1 3")
        panels.append(
            lines(
                [*(c for c in curves if c.x), chance],
                title=pair,
                x_title="layer",
                y_title=f"{chosen['metric'].upper()}, share of concepts",
                y_domain=(0.0, max(tops, default=1.0)),
                width=400,
                height=240,
            )
        )
    keys = [Key(f"{m} ({role})", series(names.index(m)), _DASHES.get(role, "")) for m, role in models]
    keys.append(Key("chance", colour("s8"), "1 3"))
    note = (
        "Dotted the base model, solid fine-tuned on all languages compared, dashed zero-shot; bands are 95 % intervals "
        f"over concepts; chance is a shuffled lexicon or random labels, the models' mean.{more}"
    )
    shown = ["languages", "model", "role", "layer", "score", "score_low", "score_high", "null", "change"]
    return Drawn(
        above(legend(keys, 820), grid(panels, columns=2)),
        rows.select(c for c in shown if c in rows.columns),
        note,
        cut=more,
    )


def _line(part: pl.DataFrame, model: str, role: str, names: list[str]) -> Line:
    # Where a study has several seeds and none is chosen, the line is their mean.
    part = part.group_by("layer").agg(pl.col("score", "score_low", "score_high").mean()).sort("layer")
    columns = {c: part[c].to_list() for c in ("score", "score_low", "score_high")}
    return Line(
        f"{model} ({role})",
        part["layer"].to_list(),
        columns["score"],
        series(names.index(model)),
        low=columns["score_low"],
        high=columns["score_high"],
        dash=_DASHES.get(role, ""),
    )


def alignment(frames: Frames, chosen: Selection) -> Drawn:
    """CALIGN of every pair of languages in the layer where it is highest."""
    rows = frames["calign"].filter(pl.col("score").is_not_null())
    best = (
        rows.sort("score", descending=True)
        .group_by("source_language", "target_language", maintain_order=True)
        .first()
        .sort("source_language", "target_language")
    )
    cells = [
        Cell(
            r["source_language"],
            r["target_language"],
            r["score"],
            f"layer {r['layer']}, {r['aligned']} of {r['concepts']} concepts, shuffled lexicon {number(r['null_lexicon'])}",
        )
        for r in best.iter_rows(named=True)
    ]
    high = float(best["score"].max() or 0.0) or 1.0  # type: ignore[arg-type]
    chart = heat(
        cells,
        rows=values(best, "source_language"),
        columns=values(best, "target_language"),
        x_title="language in which they are looked for",
        low=0.0,
        high=high,
    )
    shown = [
        "source_language", "target_language", "layer", "score", "score_low", "score_high", "aligned", "concepts",
        "eligible", "null_lexicon", "null_labels", "coverage",
    ]  # fmt: skip
    note = "Each cell is the layer with the highest share, which favours pairs with many layers that are about equal."
    picture = above(scale(0.0, high, title="share of aligned concepts, best layer"), chart)
    return Drawn(picture, best.select(c for c in shown if c in best.columns), note)


def thresholds(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """CALIGN per layer at other thresholds than the paper's, a panel per pair of languages, a line per threshold."""
    varied = "theta" if chosen["threshold"] == _THRESHOLDS[0] else "n_best"
    fixed, usual = ("n_best", 10) if varied == "theta" else ("theta", 0.8)
    rows = frames["calign_thresholds"].filter(pl.col("score").is_not_null(), pl.col(fixed) == usual)
    if rows.is_empty():
        return Missing("The stored matches do not go as far as these thresholds.", "xlwh materialize +calign")
    rows = rows.with_columns(pair=pl.concat_str("source_language", "target_language", separator="–"))
    levels = rows[varied].unique().sort().to_list()
    names = [f"{'θ' if varied == 'theta' else 'N'} = {level:g}" for level in levels]
    top = max([*rows["score"].to_list(), 1e-3])
    shown_pairs, more = first(values(rows, "pair"), _PANELS, "pairs")
    panels = []
    for pair in shown_pairs:
        curves = []
        for place, level in enumerate(levels):
            part = (
                rows.filter((pl.col("pair") == pair) & (pl.col(varied) == level))
                .group_by("layer")
                .agg(pl.col("score").mean())
                .sort("layer")
            )
            curves.append(Line(names[place], part["layer"].to_list(), part["score"].to_list(), series(place)))
        panels.append(
            lines(
                [curve for curve in curves if curve.x],
                title=pair,
                x_title="layer",
                y_title="CALIGN, share of concepts",
                y_domain=(0.0, top),
                width=400,
                height=240,
            )
        )
    shown = [
        "source_language",
        "target_language",
        "layer",
        "seed",
        "theta",
        "n_best",
        "score",
        "null_lexicon",
    ]
    return Drawn(
        above(legend(named(names)), grid(panels, columns=2)),
        rows.sort("pair", "layer", varied).select(shown),
        f"The other threshold is the paper's: theta .8, the 10 best translations.{more}",
        cut=more,
    )


def matched(frames: Frames, chosen: Selection) -> Drawn:
    """The aligned concepts with the most matched words, as texts."""
    rows = frames["matched_concepts"].sort(
        "matched", "share", "source_concept", descending=[True, True, False]
    )
    rows = rows.head(_CONCEPTS).with_columns(
        words=pl.struct("source_words", "target_words").map_elements(_word_pairs, return_dtype=pl.String)
    )
    marks = [
        Dot(
            cut(f"{r['source_concept']}–{r['target_concept']}: {r['words']}", 34),
            "",
            r["share"],
            note=cut(r["words"], 200),
        )
        for r in rows.iter_rows(named=True)
    ]
    chart = dots(
        marks,
        rows=[mark.row for mark in marks],
        names=[""],
        title="share of the source concept's words that match",
        bars=True,
        include=(0.0, 1.0),
        digits=2,
    )
    shown = ["source_concept", "target_concept", "source_types", "target_types", "matched", "share", "words"]
    return Drawn(
        chart,
        rows.select(shown),
        "A row is a concept of the first language and the one that it is aligned with in the second; the table has the words.",
    )


def _word_pairs(row: Mapping[str, list[str]]) -> str:
    return ", ".join(f"{a} – {b}" for a, b in zip(row["source_words"], row["target_words"], strict=True))


def overlap(frames: Frames, chosen: Selection) -> Drawn:
    """COLAP per layer beside random labels, a panel per pair of languages."""
    rows = frames["colap"].sort("scope", "layer")
    scopes = values(rows, "scope")
    panels = []
    shown_scopes, more = first(scopes, _PANELS, "scopes")
    for scope in shown_scopes:
        part = rows.filter(pl.col("scope") == scope).group_by("layer").agg(
            pl.col("score", "score_low", "score_high", "null_labels").mean()
        ).sort("layer")  # fmt: skip
        layers = part["layer"].to_list()
        panels.append(
            lines(
                [
                    Line("overlapping", layers, part["score"].to_list(), series(0), part["score_low"].to_list(), part["score_high"].to_list()),
                    Line("random labels", layers, part["null_labels"].to_list(), colour("s8"), dash="1 3"),
                ],
                title=scope.removeprefix("mixed:"),
                x_title="layer",
                y_title="COLAP, share of concepts",
                y_domain=(0.0, 1.0),
                width=400,
                height=240,
            )
        )  # fmt: skip
    keys = [Key("concepts that overlap", series(0), ""), Key("random labels", colour("s8"), "1 3")]
    shown = [
        "scope",
        "layer",
        "seed",
        "score",
        "score_low",
        "score_high",
        "score_all_languages",
        "null_labels",
        "concepts",
        "filled",
    ]
    note = (
        "Random labels overlap almost always: overlap is high where languages are mixed, not where they are understood."
        f"{more}"
    )
    return Drawn(
        above(legend(keys), grid(panels, columns=2)),
        rows.select(c for c in shown if c in rows.columns),
        note,
        cut=more,
    )


def similarity(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Similarity of languages per layer by measures without concepts."""
    measure = next(name for name, title in _MEASURES.items() if title == chosen["kind"])
    rows = frames["representation_similarities"].filter(pl.col("measure") == measure)
    if rows.is_empty():
        return Missing(f"There is no {chosen['kind']} yet.", "xlwh materialize representation_similarities")
    same = pl.col("source_language") == pl.col("target_language")
    rows = rows.with_columns(
        pair=pl.when(same).then("source_language").otherwise(pl.concat_str("source_language", "target_language", separator="–"))
    ).sort("pair", "layer")  # fmt: skip
    pairs = values(rows, "pair")
    curves = []
    shown_pairs, more = first(pairs, SERIES, "pairs")
    for place, pair in enumerate(shown_pairs):
        part = rows.filter(pl.col("pair") == pair)
        curves.append(Line(pair, part["layer"].to_list(), part["value"].to_list(), series(place)))
    chance = rows.group_by("layer").agg(pl.col("null_value").mean()).sort("layer")
    curves.append(
        Line(
            "chance, mean",
            chance["layer"].to_list(),
            chance["null_value"].to_list(),
            colour("s8"),
            dash="1 3",
        )
    )
    chart = lines(curves, x_title="layer", y_title=chosen["kind"], width=640, height=340, include=(0.0,))
    keys = [Key(curve.name, curve.colour, curve.dash) for curve in curves]
    shown = ["pair", "layer", "value", "null_value", "num_units"]
    return Drawn(
        above(legend(keys), chart), rows.select(shown), f"Grey is what chance gives.{more}", cut=more
    )


def kinds(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """Share of concepts per layer that are lexical, of one part of speech, of one kind of entity, of one language."""
    clusterings = frames["clusterings"]
    rows = frames["concept_kinds"].join(
        clusterings.select("model", "clustering", "layer", "corpus", "scope", "seed"),
        on=["model", "clustering"],
    )
    if rows.is_empty():
        return Missing("No concept of this clustering is described yet.", "xlwh materialize concept_kinds")
    pure = 0.8
    told = rows.with_columns(
        lexical=(pl.col("affix_p") < 0.01) & (pl.col("affix_types") >= 0.5 * pl.col("num_types")),
        speech=pl.col("pos_tokens") >= pure * pl.col("num_pos_tagged"),
        entity_=(pl.col("entity_tokens") >= pure * pl.col("num_entity_tagged")) & (pl.col("entity") != "O"),
        one_language=pl.col("language_tokens") >= pure * pl.col("num_tokens"),
    )
    shares = (
        told.group_by("layer")
        .agg(pl.col("lexical", "speech", "entity_", "one_language").mean(), pl.len().alias("concepts"))
        .sort("layer")
    )
    names = {
        "lexical": "share an affix",
        "speech": "one part of speech",
        "entity_": "one kind of entity",
        "one_language": "one language",
    }
    curves = [
        Line(title, shares["layer"].to_list(), shares[column].to_list(), series(place))
        for place, (column, title) in enumerate(names.items())
        if shares[column].drop_nulls().len()
    ]
    chart = lines(
        curves, x_title="layer", y_title="share of concepts", width=640, height=320, y_domain=(0.0, 1.0)
    )
    note = (
        "An affix that half of a concept's types share beyond chance (p < 0.01), or 80 % of its tagged members in one "
        "part of speech or kind of entity, or 80 % of its members in one language."
    )
    return Drawn(
        above(legend([Key(c.name, c.colour, c.dash) for c in curves]), chart), shares.rename(names), note
    )


def stability(frames: Frames, chosen: Selection) -> Drawn | Missing:
    """How alike the clusterings of different seeds are, per layer."""
    rows = frames["clusterings"].filter(pl.col("stability").is_not_null()).sort("scope", "layer", "seed")
    if rows.is_empty():
        return Missing("Stability needs two seeds or more in the study.", "xlwh materialize clusterings")
    names, more = first(values(rows, "scope"), SERIES, "scopes")
    marks = [
        Dot(f"layer {r['layer']}", r["scope"], r["stability"], note=f"{r['num_points']:,} words, {r['num_empty']} empty")
        for r in rows.group_by("scope", "layer", maintain_order=True).agg(pl.col("stability").mean(), pl.col("num_points", "num_empty").first()).iter_rows(named=True)
    ]  # fmt: skip
    layers = [f"layer {layer}" for layer in rows["layer"].unique().sort()]
    chart = dots(
        marks,
        rows=layers,
        names=names,
        title="mean adjusted Rand index between seeds",
        include=(0.0, 1.0),
    )
    shown = [
        "scope",
        "layer",
        "seed",
        "stability",
        "num_clusters",
        "num_empty",
        "num_points",
        "algorithm",
        "converged",
    ]
    return Drawn(
        above(legend(named(names)), chart),
        rows.select(c for c in shown if c in rows.columns),
        f"1 is the same clusters, 0 what chance gives. Findings about single concepts need it to be high.{more}",
        cut=more,
    )


SECTION = Section(
    "concepts",
    "Concepts (CALIGN, COLAP)",
    "Which concepts do languages share inside the models, in which layers, and what does fine-tuning change?",
    (
        Figure(
            "concept_profiles",
            "Alignment and overlap by layer",
            "Where in the model do languages share concepts, and what does fine-tuning change?",
            ("concept_profiles",),
            profiles,
            _COMMAND,
            (
                Filter("metric", "Metric", prefer=("calign",)),
                Filter("base_model", "Base model"),
                *_PLACE,
                Filter("lexicon", "Lexicon"),
                Filter("unit", "Unit", prefer=("tokens",)),
                VARIANT,
                Filter("seed", "Seed", optional=True),
            ),
            each=("metric", "base_model"),
            needs=("model", "role", "languages", "layer", "score", "score_low", "score_high", "null"),
        ),
        Figure(
            "calign_matrix",
            "Alignment between languages",
            "Whose concepts are found again in whose language?",
            ("calign",),
            alignment,
            "xlwh materialize +calign",
            (Filter("model", "Model"), *_PLACE, Filter("lexicon", "Lexicon"), VARIANT, _SEED),
            each=("model",),
            needs=("source_language", "target_language", "layer", "score", "aligned", "concepts", "null_lexicon"),
        ),
        Figure(
            "calign_thresholds",
            "Alignment at other thresholds",
            "Do the findings hang on the thresholds?",
            ("calign_thresholds",),
            thresholds,
            "xlwh materialize +calign",
            (
                Filter("threshold", "Threshold", values=_THRESHOLDS),
                Filter("model", "Model"),
                *_PLACE,
                Filter("lexicon", "Lexicon"),
                VARIANT,
                Filter("seed", "Seed", optional=True),
            ),
            each=("model",),
            needs=("source_language", "target_language", "layer", "theta", "n_best", "score", "null_lexicon"),
        ),
        Figure(
            "matched_concepts",
            "Matched concepts",
            "Which concepts are found again in another language, and by which words?",
            ("matched_concepts",),
            matched,
            "xlwh materialize +calign",
            (
                Filter("model", "Model"),
                *_PLACE,
                Filter("lexicon", "Lexicon"),
                VARIANT,
                Filter("source_language", "Language", prefer=("en",)),
                Filter("target_language", "Found in"),
                Filter("layer", "Layer"),
                Filter("source_clustering", "Clustering"),
            ),
            each=("model",),
            needs=("source_concept", "target_concept", "matched", "share", "source_words", "target_words"),
        ),
        Figure(
            "colap_layers",
            "Overlap by layer",
            "How many concepts hold words of two languages, against random labels?",
            ("colap",),
            overlap,
            "xlwh materialize +colap",
            (Filter("model", "Model"), *_PLACE, Filter("unit", "Unit", prefer=("tokens",)), VARIANT, Filter("seed", "Seed", optional=True)),
            each=("model",),
            needs=("scope", "layer", "score", "score_low", "score_high", "null_labels"),
        ),
        Figure(
            "concept_kinds",
            "Kinds of concepts",
            "Are concepts about spelling, grammar, names or languages, and does that change with depth?",
            ("concept_kinds", "clusterings"),
            kinds,
            "xlwh materialize concept_kinds",
            (Filter("model", "Model"),),
            each=("model",),
            needs=("clustering", "affix_p", "affix_types", "num_types", "pos_tokens", "num_pos_tagged", "language_tokens"),
        ),
        Figure(
            "representation_similarities",
            "Similarity without concepts",
            "Do measures that need no clusters say the same?",
            ("representation_similarities",),
            similarity,
            "xlwh materialize representation_similarities",
            (Filter("kind", "Measure", values=tuple(_MEASURES.values())), Filter("model", "Model"), *_PLACE),
            each=("model",),
            needs=("measure", "layer", "value", "null_value", "num_units"),
        ),
        Figure(
            "cluster_stability",
            "Stability of the clusters",
            "Would another seed have found the same concepts?",
            ("clusterings",),
            stability,
            "xlwh materialize clusterings",
            (Filter("model", "Model"), *_PLACE),
            each=("model",),
            needs=("scope", "layer", "stability", "num_points", "num_empty"),
        ),
    ),
    views=("calign_matches", "concepts", "concept_members", "clusterings", "lexicon"),
)  # fmt: skip
