"""How rows and numbers are printed: a table for people, JSON, CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from xlwh.steps.rates import Estimate

Fetch = Callable[[int], Sequence[Sequence[Any]]]
"""Hands out the next so many rows, none at the end."""

_CHUNK = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PIPE_WIDTH = 10_000


def console(stderr: bool = False) -> Console:
    """Where things are printed. Into a pipe or file nothing is wrapped, cut or coloured."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def grid(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows as a table, numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for number, name in enumerate(columns):
        values = [row[number] for row in rows if row[number] is not None]
        numeric = bool(values) and all(isinstance(value, int | float | Decimal) for value in values)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    console().print(table)


def counted(number: int, what: str) -> str:
    """A number with the name of what is counted: 1 partition, 2 partitions."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def shown(value: Any) -> str:
    """A value as people read it: four decimals, thousands apart, nothing for NULL."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1e6 and (abs(value) >= 1e-3 or value == 0) else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "0 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def disk(estimate: Estimate | None) -> str:
    """Bytes of an estimate, `?` where nothing is known."""
    if estimate is None or (estimate.unknown and not estimate.size_bytes):
        return "" if estimate is None else "?"
    from xlwh.store.files import size

    return size(round(estimate.size_bytes))


def write_json(out: TextIO, columns: Sequence[str], fetch: Fetch) -> None:
    """A JSON array of objects, one per line; NaN and infinities, which JSON has not, become null."""
    out.write("[")
    between = "\n"
    while chunk := fetch(_CHUNK):
        for row in chunk:
            told = {name: _plain(value) for name, value in zip(columns, row, strict=True)}
            out.write(between + json.dumps(told, ensure_ascii=False, allow_nan=False))
            between = ",\n"
    out.write("\n]\n")


def write_csv(out: TextIO, columns: Sequence[str], fetch: Fetch, safe: bool) -> None:
    """CSV with a header. `safe` marks texts that a spreadsheet would run as formulas with a leading '."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    while chunk := fetch(_CHUNK):
        for row in chunk:
            writer.writerow([_cell(value, safe) for value in row])


def _cell(value: Any, safe: bool) -> Any:
    if isinstance(value, dict | list | tuple):
        value = json.dumps(_plain(value), ensure_ascii=False)
    if safe and isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _plain(value: Any) -> Any:
    """A value in terms of JSON."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
