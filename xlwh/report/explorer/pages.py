"""The explorer's pages as HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import polars as pl

from xlwh import __version__
from xlwh.report.charts import number
from xlwh.report.explorer.example import ORDERS, PAIR
from xlwh.report.explorer.state import Shown
from xlwh.report.figures import Drawn, Figure, Missing, Offer, Section, render, sections
from xlwh.report.figures.base import Filter, offered
from xlwh.report.markup import Child, Markup, data, el
from xlwh.report.page import document, missing, stored, theme_button, versions, view
from xlwh.report.status import ago
from xlwh.report.tables import html_table
from xlwh.store.files import size
from xlwh.tables import TABLES

PAGE_ROWS = 40
_DOWNLOADS = ("svg", "png", "pdf", "csv", "parquet", "tex", "md")


def shell(shown: Shown, title: str, here: str, main: Child) -> str:
    """A page with its navigation; `here` is the path that is marked as the current one."""

    def go(path: str, name: str) -> Markup:
        return el("a", name, href=path, class_="go", aria_current="page" if path == here else None)

    side = [
        el("a", "xlwh explorer", el("small", data(Path(shown.status.root).name)), href="/", class_="brand"),
        go("/", "Overview"),
        [go(f"/paper/{section.name}", section.title) for section in sections()],
        go("/examples", "Parallel examples"),
        go("/concepts", "Concepts one by one"),
        go("/tables", "Tables and views"),
        go("/sql", "SQL"),
        el("div", theme_button(), el("p", f"xlwh {__version__}", class_="hint"), class_="end"),
    ]
    head = [
        el("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        el("link", rel="stylesheet", href=f"/static/style.css?v={__version__}"),
    ]
    scripts = [
        el("script", src=f"/static/{name}?v={__version__}", defer=True)
        for name in ("common.js", "explorer.js")
    ]
    return document(f"{title} – xlwh", head, side, main, scripts)


def overview(shown: Shown) -> Markup:
    """What is materialised, and how fresh."""
    found = shown.status
    behind = found.commit - found.catalogue_commit
    cards = [
        (f"{found.rows:,}", "stored rows"),
        (size(sum(table.size_bytes for table in found.tables)), "on disk"),
        (f"{sum(1 for table in found.tables if table.rows):,} of {len(found.tables)}", "tables filled"),
        (ago(found.committed_at), "last written"),
    ]
    parts: list[Child] = [
        el("h1", "Overview"),
        el("p", "What this warehouse holds, and how fresh it is: ", data(found.root), class_="lead"),
        el(
            "div",
            [el("div", el("b", value), el("span", name), class_="card") for value, name in cards],
            class_="cards",
        ),
    ]
    if behind > 0:
        parts.append(
            missing(
                f"{behind} commits are newer than what is shown; a run may be going on.", "xlwh catalogue"
            )
        )
    parts.append(el("div", [_summary(shown, section) for section in sections()], class_="two"))
    parts += [el("h2", "Stored tables"), stored(found.tables)]
    parts += [el("h2", "Versions"), versions(found)]
    return el("div", parts)


def _summary(shown: Shown, section: Section) -> Markup:
    states = []
    for figure in section.figures:
        view_name = figure.views[0]
        if view_name not in shown.columns:
            state = ("none", "no view")
        elif not shown.views.ready(view_name):
            state = ("none", "being asked")
        else:
            frame = shown.views.frame(view_name)
            state = (
                ("good", f"{frame.height:,} rows")
                if frame is not None and frame.height
                else ("none", "not yet")
            )
        states.append(
            el(
                "li",
                el("a", figure.title, href=f"/paper/{section.name}#{figure.name}"),
                " ",
                el("span", state[1], class_=f"state {state[0]}"),
            )
        )
    return el(
        "section",
        el("h3", section.title),
        el("p", section.question, class_="question"),
        el("ul", states),
        class_="figure",
    )


def paper(shown: Shown, section: Section, wanted: Mapping[str, str]) -> Markup:
    """The figures of one paper. Those whose rows are not at hand come when the script asks for them."""
    blocks = []
    for figure in section.figures:
        ready = all(shown.views.ready(name) for name in figure.views if name in shown.columns)
        blocks.append(
            el(
                "section",
                el("h3", figure.title, id=figure.name),
                el("p", figure.question, class_="question"),
                figure_view(shown, figure, wanted)
                if ready
                else el(
                    "div",
                    el("p", "Asking the warehouse…", class_="hint"),
                    data_load=f"/figure/{figure.name}?{urlencode(wanted)}",
                ),
                class_="figure",
                data_figure=figure.name,
                aria_live="polite",
            )
        )
    others = [name for name in section.views if name in shown.columns]
    links = [[el("a", name, href=f"/table/{name}"), " "] for name in others]
    return el(
        "div",
        el("h1", section.title),
        el("p", section.question, class_="lead"),
        blocks,
        el("p", "Also: ", links, class_="hint") if links else None,
    )


def figure_view(shown: Shown, figure: Figure, wanted: Mapping[str, str]) -> Markup:
    """A figure's filters, drawing, numbers and downloads: what the script swaps when a filter changes."""
    drawn = render(figure, shown.views, wanted)
    types = shown.columns.get(figure.views[0], {})
    return el(
        "div",
        filters(drawn.offers, f"/figure/{figure.name}"),
        view(
            figure,
            drawn,
            describe=lambda column: types.get(column, ("", ""))[1],
            more=_downloads(figure, drawn) if isinstance(drawn, Drawn) else None,
        ),
    )


