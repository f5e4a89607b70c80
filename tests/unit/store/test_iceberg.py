"""Exports as Iceberg tables: pyiceberg, Polars and DuckDB read the rows that the warehouse has, from its own files."""

from __future__ import annotations

import json
import math
import os
import secrets
import subprocess
import sys
from pathlib import Path

import duckdb_clients
import polars as pl
import pytest
import s3_server
from pyiceberg.table import StaticTable
from pyiceberg.table.metadata import TableMetadataUtil

from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, export_place, iceberg, schema
from xlwh.store.compaction import compact
from xlwh.store.files import remove
from xlwh.store.iceberg import COMMIT, LEFT_OUT, export
from xlwh.store.locks import FileLock
from xlwh.store.move import to_postgres
from xlwh.store.objects import root_of
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL, SOURCE
from xlwh.tables import TABLES

PRINT = "f" * 32
GERMAN = Slot("predictions", ("m", "de"), "xnli")


@pytest.fixture(autouse=True)
def polars_alone(monkeypatch):
    """Polars warns where a package that plans scans faster is not installed."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    """An empty one, under a name that no URL may have as it is."""
    return Warehouse(tmp_path / "mine 100%20 é [a]=b", create=True)


@pytest.fixture
def filled(warehouse, frames) -> Warehouse:
    warehouse.write(
        {frames.PREDICTIONS: frames.predictions(), GERMAN: frames.predictions(language="de")}, PRINT
    )
    return warehouse


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "exported tables"


def value_of(dtype: pl.DataType, number: int) -> object:
    """Some value of a type."""
    if isinstance(dtype, pl.List):
        return [value_of(dtype.inner, number), None][: 1 + number]
    if isinstance(dtype, pl.Struct):
        return {field.name: value_of(field.dtype, number) for field in dtype.fields}
    if dtype == pl.Boolean:
        return number == 0
    if dtype.is_integer():
        return dtype.min().pipe(pl.select).item() if number == 0 else 7
    if dtype.is_float():
        return math.inf if number == 0 else -0.5
    return "ä\n" if number == 0 else ""


def rows_of(table: str, keys: tuple[str, ...]) -> pl.DataFrame:
    """Three rows of a table with values at the ends of their types, and NULLs; they keep no rule of its contract."""
    partition = dict(zip(TABLES[table].partition_by, keys, strict=True))
    rows = [
        {
            column: partition.get(column, None if number == 2 else value_of(dtype, number))
            for column, dtype in schema(table).items()
        }
        for number in range(3)
    ]
    return pl.DataFrame(rows, schema=schema(table))


def opened(target: Path | str, table: str, settings: dict[str, str] | None = None) -> StaticTable:
    where = f"file://{target}" if isinstance(target, Path) else target
    return StaticTable.from_metadata(f"{where}/{table}", settings or {})


def same(
    warehouse: Warehouse, target: Path | str, table: str, settings: dict[str, str] | None = None
) -> None:
    """Whether pyiceberg and Polars read the rows of the warehouse, but for the columns that were left out."""
    there = opened(target, table, settings)
    left_out = json.loads(there.properties[LEFT_OUT])
    wanted = warehouse.scan(table).collect().drop(left_out)
    by_iceberg = pl.from_arrow(there.scan().to_arrow())
    assert by_iceberg.columns == wanted.columns
    assert in_order(by_iceberg) == in_order(as_pyiceberg_reads(wanted))
    by_polars = pl.scan_iceberg(there).collect()
    assert by_polars.columns == wanted.columns
    assert in_order(by_polars) == in_order(wanted)


def in_order(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.rows(), key=repr)


def as_pyiceberg_reads(frame: pl.DataFrame) -> pl.DataFrame:
    """Its reader makes an empty list of a NULL one whose elements are structs, and of no other."""
    structs = [
        name
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct)
    ]
    return frame.with_columns(pl.col(structs).fill_null([])) if structs else frame


@pytest.fixture
def unchecked(monkeypatch):
    """Rows that break rules of contracts are written."""
    monkeypatch.setattr("xlwh.store.warehouse.checked", lambda slot, frame: frame)


def all_tables(warehouse: Warehouse) -> None:
    """A file with rows, and where there are partitions one without, of every table."""
    frames = {}
    for name, table in TABLES.items():
        keys = tuple(f"k{number}" for number in range(len(table.partition_by)))
        frames[Slot(name, keys)] = rows_of(name, keys)
        frames[Slot(name, keys, "none")] = rows_of(name, keys).clear()
    warehouse.write(frames, PRINT)


def test_every_table_is_read_by_pyiceberg_and_polars(warehouse, target, unchecked):
    all_tables(warehouse)
    before = sorted(warehouse.root.rglob("*"))
    commit, done = export(warehouse, str(target))
    assert (commit, [each.table for each in done]) == (1, list(TABLES))
    assert {(each.files, each.added, each.removed) for each in done} == {(2, 2, 0)}
    assert {f"{each.table}.{column}": dtype for each in done for column, dtype in each.left_out.items()} == {
        f"{name}.{column}": str(dtype)
        for name in TABLES
        for column, dtype in schema(name).items()
        if "Float16" in str(dtype) or "UInt" in str(dtype)
    }
    for name in TABLES:
        same(warehouse, target, name)
    assert sorted(warehouse.root.rglob("*")) == before
    assert not list(target.rglob("*.parquet"))


def test_what_was_packed_is_copied_once_and_read(warehouse, target, frames):
    def write(language: str, examples: int) -> None:
        slot = Slot("predictions", ("m", language), "xnli")
        warehouse.write({slot: frames.predictions(examples=examples, language=language)}, PRINT)

    for language in "abcdefghij":
        write(language, 2)
    export(warehouse, str(target))
    compact(warehouse)
    write("b", 3)
    [done] = export(warehouse, str(target))[1]
    assert (done.files, done.added, done.removed) == (10, 10, 10)
    same(warehouse, target, "predictions")
    copies = {path: path.stat().st_mtime_ns for path in target.rglob("*.parquet")}
    assert len(copies) == 9
    write("c", 3)
    [done] = export(warehouse, str(target))[1]
    assert (done.files, done.added, done.removed) == (10, 1, 1)
    same(warehouse, target, "predictions")
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*.parquet")} == copies


def test_every_table_is_read_by_duckdb(warehouse, target, unchecked, request, tmp_path_factory):
    site = duckdb_clients.with_iceberg(request.config, tmp_path_factory.getbasetemp())
    all_tables(warehouse)
    export(warehouse, str(target))
    script = f"""
