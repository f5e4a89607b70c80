"""Every kind of damage is found and named."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import socket
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from xlwh.errors import StoreError
from xlwh.store import Slot, checks, integrity
from xlwh.store.connect import KEPT
from xlwh.store.kept import kept_damage
from xlwh.store.rewrite import rewrite as copied
from xlwh.tables import TABLES


@pytest.fixture
def entry(warehouse, frames):
    [entry] = warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.build_catalogue()
    return entry


def kinds(warehouse, **how) -> list[str]:
    return [finding.kind for finding in warehouse.check(**how)]


def without_digest(warehouse, entry) -> None:
    """Let the entry be what an earlier version of xlwh wrote of the file as it is now."""
    size = (warehouse.root / entry.file).stat().st_size
    with closing(sqlite3.connect(warehouse.manifest.path)) as connection, connection:
        connection.execute(
            "update versions set digest = null, size_bytes = ? where file = ?", (size, entry.file)
        )
    warehouse.manifest.rewrite_journal()


def rewrite(warehouse, entry, frame=None, **changes) -> None:
    """Another file in the place of one that has no digest."""
    path = warehouse.root / entry.file
    metadata = {
        name: value for name, value in pl.read_parquet_metadata(path).items() if name != "ARROW:schema"
    }
    changed = metadata | {f"xlwh.{name}": value for name, value in changes.items()}
    content = pl.read_parquet(path, hive_partitioning=False) if frame is None else frame
    path.chmod(0o644)
    content.write_parquet(path, metadata=changed)
    without_digest(warehouse, entry)


def test_all_is_well(warehouse, entry):
    assert warehouse.check() == warehouse.check(deep=True) == []
    without_digest(warehouse, entry)
    assert warehouse.check(deep=True) == []
    assert warehouse.checker().undigested == 1


@pytest.mark.parametrize("deep", [False, True])
def test_missing(warehouse, entry, deep):
    (warehouse.root / entry.file).unlink()
    [finding] = warehouse.check(deep)
    assert (finding.kind, finding.file, finding.slot) == ("missing_file", entry.file, entry.slot)
    assert finding.message == (
        f"{entry.file}: the current file of predictions/model=m/language=en/xnli is gone; run `xlwh repair`"
    )


def _socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        # Paths of sockets may only be short.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            listening.bind(path.name)
        finally:
            os.chdir(before)


PLACES = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a symbolic link": lambda path: path.symlink_to(path.with_name("copy.parquet")),
}


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("what", PLACES)
def test_what_is_no_file(warehouse, entry, what, deep):
    path = warehouse.root / entry.file
    path.rename(path.with_name("copy.parquet"))
    PLACES[what](path)
    [finding] = [each for each in warehouse.check(deep) if each.kind != "orphan_file"]
    assert (finding.kind, f"it is {what}" in finding.problem) == ("irregular_file", True)


@pytest.mark.parametrize("how", ["absolute", "above", "a linked folder", "NUL"])
def test_a_path_that_leads_out_of_the_warehouse(warehouse, entry, how, tmp_path):
    """As the manifest of somebody else may say; the file there is just the one that is named."""
    outside = tmp_path / "outside"
    outside.mkdir()
    file = {
        "absolute": f"{outside}/a.parquet",
        "above": "tables/../../outside/a.parquet",
        "a linked folder": "tables/predictions/there/a.parquet",
        "NUL": "tables/a\0.parquet",
    }[how]
    shutil.copy(warehouse.root / entry.file, outside / "a.parquet")
    (warehouse.root / "tables" / "predictions" / "there").symlink_to(outside)
    [finding] = integrity.faults(warehouse.root, dataclasses.replace(entry, file=file), deep=True)
    assert (finding.kind, "leads out" in finding.problem) == ("irregular_file", True)


@pytest.mark.parametrize("folder", ["tables", "tables/predictions"])
def test_tables_on_another_disk(warehouse, entry, folder, tmp_path):
    (warehouse.root / folder).rename(tmp_path / "disk")
    (warehouse.root / folder).symlink_to(tmp_path / "disk")
    assert warehouse.check(deep=True) == []


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1", b"x" * 5000])
def test_unreadable(warehouse, entry, content):
    (warehouse.root / entry.file).chmod(0o644)
    (warehouse.root / entry.file).write_bytes(content)
    assert kinds(warehouse) == ["wrong_size"]
    without_digest(warehouse, entry)
    assert kinds(warehouse) == ["unreadable_file"]


def test_truncated(warehouse, entry):
    path = warehouse.root / entry.file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    assert kinds(warehouse) == ["wrong_size"]
    slot, fingerprint = entry.slot, entry.fingerprint
    assert not warehouse.is_fresh(slot, fingerprint)


@pytest.mark.parametrize(
    ("name", "value"), [("fingerprint", "other"), ("rows", "3"), ("version", "7"), ("table", "tokens")]
)
def test_metadata_unlike_the_manifests(warehouse, entry, name, value):
    rewrite(warehouse, entry, **{name: value})
    [finding] = warehouse.check(deep=True)
    assert finding.kind == "wrong_metadata"
    assert f"xlwh.{name} is '{value}' in the file" in finding.message


def test_rows_unlike_the_manifests(warehouse, entry, frames):
    rewrite(warehouse, entry, frames.predictions(examples=3))
    [finding] = warehouse.check(deep=True)
    assert (finding.kind, finding.problem.split(";")[0]) == (
        "wrong_metadata",
        "3 rows in the file, 2 in the manifest",
    )


def test_contract_broken(warehouse, entry, frames):
    rewrite(warehouse, entry, frames.predictions().with_columns(num_tokens=pl.lit(0, dtype=pl.Int32)))
    [finding] = warehouse.check(deep=True)
    assert finding.kind == "broken_contract"
    assert "num_tokens: min: 2 rows" in finding.message
    assert kinds(warehouse) == []


def test_an_earlier_contract(warehouse, entry, monkeypatch):
    monkeypatch.setattr(TABLES["predictions"], "version", 2)
    for deep in (False, True):
        assert [kind for kind in kinds(warehouse, deep=deep) if kind != "stale_catalogue"] == ["old_contract"]


@pytest.fixture
def many(warehouse, frames, sql):
    """A warehouse of a few small files, with kept rows."""
    (sql / "core" / "guesses.sql").write_text(
        "-- kept: by model, language\nselect model, language, count(*) as n from predictions group by all"
    )
    for model in "mno":
        warehouse.write(
            {
                Slot("predictions", (model, "en"), "xnli"): frames.predictions(40, model=model),
                Slot("token_attributions", (model, "en"), "xnli.lig"): frames.attributions(20, model=model),
            },
            "mark",
        )
    assert warehouse.keep_views()["guesses"].computed == 3
    assert warehouse.check(deep=True) == []
    return warehouse


def _files(warehouse):
    """Every file of tables and of kept rows; empty ones cannot be damaged."""
    places = (warehouse.root / "tables", warehouse.root / KEPT)
    found = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
    return [path for path in found if path.name != "changes" and path.stat().st_size]


def test_every_bit_counts(many):
    """Flipped at seeded places of every file, footers and what is beside kept rows too: all are found, none is fatal."""
    chance, entries = random.Random(7), {many.root / entry.file: entry for entry in many.entries()}
    files = _files(many)
    assert {path.suffix for path in files} == {".parquet", ".json", ".sha256"}
    for number in range(200):
        path = files[number % len(files)]
        good = path.read_bytes()
        # Every other one in the footer.
        first = len(good) - len(good) // 4 if number // len(files) % 2 else 0
        bad = bytearray(good)
        bad[chance.randrange(first, len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        entry = entries.get(path)
        if entry is not None:
            found = [finding.kind for finding in integrity.faults(many.root, entry, deep=True)]
            assert found in (["wrong_digest"], ["unreadable_file"]), (path, found)
        else:
            name = path.relative_to(many.root / KEPT).as_posix()
            assert kept_damage(many.root, name.removesuffix(".sha256")) is not None, path
        path.write_bytes(good)
    assert many.check(deep=True) == []


def test_a_damaged_file_without_a_digest_is_decoded_and_never_fatal(many):
    """What of it is found depends on the decoder; whatever that raises is a finding."""
    chance, found = random.Random(7), Counter()
    for entry in many.entries():
        without_digest(many, entry)
    for entry in many.entries():
        path = many.root / entry.file
        good = path.read_bytes()
        for _ in range(25):
            bad = bytearray(good)
            bad[chance.randrange(4, len(good) - 8)] ^= 1 << chance.randrange(8)
            path.write_bytes(bad)
            found.update(finding.kind for finding in integrity.faults(many.root, entry, deep=True))
        path.write_bytes(good)
    assert found["unreadable_file"] > 20
    assert found["wrong_digest"] == 0


class _PanicError(BaseException):
    pass


@pytest.mark.parametrize("raised", [_PanicError, MemoryError, OverflowError, pl.exceptions.ComputeError])
def test_whatever_a_decoder_raises_is_a_finding(many, monkeypatch, raised):
    def failing(*_, **__):
        raise raised("capacity overflow\nand more")

    monkeypatch.setattr(pl, "read_parquet", failing)
    entry = many.entries("predictions")[0]
    [finding] = integrity.faults(many.root, entry, deep=True)
    assert (finding.kind, finding.problem) == ("unreadable_file", "capacity overflow; run `xlwh repair`")


def test_a_check_can_be_stopped(many, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pl, "read_parquet", stopped)
    with pytest.raises(KeyboardInterrupt):
        many.check(deep=True)


@pytest.mark.parametrize("change", [lambda good: good[:-1], lambda good: good[:60] + b"?" + good[61:]])
def test_a_damaged_file_is_not_copied_into_a_new_one(warehouse, entry, change):
    path = warehouse.root / entry.file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StoreError, match=r"is damaged: .* Run: xlwh repair"):
        copied(warehouse.root, entry, Slot("predictions", ("n", "en"), "xnli"), [], "mark", {})
    assert [file for file in path.parent.parent.parent.rglob("*.parquet") if file != path] == []


def test_tables_and_samples(many):
    damaged = many.entries("token_attributions")[0]
    path = many.root / damaged.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert kinds(many) == []
    assert kinds(many, deep=True) == kinds(many, deep=True, tables=["token_attributions"]) == ["wrong_digest"]
    assert kinds(many, deep=True, tables=["predictions"]) == []
    with pytest.raises(StoreError, match="no table `nope`"):
        many.checker(tables=["nope"])
    sampled = many.checker(sample=5)
    assert (sampled.files, len(sampled.read)) == (len(_files(many)) // 2 + 3, 5)
    assert len(many.checker(sample=0.5).read) == -(-sampled.files // 2)
    assert len(many.checker(sample=10_000).read) == sampled.files
    assert kinds(many, sample=1.0) == ["wrong_digest"]
    for wrong in (0, -1, 1.5):
        with pytest.raises(StoreError, match="sample"):
            many.checker(sample=wrong)


def test_gc_leaves_the_digests_of_kept_rows(many):
    for path in (many.root / KEPT).rglob("*"):
        os.utime(path, (0, 0))
    many.gc(timedelta(0))
    assert many.check(deep=True) == []


def test_kept_rows_without_a_digest_are_told_at_once_and_computed_again(many):
    for path in (many.root / KEPT).rglob("*.sha256"):
        path.unlink()
    assert many.check() == []
    [finding] = many.check(deep=True)
    assert "no digest" in finding.problem
    assert many.keep_views()["guesses"].computed == 0
    assert many.keep_views(reads_all=True)["guesses"].computed == 3
    assert many.check(deep=True) == []


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