def _downloads(figure: Figure, drawn: Drawn) -> Markup:
    chosen = urlencode({offer.filter.column: offer.chosen for offer in drawn.offers})
    links = [
        el("a", kind.upper(), href=f"/figure/{figure.name}.{kind}?{chosen}", download=f"{figure.name}.{kind}")
        for kind in _DOWNLOADS
    ]
    return el("p", "Download ", links, class_="downloads")


def filters(offers: Sequence[Offer], action: str, extra: Child = None) -> Markup:
    """Selects for what can be chosen; what has one value only is told as text."""
    parts: list[Child] = []
    for offer in offers:
        if len(offer.values) == 1:
            parts.append(el("input", type="hidden", name=offer.filter.column, value=offer.chosen))
            parts.append(el("span", f"{offer.filter.label}: ", data(offer.chosen), class_="fixed"))
            continue
        options = [el("option", v, value=v, selected=v == offer.chosen) for v in offer.values]
        parts.append(el("label", offer.filter.label, el("select", options, name=offer.filter.column)))
    if not parts and extra is None:
        return Markup("")
    return el("form", parts, extra, class_="filters", action=action, method="get")


_EXAMPLE_FILTERS = (
    Filter("model", "Model"),
    Filter("source_language", "Source"),
    Filter("target_language", "Target"),
    Filter("method", "Method", prefer=("lig",)),
    Filter("dataset", "Dataset"),
    Filter("split", "Split"),
    Filter("target_policy", "Class", prefer=("source_prediction",)),
    Filter("space", "Space"),
    Filter("unit", "Unit", prefer=("word",)),
    Filter("normalization", "Weights", prefer=("abs",)),
)


def example_offers(shown: Shown, wanted: Mapping[str, str]) -> tuple[Offer, ...] | Missing:
    """What can be chosen of the parallel examples."""
    frame = shown.views.frame("ccta")
    if frame is None or frame.is_empty():
        return Missing("There are no pairs of attributed examples yet.", "xlwh materialize +ccta")
    if "target_language" not in wanted:
        # The pair with itself is a dull one to begin with.
        other = frame.filter(pl.col("source_language") != pl.col("target_language"))
        frame = other if other.height else frame
    return offered(_EXAMPLE_FILTERS, frame, wanted)


