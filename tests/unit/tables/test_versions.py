"""A table whose columns change has another version: files of the old columns are then made anew, not read as they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from xlwh.tables import TABLES

FILE = Path(__file__).with_name("versions.json")
"""Table -> its version and a digest of its columns. To write it anew: python tests/unit/tables/test_versions.py"""


def _state(table: str) -> list[object]:
    contract = TABLES[table]
    columns = sorted(
        (name, str(column.dtype), column.nullable) for name, column in contract.columns().items()
    )
    return [contract.version, hashlib.blake2b(json.dumps(columns).encode(), digest_size=8).hexdigest()]


@pytest.mark.parametrize("table", TABLES)
def test_other_columns_come_with_another_version(table: str) -> None:
    version, digest = json.loads(FILE.read_text(encoding="utf-8")).get(table, [None, ""])
    now, columns = _state(table)
    assert (columns == digest) or (now != version), (
        f"the columns of {table} changed: raise its version, then run: python tests/unit/tables/test_versions.py"
    )
    assert [version, digest] == _state(table), "write it down: python tests/unit/tables/test_versions.py"


def test_no_table_is_gone() -> None:
    assert set(json.loads(FILE.read_text(encoding="utf-8"))) == set(TABLES)


if __name__ == "__main__":
    states = ",\n".join(f'  "{table}": {json.dumps(_state(table))}' for table in sorted(TABLES))
    FILE.write_text(f"{{\n{states}\n}}\n", encoding="utf-8")
