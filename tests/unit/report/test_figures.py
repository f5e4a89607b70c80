"""Figures: every one is drawn from a warehouse or says what is missing, and filters narrow what is shown."""

import xml.etree.ElementTree as ET

import polars as pl
import pytest

from xlwh.errors import SqlError, XlwhError
from xlwh.report.charts import svg
from xlwh.report.figures import Drawn, Missing, all_figures, everything, figure, render, sections
from xlwh.report.figures.base import ALL, Filter, offered
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse


class Nothing:
    """Views of a warehouse that has none, or none with rows."""

    def __init__(self, frames):
        self._frames = frames

    def frame(self, name):
        return self._frames.get(name)


@pytest.mark.parametrize("name", list(all_figures()))
def test_every_figure_is_drawn_or_says_why_not(name, views):
    drawn = render(figure(name), views, {})
    if isinstance(drawn, Missing):
        assert drawn.command.startswith("xlwh ")
        return
    ET.fromstring(svg(drawn.picture, name))
    assert drawn.table.height > 0
    assert drawn.note.endswith(".")


@pytest.mark.parametrize("name", list(all_figures()))
def test_every_figure_says_what_fills_it(name, tmp_path):
    with Warehouse(tmp_path / "empty", create=True).connect() as connection:
        views = FrameViews(connection.cursor)
        found = [render(figure(name), views, {}), render(figure(name), Nothing({}), {})]
    for missing in found:
        assert isinstance(missing, Missing)
        assert missing.command.startswith("xlwh ")
        assert figure(name).views[0] in missing.reason or figure(name).views[1] in missing.reason


def test_names_are_unique_and_texts_are_sentences():
    figures = [each for section in sections() for each in section.figures]
    assert len({each.name for each in figures}) == len(figures)
    assert all(each.question.endswith("?") for each in figures)


def test_ccta_of_the_generated_warehouse(views):
    drawn = render(figure("ccta_matrix"), views, {})
    assert isinstance(drawn, Drawn)
    assert set(drawn.table["target_language"]) == {"de", "ar"}
    assert {offer.filter.column: offer.chosen for offer in drawn.offers}["method"] == "lig"
    other = render(figure("ccta_matrix"), views, {"method": "random"})
    assert drawn.table["score"].to_list() != other.table["score"].to_list()


def test_wishes_that_cannot_be_met_fall_back(views):
    drawn = render(figure("ccta_excess"), views, {"model": "no such", "measure": "'; drop table x"})
    assert {offer.filter.column: offer.chosen for offer in drawn.offers}["model"] == "alpha"


def test_each_model_on_paper(views):
    drawn = everything(figure("ccta_excess"), views)
    chosen = [{o.filter.column: o.chosen for o in each.offers}["model"] for each in drawn.drawn]
    assert chosen == ["alpha", "beta"]


def test_offers_cascade():
    frame = pl.DataFrame({"model": ["a", "a", "b"], "split": ["dev", "test", "dev"]})
    filters = (Filter("model", "Model", optional=True), Filter("split", "Split", prefer=("test", "dev")))
    found = offered(filters, frame, {})
    assert [o.values for o in found] == [(ALL, "a", "b"), ("dev", "test")]
    assert [o.chosen for o in found] == [ALL, "test"]
    assert [o.chosen for o in offered(filters, frame, {"model": "b", "split": "test"})] == ["b", "dev"]


def test_a_view_with_other_columns_is_missing(views):
    short = Nothing({"ccta": pl.DataFrame({"model": ["m"]})})
    found = render(figure("ccta_matrix"), short, {})
    assert isinstance(found, Missing)
    assert "no column" in found.reason


def test_unknown_figures_are_named():
    with pytest.raises(XlwhError, match="ccta_matrix"):
        figure("nothing")


def test_views_are_asked_once(filled, monkeypatch):
    with filled.connect() as connection:
        views = FrameViews(connection.cursor)
        first = views.frame("ccta")
        assert views.frame("ccta") is first
        assert views.frame("no_such_view") is None
        monkeypatch.setattr("xlwh.report.views.MAX_ROWS", 3)
        with pytest.raises(SqlError, match="more than 3 rows"):
            views.frame("tokens")
