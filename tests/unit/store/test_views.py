"""SQL files: headers, order, and the errors that name the file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from xlwh.errors import SqlError
from xlwh.store import user_cache, views
from xlwh.store.views import Sources, View, load, load_views, shipped_sql
from xlwh.tables import TABLES


def names(definitions) -> list[str]:
    return [step.name for step in definitions.steps if step.name not in TABLES]


def test_there_is_a_source_view_for_every_table():
    sources = {view.name: view for view in load([shipped_sql() / "source"]).views.values()}
    assert set(sources) == set(TABLES)
    for name, table in TABLES.items():
        view = sources[name]
        assert view.key == table.key
        assert list(view.columns) == list(table.columns())
        assert view.description.endswith(".")
        assert view.source
        assert view.depends_on == ()


def test_the_shipped_views_load_in_order():
    seen: set[str] = set()
    for view in load_views():
        assert isinstance(view, View)
        assert set(view.depends_on) <= seen | set(TABLES)
        seen.add(view.name)


def test_a_header(sql):
    (sql / "metric" / "lengths.sql").write_text(
        "-- One row per model,\n-- and nothing else.\n-- key: model, language\n-- source: somewhere, eq. 1\n"
        "-- column model: Key of the model.\n-- column tokens: How many; at least 1.\n\n"
        "-- column late: not part of the header\nselect model, count(*) as tokens from tokens group by model;\n"
    )
    view = load([sql]).views["lengths"]
    assert view.description == "One row per model, and nothing else."
    assert view.key == ("model", "language")
    assert view.source == "somewhere, eq. 1"
    assert view.columns == {"model": "Key of the model.", "tokens": "How many; at least 1."}
    assert (view.folder, view.path, view.depends_on) == (
        "metric",
        sql / "metric" / "lengths.sql",
        ("tokens",),
    )
    assert view.sql.endswith("group by model")


def test_order_comes_from_what_is_read(sql):
    (sql / "core" / "c.sql").write_text("select * from a")
    (sql / "metric" / "a.sql").write_text("select * from b join tokens using (model)")
    (sql / "mart" / "b.sql").write_text("select model from main.models")
    found = load([sql])
    assert names(found) == ["b", "a", "c"]
    assert found.views["a"].depends_on == ("b", "tokens")
    assert found.views["b"].depends_on == ("models",)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("with tokens as (select 1 as x) select * from tokens", ()),
        ("with tokens as (select * from tokens) select * from tokens", ("tokens",)),
        ("with a as (select 1 as x), b as (select * from a) select * from b", ()),
        (
            "with a as (select * from models) select * from (with b as (select * from a) select * from b)",
            ("models",),
        ),
        (
            "with recursive models as (select 1 as x union all select x + 1 from models where x < 3) from models",
            (),
        ),
        ("with a as (select * from models), models as (select 1) select * from a, models", ("models",)),
        (
            "select (select max(x) from (with models as (select 1 as x) select x from models)) from models",
            ("models",),
        ),
        ("select * from files.tokens", ("tokens",)),
        ("select * from range(3) as models", ()),
        (
            "select * from Tokens as t where exists (select 1 from MODELS as m where m.model = t.model)",
            ("models", "tokens"),
        ),
        ("select * from information_schema.tables", ()),
        ("from tokens select model union all by name from models select model", ("models", "tokens")),
        ("pivot (from models) on kind in ('hub', 'path') using count(*)", ("models",)),
        ("select unnest([1, 2]) as models", ()),
    ],
)
def test_names_of_ctes_are_no_dependencies(sql, text, reads):
    (sql / "core" / "v.sql").write_text(text)
    assert load([sql]).views["v"].depends_on == reads


def test_macros_come_before_who_calls_them(sql):
    (sql / "macros" / "some.sql").write_text(
        "-- Twice.\ncreate macro twice(a, times := 2) as a * times;\n\n"
        "-- A table of words.\ncreate or replace macro words_of(m) as table\nselect word from tokens where model = m;\n"
        "create function four(a) as twice(twice(a));"
    )
    (sql / "core" / "v.sql").write_text("select four(1) as x, word from words_of('m')")
    found = load([sql])
    order = names(found)
    assert order.index("twice") < order.index("four") < order.index("v")
    assert [step.name for step in found.steps].index("tokens") < [s.name for s in found.steps].index(
        "words_of"
    )
    assert found.views["v"].depends_on == ("tokens",)


def test_only_what_a_view_needs(sql):
    (sql / "core" / "a.sql").write_text("select one() as x from tokens")
    (sql / "core" / "b.sql").write_text("select * from models")
    (sql / "macros" / "m.sql").write_text("create macro one() as 1; create macro kinds() as table from b")
    kept = {step.name for step in load([sql]).needed_for("a").steps}
    assert kept == {"a", "tokens", "one"}
    with pytest.raises(SqlError, match=r"There is no view `z`. Views: a, \w+, "):
        load([sql]).needed_for("z")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "core/v.sql",
            "select * from nowhere",
            r"v\.sql: there is no view `nowhere`. There are: \w+, ",
        ),
        (
            "core/v.sql",
            "select * from files.nowhere",
            r"v\.sql: there is no stored table `nowhere`. There are: \w+, ",
        ),
        ("core/v.sql", "selec 1", r"v\.sql: Not valid SQL: .*syntax error"),
        ("core/v.sql", "select 1; select 2", r"v\.sql: Exactly one statement is expected, got 2"),
        ("core/v.sql", "create table x (a int)", r"v\.sql: CREATE statements are refused"),
        ("core/v.sql", "with a as (copy models to 'x') select 1", r"v\.sql: COPY inside a query is refused"),
        ("core/v.sql", b"select '\xff'", r"v\.sql cannot be read"),
        ("core/Big.sql", "select 1", r"Big\.sql: the file's name becomes the view's"),
        (
            "core/models.sql",
            "select 1",
            r"`models` is defined twice: in .*source/models\.sql and in .*core/models\.sql",
        ),
        ("macros/m.sql", "select 1", r"m\.sql: only `create macro` statements belong here, found: select 1"),
        ("macros/m.sql", "create macro m(a) as (", r"m\.sql: not valid SQL"),
        (
            "macros/m.sql",
            "create macro m(a) as table from query(a)",
            r"m\.sql, macro m: The function `query` is refused",
        ),
        ("macros/m.sql", "create macro m() as 1; create macro m() as 2", "`m` is defined twice"),
        ("macros/m.sql", "create macro m() as table from nowhere", r"m\.sql: there is no view `nowhere`"),
    ],
)
def test_a_broken_file_is_named(sql, file, text, message):
    (sql / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SqlError, match=message):
        load([sql])


def test_a_circle_names_the_files(sql):
    (sql / "core" / "a.sql").write_text("select * from b")
    (sql / "core" / "b.sql").write_text("select * from m()")
    (sql / "macros" / "m.sql").write_text("create macro m() as table from a")
    with pytest.raises(SqlError, match=r"in a circle: .*a.*m\(\).*b") as raised:
        load([sql])
    for file in ("a.sql", "b.sql", "m.sql"):
        assert file in str(raised.value)


def test_folders_of_ones_own(tmp_path):
    (tmp_path / "mine.sql").write_text("-- Mine.\nselect model from models")
    mine = load_views([tmp_path])[-1] if load_views([tmp_path])[-1].name == "mine" else None
    found = {view.name: view for view in load_views([tmp_path])}
    assert found["mine"].description == "Mine."
    assert found["mine"].depends_on == ("models",)
    assert mine is None or mine.folder == tmp_path.name
    with pytest.raises(SqlError, match="There is no SQL folder"):
        load_views([tmp_path / "missing"])


def test_names_are_told_without_parsing(tmp_path):
    (tmp_path / "own.sql").write_text("this is no SQL")
    sources = Sources((shipped_sql(), tmp_path))
    assert set(sources.names) == {*load([shipped_sql()]).views, "own"}


def test_what_was_parsed_once_is_not_parsed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = [shipped_sql(), tmp_path / "own"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.sql").write_text(
        "-- Mine.\n-- column n: Number.\nselect count(*) as n from tokens"
    )
    more = {"odd": View("odd", "metrics", tmp_path / "odd-1.parquet", "select 1 as x", "", (), "", {}, ())}
    first = load(folders, more)
    program = (
        "import sys; from pathlib import Path; from xlwh.store.views import load; "
        "load([Path(each) for each in sys.argv[1:]]); assert 'sqlglot' not in sys.modules, 'sqlglot'"
    )
    load(folders)
    subprocess.run([sys.executable, "-c", program, *map(str, folders)], check=True)
    monkeypatch.setattr(views, "_parsed", lambda *_: pytest.fail("parsed again"))
    assert load(folders, more) == first
    monkeypatch.undo()


@pytest.mark.parametrize("change", ["sql", "writable", "broken", "other user"])
def test_what_was_parsed_is_parsed_again_where_it_may_be_wrong(change, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.sql").write_text("select 1 as n")
    load([own])
    [file] = (tmp_path / "cache" / "xlwh").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    parsed = []
    genuine = views._parsed
    monkeypatch.setattr(views, "_parsed", lambda *given: parsed.append(given) or genuine(*given))
    if change == "sql":
        (own / "mine.sql").write_text("select 2 as n")
    elif change == "writable":
        file.chmod(0o666)
    elif change == "broken":
        file.write_text("{")
    else:
        monkeypatch.setattr(os, "geteuid", lambda: -1)
    assert "n" in load([own]).views["mine"].sql
    assert len(parsed) == 1


def test_without_a_place_for_what_was_parsed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load([shipped_sql()]).views


def test_old_results_go(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(40):
        user_cache.remember(f"x{number}", [number])
    assert len(list((tmp_path / "xlwh").iterdir())) == 32
    assert user_cache.recall("x39") == [39]
