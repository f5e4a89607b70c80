"""Whether a query gives the same rows whenever it is asked, as long as the stored tables are the same."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import duckdb

from xlwh.store.query import words

_STEADY = {"error", "generate_series", "json_each", "json_tree", "range", "repeat", "unnest"}
"""Functions that DuckDB does not call consistent, and that give the same rows at any time all the same."""

_WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "tablesample"}
"""Words that stand for a function, or for a draw of rows."""


def unsteady(sql: str) -> set[str]:
    """What in a query gives other rows at another time: functions of chance, the clock, the session, files elsewhere."""
    tokens = [word.strip('"') for _, word in words(sql)]
    pairs = set(pairwise(tokens))
    found = _WORDS.intersection(tokens)
    if ("using", "sample") in pairs:
        found.add("using sample")
    return found | {word for word, after in pairs if after == "(" and word in _functions()}


@cache
def _functions() -> frozenset[str]:
    """Names of the functions whose result does not depend on their arguments alone, as DuckDB has them."""
    with duckdb.connect() as database:
        rows = database.execute(
            "select function_name, function_type, stability, macro_definition from duckdb_functions()"
        ).fetchall()
    found = {
        name
        for name, kind, stability, _ in rows
        if kind in ("table", "pragma") or stability in ("VOLATILE", "CONSISTENT_WITHIN_QUERY")
    } - _STEADY
    macros = {
        name: {word.strip('"') for _, word in words(text)}
        for name, kind, _, text in rows
        if kind in ("macro", "table_macro") and text
    }
    calling = set[str]()
    while calling := {name for name, called in macros.items() if called & (found | _WORDS)} - found - _STEADY:
        found |= calling
    return frozenset(found)
