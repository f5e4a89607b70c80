"""Pages that show one thing: a concept, a head; and the list of concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import polars as pl

from xlwh.report.charts import number
from xlwh.report.explorer.concept import Concept
from xlwh.report.explorer.pages import PAGE_ROWS, filters, pager
from xlwh.report.explorer.state import Shown
from xlwh.report.figures import Missing, Offer, render
from xlwh.report.figures.base import Filter, offered
from xlwh.report.figures.heads import ATTENDED, ONE_HEAD
from xlwh.report.markup import Child, Markup, data, el
from xlwh.report.page import missing, view
from xlwh.report.tables import html_table
from xlwh.store.occurrences import cut

_CONCEPT_FILTERS = (
    Filter("model", "Model"),
    Filter("corpus", "Corpus"),
    Filter("scope", "Languages"),
    Filter("stack", "Stack", prefer=("encoder",)),
    Filter("convention", "Convention"),
    Filter("layer", "Layer"),
    Filter("num_clusters", "K"),
    Filter("seed", "Seed"),
    Filter("clustering", "Clustering"),
)
_SIZES = 6


def concept_offers(shown: Shown, wanted: Mapping[str, str]) -> tuple[Offer, ...] | Missing:
    """What can be chosen of the clusterings."""
    frame = shown.views.frame("clusterings")
    if frame is None or frame.is_empty():
        return Missing("Nothing is clustered yet.", "xlwh materialize +concepts")
    return offered(_CONCEPT_FILTERS, frame, wanted)


def concepts(
    offers: Sequence[Offer], wanted: Mapping[str, str], rows: pl.DataFrame, total: int, start: int
) -> Markup:
    """The list of a clustering's concepts."""
    chosen = {offer.filter.column: offer.chosen for offer in offers}
    text = wanted.get("text", "")
    extra = [
        el("label", "Word", el("input", type="search", name="text", value=text, placeholder="begins with")),
        el("noscript", el("button", "Show", type="submit")),
    ]
    body = [
        el(
            "tr",
            el("td", el("a", str(r["concept"]), href=concept_link(chosen["model"], chosen["clustering"], r["concept"]))),
            el("td", f"{r['occurrences']:,}", class_="num"),
            el("td", f"{r['types']:,}", class_="num"),
            el("td", data(r["languages"])),
            el("td", [[data(word), " · " if place + 1 < len(r["words"]) else ""] for place, word in enumerate(r["words"])], class_="long"),
        )
        for r in rows.iter_rows(named=True)
    ]  # fmt: skip
    heads = (
        ("concept", None),
        ("words", "num"),
        ("different", "num"),
        ("languages", None),
        ("commonest", None),
    )
    head = el("thead", el("tr", [el("th", name, scope="col", class_=kind) for name, kind in heads]))
    table = el("table", el("caption", "Concepts", class_="unseen"), head, el("tbody", body))
    return el(
        "div",
        filters(offers, "/concepts", extra),
        pager("Concepts", "/concepts", {**chosen, "text": text}, start, rows.height, total, PAGE_ROWS),
        el("div", table, class_="scroll tall", tabindex=0, role="region", aria_label="Concepts"),
        data_swap="/concepts",
    )


def concept_link(model: str, clustering: str, concept: int) -> str:
    """Address of a concept's page."""
    return "/concept?" + urlencode({"model": model, "clustering": clustering, "concept": concept})


def concept(found: Concept) -> Markup:
    """One concept: its words by language, sized by how often they occur, and sentences around its centre."""
    known, row = found.clustering, found.row
    cards = [
        (f"{row['num_tokens']:,}", "occurrences"),
        (f"{row['num_types']:,}", "different words"),
        (number(row["inertia_share"], 4), "share of the inertia"),
        (f"{known['layer']}", f"layer of the {known['stack']}"),
    ]
    names = {"model": known["model"], "clustering": known["clustering"], "concept": row["concept"]}
    back = urlencode({"model": known["model"], "clustering": known["clustering"], **_scope(known)})
    return el(
        "div",
        el("p", el("a", "← all concepts", href=f"/concepts?{back}")),
        el("h1", f"Concept {row['concept']}"),
        el("p", data(known["model"]), ", ", data(known["scope"]), ", ", data(known["corpus"]), f", K = {known['num_clusters']}, seed {known['seed']}", class_="lead"),
        el("div", [el("div", el("b", value), el("span", name), class_="card") for value, name in cards], class_="cards"),
        el("div", [_cloud(found.words, language) for language in found.words["language"].unique().sort()], class_="sentences"),
        el("h2", "Sentences around its centre"),
        el("ul", [_sentence(r) for r in found.sentences.iter_rows(named=True)], class_="around"),
        _aligned(names, str(known["scope"])),
        el("details", el("summary", "Its words in numbers"), html_table(found.words, caption="Words")),
    )  # fmt: skip


