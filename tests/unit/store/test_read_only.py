"""What `xlwh.connect()` hands out changes no file and reads none but the warehouse's, whatever is asked of it."""

from __future__ import annotations

import gc
import hashlib
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pytest

import xlwh
from xlwh.errors import SqlError
from xlwh.store import Warehouse
from xlwh.store.connect import failure

STATEMENTS = [
    "copy (select 1) to '{file}'",
    "copy (select 1) to '{file}' (use_tmp_file false)",
    "copy (select 1) to '{file}' (format csv, use_tmp_file false)",
    "copy (select 1) to 'xlwh://{file}'",
    "copy (select 1) to 'xlwh://{file}' (use_tmp_file false)",
    "copy (select 1) to 'xlwh://{file}' (format csv, use_tmp_file false)",
    "copy (select 1) to 'xlwh://{file}' (format json)",
    "copy (select 1) to 'file://{file}' (use_tmp_file false)",
    "copy (select 1) to '{root}/tables/new.parquet'",
    "copy (select 1) to 'xlwh://{root}/tables/new.parquet'",
    "copy (select 1) to 'xlwh://{root}/kept-by-xlwh-catalogue/new.parquet'",
    "copy (select 1) to '{root}/kept-by-xlwh-catalogue/new.parquet'",
    "copy (select 1) to '{root}/metrics/new.csv'",
    "copy (select 1 as a, 2 as b) to 'xlwh://{root}/tables/models' (format parquet, partition_by a, overwrite true)",
    "copy (select 1 as a, 2 as b) to 'xlwh://{root}/tables/models' (format parquet, partition_by a, append true)",
    "copy (select 1 as a, 2 as b) to '{root}/tables/models' (format parquet, partition_by a, overwrite true)",
    "copy (select 1) to 'xlwh://{root}/tables/new' (format parquet, per_thread_output true)",
    "copy (select 1) to '{outside}/new.csv'",
    "copy (select 1) to 'new.csv'",
    "copy (select 1) to '/dev/stdout'",
    "copy predictions to '{outside}/new.parquet'",
    "with x as (copy predictions to 'xlwh://{file}') select 1",
    "explain analyze copy (select 1) to 'xlwh://{file}'",
    "prepare x as copy (select 1) to 'xlwh://{file}'; execute x",
    "begin; copy (select 1) to 'xlwh://{file}' (use_tmp_file false); commit",
    "from query('with x as (copy (select 1) to ''xlwh://{file}'') select 1')",
    "export database '{root}/tables/new'",
    "export database 'xlwh://{root}/tables/new'",
    "export database '{outside}/new'",
    "import database '{outside}'",
    "attach '{root}/catalog.duckdb' as again",
    "attach '{root}/tables/new.duckdb' as new",
    "attach 'xlwh://{root}/tables/new.duckdb' as new",
    "attach 'xlwh://{file}' as new",
    "attach '{outside}/new.duckdb' as new",
    "attach '{root}/manifest.sqlite' as new (type sqlite)",
    "attach ':memory:' as new",
    "install httpfs",
    "install '{outside}/x.duckdb_extension'",
    "load '{outside}/x.duckdb_extension'",
    "set enable_external_access = true",
    "set global allowed_directories = ['/']",
    "set global allowed_paths = ['{file}']",
    "set lock_configuration = false",
    "reset lock_configuration",
    "set disabled_filesystems = ''",
    "set temp_directory = '{outside}'",
    "set global profile_output = '{outside}/new.json'",
    "set log_query_path = '{outside}/new.log'",
    "set global secret_directory = '{outside}'",
    "set file_search_path = '{outside}'",
    "set home_directory = '{outside}'",
    "pragma enable_profiling = 'json'",
    "call enable_logging('QueryLog', storage = 'file', storage_path = '{outside}/new')",
    "create persistent secret s (type s3, key_id 'a', secret 'b')",
    "create table new as select 1",
    "create table files.new as select 1",
    "create view new as select 1",
    "create or replace view predictions as select 1",
    "create or replace macro files.paths(names) as ['{outside}/secret.csv']",
    "create schema new",
    "create sequence new",
    "drop view predictions",
    "insert into predictions select * from predictions",
    "update predictions set label = 'x'",
    "delete from predictions",
    "truncate predictions",
    "comment on view predictions is 'x'",
    "copy predictions from '{outside}/secret.csv'",
    "create temp table t as from '{outside}/secret.csv'",
]

