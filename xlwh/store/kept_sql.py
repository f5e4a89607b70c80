"""SQL for kept rows: the types that Parquet holds, the columns, order and condition of a slice, and comparable values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duckdb.sqltypes import DuckDBPyType

from xlwh.errors import SqlError
from xlwh.store.kept import Column, Values
from xlwh.store.literals import quoted, quoted_name
from xlwh.store.views import View

_AS_THEY_ARE = {
    "bigint", "blob", "boolean", "date", "decimal", "double", "float", "integer", "null", "smallint", "time", "time_ns",
    "timestamp", "timestamp with time zone", "timestamp_ms", "timestamp_ns", "timestamp_s", "tinyint", "ubigint", "uinteger",
    "usmallint", "utinyint", "uuid", "varchar",
}  # fmt: skip
"""DuckDB's types whose values Parquet holds, if perhaps under another type."""

_AS_TEXT = {"bignum", "bit", "enum", "hugeint", "interval", "time with time zone", "uhugeint"}
"""Those that it does not hold, or not all of; their text does."""


def stored_type(kind: DuckDBPyType, what: str) -> str:
    """The type under which Parquet holds values of DuckDB's type without loss; a cast brings the other one back.

    Raises `SqlError` naming `what` for a type that it has no place for.
    """
    if kind.id in _AS_THEY_ARE:
        return str(kind)
    if kind.id in _AS_TEXT:
        return "VARCHAR"
    if kind.id not in ("array", "list", "map", "struct"):
        raise SqlError(f"{what} is of type {kind}, which cannot be kept; cast it, or write `-- kept: no`.")
    inner = [(name, each) for name, each in kind.children if isinstance(each, DuckDBPyType)]
    stored = [stored_type(each, what) for _, each in inner]
    if kind.id != "array" and all(text == str(each) for text, (_, each) in zip(stored, inner, strict=True)):
        return str(kind)
    if kind.id == "map":
        return f"MAP({', '.join(stored)})"
    if kind.id == "struct":
        fields = (f"{quoted_name(name)} {text}" for text, (name, _) in zip(stored, inner, strict=True))
        return f"STRUCT({', '.join(fields)})"
    return f"{stored[0]}[]"


def cast(columns: Sequence[Column]) -> str:
    """A select list of columns as the types under which they are stored."""
    return ", ".join(
        f"{quoted_name(each.name)}::{each.stored} as {quoted_name(each.name)}" for each in columns
    )


def order_of(view: View, columns: Sequence[Column]) -> str:
    """An `order by` of a view's key, as far as it has the columns; empty where it has none."""
    names = {each.name for each in columns}
    key = [quoted_name(each) for each in view.key if each in names]
    return f" order by {', '.join(key)}" if key else ""


def in_slice(view: View, values: Values) -> str:
    """The condition that holds for the rows of one slice."""
    return " and ".join(
        f"{quoted_name(column)} = {quoted(value)}"
        for column, value in zip(view.by or (), values, strict=True)
    )


def comparable(value: object) -> str:
    """A value as text, numbers to six digits: sums differ in the last ones with their order."""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) > 1e-9 else "0"
    if isinstance(value, Mapping):
        return repr({name: comparable(each) for name, each in value.items()})
    if isinstance(value, list | tuple):
        return repr([comparable(each) for each in value])
    return repr(value)