def examples(
    offers: Sequence[Offer], wanted: Mapping[str, str], rows: pl.DataFrame, total: int, start: int
) -> Markup:
    """The list of pairs to choose from."""
    chosen = {offer.filter.column: offer.chosen for offer in offers}
    order = wanted.get("order", "") if wanted.get("order", "") in ORDERS else next(iter(ORDERS))
    extra = [
        el("label", "Order", el("select", [el("option", o, value=o, selected=o == order) for o in ORDERS], name="order")),
        el("label", "Text", el("input", type="search", name="text", value=wanted.get("text", ""), placeholder="search")),
        el("noscript", el("button", "Show", type="submit")),
    ]  # fmt: skip
    heads = ("example", "score", "shuffled null", "excess", "class", "text in the source language")
    numeric = {"score", "shuffled null", "excess"}
    body = [
        el(
            "tr",
            el("td", el("a", data(r["example_id"]), href="/example?" + urlencode({**chosen, "example_id": r["example_id"], "target": r["target"]}))),
            [el("td", number(r[name]), class_="num") for name in ("score", "null_shuffled", "excess")],
            el("td", data(r["target"])),
            el("td", data(r["text"]), None if r["text_pair"] is None else [" · ", data(r["text_pair"])], class_="long"),
        )
        for r in rows.iter_rows(named=True)
    ]  # fmt: skip
    return el(
        "div",
        filters(offers, "/examples", extra),
        pager(
            "Pairs",
            "/examples",
            {**chosen, "order": order, "text": wanted.get("text", "")},
            start,
            rows.height,
            total,
            PAGE_ROWS,
        ),
        el(
            "div",
            el(
                "table",
                el("caption", "Pairs", class_="unseen"),
                el(
                    "thead",
                    el(
                        "tr",
                        [el("th", h, scope="col", class_="num" if h in numeric else None) for h in heads],
                    ),
                ),
                el("tbody", body),
            ),
            class_="scroll tall",
            tabindex=0,
            role="region",
            aria_label="Pairs",
        ),
        data_swap="/examples",
    )


def pager(
    what: str, path: str, wanted: Mapping[str, str], start: int, shown: int, total: int, page_rows: int
) -> Markup:
    """Which rows of a list are shown, and the way to those before and after."""
    links = []
    if start > 0:
        links.append(
            el("a", "Before", href=f"{path}?{urlencode({**wanted, 'start': max(0, start - page_rows)})}")
        )
    if start + shown < total:
        links.append(el("a", "After", href=f"{path}?{urlencode({**wanted, 'start': start + page_rows})}"))
    counted = f"{start + 1:,} to {start + shown:,} of {total:,}" if total else "none"
    return el("p", f"{what}: {counted}. ", [[each, " "] for each in links], class_="hint")


def example_head(names: Mapping[str, str], neighbours: Sequence[str]) -> Markup:
    """Title of one example, and the same example in the other target languages."""
    back = urlencode({column: names[column] for column in PAIR if column != "example_id"})
    links = [
        [
            el(
                "a",
                language,
                href="/example?" + urlencode({**names, "target_language": language}),
                aria_current="true" if language == names["target_language"] else None,
            ),
            " ",
        ]
        for language in neighbours
    ]
    return el(
        "div",
        el("p", el("a", "← all examples", href=f"/examples?{back}")),
        el("h1", "Example ", data(names["example_id"])),
        el(
            "p",
            data(names["model"]), ", ", data(names["dataset"]), " ", data(names["split"]), ", method ",
            data(names["method"]), ", weights ", data(names["normalization"]), ". Target languages: ", links,
            class_="lead",
        ),
    )  # fmt: skip


def tables(shown: Shown) -> Markup:
    """Every table and view with what its rows are."""
    counts = {table.name: table.rows for table in shown.status.tables}
    groups = []
    for title, names in (
        ("Views", [(name, text) for name, text in shown.status.views]),
        ("Stored tables", [(t.name, t.description) for t in shown.status.tables]),
    ):
        rows = [
            el(
                "tr",
                el("td", el("a", name, href=f"/table/{name}")),
                el("td", f"{counts[name]:,}" if name in counts else "", class_="num"),
                el("td", data(text), class_="long"),
            )
            for name, text in names
        ]
        heads = [
            el("th", name, scope="col", class_=kind)
            for name, kind in (("name", None), ("rows", "num"), ("a row is", None))
        ]
        table = el(
            "table", el("caption", title, class_="unseen"), el("thead", el("tr", heads)), el("tbody", rows)
        )
        groups += [
            el("h2", title),
            el("div", table, class_="scroll tall", tabindex=0, role="region", aria_label=title),
        ]
    return el("div", el("h1", "Tables and views"), groups)


