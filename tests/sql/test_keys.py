"""Each view's stated key identifies its rows, on a warehouse with two of everything."""

from __future__ import annotations

import pytest

from xlwh.store.views import load_views

VIEWS = {view.name: view for view in load_views()}


@pytest.mark.parametrize("name", VIEWS)
def test_the_key_is_a_key(populated, name):
    key = ", ".join(f'"{column}"' for column in VIEWS[name].key)
    rows, distinct = populated.sql(f'select count(*), count(distinct ({key})) from "{name}"').fetchall()[0]
    assert rows > 0, "every view has rows where every table has"
    assert rows == distinct
