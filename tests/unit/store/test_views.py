"""SQL files: headers, order, and the errors that name the file."""

from __future__ import annotations

import pytest

from xlwh.errors import SqlError
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
    kept = {step.name for step in load([sql]).needed_for(["a"]).steps}
    assert kept == {"a", "tokens", "one"}
    with pytest.raises(SqlError, match=r"There is no view `z`. Views: a, \w+, "):
        load([sql]).needed_for(["z"])


def test_one_view_is_loaded_without_the_rest():
    """As when everything is, but for the order."""
    sources = Sources((shipped_sql(),))
    everything = sources.load()
    for name, view in list(everything.views.items())[::6]:
        found = sources.load_for(name)
        assert found.views[name] == view
        assert all(step in everything.steps for step in found.steps)
        assert [step for step in found.steps if isinstance(step, View)][-1] == view
    assert {step.name for step in sources.load_for("tokens").steps} == {"tokens"}


def test_what_one_view_does_not_need_is_not_judged(sql):
    (sql / "core" / "a.sql").write_text("select one() as x, lower('A') as y from tokens")
    (sql / "core" / "b.sql").write_text("select * from nowhere")
    (sql / "macros" / "m.sql").write_text("-- no create macro lower(a)\ncreate macro one() as 1")
    (sql / "macros" / "n.sql").write_text("select 1")
    found = Sources((sql,)).load_for("a")
    assert {step.name for step in found.steps} == {"a", "tokens", "one"}
    assert found.views["a"].depends_on == ("tokens",)
    with pytest.raises(SqlError, match=r"There is no view `z`. Views: a, "):
        Sources((sql,)).load_for("z")
    with pytest.raises(SqlError, match=r"b\.sql: there is no view `nowhere`. There are: a, "):
        Sources((sql,)).load_for("b")


def test_headers_are_read_without_parsing(sql):
    (sql / "core" / "v.sql").write_text("-- Mine.\n-- column x: A number.\nthis is no SQL")
    headers = Sources((sql,)).headers()
    assert (headers["v"].description, headers["v"].columns) == ("Mine.", {"x": "A number."})
    for name, view in load([shipped_sql()]).views.items():
        header = Sources((shipped_sql(),)).headers()[name]
        assert (header.description, header.key, header.source) == (view.description, view.key, view.source)
        assert header.columns == view.columns


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
