"""Every kind of damage is found and named."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.store import Slot, checks
from xlwh.tables import TABLES


@pytest.fixture
def entry(warehouse, frames):
    [entry] = warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.build_catalogue()
    return entry


def kinds(warehouse) -> list[str]:
    return [finding.kind for finding in warehouse.check()]


def rewrite(warehouse, entry, frame=None, **changes) -> None:
    path = warehouse.root / entry.file
    metadata = {
        name: value for name, value in pl.read_parquet_metadata(path).items() if name != "ARROW:schema"
    }
    changed = metadata | {f"xlwh.{name}": value for name, value in changes.items()}
    content = pl.read_parquet(path, hive_partitioning=False) if frame is None else frame
    path.chmod(0o644)
    content.write_parquet(path, metadata=changed)


def test_all_is_well(warehouse, entry):
    assert warehouse.check() == []


def test_missing(warehouse, entry):
    (warehouse.root / entry.file).unlink()
    [finding] = warehouse.check()
    assert (finding.kind, finding.file) == ("missing_file", entry.file)
    assert finding.message == (
        f"{entry.file}: the current file of predictions/model=m/language=en/xnli is gone; "
        "run `xlwh materialize predictions`"
    )


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1", b"x" * 5000])
def test_unreadable(warehouse, entry, content):
    (warehouse.root / entry.file).chmod(0o644)
    (warehouse.root / entry.file).write_bytes(content)
    assert kinds(warehouse) == ["unreadable_file"]


def test_truncated(warehouse, entry):
    path = warehouse.root / entry.file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    assert kinds(warehouse) == ["unreadable_file"]


@pytest.mark.parametrize(
    ("name", "value"), [("fingerprint", "other"), ("rows", "3"), ("version", "7"), ("table", "tokens")]
)
def test_metadata_unlike_the_manifests(warehouse, entry, name, value):
    rewrite(warehouse, entry, **{name: value})
    [finding] = warehouse.check()
    assert finding.kind == "wrong_metadata"
    assert f"xlwh.{name} is '{value}' in the file" in finding.message


def test_rows_unlike_the_manifests(warehouse, entry, frames):
    rewrite(warehouse, entry, frames.predictions(examples=3))
    [finding] = warehouse.check()
    assert (finding.kind, finding.problem.split(";")[0]) == (
        "wrong_metadata",
        "3 rows in the file, 2 in the manifest",
    )


def test_contract_broken(warehouse, entry, frames):
    rewrite(warehouse, entry, frames.predictions().with_columns(num_tokens=pl.lit(0, dtype=pl.Int32)))
    [finding] = warehouse.check()
    assert finding.kind == "broken_contract"
    assert "num_tokens: min: 2 rows" in finding.message


def test_an_earlier_contract(warehouse, entry, monkeypatch):
    monkeypatch.setattr(TABLES["predictions"], "version", 2)
    assert [kind for kind in kinds(warehouse) if kind != "stale_catalogue"] == ["old_contract"]


def test_orphans(warehouse, entry, frames):
    (warehouse.root / "tables" / "stray.parquet").write_bytes(b"x")
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=1)}, "two")  # superseded is no orphan
    warehouse.build_catalogue()
    [finding] = warehouse.check()
    assert (finding.kind, finding.file) == ("orphan_file", "tables/stray.parquet")


def test_catalogue(warehouse, entry, frames, sql):
    path = warehouse.root / "catalog.duckdb"
    warehouse.write({Slot("predictions", ("n", "en"), "xnli"): frames.predictions(model="n")}, "mark")
    assert [finding.message for finding in warehouse.check()] == [
        "catalog.duckdb: it shows commit 1, the last is 2; run `xlwh catalogue`"
    ]
    warehouse.build_catalogue()
    (sql / "core" / "one.sql").write_text("select 1 as one")
    assert "the SQL changed" in warehouse.check()[0].message
    path.write_bytes(b"nonsense")
    assert "cannot be read" in warehouse.check()[0].message
    path.unlink()
    assert "there is none" in warehouse.check()[0].message


def test_a_file_that_is_committed_meanwhile_is_no_orphan(warehouse, frames, monkeypatch):
    listed = checks.files_in

    def late(path):
        warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
        yield from listed(path)

    monkeypatch.setattr(checks, "files_in", late)
    assert "orphan_file" not in {finding.kind for finding in warehouse.check()}
