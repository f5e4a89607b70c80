"""The report as one HTML file: every figure with its numbers, what was studied and with what. It opens from disk.

Nothing is loaded from anywhere: the drawings are inline SVG, and the page forbids itself any connection.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from xlwh.report.figures import Everything, everything, sections
from xlwh.report.figures.base import chosen_text
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
from xlwh.report.status import Status, ago, status
from xlwh.report.tables import html_table
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse
from xlwh.store.files import write_whole

_MODELS = """
select model, kind, source, revision, family, task, num_layers, num_heads, hidden_size, num_parameters,
    finetuned_dataset, finetuned_languages, seed, dev_score, weight_hash
from models order by model
"""


def write_report(warehouse: Warehouse, out: Path, study: Path | None = None) -> int:
    """Write the report of a warehouse to `out`; `study` is the file to print in it. Returns the bytes written."""
    return write_whole(out, report(warehouse, study).encode("utf-8"))


def report(warehouse: Warehouse, study: Path | None = None) -> str:
    """The report's HTML."""
    found = status(warehouse)
    with closing(warehouse.connect()) as connection:
        views = FrameViews(connection.cursor)
        models: pl.DataFrame = connection.sql(_MODELS).pl()
        body = [_head(found, models, study)]
        side: list[Markup] = [el("p", "xlwh report", class_="brand")]
        side.append(el("a", "What was studied", href="#top", class_="go"))
        for section in sections():
            drawn = [(figure, everything(figure, views)) for figure in section.figures]
            side.append(el("a", section.title, href=f"#{section.name}", class_="go"))
            body += [
                el("h2", section.title, id=section.name),
                el("p", section.question, class_="lead"),
            ]
            for figure, found_of in drawn:
                if found_of.drawn:
                    side.append(el("a", figure.title, href=f"#{figure.name}", class_="go deeper"))
                body.append(
                    el(
                        "section",
                        el("h3", figure.title, id=figure.name),
                        el("p", figure.question, class_="question"),
                        [el("div", settings(each.offers), view(figure, each)) for each in found_of.drawn],
                        _undrawn(found_of),
                        class_="figure",
                    )
                )
        body.append(_tail(found))
    side.append(el("div", theme_button(), class_="end"))
    script = asset("common.js")
    head = [policy(script), el("style", Markup(styles()))]
    return document(f"xlwh report: {Path(found.root).name}", head, side, body, el("script", Markup(script)))


def _undrawn(found: Everything) -> list[Markup]:
    """What of a figure is not in the report: choices without rows, and choices beyond the limit."""
    parts = []
    if not found.drawn:
        # The same reason for every choice, then: said once.
        parts += [missing(each.reason, each.command) for each in found.missing[:1]]
    else:
        parts += [
            el("p", "Nothing to draw for ", chosen_text(each.offers), f": {each.reason}", class_="hint")
            for each in found.missing
        ]
    if found.left_out:
        left = "; ".join(", ".join(f"{k} {v}" for k, v in each.items()) for each in found.left_out)
        parts.append(
            el(
                "p",
                f"Not drawn here, {len(found.left_out)} more choices: {left}. "
                "`xlwh report --figures FOLDER --set COLUMN=VALUE` and `xlwh explore` draw them.",
                class_="hint",
            )
        )
    return parts


def _head(found: Status, models: pl.DataFrame, study: Path | None) -> Markup:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        el("h1", "Report", id="top"),
        el(
            "p",
            f"Made {made} from commit {found.commit} of the warehouse ",
            data(Path(found.root).name),
            f", last written {ago(found.committed_at)}; {found.rows:,} stored rows.",
            class_="lead",
        ),
        el("h2", "What was studied"),
        html_table(models, caption="Models"),
    ]
    if study is not None:
        text = study.read_text(encoding="utf-8", errors="replace")
        digest = hashlib.sha256(text.encode()).hexdigest()
        parts.append(
            el(
                "details",
                el("summary", f"The study file {study.name}, sha256 {digest[:16]}"),
                el("pre", text, tabindex=0),
            )
        )
    return el("div", parts)


def _tail(found: Status) -> Markup:
    prints = pl.DataFrame(
        {"file of": list(found.fingerprints), "fingerprint": list(found.fingerprints.values())},
        schema={"file of": pl.String, "fingerprint": pl.String},
    )
    return el(
        "div",
        el("h2", "What it was made from", id="made-from"),
        el("p", "Versions installed when this report was made:", class_="hint"),
        versions(found),
        stored(found.tables),
        el(
            "details",
            el("summary", f"Fingerprints of {prints.height:,} stored files"),
            html_table(prints, limit=100_000, caption="Fingerprints"),
        ),
    )
