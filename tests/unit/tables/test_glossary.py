"""Every column of every table and view has a unit, and what views subtract or compare has the same one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlglot
from sqlglot import exp

from xlwh.store import Warehouse
from xlwh.store.views import Sources, View, load, shipped_sql
from xlwh.tables import TABLES
from xlwh.tables import glossary as glossary_module
from xlwh.tables.glossary import glossary, unit_of

UNITS, COLUMNS = glossary()
WORDS = {"identifier", "category", "text", "by value_unit"}
COMPARED = (exp.Sub, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.EQ, exp.NEQ, exp.Greatest, exp.Least, exp.Coalesce)


@pytest.fixture(scope="module")
def columns() -> dict[str, dict[str, str]]:
    """Table or view -> column -> DuckDB type."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Warehouse(folder, create=True).connect()) as connection,
    ):
        names = Warehouse(folder).definitions().views
        return {
            name: {row[0]: row[1] for row in connection.execute(f'describe "{name}"').fetchall()}
            for name in names
        }


def test_every_column_is_in_the_glossary(columns):
    missing = {
        f"{view}.{column}" for view, types in columns.items() for column in types if column not in COLUMNS
    }
    assert not missing, "add a line to [columns] of xlwh/tables/glossary.toml"


def test_every_entry_is_of_a_column_that_there_is(columns):
    known = {column for types in columns.values() for column in types}
    assert set(COLUMNS) - known == set()
    for entry in COLUMNS.values():
        assert entry.units <= set(UNITS), entry
        assert re.fullmatch(r"\S.*\.", entry.meaning), entry
        for table in entry.elsewhere:
            assert entry.name in columns[table], f"{table} has no column {entry.name}"
            assert entry.elsewhere[table] != entry.unit, entry
    used = {unit for entry in COLUMNS.values() for unit in entry.units}
    assert used == set(UNITS)


def test_units_fit_the_types(columns):
    for view, types in columns.items():
        for column, type_ in types.items():
            unit, is_text = unit_of(view, column), "VARCHAR" in type_
            if unit == "flag":
                assert type_.startswith("BOOLEAN"), f"{view}.{column}"
            elif is_text:
                assert unit in WORDS, f"{view}.{column} is text, and {unit}"
            elif unit in ("category", "text"):
                pytest.fail(f"{view}.{column} is {type_}, and {unit}")


@pytest.mark.parametrize("table", TABLES)
def test_contracts_keep_within_the_range_of_the_unit(table):
    for name, column in TABLES[table].columns().items():
        unit = UNITS[unit_of(table, name)]
        for bound, limit in (("min", unit.low), ("max", unit.high)):
            given = getattr(column, bound, None)
            if isinstance(given, int | float) and limit is not None:
                inside = given >= limit if bound == "min" else given <= limit + 1e-6
                assert inside, f"{table}.{name}: {bound} {given}, but {unit.name} is {unit.range}"


def mixed(sql: str) -> Iterator[str]:
    """Subtractions and comparisons of two columns that have no unit in common, as SQL.

    Columns are known by their names alone: one of several units counts as any of them. Names, categories and text are
    all words, which may be compared.
    """
    for statement in sqlglot.parse(sql, read="duckdb"):
        for node in statement.find_all(*COMPARED) if statement is not None else ():
            sides = [side for side in node.iter_expressions() if isinstance(side, exp.Column)]
            units = [
                frozenset(
                    "words" if unit in ("identifier", "category", "text") else unit for unit in entry.units
                )
                for entry in (COLUMNS.get(side.name) for side in sides)
                if entry is not None
            ]
            if len(units) > 1 and not frozenset.intersection(*units):
                yield node.sql("duckdb")


@pytest.mark.parametrize("step", load([shipped_sql()]).steps, ids=lambda step: step.name)
def test_what_is_subtracted_or_compared_has_the_same_unit(step):
    # Macros with named table arguments are parsed from their body on.
    sql = (
        step.sql
        if isinstance(step, View)
        else step.sql[re.search(r"\)\s+as\s+(table\s+)?", step.sql).end() :]
    )
    sql = sql if re.match(r"\s*(--.*\n|\s)*(select|with)\b", sql) else f"select {sql}"
    assert list(mixed(sql)) == []


def test_a_mixture_is_found():
    assert list(mixed("select fertility - accuracy from a")) == ["fertility - accuracy"]
    assert list(mixed("select duration_s from a where duration_s > accuracy")) == ["duration_s > accuracy"]
    assert list(mixed("select a.accuracy - b.before, 1 - p_full from a, b")) == []


def test_published_and_measured_numbers_are_in_one_unit():
    for column in ("published", "measured", "difference"):
        assert unit_of("published_vs_measured", column) == "by value_unit"
    assert unit_of("published_results", "value") == "by value_unit"
    assert unit_of("task_scores", "value") == "share"
    assert unit_of("task_scores", "no such column") is None


def test_ranges_are_said():
    assert UNITS["share"].range == "-1 to 1"
    assert UNITS["count"].range == "from 0"
    assert UNITS["logit"].range == ""


def test_the_catalogue_and_dagster_say_the_unit(tmp_path):
    with closing(Warehouse(tmp_path, create=True).connect()) as connection:
        comments = dict(
            connection.execute(
                "select table_name || '.' || column_name, comment from duckdb_columns() where schema_name = 'main'"
            ).fetchall()
        )
    assert comments["ccta.score"].endswith(" [share]")
    assert comments["models.duration_s"].endswith(" [seconds]")
    assert comments["models.model"] == "Key of the model in the study."
    from dagster_project.metadata import table_metadata

    columns = {c.name: c.description for c in table_metadata("models")["dagster/column_schema"].columns}
    assert columns["duration_s"].endswith(" [seconds]")


def test_another_glossary_is_another_catalogue(monkeypatch):
    before = Sources((), {}).digest
    monkeypatch.setattr(glossary_module, "digest", lambda: "other")
    assert Sources((), {}).digest != before
