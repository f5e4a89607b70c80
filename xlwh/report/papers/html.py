"""The reports of one paper or several as one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence

from xlwh.papers import ALL
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
    several,
)
from xlwh.report.papers.tables import PaperTable


def html(reports: Sequence[PaperReport]) -> str:
    """The whole page; of several papers each is a part of it."""
    one = len(reports) == 1
    side: list[Markup] = [
        el("p", "xlwh report", el("small", reports[0].paper.name if one else ALL), class_="brand")
    ]
    body: list[Markup] = [] if one else [_overview(reports)]
    for report in reports:
        body += _report(report, side, "" if one else f"{report.paper.name}-", 1 if one else 2)
    body.append(_tail(reports[0]))
    side.append(el("div", theme_button(), class_="end"))
    script = asset("common.js")
    head = [policy(script), el("style", Markup(styles() + asset("paper.css")))]
    title = f"xlwh report: {reports[0].paper.title if one else several(reports)}"
    return document(title, head, side, body, el("script", Markup(script)))


def _overview(reports: Sequence[PaperReport]) -> Markup:
    return el(
        "div",
        el("h1", several(reports)),
        el("p", reports[0].from_warehouse, class_="lead"),
        el(
            "div",
            [
                _card(report, report.printed, report.paper.name, f"#{report.paper.name}-top")
                for report in reports
            ],
            class_="cards",
        ),
    )


def _card(counted: PaperReport | PaperTable, printed: int, name: str, href: str) -> Markup:
    """How much of a paper, or of one of its tables, was measured, with a link to it."""
    beyond = f"{counted.beyond:,} of {counted.compared:,} beyond the interval"
    return el(
        "a",
        el("b", f"{counted.measured:,} of {printed:,}"),
        el("span", f"{name}, measured"),
        el("span", beyond) if counted.compared else None,
        href=href,
        class_="card",
    )


def _report(report: PaperReport, side: list[Markup], at: str, level: int) -> list[Markup]:
    """The parts of one paper, which are added to the navigation too; ids begin with `at`, headings with `level`."""
    below, name = f"h{level + 1}", report.paper.name
    side.append(el("a", f"Paper: {name}" if at else "Paper and study", href=f"#{at}top", class_="go"))
    body = [_head(report, at, level)]
    body += [el(below, "Tables", id=f"{at}tables"), el("p", HOW_TO_READ, class_="lead")]
    side.append(el("a", "Tables", href=f"#{at}tables", class_="go"))
    for number, table in enumerate(report.tables):
        side.append(el("a", table.title.name, href=f"#{at}table-{number}", class_="go deeper"))
        body.append(_table(table, f"{at}table-{number}", level))
    body += [
        el(below, "Figures", id=f"{at}figures"),
        el(
            "p",
            "What the paper's figures show, from this warehouse; the paper's own are not copied.",
            class_="lead",
        ),
    ]
    side.append(el("a", "Figures", href=f"#{at}figures", class_="go"))
    for number, figure in enumerate(report.figures):
        side.append(el("a", figure.shown.title, href=f"#{at}figure-{number}", class_="go deeper"))
        body.append(_figure(figure, f"{at}figure-{number}", level))
    side.append(el("a", "Settings that differ", href=f"#{at}settings", class_="go"))
    return [*body, _settings(report, f"{at}settings", below)]


def _head(report: PaperReport, at: str, level: int) -> Markup:
    return el(
        "div",
        el(f"h{level}", report.paper.title, id=f"{at}top"),
        el("p", f"{report.paper.source}. {report.from_warehouse}", class_="lead"),
        el("p", report.summary),
        el(
            "div",
            [
                _card(table, len(table.cells), table.title.name, f"#{at}table-{number}")
                for number, table in enumerate(report.tables)
            ],
            class_="cards",
        ),
    )


def _table(table: PaperTable, place: str, level: int) -> Markup:
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
        el(f"h{level + 2}", name, id=place),
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


def _figure(figure: PaperFigure, place: str, level: int) -> Markup:
    found = figure.found
    return el(
        "section",
        el(f"h{level + 2}", figure.shown.title, id=place),
        el("p", figure.shown.axes, class_="question"),
        [el("div", settings(each.offers), view(figure.figure, each, beside=False)) for each in found.drawn],
        [missing(each.reason, each.command) for each in found.missing[:1]] if not found.drawn else None,
        el("p", left_out(figure), class_="hint") if found.left_out else None,
        class_="figure",
    )


def _settings(report: PaperReport, place: str, heading: str) -> Markup:
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
        el(heading, "Settings that differ", id=place),
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