import duckdb, sys
from pathlib import Path
database = duckdb.connect()
for name in ("avro", "iceberg"):
    [file] = Path({str(site)!r}, f"duckdb_extension_{{name}}").rglob("*.duckdb_extension")
    database.execute(f"load '{{file}}'")
for name in sys.argv[2:]:
    found = database.sql(f"from iceberg_scan('{{sys.argv[1]}}/{{name}}')")
    print(name, found.columns, sorted(map(repr, found.fetchall())))
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(target), *TABLES],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    wanted = []
    for name in TABLES:
        frame = warehouse.scan(name).collect().drop(json.loads(opened(target, name).properties[LEFT_OUT]))
        wanted.append(f"{name} {frame.columns} {sorted(map(repr, frame.rows()))}")
    assert ran.stdout.splitlines() == wanted


def test_a_second_export_is_the_difference_in_the_same_table(filled, target, frames):
    export(filled, str(target))
    first = opened(target, "predictions")
    filled.write({frames.PREDICTIONS: frames.predictions(examples=3)}, "e" * 32)
    filled.write({frames.ATTRIBUTIONS: frames.attributions()}, PRINT)
    commit, done = export(filled, str(target))
    assert [(each.table, each.files, each.added, each.removed) for each in done] == [
        ("predictions", 2, 1, 1),
        ("token_attributions", 1, 1, 0),
    ]
    second = opened(target, "predictions")
    assert second.metadata.table_uuid == first.metadata.table_uuid
    assert second.properties[COMMIT] == str(commit) == "3"
    # Each snapshot says which commit it shows, and the earlier one can be read as long as its files are there.
    assert [each.summary[COMMIT] for each in second.metadata.snapshots] == ["1", "3"]
    earlier = second.scan(snapshot_id=second.metadata.snapshots[0].snapshot_id).to_arrow()
    assert len(earlier) == 4
    for name in ("predictions", "token_attributions"):
        same(filled, target, name)


