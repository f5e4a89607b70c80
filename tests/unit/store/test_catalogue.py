"""The catalogue: exact files, comments, snapshots, and being replaced under readers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest

from xlwh.errors import SqlError, StoreError
from xlwh.store import Slot, Warehouse, catalogue
from xlwh.store.catalogue import duckdb_type
from xlwh.store.connect import read_info
from xlwh.tables import TABLES


def fetch(warehouse: Warehouse, sql: str) -> list[tuple]:
    with warehouse.connect() as database:
        return database.execute(sql).fetchall()


def test_an_empty_warehouse_has_every_table_typed(warehouse):
    warehouse.build_catalogue()
    with warehouse.connect() as database:
        for name, table in TABLES.items():
            assert database.execute(f"select count(*) from {name}").fetchall() == [(0,)]
            columns = database.execute(f"describe {name}").fetchall()
            # DuckDB writes a struct's field names with quotes only where it must.
            assert [(c[0], c[1].replace('"', "")) for c in columns] == [
                (column, duckdb_type(c.dtype).replace('"', "")) for column, c in table.columns().items()
            ]


def test_types_are_the_same_with_and_without_rows(warehouse, frames):
    warehouse.build_catalogue()
    describe = "describe predictions"
    empty = fetch(warehouse, describe)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.build_catalogue()
    assert fetch(warehouse, describe) == empty
    assert fetch(warehouse, "select logits, language from predictions limit 1") == [([0.0, 1.0], "en")]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (pl.String(), "VARCHAR"),
        (pl.Boolean, "BOOLEAN"),
        (pl.List(pl.Float32), "FLOAT[]"),
        (pl.Array(pl.Float32, 3), "FLOAT[]"),
        (pl.Struct({"text": pl.String, "a b": pl.List(pl.Int32)}), 'STRUCT("text" VARCHAR, "a b" INTEGER[])'),
        (pl.Datetime("us"), "TIMESTAMP"),
        (pl.Datetime("us", "UTC"), "TIMESTAMPTZ"),
    ],
)
def test_duckdb_types(dtype, expected):
    assert duckdb_type(dtype) == expected


def test_names_and_nan_like_keys_survive(warehouse, frames):
    for language in ("nan", "01", "null", "zh-Hans"):
        for model in ("a+b", "1.5"):
            slot = Slot("predictions", (model, language), "xnli")
            warehouse.write({slot: frames.predictions(language=language, model=model)}, "mark")
    warehouse.build_catalogue()
    found = fetch(warehouse, "select distinct model, language from predictions order by all")
    assert found == [(m, x) for m in ("1.5", "a+b") for x in ("01", "nan", "null", "zh-Hans")]
    assert fetch(warehouse, "select count(*) from predictions where model = 'a+b' and language = 'nan'") == [
        (2,)
    ]


def test_only_current_files_are_read(warehouse, frames):
    slot = frames.PREDICTIONS
    warehouse.write({slot: frames.predictions(examples=5)}, "one")
    warehouse.write({slot: frames.predictions(examples=3)}, "two")
    stray = warehouse.root / slot.folder / "stray-0.parquet"
    frames.predictions(examples=7).write_parquet(stray)
    warehouse.build_catalogue()
    assert fetch(warehouse, "select count(*) from predictions") == [(3,)]


def test_info_and_comments(warehouse, sql, frames):
    (sql / "metric" / "spread.sql").write_text(
        "-- One row per model; it's the \"spread\".\n-- column model: Key; isn't it.\n"
        "select model, count(*) as n from predictions group by model"
    )
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    before = datetime.now(UTC)
    path = warehouse.build_catalogue()
    info = read_info(path)
    assert info is not None
    assert (info.commit, info.root) == (1, str(warehouse.root))
    assert before <= info.built_at <= datetime.now(UTC)
    [(commit, root)] = fetch(warehouse, "select commit, root from catalogue_info")
    assert (commit, root) == (1, str(warehouse.root))
    views = dict(fetch(warehouse, "select view_name, comment from duckdb_views() where schema_name = 'main'"))
    assert views["spread"] == 'One row per model; it\'s the "spread".'
    assert views["predictions"].startswith("One row per (model, example)")
    columns = dict(
        fetch(
            warehouse,
            "select table_name || '.' || column_name, comment from duckdb_columns() where comment is not null",
        )
    )
    assert columns["spread.model"] == "Key; isn't it."
    assert (
        columns["predictions.num_tokens"] == "Sub-tokens the model saw, special ones included. [sub-tokens]"
    )


def test_it_is_built_only_when_something_changed(warehouse, sql, frames):
    assert not warehouse.catalogue_is_current()
    path = warehouse.build_catalogue()
    built = path.stat().st_ino
    assert warehouse.catalogue_is_current()
    warehouse.build_catalogue()
    assert path.stat().st_ino == built
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    assert not warehouse.catalogue_is_current()
    warehouse.build_catalogue()
    assert warehouse.catalogue_is_current()
    (sql / "core" / "one.sql").write_text("select 1 as one")
    assert not warehouse.catalogue_is_current()
    warehouse.build_catalogue()
    assert fetch(warehouse, "from one") == [(1,)]
    path.write_bytes(b"no database")
    warehouse.build_catalogue()
    assert fetch(warehouse, "from one") == [(1,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select nonsense from tokens", r"bad\.sql: Binder Error"),
        ("select no_such_function(model) from tokens", r"bad\.sql: Catalog Error"),
        (
            "-- One.\n-- column mode: Typo.\nselect model from tokens",
            r"bad\.sql: the header describes .*`mode`.*: model",
        ),
    ],
)
def test_a_broken_view_is_named_and_the_old_catalogue_stays(warehouse, sql, text, message):
    path = warehouse.build_catalogue()
    built = path.stat().st_ino
    (sql / "mart" / "bad.sql").write_text(text)
    with pytest.raises(SqlError, match=message):
        warehouse.build_catalogue()
    assert path.stat().st_ino == built
    assert {p.name for p in warehouse.root.iterdir()} <= {
        "catalog.duckdb", "catalog.lock", "manifest.lock", "manifest.sqlite", "manifest.sqlite-shm", "manifest.sqlite-wal"
    }  # fmt: skip


def test_a_missing_or_damaged_file_is_an_error_that_says_what_to_run(warehouse, frames):
    [entry] = warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    (warehouse.root / entry.file).write_bytes(b"no parquet")
    with pytest.raises(
        StoreError, match=r"A file of `predictions` cannot be read: .*xnli.*Run: `xlwh repair`"
    ):
        warehouse.build_catalogue()
    (warehouse.root / entry.file).unlink()
    with pytest.raises(StoreError, match=r"The file .*xnli-.* of `predictions` is gone .*Run: `xlwh repair`"):
        warehouse.build_catalogue()
    # What does not need the file still works, so that it can be made again.
    assert warehouse.scan("examples").collect().height == 0


def test_macros_work_in_views_and_for_users(warehouse, sql, frames):
    (sql / "macros" / "m.sql").write_text(
        "create macro at_least(n := 2) as table select model from predictions where num_tokens >= n;"
        "create macro twice(x) as x * 2;"
    )
    (sql / "metric" / "v.sql").write_text("select twice(count(*))::bigint as n from at_least(n := 3)")
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.build_catalogue()
    assert fetch(warehouse, "from v") == [(4,)]
    assert fetch(warehouse, "select twice(21), (select count(*) from at_least(n := 4))") == [(42, 0)]


def test_earlier_snapshots(warehouse, frames):
    slot = frames.PREDICTIONS
    [first] = warehouse.write({slot: frames.predictions(examples=1)}, "one")
    warehouse.write({slot: frames.predictions(examples=2)}, "two")
    warehouse.drop([slot])
    warehouse.build_catalogue()
    count = "select count(*) from predictions"
    for as_of, rows in [(None, 0), (0, 0), (1, 1), (2, 2), (3, 0), (first.created_at, 1)]:
        with warehouse.connect(as_of=as_of) as database:
            assert database.execute(count).fetchall() == [(rows,)]
    with warehouse.connect(as_of=first.created_at - timedelta(days=1)) as database:
        assert database.execute("select commit from catalogue_info").fetchall() == [(0,)]
    with pytest.raises(StoreError, match="no commit 4"):
        warehouse.connect(as_of=4)


def test_a_moved_warehouse_is_built_anew(warehouse, frames, sql, tmp_path):
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.build_catalogue()
    moved = tmp_path / "it's moved"
    shutil.move(warehouse.root, moved)
    assert fetch(Warehouse(moved, sql_dirs=[sql]), "select count(*) from predictions") == [(2,)]
    assert read_info(moved / "catalog.duckdb").root == str(moved)


def test_the_catalogue_works_from_any_directory(warehouse, frames, tmp_path):
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    path = warehouse.build_catalogue()
    code = (
        "import duckdb, sys\n"
        "with duckdb.connect(sys.argv[1], read_only=True) as database:\n"
        "    print(database.execute('select count(*) from predictions').fetchall())"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=elsewhere, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[(2,)]"
    assert list(elsewhere.iterdir()) == []


def test_a_connection_keeps_its_snapshot_and_the_next_sees_the_new_one(warehouse, frames):
    count = "select count(*) from predictions"
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=1)}, "one")
    warehouse.build_catalogue()
    with warehouse.connect() as old:
        warehouse.write({frames.PREDICTIONS: frames.predictions(examples=2)}, "two")
        with warehouse.connect() as still:
            assert still.execute(count).fetchall() == [(1,)]
        warehouse.build_catalogue()
        with warehouse.connect() as new:
            assert new.execute(count).fetchall() == [(2,)]
            assert old.execute(count).fetchall() == [(1,)]
            assert old.cursor().execute(count).fetchall() == [(1,)]


def test_builders_do_not_fight(warehouse, open_warehouse, frames):
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    errors: list[Exception] = []

    def work(number: int) -> None:
        own = open_warehouse()
        try:
            for i in range(3):
                slot = Slot("predictions", (f"m{number}", "en"), "xnli")
                own.write({slot: frames.predictions(examples=i, model=f"m{number}")}, str(i))
                own.build_catalogue()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert warehouse.catalogue_is_current()
    assert fetch(warehouse, "select count(*) from predictions") == [(2 + 3 * 2,)]


def test_something_that_is_no_catalogue(tmp_path):
    assert read_info(tmp_path / "none") is None
    with duckdb.connect(tmp_path / "other.duckdb") as database:
        database.execute("create table t (a int)")
    assert read_info(tmp_path / "other.duckdb") is None


def test_another_connection_of_this_process_does_not_hide_the_new_catalogue(warehouse, frames):
    path = warehouse.build_catalogue()
    with duckdb.connect(path, read_only=True) as held:
        warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
        warehouse.build_catalogue()
        assert read_info(path).commit == 1
        assert warehouse.catalogue_is_current()
        assert fetch(warehouse, "select count(*) from predictions") == [(2,)]
        assert held.execute("select count(*) from predictions").fetchall() == [(0,)]


def test_new_files_are_shown_without_making_all_views_again(warehouse, frames, monkeypatch):
    warehouse.build_catalogue()
    before = warehouse.connect()
    monkeypatch.setattr(catalogue, "build", lambda *_: pytest.fail("everything was made again"))
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=2)}, "one")
    warehouse.build_catalogue()
    assert fetch(warehouse, "select count(*) from predictions") == [(2,)]
    assert fetch(warehouse, "select commit from catalogue_info") == [(1,)]
    assert before.execute("select count(*) from predictions").fetchall() == [(0,)]
    before.close()
    warehouse.drop([frames.PREDICTIONS])
    warehouse.build_catalogue()
    assert fetch(warehouse, "select count(*) from predictions") == [(0,)]
    assert warehouse.catalogue_is_current()


def _two_languages(warehouse, frames):
    english, german = frames.PREDICTIONS, Slot("predictions", ("m", "de"), "xnli")
    warehouse.write({english: frames.predictions()}, "mark")
    return warehouse.write({german: frames.predictions(language="de")}, "mark")


COUNTS = "select (select count(*) from predictions), (select count(*) from stored.predictions)"


def test_what_is_out_of_scope_is_in_no_view_and_in_the_schema_of_everything(warehouse, frames):
    entries = _two_languages(warehouse, frames)
    warehouse.build_catalogue()
    assert fetch(warehouse, COUNTS) == [(4, 4)]
    warehouse.manifest.set_scope(entries)
    assert not warehouse.catalogue_is_current()
    warehouse.build_catalogue()
    assert fetch(warehouse, COUNTS) == [(2, 4)]
    warehouse.manifest.set_scope([])
    warehouse.build_catalogue()
    assert fetch(warehouse, COUNTS) == [(4, 4)]


def test_scope_travels_with_time_and_can_be_set_aside(warehouse, frames):
    entries = _two_languages(warehouse, frames)
    head = warehouse.manifest.head()
    warehouse.manifest.set_scope(entries)
    for as_of, everything, expected in ((head, False, 4), (head + 1, False, 2), (head + 1, True, 4)):
        with warehouse.connect(as_of, everything=everything) as database:
            assert database.execute("select count(*) from predictions").fetchall() == [(expected,)]
    with warehouse.connect(everything=True) as database:
        assert database.execute(COUNTS).fetchall() == [(4, 4)]


def test_scans_follow_the_scope(warehouse, frames, sql):
    (sql / "core" / "per_language.sql").write_text(
        "-- Rows.\n-- key: language\n-- source: none\nselect language, count(*) as n from predictions group by all"
    )
    warehouse.manifest.set_scope(_two_languages(warehouse, frames))
    for name in ("predictions", "per_language"):
        assert warehouse.scan(name).collect()["language"].unique().to_list() == ["en"]
        assert set(warehouse.scan(name, everything=True).collect()["language"]) == {"en", "de"}
    assert [entry.slot.keys[1] for entry in warehouse.hidden()] == ["de"]


def test_views_may_read_everything(warehouse, frames, sql):
    (sql / "core" / "all_languages.sql").write_text(
        "-- Rows.\n-- key: language\n-- source: none\nselect distinct language from stored.predictions"
    )
    warehouse.manifest.set_scope(_two_languages(warehouse, frames))
    warehouse.build_catalogue()
    assert fetch(warehouse, "select * from all_languages order by all") == [("de",), ("en",)]
    assert warehouse.scan("all_languages").collect().height == 2


def test_nothing_is_left_of_a_catalogue_that_cannot_be_finished(warehouse, monkeypatch):
    """As on a full disk, where DuckDB leaves its log."""

    def failing(path, *_):
        for each in (path, path.with_name(f"{path.name}.wal")):
            each.write_text("x")
        raise OSError("No space left on device")

    monkeypatch.setattr(catalogue, "_make", failing)
    with pytest.raises(OSError, match="No space left"):
        warehouse.build_catalogue()
    assert list(warehouse.root.glob(".tmp-*")) == []


def test_a_view_is_not_blamed_for_a_full_disk(warehouse, monkeypatch):
    class Full:
        def execute(self, sql):
            raise duckdb.TransactionException(
                "Failed to commit: Could not write file: No space left on device"
            )

    view = next(iter(warehouse.definitions().views.values()))
    with pytest.raises(StoreError, match=r"^The catalogue cannot be written: .*No space left on device$"):
        catalogue._run(Full(), "select 1", view)