def _aligned(names: Mapping[str, object], scope: str) -> Child:
    if scope.startswith("mixed:"):
        # Alignment is between concepts of one language each.
        return None
    waiting = el("p", "Asking the warehouse…", class_="hint")
    address = f"/evidence?{urlencode(names)}"
    return [
        el("h2", "What it is aligned with"),
        el("div", waiting, data_load=address, aria_live="polite"),
    ]


def _scope(known: Mapping[str, object]) -> dict[str, object]:
    columns = ("corpus", "scope", "stack", "convention", "layer", "num_clusters", "seed")
    return {column: known[column] for column in columns if known[column] is not None}


def _cloud(words: pl.DataFrame, language: str) -> Markup:
    rows = words.filter(pl.col("language") == language).head(60)
    largest = max(rows["occurrences"].to_list(), default=1)
    spans: list[Child] = []
    for r in rows.iter_rows(named=True):
        size = 1 + round((_SIZES - 1) * (r["occurrences"] / largest) ** 0.5)
        spans += [
            el("span", data(r["word"]), class_=f"mark w{size}", data_tip=f"{r['occurrences']:,} times"),
            " ",
        ]
    return el(
        "article", el("h3", data(language)), el("p", spans, class_="cloud", lang=language), class_="sentence"
    )


def _sentence(row: Mapping[str, object]) -> Markup:
    before, surface, after = cut(str(row["text"]), int(str(row["char_start"])), int(str(row["char_end"])))
    # A word of a multiword token is written otherwise.
    word = None if surface == row["word"] else str(row["word"])
    parts = [before, el("mark", surface, data_tip=word), after]
    language = str(row["language"])
    return el("li", el("small", language), " ", el("bdi", parts, dir="auto", lang=language))


def evidence(rows: pl.DataFrame) -> Markup:
    """The words behind an alignment."""
    if rows.is_empty():
        return el("p", "With no concept of another language, by the strict reading.", class_="hint")
    return html_table(rows, caption="Evidence", limit=300)


def head(shown: Shown, wanted: Mapping[str, str]) -> Markup:
    """One head: its value in every language, by other measures, and what it attends to."""
    drawn = render(ONE_HEAD, shown.views, wanted)
    if isinstance(drawn, Missing):
        return missing(drawn.reason, drawn.command)
    chosen = {offer.filter.column: offer.chosen for offer in drawn.offers}
    attended = render(ATTENDED, _Maps(shown, chosen), wanted)
    return el(
        "div",
        el("p", el("a", "← all heads", href="/paper/heads")),
        el("h1", f"Layer {chosen['layer']}, head {chosen['head']}"),
        filters((*drawn.offers, *attended.offers), "/head"),
        el("section", view(ONE_HEAD, drawn), _other_measures(shown, chosen), class_="figure"),
        el("section", el("h3", ATTENDED.title), view(ATTENDED, attended, beside=False), class_="figure")
        if chosen["unit"] == "head"
        else None,
        data_swap="/head",
    )


class _Maps:
    """The maps of one head: those of all heads would be too many to keep."""

    def __init__(self, shown: Shown, chosen: Mapping[str, str]) -> None:
        self._shown, self._chosen = shown, chosen

    def frame(self, name: str) -> pl.DataFrame | None:
        """Its rows of the table."""
        if name not in self._shown.columns:
            return None
        of = {c: self._chosen[c] for c in ("model", "dataset", "split", "layer", "head")}
        where = " and ".join(f"{column} = ?" for column in of)
        with self._shown.connection.cursor() as cursor:
            found: pl.DataFrame = cursor.sql(f"from {name} where {where}", params=list(of.values())).pl()
        return found


def _other_measures(shown: Shown, chosen: Mapping[str, str]) -> Child:
    others = shown.views.frame("head_importance")
    if others is None or others.is_empty():
        return None
    same = others.filter(
        (pl.col("model") == chosen["model"])
        & (pl.col("unit") == chosen["unit"])
        & (pl.col("layer").cast(pl.String) == chosen["layer"])
        & (pl.col("head").cast(pl.String) == chosen["head"])
    ).select("language", "method", "value", "sd", "num_examples").sort("method", "language")  # fmt: skip
    if same.is_empty():
        return None
    return el("div", el("h3", "By other measures"), html_table(same, caption="Other measures"))