def test_without_changes_nothing_is_written(filled, target):
    export(filled, str(target))
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.*") if path.name != ".export.lock"}
    assert [(each.added, each.removed) for each in export(filled, str(target))[1]] == [(0, 0)]
    after = {path: path.stat().st_mtime_ns for path in target.rglob("*.*") if path.name != ".export.lock"}
    assert after == before


def test_a_commit_elsewhere_is_told_without_a_snapshot(filled, target, frames):
    export(filled, str(target))
    filled.write({frames.ATTRIBUTIONS: frames.attributions()}, PRINT)
    export(filled, str(target))
    table = opened(target, "predictions")
    assert (table.properties[COMMIT], len(table.metadata.snapshots)) == ("2", 1)


def test_what_is_dropped_goes_and_an_emptied_table_has_no_rows(filled, target, frames):
    export(filled, str(target))
    filled.drop([frames.PREDICTIONS])
    [done] = export(filled, str(target))[1]
    assert (done.files, done.added, done.removed) == (1, 0, 1)
    same(filled, target, "predictions")
    filled.drop([GERMAN])
    [done] = export(filled, str(target))[1]
    assert (done.table, done.files, done.removed) == ("predictions", 0, 1)
    same(filled, target, "predictions")


def test_what_is_out_of_scope_is_not_shown(filled, target):
    filled.manifest.set_scope([entry for entry in filled.entries() if entry.slot == GERMAN])
    assert [each.files for each in export(filled, str(target))[1]] == [1]
    same(filled, target, "predictions")


def test_named_tables_alone_and_one_without_files(filled, target):
    assert [each.table for each in export(filled, str(target), ["tokens", "tokens"])[1]] == ["tokens"]
    same(filled, target, "tokens")
    assert not (target / "predictions").exists()
    with pytest.raises(StoreError, match="There is no table `token`"):
        export(filled, str(target), ["token"])


def contract_of(name: str, **changed: object):
    """The contract of a table with other settings."""
    table = TABLES[name]
    kept = {each: getattr(table, each) for each in ("partition_by", "key", "row_group_rows")}
    return type("Changed", (table,), {**kept, **changed})


@pytest.mark.parametrize("exported_before", [False, True])
def test_columns_that_an_earlier_contract_lacks_are_null_and_its_own_are_not_shown(
    warehouse, target, frames, unchecked, monkeypatch, exported_before
):
    slot = frames.ATTRIBUTIONS
    other = Slot(slot.table, ("m", "de"), slot.part)
    halves = pl.Series("halves", [[0.5]] * 6, dtype=pl.List(pl.Float16))
    old = frames.attributions().drop("split").with_columns(halves, gone=1)
    with monkeypatch.context() as patch:
        patch.setitem(TABLES, slot.table, contract_of(slot.table, version=0))
        if exported_before:
            patch.setattr(iceberg, "schema", lambda name: old.schema)
        warehouse.write({slot: old}, "old")
        if exported_before:
            export(warehouse, str(target))
            assert opened(target, slot.table).schema().column_names == [*old.columns[:-2], "gone"]
    warehouse.write({other: frames.attributions(language="de")}, "new")
    export(warehouse, str(target))
    found = warehouse.scan(slot.table).collect()
    assert found["split"].null_count() == 6
    there = opened(target, slot.table)
    read = pl.from_arrow(there.scan().to_arrow())
    assert read.schema.keys() == found.schema.keys()
    assert in_order(read.select(found.columns)) == in_order(found)
    assert in_order(pl.scan_iceberg(there).select(found.columns).collect()) == in_order(found)


