"""The explorer's addresses: each a small function from a request to a page, a piece of one, or a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import duckdb
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from xlwh.errors import MissingDataError, SqlError, XlwhError
from xlwh.guard import Guard
from xlwh.report import page
from xlwh.report.explorer import concept as concepts
from xlwh.report.explorer import drill_pages, example_page, pages, sqlcell
from xlwh.report.explorer import example as parallel
from xlwh.report.explorer.state import Explorer, Shown
from xlwh.report.export import ENDINGS, picture, refuse_unmet, table
from xlwh.report.figures import Missing, figure, render, sections
from xlwh.report.markup import Markup, el
from xlwh.report.tables import html_table
from xlwh.store.connect import failure
from xlwh.texts import whole_number

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_KINDS = {
    "svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf", "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet", "tex": "text/plain; charset=utf-8", "md": "text/plain; charset=utf-8",
}  # fmt: skip
_PREVIEW_S = 8.0
_PREVIEW_ROWS = 50
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0b5cad"/>'
    '<path d="M3 4.5C8 4.5 8 11.5 13 11.5M3 11.5C8 11.5 8 4.5 13 4.5" stroke="#fff" stroke-width="1.6" fill="none"/></svg>'
)

Handler = Callable[[Shown, Request], Response]


def create_app(explorer: Explorer, hosts: Iterable[str], warm: bool = True) -> ASGIApp:
    """The application; `hosts` are the Host headers that it answers to."""

    def over(handler: Handler) -> Callable[[Request], Response]:
        # Not async: Starlette runs it in a thread, so that a slow statement holds up nobody else.
        def answer(request: Request) -> Response:
            with explorer.state() as shown:
                try:
                    return handler(shown, request)
                except XlwhError as error:
                    return _failed(shown, request, error)
                except duckdb.Error as error:
                    return _failed(shown, request, failure(error))

        return answer

    async def run_sql(request: Request) -> Response:
        body = await request.body()
        if len(body) > 1_000_000:
            return PlainTextResponse("The statement is too long.\n", 413)
        from starlette.concurrency import run_in_threadpool

        return await run_in_threadpool(_run_sql, explorer, body.decode("utf-8", "replace"))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if warm:
            explorer.begin_warming()
        yield
        explorer.close()

    routes = [
        Route("/", over(_overview)),
        Route("/paper/{name}", over(_paper)),
        Route("/figure/{name}", over(_figure)),
        Route("/examples", over(_examples)),
        Route("/example", over(_example)),
        Route("/concepts", over(_concepts)),
        Route("/concept", over(_concept)),
        Route("/evidence", over(_evidence)),
        Route("/head", over(_head)),
        Route("/tables", over(lambda shown, _: _html(pages.shell(shown, "Tables", "/tables", pages.tables(shown))))),
        Route("/table/{name}", over(_table)),
        Route("/rows/{name}", over(_rows)),
        Route("/sql", over(_sql_page)),
        Route("/sql/schema", over(lambda shown, _: Response(pages.schema_json(shown), media_type="application/json"))),
        Route("/sql/run", run_sql, methods=["POST"]),
        Route("/sql/stop", over(lambda shown, _: JSONResponse({"stopped": sqlcell.stop(shown)})), methods=["POST"]),
        Route("/sql/download", over(_download)),
        Route("/static/{name}", _static),
    ]  # fmt: skip
    return Guard(Starlette(routes=routes, lifespan=lifespan), hosts)


def _html(text: str, code: int = 200) -> HTMLResponse:
    return HTMLResponse(text, code)


def _fragment(content: Markup) -> HTMLResponse:
    return HTMLResponse(content)


def _failed(shown: Shown, request: Request, error: Exception) -> Response:
    code = 404 if isinstance(error, MissingDataError) else 400
    message = el("p", str(error), class_="error", role="alert")
    if "fragment" in request.headers.get("x-wanted", ""):
        # A message in its place on a page is not an error of the page; browsers would log any other code as one.
        return _fragment(message)
    return _html(pages.shell(shown, "Error", "", el("div", el("h1", "That did not work"), message)), code)


def _overview(shown: Shown, _request: Request) -> Response:
    return _html(pages.shell(shown, "Overview", "/", pages.overview(shown)))


def _paper(shown: Shown, request: Request) -> Response:
    found = next((s for s in sections() if s.name == request.path_params["name"]), None)
    if found is None:
        raise MissingDataError(f"There is no page {request.path_params['name']}.")
    content = pages.paper(shown, found, _query(request))
    return _html(pages.shell(shown, found.title, f"/paper/{found.name}", content))


def _figure(shown: Shown, request: Request) -> Response:
    name, _, kind = request.path_params["name"].partition(".")
    found = figure(name)
    if not kind:
        return _fragment(pages.figure_view(shown, found, _query(request)))
    if kind not in _KINDS:
        raise MissingDataError(f"There is no format {kind}. Formats: {', '.join(_KINDS)}.")
    known = [each.column for each in found.filters]
    unknown = [column for column in _query(request) if column not in known]
    if unknown:
        raise XlwhError(
            f"The figure {name} has no choice {', '.join(unknown)}. Choices: {', '.join(known) or 'none'}."
        )
    drawn = refuse_unmet(render(found, shown.views, _query(request)))
    if kind in ("svg", "png", "pdf"):
        content = picture(drawn, found.title, kind)
    else:
        content = table(drawn, next(name for name, ending in ENDINGS.items() if ending == kind))
    attached = {"Content-Disposition": f'attachment; filename="{name}.{kind}"'}
    return Response(content, media_type=_KINDS[kind], headers=attached)


def _examples(shown: Shown, request: Request) -> Response:
    wanted = _query(request)
    offers = pages.example_offers(shown, wanted)
    if isinstance(offers, Missing):
        content = page.missing(offers.reason, offers.command)
    else:
        chosen = {offer.filter.column: offer.chosen for offer in offers}
        order = wanted.get("order", "")
        start = _start(wanted)
        with shown.connection.cursor() as cursor:
            rows, total = parallel.listed(
                cursor,
                chosen,
                order if order in parallel.ORDERS else next(iter(parallel.ORDERS)),
                wanted.get("text", "").strip(),
                start,
                pages.PAGE_ROWS,
            )
        content = pages.examples(offers, wanted, rows, total, start)
    if "fragment" in request.headers.get("x-wanted", ""):
        return _fragment(content)
    lead = "One text in two languages: where the model looked, and how well the two places match."
    whole = el("div", el("h1", "Parallel examples"), el("p", lead, class_="lead"), content)
    return _html(pages.shell(shown, "Parallel examples", "/examples", whole))


def _example(shown: Shown, request: Request) -> Response:
    wanted = _query(request)
    absent = [column for column in parallel.PAIR if column not in wanted]
    if absent:
        raise MissingDataError(
            f"The address does not say which {', '.join(absent)}; choose an example from the list."
        )
    # A class belongs to one pair of languages; of the same example in another one it is looked up.
    names = {column: wanted[column] for column in (*parallel.PAIR, "target") if column in wanted}
    with shown.connection.cursor() as cursor:
        pair = parallel.load(cursor, names)
    frame = shown.views.frame("ccta")
    neighbours = (
        []
        if frame is None
        else frame.filter(
            (frame["model"] == names["model"]) & (frame["source_language"] == names["source_language"])
        )["target_language"]
        .unique()
        .sort()
        .to_list()
    )
    content = el("div", pages.example_head(names, neighbours), example_page.body(pair))
    return _html(pages.shell(shown, f"Example {names['example_id']}", "/examples", content))


def _concepts(shown: Shown, request: Request) -> Response:
    wanted = _query(request)
    offers = drill_pages.concept_offers(shown, wanted)
    if isinstance(offers, Missing):
        content = page.missing(offers.reason, offers.command)
    else:
        chosen = {offer.filter.column: offer.chosen for offer in offers}
        text, start = wanted.get("text", "").strip(), _start(wanted)
        with shown.connection.cursor() as cursor:
            found = concepts.listed(
                cursor, chosen["model"], chosen["clustering"], text, start, pages.PAGE_ROWS
            )
        content = drill_pages.concepts(offers, wanted, *found, start)
    if "fragment" in request.headers.get("x-wanted", ""):
        return _fragment(content)
    lead = "Clusters of word occurrences by their hidden states: what is in each."
    whole = el("div", el("h1", "Concepts one by one"), el("p", lead, class_="lead"), content)
    return _html(pages.shell(shown, "Concepts", "/concepts", whole))


def _concept(shown: Shown, request: Request) -> Response:
    with shown.connection.cursor() as cursor:
        found = concepts.load(cursor, *_concept_names(request))
    title = f"Concept {found.row['concept']}"
    return _html(pages.shell(shown, title, "/concepts", drill_pages.concept(found)))


def _evidence(shown: Shown, request: Request) -> Response:
    with shown.connection.cursor() as cursor:
        return _fragment(drill_pages.evidence(concepts.evidence(cursor, *_concept_names(request))))


def _concept_names(request: Request) -> tuple[str, str, int]:
    wanted = _query(request)
    concept = whole_number(wanted.get("concept", ""), 9)
    if "model" not in wanted or "clustering" not in wanted or concept is None:
        raise MissingDataError("The address does not say which concept; choose one from the list.")
    return wanted["model"], wanted["clustering"], concept


def _head(shown: Shown, request: Request) -> Response:
    content = drill_pages.head(shown, _query(request))
    if "fragment" in request.headers.get("x-wanted", ""):
        return _fragment(content)
    return _html(pages.shell(shown, "One head", "/paper/heads", content))


def _start(wanted: Mapping[str, str]) -> int:
    return whole_number(wanted.get("start", ""), 9) or 0


def _table(shown: Shown, request: Request) -> Response:
    name = _known(shown, request)
    return _html(pages.shell(shown, name, "/tables", pages.table(shown, name)))


def _rows(shown: Shown, request: Request) -> Response:
    name = _known(shown, request)
    kept = shown.views.frame(name) if shown.views.ready(name) else None
    rows = (
        sqlcell.run(shown, f'select * from "{name}"', _PREVIEW_ROWS, _PREVIEW_S).rows
        if kept is None
        else kept.head(_PREVIEW_ROWS)
    )
    types = shown.columns[name]
    return _fragment(
        html_table(rows, describe=lambda c: types[c][1], caption=f"First rows of {name}")
        if rows.height
        else el("p", "It has no rows.", class_="hint")
    )


def _known(shown: Shown, request: Request) -> str:
    name = str(request.path_params["name"])
    if name not in shown.columns:
        raise MissingDataError(f"There is no table or view {name}.")
    return name


def _sql_page(shown: Shown, request: Request) -> Response:
    return _html(pages.shell(shown, "SQL", "/sql", pages.sql_page(_query(request).get("q", ""))))


def _run_sql(explorer: Explorer, text: str) -> Response:
    with explorer.state() as shown:
        try:
            result = sqlcell.run(shown, text)
        except XlwhError as error:
            return _fragment(el("p", str(error), class_="error", role="alert"))
    rows = result.rows
    counted = f"{'the first ' if result.more else ''}{rows.height:,} row{'' if rows.height == 1 else 's'}"
    told = el("p", f"{counted}, {result.seconds:.3f} s", class_="hint", role="status")
    return _fragment(el("div", told, html_table(rows, caption="Result", limit=sqlcell.SHOWN_ROWS)))


def _download(shown: Shown, request: Request) -> Response:
    wanted = _query(request)
    kind = wanted.get("format", "csv")
    if kind not in ("csv", "parquet"):
        raise SqlError(f"There is no format {kind}; there are csv and parquet.")
    path = sqlcell.download(shown, wanted.get("q", ""), kind)
    return FileResponse(
        path,
        media_type=_KINDS[kind],
        filename=f"xlwh.{kind}",
        background=BackgroundTask(Path.unlink, path, True),
    )


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "icon.svg":
        return Response(_ICON, media_type=_TYPES["svg"])
    if name == "style.css":
        return Response(page.styles() + example_page.highlights(), media_type=_TYPES["css"])
    if name in ("common.js", "explorer.js"):
        return Response(page.asset(name), media_type=_TYPES["js"])
    return PlainTextResponse("There is no such file.\n", 404)


def _query(request: Request) -> Mapping[str, str]:
    return dict(request.query_params)