def table(shown: Shown, name: str) -> Markup:
    """One table or view: its columns, and its first rows, which come when the script asks for them."""
    text = dict(shown.status.views).get(name) or next(
        (t.description for t in shown.status.tables if t.name == name), ""
    )
    columns = pl.DataFrame(
        [{"column": c, "type": kind, "description": told} for c, (kind, told) in shown.columns[name].items()],
        schema={"column": pl.String, "type": pl.String, "description": pl.String},
    )
    query = f'select * from "{name}"'
    return el(
        "div",
        el("p", el("a", "← all tables and views", href="/tables")),
        el("h1", el("code", name)),
        el("p", data(text), class_="lead"),
        el("h2", "First rows"),
        el("div", el("p", "Asking the warehouse…", class_="hint"), data_load=f"/rows/{name}", aria_live="polite"),
        el(
            "p",
            el("a", "Ask in SQL", href="/sql?" + urlencode({"q": f"{query}\nlimit 100"}), class_="button"),
            " ",
            [[el("a", kind.upper(), href="/sql/download?" + urlencode({"q": query, "format": kind}), class_="button"), " "]
             for kind in ("csv", "parquet")],
            class_="bar",
        ),
        el("h2", "Columns"),
        html_table(columns, caption=f"Columns of {name}"),
        el("p", "Partitioned by ", ", ".join(TABLES[name].partition_by), class_="hint") if name in TABLES else None,
    )  # fmt: skip


SQL_EXAMPLES = (
    ("Scores", "select model, language, value, ci_low, ci_high\nfrom task_scores\nwhere metric = 'accuracy'\norder by model, language"),
    ("Consistency beyond the nulls", "select model, target_language, method, score, excess_shuffled, excess_shuffled_low\nfrom ccta\nwhere not is_self\norder by excess_shuffled desc"),
    ("Words that carry a class", "select language, target, word, count(*) as n, avg(attribution) as mean_attribution\nfrom word_attributions\nwhere method = 'lig'\ngroup by all\nhaving n >= 20\norder by mean_attribution desc\nlimit 50"),
    ("How far integration converged", "select model, language, method, quantile_cont(relative_delta, [0.5, 0.9]) as median_and_90th, avg(converged::int) as converged, count(*) filter (stopped = 'noise') as ended_by_noise, count(*) filter (stopped = 'limit') as ended_by_limit, median(ordered_share) as ordered_share\nfrom attribution_runs\ngroup by all\norder by all"),
)  # fmt: skip


def sql_page(text: str) -> Markup:
    """The SQL page; completion and running are the script's."""
    first = text or SQL_EXAMPLES[0][1]
    return el(
        "div",
        el("h1", "SQL"),
        el(
            "p",
            "One reading statement over all tables and views. Ctrl-Enter runs it, Ctrl-Space completes, Escape closes "
            "the list of completions.",
            class_="lead",
        ),
        el(
            "form",
            el("label", "Statement", for_="sql", class_="unseen"),
            el(
                "div",
                el(
                    "textarea",
                    first,
                    id="sql",
                    name="q",
                    spellcheck="false",
                    autocomplete="off",
                    autocapitalize="off",
                    role="combobox",
                    aria_expanded="false",
                    aria_controls="complete",
                    aria_autocomplete="list",
                ),
                el("ul", id="complete", role="listbox", aria_label="Completions", hidden=True),
                class_="editor",
            ),
            el(
                "div",
                el("button", "Run", type="submit", class_="main", id="run"),
                el("button", "Stop", type="button", id="stop", disabled=True),
                el("button", "CSV", type="button", data_format="csv"),
                el("button", "Parquet", type="button", data_format="parquet"),
                el(
                    "label",
                    "Examples ",
                    el(
                        "select",
                        el("option", "choose…", value=""),
                        [el("option", name, value=statement) for name, statement in SQL_EXAMPLES],
                        id="sql-examples",
                    ),
                ),
                class_="bar",
            ),
            id="sql-form",
            class_="sql",
        ),
        el("div", id="result", aria_live="polite"),
    )


def schema_json(shown: Shown) -> str:
    """Views and columns for completion."""
    return json.dumps(
        {view: {c: kind for c, (kind, _) in columns.items()} for view, columns in shown.columns.items()}
    )
