"""The catalogue in the DuckDB of other programs: every view is there, with the rows that ours shows."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb_clients
import pytest

from xlwh.store.views import load_views, shipped_sql

VIEWS = [view.name for view in load_views()]


@pytest.fixture(scope="module")
def path(populated) -> Path:
    """A catalogue in which every view is its own SQL, and none is without rows."""
    [(root,)] = populated.execute("select root from catalogue_info").fetchall()
    return Path(root) / "catalog.duckdb"


@pytest.fixture(scope="module", params=duckdb_clients.VERSIONS)
def client(request, tmp_path_factory) -> Path:
    return duckdb_clients.installed(request.param, request.config, tmp_path_factory.getbasetemp())


def test_every_view_is_understood(client, path):
    """What an older DuckDB does not know is a function, a syntax or a type: it says so when it plans a query."""
    version, *plans = duckdb_clients.ask(client, path, [f'explain from "{name}"' for name in VIEWS])
    assert version.startswith(client.name.removeprefix("duckdb-"))
    assert {name: plan for name, plan in zip(VIEWS, plans, strict=True) if isinstance(plan, str)} == {}


def test_nothing_is_called_that_older_ones_lack():
    """The part of the above that needs no other DuckDB: what was written before, and failed there."""
    newer = re.compile(r"(?<![\w.])(if\s*\(|(?:lag|lead)\s*\([^()]*,[^()]*,)", re.IGNORECASE)
    found = {}
    for file in shipped_sql().rglob("*.sql"):
        text = re.sub(r"--.*", "", file.read_text())
        found[file.name] = [match[1] for match in newer.finditer(text)]
    assert len(found) > len(VIEWS)
    assert {name: calls for name, calls in found.items() if calls} == {}
    assert newer.search("coalesce(lag(x, 1, 'O') over w)")
    assert newer.search("select if (a, b, c)")


@pytest.mark.slow
def test_every_view_has_the_rows_that_ours_has(client, path):
    statements = [f'from "{name}"' for name in VIEWS]
    ours, *expected = duckdb_clients.ask(None, path, statements)
    theirs, *found = duckdb_clients.ask(client, path, statements)
    assert ours != theirs
    assert {name for name, answer in zip(VIEWS, expected, strict=True) if not answer[1]} == set()
    differing = [name for name, one, other in zip(VIEWS, expected, found, strict=True) if one != other]
    assert differing == []
