"""Tests that say nothing: an assertion that holds whatever happens, or one about how long a loaded machine takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CLOCKS = {"monotonic", "perf_counter", "time"}
"""Of the module `time`; `process_time` counts the processor's time, which other processes do not change."""


def asserts(tree: ast.AST) -> Iterator[ast.Assert]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Assert))


def always_true(node: ast.expr) -> bool:
    """Whether an expression is true, or falls back on being true, without anything being looked at."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        return bool(not isinstance(node, ast.Constant) or node.value)
    if isinstance(node, ast.Tuple):
        return bool(node.elts)
    if isinstance(node, ast.BoolOp):
        return (any if isinstance(node.op, ast.Or) else all)(map(always_true, node.values))
    if isinstance(node, ast.IfExp):
        return always_true(node.body) or always_true(node.orelse)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        # Lengths and counts are never below 0.
        counted = isinstance(node.left, ast.Call) and ast.unparse(node.left.func).split(".")[-1] in (
            "len",
            "count",
        )
        bound = node.comparators[0]
        return (
            counted
            and isinstance(node.ops[0], ast.GtE)
            and isinstance(bound, ast.Constant)
            and bound.value == 0
        )
    return False


def is_duration(node: ast.AST) -> bool:
    """Whether it is the time since an earlier look at a clock on the wall."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and isinstance(node.left, ast.Call)
        and isinstance(node.left.func, ast.Attribute)
        and ast.unparse(node.left.func.value) == "time"
        and node.left.func.attr in CLOCKS
    )


def faults(source: str) -> list[int]:
    """Lines of the assertions that cannot fail, or that look at how much time went by."""
    return [
        each.lineno
        for each in asserts(ast.parse(source))
        if always_true(each.test) or any(map(is_duration, ast.walk(each.test)))
    ]


def test_no_test_asserts_what_always_holds_or_how_long_it_took():
    found = {
        str(path.relative_to(TESTS)): lines
        for path in sorted(TESTS.rglob("*.py"))
        if (lines := faults(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "statement",
    [
        "assert True",
        "assert x == 1 or True",
        "assert f(x) if x else True",
        "assert (x == 1, 'x is 1')",
        "assert len(x) >= 0",
        "assert time.monotonic() - began < 5",
        "assert x or 'told'",
    ],
)
def test_such_assertions_are_found(statement):
    assert faults(statement) == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "assert x or y",
        "assert time.monotonic() < deadline",
        "assert f(x) if x else g(x)",
        "assert len(x) >= 1",
    ],
)
def test_others_are_not(statement):
    assert faults(statement) == []