def test_engines_are_told_to_remove_no_files_and_what_columns_are(filled, target):
    export(filled, str(target))
    table = opened(target, "predictions")
    assert table.properties["gc.enabled"] == "false"
    described = {name: column.description for name, column in TABLES["predictions"].columns().items()}
    assert {field.name: field.doc for field in table.schema().fields} == described
    assert [field.name for field in table.spec().fields] == ["model", "language"]


def test_an_export_that_was_stopped_before_it_named_the_new_version_goes_on(
    filled, target, frames, monkeypatch
):
    export(filled, str(target))
    filled.drop([GERMAN])
    with monkeypatch.context() as patch:
        patch.setattr(export_place.Folder, "put", interrupted(export_place.Folder.put, iceberg._HINT))
        with pytest.raises(KeyboardInterrupt):
            export(filled, str(target))
    assert (target / "predictions/metadata/version-hint.text").read_text() == "1"
    filled.write({GERMAN: frames.predictions(language="de", first=7)}, PRINT)
    export(filled, str(target))
    assert (target / "predictions/metadata/version-hint.text").read_text() == "3"
    same(filled, target, "predictions")


def interrupted(genuine, name):
    def put(self, path, content):
        if path.endswith(name):
            raise KeyboardInterrupt
        genuine(self, path, content)

    return put


def _foreign(metadata: Path) -> None:
    text = json.loads(metadata.read_text())
    text["properties"] = {}
    TableMetadataUtil.parse_obj(text)
    metadata.write_text(json.dumps(text))


def _each(change, pattern):
    def damage(metadata: Path) -> None:
        for path in metadata.parent.glob(pattern):
            change(path)

    return damage


DAMAGES = {
    "no list of manifests": (_each(Path.unlink, "snap-*.avro"), "has lost metadata"),
    "manifests cut short": (_each(lambda path: os.truncate(path, 50), "*-m0.avro"), "has lost metadata"),
    "an empty manifest": (_each(lambda path: os.truncate(path, 0), "*-m0.avro"), "has lost metadata"),
    "cut short": (lambda m: os.truncate(m, 100), "cannot be read"),
    "no JSON of Iceberg": (lambda m: m.write_text("{}"), "cannot be read"),
    "gone": (lambda m: m.unlink(), "has lost its metadata"),
    "of another program": (_foreign, "is an Iceberg table that xlwh did not make"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_metadata_that_are_not_ours_are_refused(filled, target, damage):
    change, told = DAMAGES[damage]
    export(filled, str(target))
    change(target / "predictions/metadata/v1.metadata.json")
    with pytest.raises(StoreError, match=told) as refused:
        export(filled, str(target))
    assert str(target) in str(refused.value)
    remove(target)
    export(filled, str(target))
    same(filled, target, "predictions")


@pytest.mark.parametrize("hint", ["seven", "", "0"])
def test_what_does_not_name_a_version_is_written_again(filled, target, hint):
    export(filled, str(target))
    path = target / "predictions/metadata/version-hint.text"
    path.write_text(hint)
    export(filled, str(target))
    assert path.read_text() == "1"


def test_a_new_contract_is_shown_without_a_commit(filled, target, monkeypatch):
    export(filled, str(target))
    changed = {**schema("predictions"), "more": pl.List(pl.Int32)}
    changed.pop("task")
    monkeypatch.setattr(iceberg, "schema", lambda name: changed)
    monkeypatch.setattr(TABLES["predictions"], "version", TABLES["predictions"].version + 1)
    assert [(each.added, each.removed) for each in export(filled, str(target))[1]] == [(0, 0)]
    table = opened(target, "predictions")
    assert [field.name for field in table.schema().fields] == list(changed)
    assert table.scan().to_arrow()["more"].null_count == 4
    assert pl.scan_iceberg(table).collect()["more"].null_count() == 4


def test_a_column_of_another_type_takes_its_place(filled, target, monkeypatch):
    export(filled, str(target))
    changed = {**schema("predictions"), "num_tokens": pl.Int64()}
    monkeypatch.setattr(iceberg, "schema", lambda name: changed)
    export(filled, str(target))
    table = opened(target, "predictions")
    assert str(table.schema().find_type("num_tokens")) == "long"
    assert table.scan().to_arrow()["num_tokens"].to_pylist() == [3] * 4


def test_tables_of_another_warehouse_are_refused(filled, target, tmp_path):
    export(filled, str(target))
    other = Warehouse(tmp_path / "other", create=True)
    with pytest.raises(StoreError, match="is of the warehouse at"):
        export(other, str(target))


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("{root}", "is in the warehouse"),
        ("{root}/tables/exported", "is in the warehouse"),
        ("{root}/../a#b", "`#` in its path"),
        ("s3://bucket/exported", "are on this machine"),
        ("ftp://host/exported", "cannot be at ftp://"),
    ],
)
def test_targets_that_do_not_do(filled, named, told):
    before = sorted(filled.root.rglob("*"))
    with pytest.raises(StoreError, match=told):
        export(filled, named.format(root=filled.root))
    assert sorted(filled.root.rglob("*")) == before


