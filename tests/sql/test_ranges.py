"""What views show over a warehouse with two of everything: numbers of plain types, within the range of their unit."""

from __future__ import annotations

import pytest

from xlwh.store.views import load_views
from xlwh.tables import TABLES
from xlwh.tables.glossary import glossary, unit_of

UNITS, _ = glossary()
STORED = {column for table in TABLES.values() for column in table.columns()}
VIEWS = [view.name for view in load_views() if view.folder != "source"]
NUMBERS = {"DOUBLE", "FLOAT", "BIGINT", "INTEGER", "SMALLINT", "TINYINT"}


def described(database, view: str) -> dict[str, str]:
    return {row[0]: row[1] for row in database.sql(f'describe "{view}"').fetchall()}


@pytest.mark.parametrize("view", VIEWS)
def test_types_are_plain(view, catalogue):
    """Sums of whole numbers are HUGEINT, and decimals DECIMAL, which readers turn into something else."""
    odd = {
        name: kind for name, kind in described(catalogue, view).items() if "HUGE" in kind or "DECIMAL" in kind
    }
    assert odd == {}


@pytest.mark.parametrize("view", VIEWS)
def test_numbers_are_within_the_range_of_their_unit(view, populated):
    columns = [name for name, kind in described(populated, view).items() if kind in NUMBERS]
    if not columns:
        pytest.skip("no numbers")
    ends = ", ".join(f'min("{name}"), max("{name}")' for name in columns)
    row = populated.sql(f'select {ends} from "{view}"').fetchall()[0]
    outside = []
    for name, low, high in zip(columns, row[::2], row[1::2], strict=True):
        unit = UNITS[unit_of(view, name)]
        if low is not None and (
            (unit.low is not None and low < unit.low - 1e-9)
            or (unit.high is not None and high > unit.high + 1e-9)
        ):
            outside.append(f"{name}: {low} to {high}, but {unit.name} is {unit.range}")
    assert outside == []


@pytest.mark.parametrize("view", VIEWS)
def test_no_interval_is_without_width(view, populated):
    names = described(populated, view)
    # Those that a step computes are its own tests' matter.
    ends = (name for name in names if name.endswith("_low") and name not in STORED)
    for low in (name for name in ends if f"{name[:-4]}_high" in names):
        thin = f'"{low[:-4]}_high" - "{low}" < 1e-12'
        assert populated.sql(f'select count(*) from "{view}" where {thin}').fetchall() == [(0,)], low
