"""Every view file documents exactly what it produces: grain, key, source, and each column in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xlwh.tables import TABLES

SQL = Path(__file__).resolve().parents[2] / "sql"
VIEWS = sorted(file for folder in ("core", "metric", "mart") for file in (SQL / folder).glob("*.sql"))


def _header(file: Path) -> list[str]:
    """The comment lines at the top of a file, without their dashes."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("-- "):
            break
        lines.append(line.removeprefix("-- "))
    return lines


def _documented(header: list[str]) -> dict[str, str]:
    found = [re.fullmatch(r"column (\w+): (.+)", line) for line in header]
    return {match[1]: match[2] for match in found if match}


def _value(header: list[str], name: str) -> str:
    values = [line.removeprefix(f"{name}: ") for line in header if line.startswith(f"{name}: ")]
    assert len(values) == 1, f"exactly one line `-- {name}: ...`"
    return values[0]


@pytest.fixture(scope="module")
def produced(catalogue) -> dict[str, list[str]]:
    """View -> its columns, as DuckDB has them."""
    columns: dict[str, list[str]] = {}
    rows = catalogue.sql(
        "select table_name, column_name from information_schema.columns where table_schema = 'main' order by ordinal_position"
    )
    for view, column in rows.fetchall():
        columns.setdefault(view, []).append(column)
    return columns


@pytest.mark.parametrize("file", VIEWS, ids=lambda file: file.stem)
def test_header_and_columns_agree(file, produced):
    header = _header(file)
    assert header, "the file begins with a comment"
    assert re.match(r"(?!key:|source:|column )\S.+\.$", header[0]), "the first line says what a row is"
    assert _value(header, "source")
    assert _value(header, "kept")
    documented = _documented(header)
    assert list(documented) == produced[file.stem]
    key = _value(header, "key").split(", ")
    assert key, "the key is not empty"
    assert set(key) <= set(documented)
    for column, description in documented.items():
        assert description.endswith("."), f"{column}: a description is a sentence"
    others = [line for line in header[1:] if not re.match(r"(key: |source: |kept: |column \w+: )", line)]
    assert not others, "one line for each thing"


@pytest.mark.parametrize("name", TABLES)
def test_source_views_say_what_the_contract_says(name, produced):
    """Their columns are described by the contract, so the header is only grain, key and source."""
    header = _header(SQL / "source" / f"{name}.sql")
    assert re.match(r"\S.+\.$", header[0])
    assert tuple(_value(header, "key").split(", ")) == TABLES[name].key
    assert _value(header, "source")
    assert produced[name] == TABLES[name].column_names()


def test_view_names_are_unique():
    names = [file.stem for file in VIEWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", sorted(SQL.glob("macros/*.sql")), ids=lambda file: file.stem)
def test_macros_are_explained(file):
    """Each `create macro` stands below a comment, or below the other end of the same interval."""
    blocks = file.read_text(encoding="utf-8").split("\n\n")
    assert blocks[0].startswith("-- ")
    for block in blocks:
        assert block.startswith("--") or re.match(r"create macro \w+_high\(", block), block
