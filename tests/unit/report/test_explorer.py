"""The explorer's answers, without a browser: pages, pieces, files, and who is refused."""

import errno
import io
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from xlwh.errors import SqlError
from xlwh.report.explorer import example, sqlcell
from xlwh.report.explorer.state import Explorer
from xlwh.report.figures import all_figures, sections
from xlwh.store import Slot, Warehouse
from xlwh.store.catalogue import read_info
from xlwh.store.connect import KEPT

PAIR = {
    "model": "alpha", "dataset": "nli", "split": "dev", "method": "lig", "target_policy": "source_prediction",
    "space": "vectors", "unit": "word", "normalization": "abs", "source_language": "en", "target_language": "ar",
    "example_id": "000000",
}  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/", "/examples", "/tables", "/table/ccta", "/sql", *(f"/paper/{s.name}" for s in sections())]
)
def test_pages(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.text.startswith("<!doctype html>")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text


def test_hostile_words_are_text(client):
    answer = client.get("/example", params=PAIR)
    assert "<script>document" not in answer.text
    assert "&lt;script&gt;document" in answer.text
    assert "<img" not in answer.text
    assert "\u202e" not in answer.text
    assert "‹U+202E›" in answer.text
    assert "bell␇" in answer.text


def test_the_plan_has_the_stored_score(filled):
    with filled.connect() as connection:
        for number in range(3):
            pair = example.load(connection, {**PAIR, "example_id": f"{number:06d}"})
            assert pair.score == pytest.approx(pair.row["score"], abs=1e-6)
            assert pair.plan.sum() == pytest.approx(1)
        same = example.load(connection, {**PAIR, "target_language": "en"})
        assert same.score == pytest.approx(1)


def test_sides_show_their_whole_text(client):
    from html.parser import HTMLParser

    class Words(HTMLParser):
        def __init__(self):
            super().__init__()
            self.depth, self.text = 0, [""]

        def handle_starttag(self, tag, attrs):
            if self.depth or dict(attrs).get("class") == "words":
                self.depth += 1

        def handle_endtag(self, tag):
            if self.depth:
                self.depth -= 1
                if not self.depth:
                    self.text.append("")

        def handle_data(self, data):
            if self.depth:
                self.text[-1] += data

    parser = Words()
    parser.feed(client.get("/example", params={**PAIR, "example_id": "000003"}).text)
    with_text = client.post(
        "/sql/run",
        content="select text || text_pair as t from examples where language = 'ar' and example_id = '000003'",
    )
    assert parser.text[1] in with_text.text


def test_lists_can_be_searched_and_ordered(client):
    found = client.get("/examples", params={**PAIR, "text": "000004"}, headers={"x-wanted": "fragment"}).text
    assert "1 to 1 of 1" in found
    assert not found.startswith("<!doctype")
    assert "none" in client.get("/examples", params={"text": "' or 1=1 --"}).text
    scores = [
        client.get("/examples", params={**PAIR, "order": order}).text.split('class="num">0.')[1][:3]
        for order in ("highest score", "lowest score")
    ]
    assert scores[0] > scores[1]


def test_filters_change_a_figure(client):
    one = client.get("/figure/ccta_excess?model=alpha").text
    other = client.get("/figure/ccta_excess?model=beta").text
    assert one != other
    assert "<html" not in one


@pytest.mark.parametrize(
    ("kind", "start"),
    [("svg", b"<svg"), ("csv", b"model,"), ("tex", b"% measure"), ("md", b"| model"), ("parquet", b"PAR1")],
)
def test_figures_as_files(client, kind, start):
    answer = client.get(f"/figure/ccta_matrix.{kind}")
    assert answer.content.startswith(start)
    assert f'filename="ccta_matrix.{kind}"' in answer.headers["content-disposition"]


def test_what_is_not_there_is_said(client):
    for path in (
        "/paper/x",
        "/table/x",
        "/figure/ccta_matrix.exe",
        "/example",
        "/example?" + "&".join(f"{k}=x" for k in PAIR),
    ):
        assert client.get(path).status_code in (400, 404), path
    assert client.get("/static/../app.py").status_code == 404


def test_strangers_are_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "same-site"}).status_code == 403
    assert (
        client.post("/sql/run", content="select 1", headers={"origin": "http://evil.example"}).status_code
        == 403
    )
    assert (
        client.post("/sql/run", content="select 1", headers={"origin": "http://127.0.0.1:1"}).status_code
        == 200
    )
    assert client.delete("/").status_code == 403


@pytest.mark.parametrize(
    "statement",
    ["drop view ccta", "copy ccta to '/tmp/x'", "select 1; select 2", "attach 'x'", "set threads = 1",
     "select * from read_csv('/etc/passwd')", "select * from query('select 1')", "", "selec"],
)  # fmt: skip
def test_only_reading_statements_run(client, statement):
    answer = client.post("/sql/run", content=statement)
    assert 'class="error"' in answer.text
    assert "<table" not in answer.text


def test_sql_results_are_cut_and_escaped(client):
    answer = client.post("/sql/run", content="select '<b>' || i as x from range(5000) t(i)")
    assert "the first 1,000 rows" in answer.text
    assert "&lt;b&gt;0" in answer.text
    for statement in (
        "explain select 1",
        "describe ccta",
        "summarize ccta",
        "pivot ccta on method using avg(score)",
    ):
        assert "<table" in client.post("/sql/run", content=statement).text, statement


