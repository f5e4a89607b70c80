"""The recipes run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xlwh.store import Warehouse
from xlwh.store.query import checked

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"\*\*(\d+)\. .*?```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with Warehouse(tmp_path_factory.mktemp("empty"), create=True).connect() as opened:
        yield opened


def test_they_are_numbered():
    assert [int(number) for number, _ in RECIPES] == list(range(1, len(RECIPES) + 1))
    assert len(RECIPES) >= 20


@pytest.mark.parametrize(("number", "sql"), RECIPES)
def test_a_recipe_runs(database, number, sql):
    database.execute(checked(sql)).fetchall()


def test_a_view_of_ones_own_is_one(tmp_path):
    [sql] = re.findall(r"```text\n(-- Share.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "agreement.sql").write_text(sql)
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    warehouse.adopt_sql(folder)
    assert warehouse.definitions().views["agreement"].key == ("model", "source_language", "target_language")
    assert warehouse.scan("agreement").collect().is_empty()
