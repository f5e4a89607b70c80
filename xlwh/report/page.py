"""Pieces of pages that the static report and the explorer share."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

from xlwh.report.charts import svg
from xlwh.report.figures import Drawn, Figure, Missing, Offer
from xlwh.report.markup import Child, Markup, data, el, join
from xlwh.report.status import Status, TableStatus, ago
from xlwh.report.tables import html_table
from xlwh.report.theme import stylesheet
from xlwh.store.files import size


@cache
def asset(name: str) -> str:
    """A file of the folder `static`."""
    return (files("xlwh.report") / "static" / name).read_text(encoding="utf-8")


def styles() -> str:
    """Colours and style sheet."""
    return stylesheet() + asset("style.css")


def policy(script: str) -> Markup:
    """What lets a page run this one script, and connect to nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    content = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    return el("meta", http_equiv="Content-Security-Policy", content=content)


def document(title: str, head: Sequence[Markup], side: Child, main: Child, scripts: Child) -> str:
    """A whole page: navigation at the side, content in the middle."""
    return "<!doctype html>\n" + el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("title", title),
            head,
        ),
        el(
            "body",
            el("a", "Skip to content", href="#content", class_="skip"),
            el(
                "div",
                el("nav", side, class_="side", aria_label="Pages"),
                el("main", main, id="content"),
                class_="shell",
            ),
            scripts,
        ),
        lang="en",
    )


def theme_button() -> Markup:
    """Switches between light and dark; hidden until the script that does it runs."""
    return el("button", "Theme", id="theme", type="button", hidden=True)


def view(
    figure: Figure,
    drawn: Drawn | Missing,
    *,
    describe: Callable[[str], str] = lambda column: "",
    more: Child = None,
    beside: bool = True,
) -> Markup:
    """Drawing, note and numbers of a figure, or what is missing."""
    if isinstance(drawn, Missing):
        return el("div", unmet(drawn.offers), missing(drawn.reason, drawn.command))
    chosen = [o for o in drawn.offers if len(o.values) > 1 or o.filter.values]
    caption = f"{figure.title}. {', '.join(f'{o.filter.label} {o.chosen}' for o in chosen)}".rstrip(". ")
    numbers = html_table(drawn.table, describe=describe, caption=f"Numbers of: {figure.title}")
    return el(
        "div",
        el(
            "div",
            unmet(drawn.offers),
            el("div", svg(drawn.picture, f"{caption}. The numbers follow in a table."), class_="drawing"),
            el("p", drawn.note, class_="note"),
            more,
        ),
        el("div", numbers)
        if beside
        else el("details", el("summary", f"Numbers ({drawn.table.height:,} rows)"), numbers),
        class_="view beside" if beside else "view",
    )


def unmet(offers: Sequence[Offer]) -> list[Markup]:
    """What was asked for and is not there, with what is shown in its place."""
    return [
        el("p", data(f"There is {offer.refusal}. Shown: {offer.chosen}."), class_="hint unmet")
        for offer in offers
        if offer.unmet
    ]


def missing(reason: str, command: str) -> Markup:
    """What is not there, and the command that mends it."""
    return el("div", el("p", data(reason)), el("p", "Run: ", el("code", command)), class_="missing")


def settings(offers: Sequence[Offer]) -> Markup:
    """What was chosen, as one line of text."""
    told = [(o.filter.label, o.chosen) for o in offers]
    return el(
        "p", join(join([", " if n else "", f"{label}: ", el("b", data(chosen))]) for n, (label, chosen) in enumerate(told)),
        class_="hint",
    )  # fmt: skip


def stored(tables: Sequence[TableStatus]) -> Markup:
    """The stored tables with rows and age."""

    def row(table: TableStatus) -> Markup:
        state = ("good", "filled") if table.rows else ("none", "no rows" if table.partitions else "not yet")
        return el(
            "tr",
            el("td", el("code", table.name)),
            el("td", el("span", state[1], class_=f"state {state[0]}")),
            el("td", f"{table.rows:,}", class_="num"),
            el("td", f"{table.partitions:,}", class_="num"),
            el("td", size(table.size_bytes), class_="num"),
            el("td", ago(table.written)),
            el("td", table.description, class_="long"),
        )

    heads = (
        ("table", ""),
        ("state", ""),
        ("rows", "num"),
        ("partitions", "num"),
        ("size", "num"),
        ("written", ""),
        ("a row is", ""),
    )
    return el(
        "div",
        el(
            "table",
            el("caption", "Stored tables", class_="unseen"),
            el("thead", el("tr", [el("th", name, scope="col", class_=kind or None) for name, kind in heads])),
            el("tbody", [row(table) for table in tables]),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label="Stored tables",
    )


def versions(status: Status) -> Markup:
    """Versions of the programs that this was made with."""
    return el(
        "p",
        join(
            join([" · " if n else "", f"{name} ", el("b", number)])
            for n, (name, number) in enumerate(status.versions.items())
        ),
        class_="hint",
    )