READING = [
    "from read_text('{outside}/secret.csv')",
    "from read_text('xlwh://{outside}/secret.csv')",
    "from read_text('file://{outside}/secret.csv')",
    "from read_blob('secret.csv')",
    "from '{outside}/secret.csv'",
    "from read_csv('{outside}/secret.csv')",
    "from sniff_csv('xlwh://{outside}/secret.csv')",
    "from read_parquet('{file}')",
    "from read_text('{root}/manifest.sqlite')",
    "from read_text('xlwh://{root}/manifest.sqlite')",
    "from read_text('xlwh://{root}/tables/../manifest.sqlite')",
    "from read_text('xlwh://{root}/tables/link.csv')",
    "from read_text('{root}/tables/link.csv')",
    "from read_text('xlwh://{root}/tables/pipe')",
    "from read_text('xlwh://{root}/tables-of-others/secret.csv')",
    "from read_text('xlwh://{root}/tables')",
    "from read_text('/proc/self/environ')",
    "from read_text('/dev/fd/0')",
    "from read_json('https://localhost/x.json')",
    "from parquet_metadata('{outside}/other.parquet')",
    "from read_parquet('{outside}/*.parquet')",
    "from read_parquet(['xlwh://{file}', '{outside}/other.parquet'])",
    "from glob('{outside}/*')",
    "from glob('xlwh://{outside}/*')",
    "from glob('xlwh://{root}/*')",
    "from glob('xlwh:///**')",
]
"""Refused, or without a row. The stored file itself has an address of its own, and can be read by that."""

Call = Callable[[duckdb.DuckDBPyConnection, dict[str, str]], object]

CALLS: dict[str, Call] = {
    "write_parquet": lambda c, at: c.sql("select 1").write_parquet(at["file"]),
    "write_parquet by address": lambda c, at: c.table("predictions").write_parquet("xlwh://" + at["file"]),
    "to_parquet": lambda c, at: c.view("predictions").to_parquet(at["outside"] + "/new.parquet"),
    "write_csv": lambda c, at: c.sql("select 1").write_csv(at["file"]),
    "to_csv by address": lambda c, at: c.sql("select 1").to_csv("xlwh://" + at["file"]),
    "to_csv here": lambda c, at: c.sql("select 1").to_csv("new.csv"),
    "create": lambda c, at: c.sql("select 1 as a").create("new"),
    "to_table": lambda c, at: c.sql("select 1 as a").to_table("new"),
    "create_view": lambda c, at: c.sql("select 1 as a").create_view("predictions", replace=True),
    "insert_into": lambda c, at: c.table("predictions").insert_into("predictions"),
    "insert": lambda c, at: c.table("predictions").insert(["x"]),
    "append": lambda c, at: c.append("predictions", pd.DataFrame({"model": ["x"]})),
    "a relation's query": lambda c, at: c.sql("select 1").query("x", f"copy x to '{at['file']}'"),
    "a cursor": lambda c, at: c.cursor().execute(f"copy (select 1) to 'xlwh://{at['file']}'"),
    "a duplicate": lambda c, at: c.duplicate().execute(f"copy (select 1) to '{at['file']}'"),
    "a cursor's settings": lambda c, at: c.cursor().execute("set enable_external_access = true"),
    "executemany": lambda c, at: c.executemany("insert into predictions (model) values (?)", [["x"]]),
    "a parsed statement": lambda c, at: c.execute(
        duckdb.extract_statements(f"copy (select 1) to 'xlwh://{at['file']}'")[0]
    ),
    "the module": lambda c, at: duckdb.execute(f"copy (select 1) to '{at['file']}'", connection=c),
    "the module's write_csv": lambda c, at: duckdb.write_csv(
        pd.DataFrame({"a": [1]}), at["file"], connection=c
    ),
    "the module's read_csv": lambda c, at: duckdb.read_csv(at["outside"] + "/secret.csv", connection=c),
    "read_csv": lambda c, at: c.read_csv(at["outside"] + "/secret.csv").fetchall(),
    "from_csv_auto": lambda c, at: c.from_csv_auto(at["outside"] + "/secret.csv").fetchall(),
    "read_json": lambda c, at: c.read_json(at["outside"] + "/secret.csv").fetchall(),
    "read_parquet": lambda c, at: c.read_parquet(at["outside"] + "/other.parquet").fetchall(),
    "from_parquet": lambda c, at: c.from_parquet(at["file"]).fetchall(),
    "table_function": lambda c, at: c.table_function("read_text", ["/etc/passwd"]).fetchall(),
    "install_extension": lambda c, at: c.install_extension("httpfs"),
    "load_extension": lambda c, at: c.load_extension(at["outside"] + "/x.duckdb_extension"),
    "another file system": lambda c, at: (
        c.register_filesystem(fsspec.filesystem("file")),
        c.execute(f"from read_text('file://{at['outside']}/secret.csv')").fetchall(),
    ),
}

