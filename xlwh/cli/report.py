"""Commands that show: report, explore."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.store.files import size, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xlwh.report.figures import Figure
    from xlwh.store import Warehouse


@command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), required=False, metavar="[OUT.html]")
@click.option(
    "--paper",
    metavar="PAPER",
    help="Lay a paper's tables and figures beside what was measured: ccta, faithfulness, concepts or heads; all: all four in "
    "one report.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the paper's report; PAPER.html if no other is asked for.",
)
@click.option(
    "--pdf",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The same as a PDF.",
)
@click.option(
    "--latex",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="The same as a LaTeX document, with a file for each table and figure.",
)
@click.option(
    "--study",
    "study_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="XLWH_STUDY",
    show_envvar=True,
    help="Study file to print in the report, or to compare with the paper's; study.toml if there is one.",
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each figure and its table to this folder.",
)
@click.option("--only", multiple=True, help="Only this figure; may be repeated.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["svg", "png", "pdf"]),
    multiple=True,
    default=["svg"],
    show_default=True,
    help="Format of the figures; may be repeated.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(["csv", "latex", "markdown"]),
    multiple=True,
    default=["csv"],
    show_default=True,
    help="Format of the tables; may be repeated.",
)
@click.option(
    "--set",
    "chosen",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Choose in the exported figures, such as model=mbert or variant=paper; may be repeated.",
)
@click.option(
    "--theme",
    type=click.Choice(["light", "dark"]),
    default="light",
    show_default=True,
    help="Colours of the exported figures.",
)
@warehouse_option
def report(
    out: Path | None,
    paper: str | None,
    html: Path | None,
    pdf: Path | None,
    latex: Path | None,
    study_file: Path | None,
    figures: Path | None,
    only: tuple[str, ...],
    formats: tuple[str, ...],
    tables: tuple[str, ...],
    chosen: tuple[str, ...],
    theme: Literal["light", "dark"],
    root: Path,
) -> None:
    """Write a report as one HTML file, or figures for a paper.

    With their tables. The file needs no network and opens from disk. The rows of the views that it shows are kept. With
    --paper it is the report of a published paper: its tables and figures beside those measured here, and the settings
    that differ.
    """
    from xlwh.report.figures import all_figures, figure
    from xlwh.store import Warehouse

    if study_file is None and Path("study.toml").is_file():
        study_file = Path("study.toml")
    if paper is not None:
        if figures is not None or chosen or only:
            raise click.UsageError("--paper writes --html, --pdf and --latex; --figures has no part in it")
        if out is not None and html is not None:
            raise click.UsageError("give OUT.html or --html, not both")
        _report_paper(Warehouse(root), paper, study_file, out or html, pdf, latex)
        return
    if html or pdf or latex:
        raise click.UsageError("--html, --pdf and --latex are of the report of a paper: give --paper too")
    if out is None and figures is None:
        raise click.UsageError("give OUT.html, --figures FOLDER, or both")
    if figures is None and (chosen or only):
        raise click.UsageError("--set and --only choose what is written to --figures FOLDER: give it too")
    pairs = [each.partition("=") for each in chosen]
    if any(not between for _, between, _ in pairs):
        raise click.UsageError("--set takes COLUMN=VALUE")
    selection = {column: value for column, _, value in pairs}
    if len(selection) < len(pairs):
        raise click.UsageError("--set names a column twice; a figure has one value of each")
    warehouse = Warehouse(root)
    _keep([figure(name) for name in only] if only and out is None else all_figures().values(), warehouse)
    if out is not None:
        from xlwh.report.static_report import write_report

        click.echo(f"Wrote {out}, {size(write_report(warehouse, out, study_file))}")
    if figures is not None:
        from xlwh.report.export import export

        left_out = partial(click.echo, err=True)
        for path in export(warehouse, figures, only, formats, tables, selection, theme, left_out):
            click.echo(f"Wrote {path}")


def _keep(figures: Iterable[Figure], warehouse: Warehouse, *more: str) -> None:
    """Keep the rows of the views that figures show, and of more."""
    from xlwh.cli.display import keep, warn
    from xlwh.report.figures import views_of

    names = dict.fromkeys([*views_of(figures), *more])
    warn(keep(warehouse, [name for name in names if name in warehouse.sources().names]))


def _report_paper(
    warehouse: Warehouse,
    paper: str,
    study: Path | None,
    html: Path | None,
    pdf: Path | None,
    latex: Path | None,
) -> None:
    from xlwh.papers import ALL
    from xlwh.report.figures import figure
    from xlwh.report.papers import html as as_html
    from xlwh.report.papers import latex as as_latex
    from xlwh.report.papers import pdf as as_pdf
    from xlwh.report.papers.contents import REPORTED
    from xlwh.report.papers.contents import paper as named
    from xlwh.report.papers.pages import paper_report

    papers = list(REPORTED) if paper == ALL else [named(paper).name]
    _make_printed(warehouse, study)
    figures = {shown.figure: figure(shown.figure) for name in papers for shown in named(name).figures}
    _keep(figures.values(), warehouse, "published_vs_measured")
    reports = [paper_report(warehouse, name, study) for name in papers]
    if not (html or pdf or latex):
        html = Path(f"{paper}.html")
    if html is not None:
        click.echo(f"Wrote {html}, {size(write_whole(html, as_html.html(reports).encode('utf-8')))}")
    if pdf is not None:
        click.echo(f"Wrote {pdf}, {size(write_whole(pdf, as_pdf.pdf(reports)))}")
    if latex is not None:
        for path in as_latex.latex(reports, latex):
            click.echo(f"Wrote {path}")
    for report in reports:
        click.echo(report.summary if len(reports) == 1 else f"{report.paper.name}: {report.summary}")


def _make_printed(warehouse: Warehouse, study: Path | None) -> None:
    """Make the table of printed numbers where it is not there: no view is made from it, so `+VIEW` leaves it out."""
    if study is None or warehouse.entries("published_results"):
        return
    from xlwh.cli.make import materialise
    from xlwh.study import load

    click.echo("The printed numbers are not in this warehouse yet: published_results is made.", err=True)
    materialise(load(study), study, warehouse.root, assets=("published_results",))


@command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=3100,
    show_default=True,
    help="Port to listen on; 0: a free one.",
)
@click.option("--open", "browser", is_flag=True, help="Open it in the browser.")
@warehouse_option
def explore(port: int, browser: bool, root: Path) -> None:
    """Serve figures, examples and SQL as a local web page.

    It runs until Ctrl-C, listens on 127.0.0.1 only, and can do nothing but read.
    """
    from xlwh.report.explorer.server import serve

    serve(root, port, click.echo, browser)
