"""The report of a paper as one HTML file that loads nothing."""

from __future__ import annotations

from xlwh.report.markup import Markup, data, el
from xlwh.report.page import (
    asset,
    document,
    missing,
    policy,
    settings,
    stored,
    styles,
    theme_button,
    versions,
    view,
)
from xlwh.report.papers.pages import (
    HOW_TO_READ,
    PaperFigure,
    PaperReport,
    heading,
    left_out,
    letter,
    places,
)
from xlwh.report.papers.tables import PaperTable
from xlwh.report.status import ago


def html(report: PaperReport) -> str:
    """The whole page."""
    side: list[Markup] = [el("p", "xlwh report", el("small", report.paper.name), class_="brand")]
    body: list[Markup] = [_head(report)]
    side.append(el("a", "Paper and study", href="#top", class_="go"))
    body += [el("h2", "Tables", id="tables"), el("p", HOW_TO_READ, class_="lead")]
    side.append(el("a", "Tables", href="#tables", class_="go"))
    for number, table in enumerate(report.tables):
        side.append(el("a", table.title.name, href=f"#table-{number}", class_="go deeper"))
        body.append(_table(table, number))
    body += [
        el("h2", "Figures", id="figures"),
        el(
            "p",
            "What the paper's figures show, from this warehouse; the paper's own are not copied.",
            class_="lead",
        ),
    ]
    side.append(el("a", "Figures", href="#figures", class_="go"))
    for number, figure in enumerate(report.figures):
        side.append(el("a", figure.shown.title, href=f"#figure-{number}", class_="go deeper"))
        body.append(_figure(figure, number))
    side.append(el("a", "Settings that differ", href="#settings", class_="go"))
    body += [_settings(report), _tail(report)]
    side.append(el("div", theme_button(), class_="end"))
    script = asset("common.js")
    head = [policy(script), el("style", Markup(styles() + asset("paper.css")))]
    return document(f"xlwh report: {report.paper.title}", head, side, body, el("script", Markup(script)))


def _head(report: PaperReport) -> Markup:
    found = report.status
    of = f" of the study {report.study}" if report.study else ""
    return el(
        "div",
        el("h1", report.paper.title, id="top"),
        el(
            "p",
            f"{report.paper.source}. Made {report.made} from commit {found.commit} of a warehouse{of}, last written "
            f"{ago(found.committed_at)}.",
            class_="lead",
        ),
        el("p", report.summary),
        el(
            "div",
            [
                el(
                    "a",
                    el("b", f"{table.measured:,} of {len(table.cells):,}"),
                    el("span", f"{table.title.name}, measured"),
                    el("span", f"{table.beyond:,} of {table.compared:,} beyond the interval")
                    if table.compared
                    else None,
                    href=f"#table-{number}",
                    class_="card",
                )
                for number, table in enumerate(report.tables)
            ],
            class_="cards",
        ),
    )


def _table(table: PaperTable, number: int) -> Markup:
    reasons = table.reasons
    letters = {reason: letter(place) for place, reason in enumerate(reasons)}
    head = [
        el("th", "", scope="col"),
        *(el("th", data(heading(c)), scope="col", class_="num") for c in table.columns),
    ]
    body = [
        el(
            "tr",
            el("th", data(row), scope="row"),
            [
                _cell(table, (row, column), letters) if (row, column) in table.cells else el("td")
                for column in table.columns
            ],
        )
        for row in table.rows
    ]
    name = f"{table.title.name}. {table.title.title}"
    return el(
        "section",
        el("h3", name, id=f"table-{number}"),
        el("p", table.about, class_="question"),
        el(
            "div",
            el(
                "table",
                el("caption", name, class_="unseen"),
                el("thead", el("tr", head)),
                el("tbody", body),
                class_="paper",
            ),
            class_="scroll tall",
            tabindex=0,
            role="region",
            aria_label=name,
        ),
        _reasons(table, letters),
        _measured(table),
        class_="figure",
    )


def _cell(table: PaperTable, place: tuple[str, str], letters: dict[str, str]) -> Markup:
    cell = table.cells[place]
    printed = el(
        "span",
        table.told(place, cell.published),
        el("sup", cell.mark) if cell.mark else None,
        class_="published",
    )
    if cell.measured is None:
        return el(
            "td",
            printed,
            el("span", f"({letters[cell.reason]})", class_="why"),
            class_="num",
            title=cell.reason,
        )
    ends = ""
    if cell.low is not None:
        ends = f"95 % interval {table.told(place, cell.low)} to {table.told(place, cell.high)}. "
    more = f" {cell.others} more in the view." if cell.others else ""
    mark = el("abbr", "*", title="The published number lies outside of the 95 % interval.")
    return el(
        "td",
        printed,
        el("b", table.told(place, cell.measured), mark if cell.beyond else None),
        el("span", table.told(place, cell.difference, signed=True), class_="difference")
        if cell.difference is not None
        else None,
        el("span", cell.partial, class_="difference") if cell.partial else None,
        class_="num beyond" if cell.beyond else "num",
        title=f"{ends}{cell.setting}.{more}",
    )


def _reasons(table: PaperTable, letters: dict[str, str]) -> Markup | None:
    if not letters:
        return None
    return el(
        "ul",
        [
            el("li", f"({letters[reason]}) ", data(reason), el("small", f" – {places(table, cells)}"))
            for reason, cells in table.reasons.items()
        ],
        class_="reasons hint",
    )


def _measured(table: PaperTable) -> Markup | None:
    if not table.settings:
        return None
    return el(
        "details",
        el("summary", "What was measured"),
        el(
            "ul",
            [
                el("li", data(setting), f": {count} cell{'s' if count > 1 else ''}")
                for setting, count in table.settings.items()
            ],
            class_="reasons",
        ),
    )


def _figure(figure: PaperFigure, number: int) -> Markup:
    found = figure.found
    return el(
        "section",
        el("h3", figure.shown.title, id=f"figure-{number}"),
        el("p", figure.shown.axes, class_="question"),
        [el("div", settings(each.offers), view(figure.figure, each, beside=False)) for each in found.drawn],
        [missing(each.reason, each.command) for each in found.missing[:1]] if not found.drawn else None,
        el("p", left_out(figure), class_="hint") if found.left_out else None,
        class_="figure",
    )


def _settings(report: PaperReport) -> Markup:
    rows = report.differences or ()
    table = el(
        "div",
        el(
            "table",
            el("caption", "Settings that differ", class_="unseen"),
            el(
                "thead",
                el(
                    "tr",
                    [el("th", name, scope="col") for name in ("setting", "the paper's study", "this study")],
                ),
            ),
            el(
                "tbody",
                [
                    el(
                        "tr",
                        el("td", el("code", data(each.key)), class_="long"),
                        el("td", data(each.paper), class_="long"),
                        el("td", data(each.here), class_="long"),
                    )
                    for each in rows
                ],
            ),
        ),
        class_="scroll tall",
        tabindex=0,
        role="region",
        aria_label="Settings that differ",
    )
    return el(
        "section",
        el("h2", "Settings that differ", id="settings"),
        el("p", report.differing, class_="lead"),
        table if rows else None,
    )


def _tail(report: PaperReport) -> Markup:
    return el(
        "div",
        el("h2", "What it was made from", id="made-from"),
        el("p", "Versions installed when this report was made:", class_="hint"),
        versions(report.status),
        el("details", el("summary", "Stored tables"), stored(report.status.tables)),
    )
