"""Which SQL may run: statements that only read, judged by DuckDB's own parser.

The type of a statement is not enough: `with x as (copy … to 'file') select 1` is a SELECT to DuckDB. So the whole tree is
looked at. This is beside the sandbox of `xlwh.store.connect`, in which nothing but temporary files can be written anyway.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import duckdb
from duckdb import StatementType

from xlwh.errors import SqlError

_READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "STATEMENT_NODE"}
"""DuckDB's query nodes that only read; the others are COPY, INSERT, UPDATE, DELETE and MERGE inside a WITH."""

_FORBIDDEN_FUNCTIONS = frozenset(
    {
        # run a text as SQL, out of sight of this check
        "query",
        "json_execute_serialized_sql",
        # take raw addresses of the process
        "arrow_scan",
        "arrow_scan_dumb",
        "pandas_scan",
        "python_arrow_scan",
        "python_map_function",
        "seq_scan",
        # change the database or the process
        "add_parquet_key",
        "checkpoint",
        "copy_database",
        "create_external_resource",
        "deregister_external_resource",
        "destroy_external_resource",
        "force_checkpoint",
        "getenv",
        "import_database",
        "nextval",
        "register_external_resource",
        "register_external_resource_type",
        "setval",
        "truncate_duckdb_logs",
        "write_log",
    }
)
_FORBIDDEN_PREFIXES = ("enable_", "disable_", "verify_")

_STARTS = frozenset({"(", "from", "pivot", "pivot_wider", "select", "with"})
_WRITING_WORDS = frozenset(
    {
        "alter", "attach", "call", "comment", "copy", "create", "delete", "detach", "drop", "execute", "export",
        "import", "insert", "install", "into", "load", "merge", "pragma", "prepare", "reset", "returning",
        "truncate", "update", "vacuum",
    }
)  # fmt: skip

_ACCEPTED = "SELECT, WITH, VALUES, FROM, TABLE, DESCRIBE, SHOW, SUMMARIZE, PIVOT, UNPIVOT and EXPLAIN"


def checked(sql: str) -> str:
    """The one statement in `sql`, if it only reads; without the semicolon.

    Raises `SqlError` for anything else: several statements, none, writing ones (also inside WITH or EXPLAIN),
    settings, and functions that run text as SQL.
    """
    statement = _single(sql)
    text = statement.query.strip().rstrip(";").rstrip()
    explained = _explained(statement.query)
    if explained is not None:
        checked(explained)
    elif statement.type == StatementType.SELECT:
        names(text)
    elif statement.type == StatementType.MULTI:
        _check_pivot(statement)
    else:
        raise SqlError(f"{statement.type.name} statements are refused: only {_ACCEPTED} may run here.")
    return text


@dataclass(frozen=True)
class Names:
    """What a query calls by name, in lower case."""

    tables: frozenset[tuple[str, str]]
    """(schema, table or view), the schema empty where none is given; names of CTEs are none of them."""
    functions: frozenset[str]
    """Functions and macros, scalar ones and of tables."""


def _single(sql: str) -> duckdb.Statement:
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise SqlError(f"The statement is not UTF-8 at character {error.start}.") from None
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise SqlError(f"Not valid SQL: {error}") from None
    if len(statements) != 1:
        raise SqlError(f"Exactly one statement is expected, got {len(statements)}.")
    return statements[0]


def _explained(text: str) -> str | None:
    """What follows EXPLAIN, ANALYZE and the options in parentheses; None if it is no EXPLAIN."""
    # Most statements are spared from being cut into words.
    found = words(text) if "explain" in text.lower() else []
    if not found or found[0][1] != "explain":
        return None
    at = 1
    if found[at : at + 1] and found[at][1] == "analyze":
        at += 1
    # Options come before a statement; a parenthesis that holds the statement itself is left alone.
    if [word for _, word in found[at : at + 2]] in (["(", "analyze"], ["(", "format"]):
        while at < len(found) and found[at][1] != ")":
            at += 1
        at += 1
    return text[found[at][0] :] if at < len(found) else ""


