"""Looking a warehouse over: are all files there, readable, what the manifest says, and true to their contracts?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from xlwh.errors import ContractError
from xlwh.store.artefacts import faults
from xlwh.store.connect import KEPT, CatalogueInfo, read_info, same_place
from xlwh.store.contract import checked, schema
from xlwh.store.files import UNFINISHED, files_in
from xlwh.store.kept import unreadable
from xlwh.store.manifest import Manifest
from xlwh.store.occurrences import POINTERS, misplaced, summary
from xlwh.store.slots import Entry, contract

Kind = Literal[
    "missing_file",
    "unreadable_file",
    "wrong_metadata",
    "damaged_file",
    "broken_contract",
    "old_contract",
    "wrong_offsets",
    "orphan_file",
    "stale_catalogue",
]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and what mends it."""

    kind: Kind
    file: str
    """Path relative to the warehouse."""
    problem: str

    @property
    def message(self) -> str:
        """The problem, with the file that has it."""
        return f"{self.file}: {self.problem}"


def findings(root: Path, manifest: Manifest, definitions: str) -> Iterator[Finding]:
    """All findings, one file in memory at a time. `definitions` is the digest a current catalogue would carry."""
    snapshot = manifest.snapshot()
    sound = []
    for entry in snapshot.entries:
        faults = list(_file(root, entry))
        yield from faults
        sound += [entry] if not faults else []
    yield from _artefacts(root, manifest)
    yield from _offsets(root, sound)
    yield from _orphans(root, manifest)
    yield from _catalogue(root, snapshot.commit, definitions)


def _file(root: Path, entry: Entry) -> Iterator[Finding]:
    path = root / entry.file
    again = f"run `xlwh materialize {entry.slot.table}"
    mend = f"{again} --force`"
    if not path.is_file():
        yield Finding("missing_file", entry.file, f"the current file of {entry.slot} is gone; {again}`")
        return
    try:
        found = pl.read_parquet_metadata(path)
        frame = pl.read_parquet(path, hive_partitioning=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        yield Finding("unreadable_file", entry.file, f"{_line(error)}; {mend}")
        return
    expected = {
        "xlwh.table": entry.slot.table,
        "xlwh.version": str(entry.version),
        "xlwh.fingerprint": entry.fingerprint,
        "xlwh.rows": str(entry.rows),
    }
    for name, value in expected.items():
        if found.get(name) != value:
            message = f"{name} is {found.get(name)!r} in the file and {value!r} in the manifest; {mend}"
            yield Finding("wrong_metadata", entry.file, message)
    if frame.height != entry.rows:
        message = f"{frame.height} rows in the file, {entry.rows} in the manifest; {mend}"
        yield Finding("wrong_metadata", entry.file, message)
    version = contract(entry.slot.table).version
    if entry.version != version:
        message = (
            f"written for version {entry.version} of the contract, now {version}; run `xlwh materialize`"
        )
        yield Finding("old_contract", entry.file, message)
        return
    try:
        checked(entry.slot, frame)
    except ContractError as error:
        yield Finding("broken_contract", entry.file, f"{error} {mend}")


def _artefacts(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Checkpoints, results of metrics and SQL that are not as they were committed."""
    for artefact in manifest.artefacts().values():
        what = f"{artefact.kind} {artefact.name}"
        of_model = artefact.kind == "model"
        mend = f"xlwh materialize models --model {artefact.name}" if of_model else "xlwh materialize"
        for file, how in faults(root, artefact, deep=False):
            if (root / file.file).is_file():
                yield Finding("damaged_file", file.file, f"{how} ({what}); run `{mend}`")
            else:
                yield Finding("missing_file", file.file, f"{how} ({what}); run `{mend}`")


def _offsets(root: Path, sound: Sequence[Entry]) -> Iterator[Finding]:
    """Words that are not where their rows say, in files that are otherwise as they should be."""
    examples = [entry for entry in sound if entry.slot.table == "examples"]
    predicted = [root / entry.file for entry in sound if entry.slot.table == "predictions"]
    predictions = (
        pl.scan_parquet(predicted, hive_partitioning=False, glob=False)
        if predicted
        else pl.LazyFrame(schema=schema("predictions"))
    )
    for entry in sound:
        table = entry.slot.table
        if table in POINTERS:
            frame = pl.scan_parquet(root / entry.file, hive_partitioning=False, glob=False)
            wrong = misplaced(root, frame, table, examples, predictions)
            if wrong.height:
                message = (
                    f"the text has another word at {summary(wrong)}; run `xlwh materialize {table} --force`"
                )
                yield Finding("wrong_offsets", entry.file, message)


def _orphans(root: Path, manifest: Manifest) -> Iterator[Finding]:
    # Before the manifest is asked: a file that is committed meanwhile is no orphan.
    paths = sorted(path for path, _ in files_in(root / "tables"))
    known = manifest.files()
    for path in paths:
        file = path.relative_to(root).as_posix()
        if not path.name.startswith(UNFINISHED):
            state = known.get(file)
            if state is None or state.removed:
                yield Finding("orphan_file", file, "no commit names it; `xlwh gc` removes it")


def _catalogue(root: Path, commit: int, definitions: str) -> Iterator[Finding]:
    path = root / "catalog.duckdb"
    mend = "run `xlwh catalogue`"
    if not path.is_file():
        yield Finding("stale_catalogue", path.name, f"there is none; {mend}")
        return
    info = read_info(path)
    if info is None:
        yield Finding("stale_catalogue", path.name, f"it cannot be read; {mend}")
    elif not same_place(info.root, root):
        yield Finding("stale_catalogue", path.name, f"it was built for {info.root}; {mend}")
    elif info.commit != commit:
        yield Finding(
            "stale_catalogue", path.name, f"it shows commit {info.commit}, the last is {commit}; {mend}"
        )
    elif info.definitions != definitions:
        yield Finding("stale_catalogue", path.name, f"the SQL changed since it was built; {mend}")
    elif lost := info.lost():
        state = "is cut short" if (root / KEPT / lost[0]).is_file() else "is gone"
        yield Finding("stale_catalogue", path.name, f"{lost[0]} {state}, which it reads; {mend}")
    else:
        yield from _kept_rows(root, info)


def _kept_rows(root: Path, info: CatalogueInfo) -> Iterator[Finding]:
    """Kept rows of views that cannot be read."""
    files = [file for files in info.kept.values() for file in files if file.endswith(".parquet")]
    for file, reason in unreadable(root, files):
        yield Finding("unreadable_file", f"{KEPT}/{file}", f"{reason}; run `xlwh catalogue`")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