IN_MEMORY = [
    "create temp table t as from predictions; insert into t from predictions; update t set label = 'x'; drop table t",
    "create temp view v as select count(*) as n from predictions; from v",
    "create temp macro twice(x) as 2 * x; select twice(2)",
    "set variable x = 1; select getvariable('x')",
    "prepare p as select $1::int; execute p(1)",
    "begin; create temp table u as select 1; rollback",
    "from query('select 1')",
    "from parquet_metadata('xlwh://{file}')",
    "from read_parquet('xlwh://{file}')",
]


COUNTS = "-- Predictions.\n-- kept: whole\nselect model, count(*) as n from predictions group by all"


@pytest.fixture
def places(warehouse, sql, frames, tmp_path, monkeypatch) -> dict[str, str]:
    """A warehouse, a stored file of it, and a folder outside that the process works in."""
    (sql / "core" / "counts.sql").write_text(COUNTS)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("a\n1\n")
    pl.DataFrame({"a": [1]}).write_parquet(outside / "other.parquet")
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.keep_views()
    root = warehouse.root
    (root / "tables" / "link.csv").symlink_to(outside / "secret.csv")
    (root / "tables-of-others").mkdir()
    (root / "tables-of-others" / "secret.csv").write_text("a\n1\n")
    subprocess.run(["mkfifo", root / "tables" / "pipe"], check=True)
    monkeypatch.chdir(outside)
    [entry] = warehouse.entries()
    return {"root": str(root), "file": str(root / entry.file), "outside": str(outside)}


def digest(folder: Path) -> dict[str, str]:
    """All files in a folder and below it by the digest of their content, other things by their mode."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else str(path.lstat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


def test_nothing_changes_and_nothing_outside_is_read(places, tmp_path):
    before = digest(tmp_path)
    with xlwh.connect(places["root"]) as database:
        rows = database.execute("from predictions").fetchall()
        for text in STATEMENTS:
            with database.cursor() as cursor, pytest.raises(duckdb.Error):
                print(text, cursor.execute(text.format(**places)).fetchall())
        for text in READING:
            with suppress(duckdb.Error):
                assert (text, database.execute(text.format(**places)).fetchall()) == (text, [])
        for name, call in CALLS.items():
            with pytest.raises((duckdb.Error, RuntimeError)):
                print(name, call(database, places))
        assert digest(tmp_path) == before
        for text in IN_MEMORY:
            database.execute(text.format(**places)).fetchall()
        assert database.execute("from predictions").fetchall() == rows
    assert digest(tmp_path) == before


def test_what_is_refused_says_so_in_one_line(places):
    with xlwh.connect(places["root"]) as database:
        with pytest.raises(duckdb.Error) as refused:
            database.execute(f"copy (select 1) to 'xlwh://{places['file']}'")
        assert str(failure(refused.value)).startswith("PermissionError: ")
        assert "can be read and not changed" in str(failure(refused.value))
        Path(places["file"]).unlink()
        with pytest.raises(duckdb.Error, match="No files found"):
            database.execute("from predictions").fetchall()


def test_rows_are_handed_to_other_libraries(places):
    frame = pl.DataFrame({"model": ["m"], "x": [1]})
    with xlwh.connect(places["root"]) as database:
        asked = database.sql("select model, example_id from predictions")
        assert asked.pl().shape == asked.df().shape == (2, 2)
        assert asked.pl(lazy=True).collect().height == pl.from_arrow(asked.arrow()).height == 2
        assert asked.to_arrow_table().num_rows == asked.to_arrow_reader().read_all().num_rows == 2
        assert pl.DataFrame(asked).height == 2
        database.register("mine", frame)
        assert database.sql("from predictions join mine using (model)").pl().height == 2
        assert database.sql("from mine").fetchall() == [("m", 1)]
        database.create_function(
            "twice", lambda x: 2 * x, [duckdb.sqltype("BIGINT")], duckdb.sqltype("BIGINT")
        )
        assert database.sql("select twice(x) from mine").fetchall() == [(2,)]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_no_file_stays_open_after_its_connection(places):
    def opened() -> int:
        with xlwh.connect(places["root"]) as database:
            assert len(database.sql("select * from predictions").fetchall()) == 2
        gc.collect()
        return sum(path.resolve().suffix == ".parquet" for path in Path("/proc/self/fd").iterdir())

    assert [opened(), opened()] == [0, 0]


LARGE = """
import sys, threading, duckdb, xlwh
from pathlib import Path
root = Path(sys.argv[1])
with duckdb.connect() as writer:
    writer.execute("copy (select range as i, 'x' || range % 7 as s from range(400000)) "
        f"to '{root}/tables/large.parquet' (row_group_size 2048)")
