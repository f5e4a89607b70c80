"""Views carry the explorer's figures in their metadata."""

import base64

import polars as pl

from dagster_project.plots import view_plot
from xlwh.errors import SqlError


class Rows:
    def __init__(self, frame):
        self._frame = frame

    def frame(self, name):
        if isinstance(self._frame, Exception):
            raise self._frame
        return self._frame


SCORES = pl.DataFrame(
    {"model": ["m"], "dataset": ["d"], "split": ["dev"], "language": ["<en>"], "metric": ["accuracy"],
     "variant": ["strict"], "value": [0.5], "ci_low": [0.4], "ci_high": [0.6], "n": [9], "chance": [0.3]}
)  # fmt: skip


def test_a_view_with_a_figure():
    [(title, shown)] = view_plot(Rows(SCORES), "task_scores").items()
    assert title == "Task scores"
    image = base64.b64decode(shown.value.split("base64,")[1].rstrip(")")).decode()
    assert image.startswith("<svg")
    assert "&lt;en&gt;" in image
    assert "var(" not in image


def test_views_without_one():
    assert view_plot(Rows(SCORES), "catalogue_info") == {}
    assert view_plot(Rows(SCORES.clear()), "task_scores") == {}
    assert view_plot(Rows(SqlError("too many rows")), "task_scores") == {}
