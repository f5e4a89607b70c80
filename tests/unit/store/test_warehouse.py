"""Writing, asking and scanning partitions."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import polars as pl
import pytest

import xlwh
from xlwh import store
from xlwh.errors import ContractError, SqlError, StoreError
from xlwh.store import Slot, Warehouse, schema
from xlwh.tables import TABLES


def test_no_warehouse(tmp_path):
    with pytest.raises(StoreError, match=r"There is no warehouse at .*Run: `xlwh materialize`"):
        Warehouse(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_write_and_ask(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    [entry] = warehouse.write({slot: frames.attributions()}, "mark", {"xlwh.weight_hash": "abc"})
    assert warehouse.current(slot) == entry
    assert (entry.slot, entry.fingerprint, entry.rows, entry.commit) == (slot, "mark", 6, 1)
    path = warehouse.root / entry.file
    assert path.parent == warehouse.root / "tables" / "token_attributions" / "model=m" / "language=en"
    assert path.name.startswith("xnli.lig-")
    assert entry.size_bytes == path.stat().st_size
    metadata = pl.read_parquet_metadata(path)
    assert {name: metadata[name] for name in metadata if name.startswith("xlwh.")} == {
        "xlwh.table": "token_attributions",
        "xlwh.version": str(TABLES[slot.table].version),
        "xlwh.fingerprint": "mark",
        "xlwh.rows": "6",
        "xlwh.weight_hash": "abc",
    }
    assert pl.read_parquet(path, hive_partitioning=False).equals(frames.attributions())


def test_fresh_means_same_fingerprint_and_file_there(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    assert not warehouse.is_fresh(slot, "mark")
    [entry] = warehouse.write({slot: frames.attributions()}, "mark")
    assert warehouse.is_fresh(slot, "mark")
    assert not warehouse.is_fresh(slot, "other")
    (warehouse.root / entry.file).unlink()
    assert not warehouse.is_fresh(slot, "mark")


def test_a_new_version_stands_beside_the_old_one(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    [first] = warehouse.write({slot: frames.attributions()}, "one")
    [second] = warehouse.write({slot: frames.attributions(examples=1)}, "two")
    assert (warehouse.root / first.file).is_file()
    assert warehouse.entries() == [second]
    assert warehouse.scan("token_attributions").collect().height == 3


def test_nothing_is_written_if_one_frame_is_refused(warehouse, frames):
    broken = frames.predictions().with_columns(num_tokens=pl.lit(0, dtype=pl.Int32))
    with pytest.raises(ContractError, match="num_tokens: min: 2 rows"):
        warehouse.write({frames.ATTRIBUTIONS: frames.attributions(), frames.PREDICTIONS: broken}, "mark")
    assert warehouse.entries() == []
    assert not (warehouse.root / "tables").exists()


def test_several_tables_in_one_commit(warehouse, frames):
    entries = warehouse.write(
        {frames.ATTRIBUTIONS: frames.attributions(), frames.PREDICTIONS: frames.predictions()}, "mark"
    )
    assert {entry.commit for entry in entries} == {1}
    assert [entry.slot.table for entry in warehouse.entries()] == ["predictions", "token_attributions"]
    assert [entry.slot.table for entry in warehouse.entries("predictions")] == ["predictions"]
    with pytest.raises(StoreError, match="no table `prediction`"):
        warehouse.entries("prediction")


def test_an_empty_frame_says_done(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    [entry] = warehouse.write({slot: frames.attributions(examples=0)}, "mark")
    assert entry.rows == 0
    assert warehouse.is_fresh(slot, "mark")
    found = warehouse.scan("token_attributions").collect()
    assert (found.height, found.schema) == (0, schema("token_attributions"))


def test_drop(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    [entry] = warehouse.write({slot: frames.attributions()}, "mark")
    warehouse.drop([slot, frames.PREDICTIONS])
    assert warehouse.current(slot) is None
    assert warehouse.manifest.snapshot(1).entries == (entry,)
    head = warehouse.manifest.head()
    warehouse.drop([slot])
    assert warehouse.manifest.head() == head


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_table_has_its_columns(warehouse, table):
    assert warehouse.scan(table).collect_schema() == schema(table)


def test_filters_choose_files_and_rows(warehouse, frames):
    for language in ("en", "de"):
        for dataset in ("xnli", "pawsx"):
            slot = Slot("token_attributions", ("m", language), f"{dataset}.lig")
            warehouse.write({slot: frames.attributions(language=language, dataset=dataset)}, "mark")
    found = warehouse.scan("token_attributions", language="de", dataset="xnli").collect()
    assert found.equals(frames.attributions(language="de"))
    # Files of other partitions are not even opened.
    for entry in warehouse.entries():
        if entry.slot.keys == ("m", "en"):
            (warehouse.root / entry.file).unlink()
    assert warehouse.scan("token_attributions", language="de").collect().height == 12
    assert warehouse.scan("token_attributions", language="fr").collect().height == 0


def test_unknown_names(warehouse):
    with pytest.raises(StoreError, match=r"`tokens` has no column `lang`. Columns: model, dataset"):
        warehouse.scan("tokens", lang="en")
    with pytest.raises(SqlError, match=r"There is no view `token`. Views: .*attribution_runs, "):
        warehouse.scan("token")


def test_a_view_is_computed_from_the_current_tables(warehouse, sql, frames):
    (sql / "metric" / "spread.sql").write_text(
        "select language, max(attribution)::double as top from token_attributions group by language"
    )
    (sql / "mart" / "broken.sql").write_text("select nonsense from token_attributions")
    assert warehouse.scan("spread").collect().height == 0
    for language in ("en", "de"):
        slot = Slot("token_attributions", ("m", language), "xnli.lig")
        warehouse.write({slot: frames.attributions(language=language)}, "mark")
    assert warehouse.scan("spread").sort("language").collect().rows() == [("de", 12.0), ("en", 12.0)]
    assert warehouse.scan("spread", language="de").collect().rows() == [("de", 12.0)]
    with pytest.raises(StoreError, match=r"`spread` has no column `model`. Columns: language, top"):
        warehouse.scan("spread", model="m")
    with pytest.raises(SqlError, match=r"broken\.sql: Binder Error"):
        warehouse.scan("broken")


def test_a_view_needs_only_its_own_tables(warehouse, sql, frames):
    (sql / "metric" / "counted.sql").write_text("select count(*) as n from predictions")
    [entry] = warehouse.write({frames.ATTRIBUTIONS: frames.attributions()}, "mark")
    (warehouse.root / entry.file).unlink()
    assert warehouse.scan("counted").collect().rows() == [(0,)]


def test_files_of_an_earlier_contract_stay_readable(warehouse, frames, monkeypatch):
    class Before(TABLES["token_attributions"]):
        partition_by = TABLES["token_attributions"].partition_by
        key = TABLES["token_attributions"].key
        version = 0

    slot = frames.ATTRIBUTIONS
    old = frames.attributions().drop("split").with_columns(gone=1)
    with monkeypatch.context() as patch:
        patch.setattr("xlwh.store.warehouse.checked", lambda slot, frame: frame)
        patch.setitem(TABLES, "token_attributions", Before)
        warehouse.write({slot: old}, "old")
    other = Slot("token_attributions", ("m", "de"), "xnli.lig")
    warehouse.write({other: frames.attributions(language="de")}, "new")
    found = warehouse.scan("token_attributions").collect()
    assert found.schema == schema("token_attributions")
    assert found["split"].null_count() == 6
    warehouse.build_catalogue()
    with warehouse.connect() as database:
        rows = database.execute(
            "select language, count(*), count(split) from token_attributions group by 1"
        ).fetchall()
        assert sorted(rows) == [("de", 6, 6), ("en", 6, 0)]
        assert "gone" not in {row[0] for row in database.execute("describe token_attributions").fetchall()}


def test_the_package_is_lazy():
    code = (
        "import sys, xlwh; assert xlwh.__version__; assert not {'duckdb', 'polars'} & set(sys.modules); "
        "xlwh.Warehouse; assert not {'torch', 'transformers', 'sqlglot', 'dagster', 'ot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = xlwh.nonsense
    assert xlwh.Warehouse is Warehouse


def test_the_store_hands_out_what_it_names():
    """Also once every module of it is loaded, whose name would hide another thing of that name."""
    modules = {module.name for module in pkgutil.iter_modules(store.__path__)}
    for module in modules:
        importlib.import_module(f"xlwh.store.{module}")
    assert not modules & set(store.__all__)
    assert all(not isinstance(getattr(store, name), ModuleType) for name in store.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = store.nonsense


def test_a_study_brings_views_of_its_own(warehouse, frames, tmp_path):
    folder = tmp_path / "own"
    warehouse = Warehouse(warehouse.root)
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=3)}, "one")
    warehouse.adopt_sql(folder)  # there is none: nothing happens
    folder.mkdir()
    (folder / "surprises.sql").write_text("select model, count(*) as n from predictions group by model")
    warehouse.adopt_sql(folder)
    warehouse.build_catalogue()
    assert Warehouse(warehouse.root).scan("surprises").collect().rows() == [("m", 3)]
    with warehouse.connect() as database:
        assert database.execute("select n from surprises").fetchall() == [(3,)]
    # A view that cannot be made is refused under the name of the study's file, and the warehouse stays as it was.
    (folder / "broken.sql").write_text("select no_such_column from predictions")
    with pytest.raises(SqlError, match=rf"{folder}/broken\.sql: .*no_such_column"):
        warehouse.adopt_sql(folder)
    assert "surprises" in warehouse.definitions().views
    assert "broken" not in warehouse.definitions().views
    (folder / "broken.sql").unlink()
    (folder / "surprises.sql").rename(folder / "amazement.sql")
    warehouse.adopt_sql(folder)
    assert {"amazement", "surprises"} & set(warehouse.definitions().views) == {"amazement"}


def test_views_that_another_process_removes_meanwhile(warehouse, tmp_path, monkeypatch):
    folder, listed = tmp_path / "own", type(tmp_path).glob
    warehouse = Warehouse(warehouse.root)
    folder.mkdir()
    (folder / "one.sql").write_text("select 1 as n")

    def before_it_went(self, pattern):
        gone = [self / "gone.sql"] if pattern == "*.sql" and self.is_relative_to(warehouse.root) else []
        return [*gone, *listed(self, pattern)]

    monkeypatch.setattr(type(tmp_path), "glob", before_it_went)
    warehouse.adopt_sql(folder)
    with pytest.raises(SqlError, match=r"gone\.sql cannot be read"):
        _ = warehouse.sources().digest
    monkeypatch.undo()
    assert Warehouse(warehouse.root).scan("one").collect().rows() == [(1,)]