database = xlwh.connect(root)
query = f"from 'xlwh://{root}/tables/large.parquet'"
expected = (400000, 79999800000, 7)
def ask():
    with database.cursor() as cursor:
        found = cursor.execute(f"select count(*), sum(i), count(distinct s) {query}").fetchall()
        assert found == [expected], found
threads = [threading.Thread(target=ask) for _ in range(6)]
for each in threads: each.start()
for each in threads: each.join()
assert database.sql(query).pl()["i"].sum() == expected[1]
print(database.sql(query).to_arrow_reader(1000).read_next_batch().num_rows)
print(database.execute(query).fetchone())
"""


def test_threads_that_read_one_file_and_an_end_amid_a_result(places):
    """Neither wrong bytes nor a hang, and no word on standard error where nothing was closed."""
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, places["root"]],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["1000", "(0, 'x0')"]


@pytest.mark.parametrize("name", ["it's 100% [a] *b#", "ünï côdé", "line\nbreak", "xlwh:"])
def test_names_of_folders_that_mean_something_elsewhere(name, sql, frames, tmp_path):
    """Also through a link to another disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (sql / "core" / "counts.sql").write_text(COUNTS)
    warehouse = Warehouse(tmp_path / name, create=True, sql_dirs=[sql])
    (warehouse.root / "tables").symlink_to(disk)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    assert warehouse.keep_views()["counts"].error is None
    with xlwh.connect(warehouse.root) as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(2,)]
        assert database.execute("from counts").fetchall() == [("m", 2)]
    with duckdb.connect(warehouse.root / "catalog.duckdb", read_only=True) as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(2,)]


def test_stored_files_cannot_be_written_and_can_be_copied_and_removed(places, sql, tmp_path, frames):
    root = Path(places["root"])
    stored = [
        path for name in ("tables", "kept-by-xlwh-catalogue") for path in (root / name).rglob("*.parquet")
    ]
    assert stored
    assert {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in stored} == {0}
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", root, copy], check=True)
    subprocess.run(["cp", "-rf", root, copy], check=True)
    other = Warehouse(copy, sql_dirs=[sql])
    other.write({frames.PREDICTIONS: frames.predictions(examples=3)}, "other")
    other.build_catalogue()
    with other.connect() as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(3,)]
    assert other.gc(timedelta(0)).files
    shutil.rmtree(copy)
    assert not copy.exists()


def test_failures_of_our_files_are_told_without_python(places):
    error = duckdb.Error("Error: Traceback (most recent call last):\n  File x\nPermissionError: not yours")
    assert str(failure(error)) == "PermissionError: not yours"
    assert isinstance(failure(error), SqlError)