def test_azure_is_refused_by_name(tmp_path):
    (tmp_path / SOURCE).write_text('url = "az://container/wh"')
    with pytest.raises(StoreError, match="xlwh take az://container/wh --warehouse FOLDER"):
        export_place.base_of(tmp_path)
    with pytest.raises(StoreError, match="cannot be at az://container/exported"):
        export_place.place_of("az://container/exported", tmp_path)


def test_two_exports_to_one_folder_do_not_meet(filled, target):
    with FileLock(target / ".export.lock", "x"), pytest.raises(StoreError, match="is being worked on by"):
        export(filled, str(target))


def test_without_pyiceberg_it_says_what_to_install(filled, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiceberg.io.pyarrow", None)
    with pytest.raises(StoreError, match=r"pip install 'xlwh\[iceberg\]'"):
        export(filled, str(target))


@pytest.fixture
def url(s3, postgres, tmp_path, monkeypatch) -> str:
    """A new warehouse in the object store."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(LOCAL, str(tmp_path / "node"))
    name = secrets.token_hex(6)
    made = f"s3://{s3_server.BUCKET}/{name}/wh"
    to_postgres(root_of(made), Address(postgres.url(), f"xlwh_{name}"))
    return made


@pytest.mark.parametrize("to_folder", [False, True])
def test_a_warehouse_in_an_object_store(url, target, frames, to_folder):
    warehouse = Warehouse(url)
    slots = {frames.PREDICTIONS: frames.predictions(), GERMAN: frames.predictions(language="de")}
    warehouse.write(slots, PRINT)
    where = target if to_folder else url.removesuffix("wh") + "exported"
    for copy in warehouse.root.rglob("*.parquet"):
        copy.unlink()
    assert [each.files for each in export(warehouse, str(where))[1]] == [2]
    assert not list(warehouse.root.rglob("*.parquet")), "nothing of a file is needed"
    same(warehouse, where, "predictions", export_place.settings())
    if not to_folder:
        by_url = pl.scan_iceberg(f"{where}/predictions", storage_options=export_place.settings())
        assert by_url.collect().height == 4
    warehouse.drop([GERMAN])
    assert [(each.added, each.removed) for each in export(warehouse, str(where))[1]] == [(0, 1)]
    same(warehouse, where, "predictions", export_place.settings())
    assert [each.kind for each in warehouse.check(deep=True) if each.kind != "stale_catalogue"] == []


def test_an_object_store_with_another_export_at_the_same_time(url, frames, monkeypatch):
    warehouse = Warehouse(url)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, PRINT)
    there = url.removesuffix("wh") + "exported"
    genuine = export_place.Store.create

    def late(self, name, content):
        genuine(self, name, content)
        genuine(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(export_place.Store, "create", late)
        with pytest.raises(StoreError, match="was quicker"):
            export(warehouse, there)
    export(warehouse, there)
    same(warehouse, there, "predictions", export_place.settings())


@pytest.mark.parametrize("below", ["", "/tables/exported"])
def test_no_export_is_in_the_warehouse_in_an_object_store(url, below):
    with pytest.raises(StoreError, match="is in the warehouse"):
        export(Warehouse(url), url + below)
