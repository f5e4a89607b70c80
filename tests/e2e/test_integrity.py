"""Flipped bits all over the demo's warehouse: each is found, and what is damaged is made again alone."""

from __future__ import annotations

import random

import pytest

from xlwh.cli import main
from xlwh.demo import study_path
from xlwh.store import Warehouse, integrity
from xlwh.store.connect import KEPT
from xlwh.store.kept import kept_damage

FLIPS = 3000


def _flip(content: bytes, chance: random.Random) -> bytes:
    bad = bytearray(content)
    bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
    return bytes(bad)


@pytest.mark.slow
def test_damage_to_the_demo(tmp_path):
    root = tmp_path / "warehouse"
    assert main(["demo", "--warehouse", str(root)]) == 0
    warehouse, chance = Warehouse(root), random.Random(11)
    assert warehouse.check(deep=True) == []
    entries = warehouse.entries()
    for _ in range(FLIPS):
        entry = chance.choice(entries)
        path = root / entry.file
        good = path.read_bytes()
        path.write_bytes(_flip(good, chance))
        assert [each.kind for each in integrity.faults(root, entry, deep=True)], entry.file
        path.write_bytes(good)
    kept = [path for path in (root / KEPT).rglob("*.parquet") if path.stat().st_size]
    for path in kept:
        good = path.read_bytes()
        path.write_bytes(_flip(good, chance))
        assert kept_damage(root, path.relative_to(root / KEPT).as_posix()) is not None, path
        path.write_bytes(good)
    assert warehouse.check(deep=True) == []
    # One file of each table, as far as it has one.
    damaged = {entry.slot.table: entry for entry in entries if entry.size_bytes}
    for entry in damaged.values():
        (root / entry.file).write_bytes(_flip((root / entry.file).read_bytes(), chance))
    where = ["--study", str(study_path()), "--warehouse", str(root)]
    assert main(["repair", *where]) == 0
    assert warehouse.check(deep=True) == []
    assert {each.slot: each.fingerprint for each in warehouse.entries()} == {
        each.slot: each.fingerprint for each in entries
    }
    head = warehouse.manifest.head()
    assert main(["materialize", *where]) == 0
    assert warehouse.manifest.head() == head
