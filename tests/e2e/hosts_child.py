"""What a host does in `test_hosts.py`: `python hosts_child.py MODE URL SECONDS NOTES [NAME]`, one JSON line in NOTES for each thing.

commit   make one commit after another, in turns to a group of slots of its own, and to two that all hosts commit to; and `gc`
read     look at the warehouse in all ways that users have, and judge each time whether it is one commit's state

A commit replaces the slots of one group, all with the next number of that group. So the numbers of all groups together say
how many commits a state is of.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import polars as pl
from store_child import frame

from xlwh.errors import HeldError, StoreError
from xlwh.store import Entry, Slot, Warehouse, schema
from xlwh.store.manifest import ConflictError
from xlwh.store.objects import all_at_hand
from xlwh.store.views import shipped_sql
from xlwh.store.write import make_current, write_frame

TABLES = ("predictions", "token_attributions")
LANGUAGES = ("de", "sw")
CLAIMED, RACED = "claimed", "raced"
"""Groups of all hosts: one whose slots are claimed first, and one that is only compared and swapped."""
GRACE = timedelta(seconds=45)
"""Files of earlier commits stay for so long: longer than a reader takes."""
GC_EVERY_S = 20.0
RECENT = 40
"""Commits that time travel goes back, at most."""

STATE = """
select coalesce(p.model, a.model), p.low, p.high, p.examples, a.low, a.high, a.examples
from (select model, min(logits[1]) as low, max(logits[1]) as high, count(*) as examples from predictions group by model) as p
full join (
    select model, min(attribution) as low, max(attribution) as high, count(*) / 4 as examples
    from token_attributions group by model
) as a using (model)
"""


def slots(group: str) -> list[Slot]:
    """The slots of a group."""
    return [Slot(table, (group, language), "d") for table in TABLES for language in LANGUAGES]


def frames(group: str, number: int) -> dict[Slot, pl.DataFrame]:
    """The rows of a group at a number, which also says how many there are."""
    column = {
        "predictions": pl.lit([float(number)], pl.List(pl.Float32)).alias("logits"),
        "token_attributions": pl.lit(float(number), schema("token_attributions")["attribution"]).alias(
            "attribution"
        ),
    }
    return {
        slot: frame(slot.table, *slot.keys, range(examples(number))).with_columns(column[slot.table])
        for slot in slots(group)
    }


def examples(number: int) -> int:
    """Of each slot of a group at a number."""
    return 1 + number % 5


def number_of(warehouse: Warehouse, entries: Iterable[Entry | None]) -> int:
    """The number of a group, by the rows of its files."""
    files = [entry.file for entry in entries if entry is not None and entry.slot.table == TABLES[0]]
    rows = pl.read_parquet(all_at_hand(warehouse.root, files), hive_partitioning=False, glob=False)
    [number] = rows["logits"].list.first().unique()
    return int(number)


def by_claim(warehouse: Warehouse, group: str, mark: str) -> tuple[list[Entry], int]:
    """Claim the group, and make it in chunks, as steps do."""
    with warehouse.staging(slots(group), mark) as work:
        number = 1 + number_of(warehouse, (warehouse.current(slot) for slot in slots(group)))
        for slot, rows in frames(group, number).items():
            work.append({slot: rows})
        return work.finish(), number


def by_race(warehouse: Warehouse, group: str, mark: str) -> tuple[list[Entry], int]:
    """Make the group of what is there, and commit it if that is there still."""
    # Of one moment: one slot after the other they might be of two commits.
    before = {entry.slot: entry for entry in warehouse.entries() if entry.slot.keys[0] == group}
    number = 1 + number_of(warehouse, before.values())
    # The work.
    time.sleep(random.uniform(0, 0.3))
    files = [
        write_frame(warehouse.root, slot, rows, mark, {}) for slot, rows in frames(group, number).items()
    ]
    return make_current(warehouse.root, warehouse.manifest, files, before), number


def commit(url: str, seconds: float, notes: TextIO, name: str) -> None:
    """Commit until the time is up, each group in its turn; what is another's is tried again."""
    warehouse, end = Warehouse(url), time.monotonic() + seconds
    collected = time.monotonic() + random.uniform(0, GC_EVERY_S)
    for group in itertools.cycle((name, CLAIMED, name, RACED)):
        tried, begun = Counter[str](), time.monotonic()
        while True:
            if time.monotonic() >= end:
                return
            try:
                way = by_race if group == RACED else by_claim
                entries, number = way(warehouse, group, f"{name} {secrets.token_hex(8)}")
                break
            except (HeldError, ConflictError) as error:
                tried[type(error).__name__] += 1
                time.sleep(random.uniform(0.02, 0.2))
        [made] = {entry.commit for entry in entries}
        note(notes, commit=made, group=group, number=number, seconds=time.monotonic() - begun, **tried)
        if time.monotonic() > collected:
            collected, begun = time.monotonic() + GC_EVERY_S, time.monotonic()
            removed = len(warehouse.gc(GRACE).removed)
            note(notes, gc=removed, seconds=time.monotonic() - begun)


