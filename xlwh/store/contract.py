"""The check of a frame against its table's contract, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import polars as pl

from xlwh.errors import ContractError
from xlwh.store.slots import Slot, contract

_EXAMPLES = 3
"""Offending rows shown per broken rule."""


@cache
def schema(table: str) -> pl.Schema:
    """Column -> Polars type of a table, in the contract's order."""
    return contract(table).create_empty().schema


def empty(table: str) -> pl.DataFrame:
    """A frame of the table's columns and types without rows."""
    return contract(table).create_empty()


def typed(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """The table's columns of a frame, in the contract's order and types; others are left out.

    Polars' errors for a column that is missing, or whose values do not fit.
    """
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema(table).items())


def checked(slot: Slot, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its columns in the contract's order, if it keeps the contract; nothing is cast.

    Raises `ContractError` for missing, extra or mistyped columns, broken rules, repeated keys, and rows that
    belong to another partition than the slot's.
    """
    ordered = conforming(slot.table, frame, str(slot))
    folded = _folded(ordered)
    _check_partition(slot, folded)
    _check_rules(slot.table, folded, str(slot))
    check_key(slot.table, folded, str(slot))
    return ordered


def _folded(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows, with text columns that hold one value throughout kept as that value only.

    Most of a partition's columns are such (model, dataset, split, language, method), and Polars checks them in no
    time when it knows.
    """
    # A glance at both ends spares a look at all rows of most columns that vary.
    likely = [
        name
        for name, dtype in frame.schema.items()
        if dtype == pl.String and frame.height and _same_ends(frame[name])
    ]
    constant = frame.select(pl.col(name).eq_missing(pl.col(name).first()).all() for name in likely)
    return frame.with_columns(
        pl.lit(frame[name][0], dtype=pl.String).alias(name) for name in likely if constant[name].item()
    )


def _same_ends(column: pl.Series) -> bool:
    return bool(column[0] == column[-1])


def conforming(table: str, frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """The frame's columns in the contract's order; `ContractError` if they are not exactly the contract's."""
    wanted = schema(table)
    problems = [
        f"column `{name}` is missing (expected {dtype})"
        for name, dtype in wanted.items()
        if name not in frame.columns
    ]
    problems += [f"column `{name}` is not in the contract" for name in frame.columns if name not in wanted]
    problems += [
        f"column `{name}` is {frame.schema[name]}, expected {dtype}"
        for name, dtype in wanted.items()
        if name in frame.columns and frame.schema[name] != dtype
    ]
    if problems:
        raise ContractError(
            f"{where} breaks the contract of `{table}`: {'; '.join(problems)}. Nothing was written."
        )
    return frame.select(list(wanted))


def _check_partition(slot: Slot, frame: pl.DataFrame) -> None:
    for column, value in slot.partition.items():
        other = frame.filter(pl.col(column).ne_missing(value))
        if other.height:
            raise ContractError(
                f"{slot}: {other.height} rows have another `{column}` than `{value}`, the first "
                f"{other[column][0]!r}. Nothing was written."
            )


def _check_rules(table: str, frame: pl.DataFrame, where: str) -> None:
    _, failure = contract(table).filter(frame)
    if not len(failure):
        return
    details = failure.details()
    lines = []
    for rule, count in failure.counts().items():
        first = details.filter(pl.col(rule) == "invalid").select(frame.columns)
        lines.append(f"  {rule.replace('|', ': ')}: {count} rows, first {_shown(first)}")
    raise ContractError(
        f"{where} breaks {len(lines)} rules of `{table}`; nothing was written.\n" + "\n".join(lines)
    )


def check_key(table: str, frame: pl.DataFrame, where: str) -> None:
    """Raise `ContractError` if two rows have the same key. NULL counts as a value like any other."""
    key = list(contract(table).key)
    if not frame.height or not key or _unique_by_runs(frame, key):
        return
    repeated = frame.select(key).filter(pl.struct(key).is_duplicated())
    if repeated.height:
        raise ContractError(
            f"{where}: {repeated.height} rows share their key ({', '.join(key)}) with another row, first "
            f"{_shown(repeated)}. Nothing was written."
        )


def _unique_by_runs(frame: pl.DataFrame, key: Sequence[str]) -> bool:
    """Whether keys are unique, seen cheaply: True is certain, False means that it takes a closer look.

    Rows that are equal in all key columns but the last form runs. If the last column rises strictly within each run
    and no two runs have the same head, no key repeats; only the heads (one row per example) have to be compared.
    """
    *outer, last = key
    if not outer or frame[last].null_count():
        return False
    rows = frame.lazy().select(key)
    changed = pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift()) for c in outer)
    marks = rows.select(
        head=changed.fill_null(True) | (pl.int_range(pl.len()) == 0),
        rises=(pl.col(last) > pl.col(last).shift()).fill_null(True),
    ).collect()
    if not (marks["head"] | marks["rises"]).all():
        return False
    heads = frame.select(outer).filter(marks["head"])
    return not bool(heads.select(pl.struct(outer).is_duplicated().any()).item())


def _shown(rows: pl.DataFrame) -> str:
    return "; ".join(str(row) for row in rows.head(_EXAMPLES).to_dicts())