def words(text: str) -> list[tuple[int, str]]:
    """(offset, token in lower case) of a statement as DuckDB cuts it, without comments."""
    encoded = text.encode()
    marks = duckdb.tokenize(text)
    ends = [*(start for start, _ in marks[1:]), len(encoded)]
    found, offset, last = [], 0, 0
    for (start, kind), end in zip(marks, ends, strict=True):
        offset, last = offset + len(encoded[last:start].decode()), start
        if kind != duckdb.token_type.comment:
            found.append((offset, encoded[start:end].decode().strip().lower()))
    return found


@lru_cache(maxsize=512)
def names(text: str) -> Names:
    """The names in one SELECT, from DuckDB's own parse tree. Raises `SqlError` as `checked` does."""
    with _parser().cursor() as cursor:
        [(serialized,)] = cursor.execute("select json_serialize_sql($1)", [text]).fetchall()
    try:
        return _names(json.loads(serialized))
    except RecursionError:
        raise SqlError("The statement is nested too deeply.") from None


def _names(tree: Any) -> Names:
    """The same of a parse tree."""
    if tree["error"]:
        raise SqlError(f"The statement cannot be checked: {tree['error_message']}.")
    nodes = list(_dicts(tree))
    for node in nodes:
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _READING_NODES:
            name = kind.removesuffix("_QUERY_NODE").removesuffix("_NODE")
            raise SqlError(f"{name} inside a query is refused: only {_ACCEPTED} may run here.")
        _check_function(node.get("function_name"))
    functions = frozenset(str(node["function_name"]).lower() for node in nodes if "function_name" in node)
    return Names(frozenset(_tables(tree, frozenset())), functions)


def _tables(item: Any, ctes: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(schema, name) of the tables in a part of a tree, without those that mean a CTE of a query around it."""
    if isinstance(item, list):
        for part in item:
            yield from _tables(part, ctes)
    if not isinstance(item, dict):
        return
    if item.get("type") == "BASE_TABLE":
        schema, name = item["schema_name"].lower(), item["table_name"].lower()
        if schema or name not in ctes:
            yield schema, name
    if item.get("type") == "RECURSIVE_CTE_NODE":
        ctes |= {item["cte_name"].lower()}
    for cte in item.get("cte_map", {}).get("map", ()):
        # From inside a CTE only the earlier ones are seen.
        yield from _tables(cte["value"], ctes)
        ctes |= {cte["key"].lower()}
    for name, part in item.items():
        if name != "cte_map":
            yield from _tables(part, ctes)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    # One empty database for all checks: opening one takes longer than a hundred of them.
    database = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
    # Let go of before Python takes its modules down: with torch and Dagster loaded too, a connection that is still
    # there at that time ends in complaints of its binding about leaks, or in a crash.
    atexit.register(_parser.cache_clear)
    atexit.register(database.close)
    return database


def _dicts(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_function(name: object) -> None:
    if isinstance(name, str) and (
        name.lower() in _FORBIDDEN_FUNCTIONS or name.lower().startswith(_FORBIDDEN_PREFIXES)
    ):
        raise SqlError(f"The function `{name}` is refused: it can do more than read.")


def _check_pivot(statement: duckdb.Statement) -> None:
    """Judge a PIVOT whose column list comes from the data by its words: DuckDB cannot show the tree of these."""
    found = [word for _, word in words(statement.query)]
    if not found or found[0] not in _STARTS or not {"pivot", "pivot_wider"} & set(found):
        raise SqlError(f"The statement is refused: only {_ACCEPTED} may run here.")
    for word, following in zip(found, [*found[1:], ""], strict=True):
        if word in _WRITING_WORDS:
            raise SqlError(
                f"The word {word.upper()} is refused in a PIVOT; in a column's name put it in double quotes."
            )
        if following == "(":
            _check_function(word.strip('"'))