def read(url: str, seconds: float, notes: TextIO) -> None:
    """Read in all ways, again and again."""
    # The views of stored tables only: what is tested here is what they show, not how many views there are.
    warehouse, end = Warehouse(url, sql_dirs=[shipped_sql() / "source"]), time.monotonic() + seconds
    first = warehouse.manifest.head()
    for way, look in itertools.cycle({"sql": by_sql, "scan": by_scan, "as_of": by_time_travel}.items()):
        if time.monotonic() >= end:
            return
        least, begun = warehouse.manifest.head(), time.monotonic()
        for state in look(warehouse, first):
            note(notes, read=way, least=least, state=state, seconds=time.monotonic() - begun)


def by_sql(warehouse: Warehouse, first: int) -> Iterator[dict[str, int]]:
    """By the catalogue of this machine, which is brought up to the last commit."""
    with warehouse.connect() as database:
        state = judged(database.execute(STATE).fetchall())
        # The connection stands still, however much is committed meanwhile.
        time.sleep(0.1)
        again = judged(database.execute(STATE).fetchall())
        assert state == again, (state, again)
    yield state


def by_scan(warehouse: Warehouse, first: int) -> Iterator[dict[str, int]]:
    """With Polars, one table at a time."""
    for table, value, rows in (
        ("predictions", pl.col("logits").list.first(), 1),
        ("token_attributions", pl.col("attribution"), 4),
    ):
        found = (
            warehouse.scan(table)
            .group_by("model")
            .agg(value.min().alias("low"), value.max().alias("high"), pl.len() / rows)
            .collect()
            .rows()
        )
        yield judged([(*row, *row[1:]) for row in found])


def by_time_travel(warehouse: Warehouse, first: int) -> Iterator[dict[str, int]]:
    """An earlier commit: how many commits its state is of is known."""
    chosen = random.randint(max(first, warehouse.manifest.head() - RECENT), warehouse.manifest.head())
    try:
        with warehouse.connect(as_of=chosen) as database:
            state = judged(database.execute(STATE).fetchall())
    except StoreError as error:
        if not re.search(f"Commit {chosen} cannot be shown: .* were removed by `xlwh gc`", str(error)):
            raise
        # Its time was up.
        return
    assert sum(state.values()) + 1 == chosen, (chosen, state)
    yield state


def judged(rows: list[tuple[Any, ...]]) -> dict[str, int]:
    """Group -> number, of rows of `STATE`. AssertionError where they are of more than one commit, or not all are there."""
    found = {}
    for group, low, high, count, other_low, other_high, other_count in rows:
        assert low == high == other_low == other_high, rows
        assert count == other_count == len(LANGUAGES) * examples(int(low)), rows
        found[group] = int(low)
    return found


def note(notes: TextIO, **what: object) -> None:
    """Write down one thing."""
    notes.write(json.dumps(what) + "\n")
    notes.flush()


def main() -> None:
    mode, url, seconds, path, *name = sys.argv[1:]
    with Path(path).open("w") as notes:
        if mode == "commit":
            commit(url, float(seconds), notes, *name)
        else:
            read(url, float(seconds), notes)


if __name__ == "__main__":
    main()
