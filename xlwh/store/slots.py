"""What a stored file is addressed by, what the manifest knows of it, and the fingerprint that says if it is fresh."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from xlwh.errors import StoreError
from xlwh.tables import KEY_PATTERN, TABLES, Table

_NAME = re.compile(KEY_PATTERN)


def contract(table: str) -> type[Table]:
    """The contract of a stored table. Raises `StoreError` for a name that is no table."""
    try:
        return TABLES[table]
    except KeyError:
        raise StoreError(f"There is no table `{table}`. Tables: {', '.join(TABLES)}.") from None


_COLUMNS = {name: table.partition_by for name, table in TABLES.items()}


@lru_cache(maxsize=1 << 16)
def _is_name(text: str) -> bool:
    return _NAME.match(text) is not None


@dataclass(frozen=True, order=True, slots=True)
class Slot:
    """What one current file is addressed by: its table, its partition, and its part of that partition.

    `keys` are the values of the contract's `partition_by`, in that order. `part` says what the file holds
    inside the partition: a dataset key, or `<dataset>.<method>`, or `all`. All of them become file names.
    """

    table: str
    keys: tuple[str, ...] = ()
    part: str = "all"

    def __post_init__(self) -> None:
        columns = _COLUMNS.get(self.table) or contract(self.table).partition_by
        if len(self.keys) != len(columns):
            wanted = ", ".join(columns) or "no keys at all"
            raise StoreError(f"A slot of `{self.table}` needs {wanted}; got {self.keys!r}.")
        for name in (*self.keys, self.part):
            if not _is_name(name):
                raise StoreError(
                    f"`{name}` cannot address a file of `{self.table}`: names start with a letter or digit and "
                    "hold only letters, digits and . _ + -"
                )

    @property
    def partition(self) -> dict[str, str]:
        """Partition column -> value."""
        return dict(zip(_COLUMNS[self.table], self.keys, strict=True))

    @property
    def address(self) -> tuple[str, str, str]:
        """As a manifest has it: table, keys as JSON, part."""
        return self.table, json.dumps(self.keys), self.part

    @property
    def folder(self) -> str:
        """Hive folder of the partition, relative to the warehouse: `tables/tokens/model=m/language=en`."""
        return "/".join(["tables", self.table, *(f"{k}={v}" for k, v in self.partition.items())])

    @classmethod
    def parse(cls, text: str) -> Slot:
        """The slot of a text that `str` made. Raises `StoreError` for any other."""
        table, *pairs, part = text.split("/")
        slot = cls(table, tuple(pair.partition("=")[2] for pair in pairs), part)
        if str(slot) != text:
            raise StoreError(f"`{text}` names no slot of `{table}`.")
        return slot

    def __str__(self) -> str:
        return "/".join([self.table, *(f"{k}={v}" for k, v in self.partition.items()), self.part])


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one slot, as the manifest has it."""

    slot: Slot
    file: str
    """Path relative to the warehouse, with forward slashes."""
    fingerprint: str
    rows: int
    size_bytes: int
    version: int
    """Of the contract that it was checked against."""
    created_at: datetime
    """UTC."""
    commit: int
    """Number of the manifest commit that made it current."""
    digest: str | None
    """SHA-256 of the file, in hexadecimal; None only where the version of xlwh that wrote it took none."""
    segment: str | None = None
    """The segment that the file was packed into (see `xlwh.store.segments`), by its path; None where it was not."""
    number: int | None = None
    """By which that segment knows its rows."""


def fingerprint(
    table: str,
    code_version: str,
    params: Mapping[str, object],
    inputs: Iterable[str],
    contract_version: int | None = None,
) -> str:
    """Identity of a computation: table, contract version, code version, parameters and the inputs' fingerprints.

    32 hex digits (blake2b over canonical JSON). The order of `params` and of `inputs` does not matter. A
    `contract_version` of its own is for what must outlive a new column of its table, as a training does.
    `params` may hold what JSON holds, and tuples; anything else raises `StoreError`, since its text might differ
    between two runs.
    """
    content = {
        "table": table,
        "contract": contract(table).version if contract_version is None else contract_version,
        "code": code_version,
        "params": params,
        "inputs": sorted(inputs),
    }
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"Parameters of `{table}` cannot be fingerprinted: {error}.") from None
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