def test_sql_downloads(client):
    statement = "select '=1+1' as x, i as n, [i] as l from range(120000) t(i)"
    text = client.get("/sql/download", params={"q": statement, "format": "csv"}).text.splitlines()
    assert text[:2] == ["x,n,l", "'=1+1,0,[0]"]
    assert len(text) == 120_001
    content = client.get("/sql/download", params={"q": statement, "format": "parquet"}).content
    assert pl.read_parquet(io.BytesIO(content))["n"].sum() == sum(range(120_000))
    assert client.get("/sql/download", params={"q": "drop view ccta", "format": "csv"}).status_code == 400


def test_statements_end_when_their_time_is_up_or_they_are_stopped(filled):
    slow = "select count(*) from range(1000000) a, range(1000000) b where a.range % 7 = b.range % 5"
    explorer = Explorer(filled.root)
    with explorer.state() as shown:
        with pytest.raises(SqlError, match=r"longer than 0\.2 s"):
            sqlcell.run(shown, slow, timeout_s=0.2)
        failed = []

        def run():
            with pytest.raises(SqlError, match="stopped") as error:
                sqlcell.run(shown, slow)
            failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 120
        while not failed and time.monotonic() < deadline:
            sqlcell.stop(shown)
            time.sleep(0.05)
        thread.join()
        assert failed
    explorer.close()


def test_it_ends_while_views_are_computed(filled, monkeypatch):
    explorer = Explorer(filled.root)
    with explorer.state() as shown:
        slow = "from range(1000000) a, range(1000000) b select count(*) as n"

        class Slow:
            """A cursor whose every view takes for ever."""

            def __init__(self):
                self._cursor = shown.connection.cursor()
                self.execute, self.interrupt = self._cursor.execute, self._cursor.interrupt

            def sql(self, _):
                return self._cursor.sql(slow)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self._cursor.close()

        shown.views._connect = Slow
    monkeypatch.setattr(explorer, "_keep", lambda names: None)
    explorer.begin_warming()
    deadline = time.monotonic() + 60
    while not shown.views._running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    closing = threading.Thread(target=explorer.close, daemon=True)
    closing.start()
    closing.join(120)
    assert not closing.is_alive()


def test_a_new_commit_is_shown(generated, tmp_path):
    warehouse = generated.build(
        tmp_path / "w", languages=("en", "de"), models=("alpha",), examples=3, solve=False
    )
    explorer = Explorer(warehouse.root)
    with explorer.state() as shown:
        before = shown.views.frame("task_scores").height
        warehouse.drop([Slot("predictions", ("alpha", "de"), "nli")])
        warehouse.build_catalogue()
        with explorer.state() as now:
            assert now is not shown
            assert now.views.frame("task_scores").height < before
        # Whoever is still at it sees what they saw.
        assert shown.connection.execute("select count(distinct language) from predictions").fetchall() == [
            (2,)
        ]
    explorer.close()


def test_warming_keeps_the_rows_of_figures_and_pages_show_them(generated, tmp_path):
    warehouse = generated.build(
        tmp_path / "w", languages=("en", "de"), models=("alpha",), examples=3, solve=False
    )
    explorer = Explorer(warehouse.root)
    explorer.warm()
    shown = read_info(warehouse.root / "catalog.duckdb").kept
    views = warehouse.definitions().views
    wanted = {name for figure in all_figures().values() for name in figure.views}
    assert {name for name in wanted if views[name].by is not None} <= set(shown)
    with explorer.state() as now:
        assert all(now.views.ready(name) for name in wanted)
        assert now.views.frame("ccta").height > 0
    explorer.close()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_warehouse_that_one_may_only_read_is_warmed_without_keeping(
    number, generated, tmp_path, monkeypatch
):
    warehouse = generated.build(
        tmp_path / "w", languages=("en", "de"), models=("alpha",), examples=3, solve=False
    )

    def refused(path: Path) -> None:
        raise OSError(number, "cannot be written", str(path))

    monkeypatch.setattr("xlwh.store.keeping.make_folder", refused)
    explorer = Explorer(warehouse.root)
    explorer.warm()
    assert not (warehouse.root / KEPT).exists()
    with explorer.state() as now:
        assert now.views.ready("ccta")
        assert now.views.frame("ccta").height > 0
    explorer.close()


def test_an_empty_warehouse_is_explored_too(tmp_path):
    from starlette.testclient import TestClient

    from xlwh.report.explorer.app import create_app

    explorer = Explorer(Warehouse(tmp_path / "e", create=True).root)
    with TestClient(
        create_app(explorer, ["127.0.0.1:1"], warm=False), base_url="http://127.0.0.1:1"
    ) as empty:
        explorer.warm()
        for path in ("/", "/examples", "/tables", "/rows/ccta", *(f"/paper/{s.name}" for s in sections())):
            assert empty.get(path).status_code == 200, path
        assert "xlwh materialize" in empty.get("/examples").text


def test_a_choice_that_is_not_there_is_told_on_the_page_and_refused_for_a_file(client):
    page = client.get("/figure/ccta_matrix?method=nosuch").text
    assert "There is no method `nosuch`" in page
    assert "Shown: lig" in page
    assert "There is no" not in client.get("/figure/ccta_matrix?method=random").text
    refused = client.get("/figure/ccta_matrix.svg?method=nosuch")
    assert refused.status_code == 404
    assert "no method `nosuch`" in refused.text
    assert "method random" in client.get("/figure/ccta_matrix.md?method=random").text


def test_a_file_of_a_choice_that_the_figure_does_not_have_is_refused(client):
    refused = client.get("/figure/ccta_matrix.csv?modle=m")
    assert refused.status_code == 400
    assert "The figure ccta_matrix has no choice modle. Choices: measure" in refused.text
