"""Oracles: what released programs computed of some inputs, and how far what the project computes of them is from that."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from partial_rows import fill, filled

CASES = Path(__file__).resolve().parents[1] / "oracles" / "cases"
"""Inputs and outputs, a file for each oracle."""

Case = Mapping[str, Any]
Compute = Callable[[Sequence[Case]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Oracle:
    """One formula, where it comes from and what of ours is held to it."""

    name: str
    """File in `cases`, without `.json`."""
    metric: str
    ours: str
    compute: Compute
    """Inputs of cases -> outputs with the names of the released ones."""
    tolerance: float
    page: str
    """Page of the docs that says what it means."""
    note: str = ""

    def load(self) -> dict[str, Any]:
        return json.loads((CASES / f"{self.name}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Agreement:
    """Of one oracle: cases that must agree and by how much they do not, cases that may differ, and why."""

    agreeing: int
    worst: float
    """Largest deviation of a number; infinite where anything else is not the same."""
    differing: int
    reasons: tuple[str, ...]
    unmoved: int
    """Cases that are said to differ and do not."""


@cache
def agreement(oracle: Oracle) -> Agreement:
    """Run the project on the inputs of an oracle and compare."""
    cases = oracle.load()["cases"]
    found = oracle.compute([case["input"] for case in cases])
    assert len(found) == len(cases)
    apart = [deviation(case["output"], made) for case, made in zip(cases, found, strict=True)]
    told = ["differs" in case for case in cases]
    return Agreement(
        agreeing=told.count(False),
        worst=max((d for d, differs in zip(apart, told, strict=True) if not differs), default=0.0),
        differing=told.count(True),
        reasons=tuple(dict.fromkeys(case["differs"] for case in cases if "differs" in case)),
        unmoved=sum(differs and d <= oracle.tolerance for d, differs in zip(apart, told, strict=True)),
    )


def deviation(released: Any, made: Any) -> float:
    """Largest difference of two results of the same shape; infinite where they are not alike."""
    if isinstance(released, dict) and isinstance(made, dict) and set(released) == set(made):
        return max((deviation(released[name], made[name]) for name in released), default=0.0)
    if isinstance(released, list) and isinstance(made, list) and len(released) == len(made):
        return max((deviation(a, b) for a, b in zip(released, made, strict=True)), default=0.0)
    if _is_number(released) and _is_number(made):
        apart = abs(released - made)
        return apart if math.isfinite(apart) else math.inf
    return 0.0 if type(released) is type(made) and released == made else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextmanager
def warehouse(**tables: Sequence[Mapping[str, Any]]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with every view over these rows."""
    with tempfile.TemporaryDirectory() as folder:
        made = {name: filled(name, rows) for name, rows in tables.items()}
        with closing(fill(Path(folder), made).connect()) as database:
            yield database


def each(cases: Sequence[Case]) -> Iterator[tuple[str, Case]]:
    """Cases with the name of a dataset of their own."""
    for number, case in enumerate(cases):
        yield f"d{number}", case


def macro(call: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Compute:
    """A scalar macro of each case's inputs; `call` names its arguments as $name."""

    def compute(cases: Sequence[Case]) -> list[dict[str, Any]]:
        with warehouse() as database:
            rows = [
                database.execute(f"select {call}", {name: case[name] for name in inputs}).fetchall()[0]
                for case in cases
            ]
        return [dict(zip(outputs, row, strict=True)) for row in rows]

    return compute
