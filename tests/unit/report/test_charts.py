"""Charts: axes with round ticks, marks where the values are, well-formed SVG."""

import xml.etree.ElementTree as ET

import pytest

from xlwh.report.charts import (
    Axis,
    Cell,
    Dot,
    Key,
    Line,
    Link,
    Node,
    Point,
    dots,
    flow,
    grid,
    heat,
    legend,
    lines,
    matrix,
    number,
    scatter,
    svg,
)
from xlwh.report.charts.base import interval
from xlwh.report.theme import COLOURS, mix, plain

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture):
    return ET.fromstring(svg(picture, "described <so>"))


def test_axis_has_round_ticks_that_cover_the_values():
    axis = Axis.over([0.013, 0.97, None, float("nan")], 0, 100)
    assert axis.ticks == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    assert axis.at(0.5) == pytest.approx(50)
    assert [axis.label(t) for t in axis.ticks][:2] == ["0.0", "0.2"]
    quarter = Axis.over([1.0, 2.2], 0, 100)
    assert [quarter.label(t) for t in quarter.ticks][:2] == ["1.00", "1.25"]


def test_axis_of_one_value_and_of_none():
    assert Axis.over([3.0], 0, 10).low < 3.0 < Axis.over([3.0], 0, 10).high
    assert Axis.over([], 0, 10).ticks[0] == 0
    assert all(t == int(t) for t in Axis.over([0, 5], 0, 10, whole=True).ticks)


def test_numbers():
    assert number(-0.0004) == "0.000"
    assert number(-1.5, 1) == "\u22121.5"
    assert number(None) == "–"
    assert interval(0.5, 0.4, 0.6, 1) == "0.5 [0.4, 0.6]"
    assert interval(0.5, None, None, 1) == "0.5"


def test_dots_lie_on_their_axis_and_keep_their_order():
    values = [Dot("de", "a", 0.2, 0.1, 0.3), Dot("en", "a", 0.8), Dot("en", "b", None), Dot("xx", "a", 1.0)]
    drawn = parsed(dots(values, rows=["de", "en"], names=["a", "b"], title="score", reference=0.5))
    circles = list(drawn.iter(f"{SVG}circle"))
    assert len(circles) == 2
    assert float(circles[0].get("cx")) < float(circles[1].get("cx"))
    assert drawn.get("aria-label") == "described <so>"
    assert next(t.text for t in drawn.iter(f"{SVG}title")) == "de · a\n0.200 [0.100, 0.300]"


def test_lines_leave_gaps_where_values_are_missing():
    curve = Line("m", [0, 1, 2, 3, 4], [0.1, 0.2, None, 0.3, 0.4], "red", low=[0.0] * 5, high=[0.5] * 5)
    drawn = parsed(lines([curve], x_title="layer", y_title="score"))
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 2
    assert len(list(drawn.iter(f"{SVG}polygon"))) == 1


def test_scatter_fits_and_skips_points_without_a_value():
    points = [
        Point("a", "m", 0.0, 0.0),
        Point("b", "m", 1.0, 1.0),
        Point("c", "m", 2.0, 2.0),
        Point("d", "m", None, 1),
    ]
    drawn = parsed(scatter(points, names=["m"], x_title="x", y_title="y", note="r = 1"))
    assert len(list(drawn.iter(f"{SVG}circle"))) == 3
    assert any(line.get("stroke-dasharray") == "5 4" for line in drawn.iter(f"{SVG}line"))


def test_heat_marks_missing_cells_and_colours_by_sign():
    cells = [Cell("r", "a", -1.0, link="/x?<"), Cell("r", "b", 1.0), Cell("r", "c", None)]
    drawn = parsed(heat(cells, rows=["r"], columns=["a", "b", "c", "d"], low=-1, high=1, diverging=True))
    fills = [r.get("fill") for r in drawn.iter(f"{SVG}rect")]
    assert fills == [mix(1, "neg", "mid"), mix(1, "pos", "mid"), "none", "none"]
    assert next(g.get("data-drill") for g in drawn.iter(f"{SVG}g") if g.get("data-drill")) == "/x?<"


def test_a_matrix_draws_what_can_be_seen():
    weights = [[0.5, 0.001, 0.25], [0.0, 1.0, 0.0], [0.4, 0.3, 0.3]]
    drawn = parsed(matrix(weights, ["[CLS]", "a\x07", "a\x07"], title="en", faint=[True, False, False]))
    fills = [r.get("fill") for r in drawn.iter(f"{SVG}rect")]
    assert fills == ["none", *(mix(w, "hi", "lo") for w in (0.5, 0.25, 1.0, 0.4, 0.3, 0.3))]
    told = [t.text for t in drawn.iter(f"{SVG}title")]
    assert told[0] == "[CLS] → [CLS]\n0.500"
    assert told[2] == "a\u2407 → a\u2407\n1.000"
    names = [t for t in drawn.iter(f"{SVG}text") if t.text == "[CLS]"]
    assert len(names) == 2
    assert names[0].get("fill") != names[1].get("fill") or "muted" in names[0].get("fill")


def test_flow_ribbons_are_as_thick_as_their_mass():
    picture = flow(
        [Node("a", 0.75), Node("b", 0.25)],
        [Node("ج", 1.0)],
        [Link(0, 0, 0.75, 0.9), Link(1, 0, 0.25, 0.0)],
        source_title="en",
        target_title="ar",
    )
    drawn = parsed(picture)
    ribbons = list(drawn.iter(f"{SVG}path"))
    assert len(ribbons) == 2
    assert float(ribbons[0].get("opacity")) > float(ribbons[1].get("opacity"))
    bars = [float(r.get("height")) for r in drawn.iter(f"{SVG}rect")]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.01)
    assert bars[2] == pytest.approx(bars[0] + bars[1], rel=0.01)


def test_pictures_are_set_side_by_side():
    one = legend([Key("a", "red"), Key("b", "blue", "4 2")], 200)
    both = grid([one, one, one], columns=2, gap=10)
    assert (both.width, both.height) == (410, 2 * one.height + 10)


def test_export_has_plain_colours():
    text = plain(mix(0.5, "hi", "lo") + " var(--ink)", "light")
    assert "var(" not in text
    assert "color-mix" not in text
    assert text.endswith(COLOURS["light"]["ink"])


def _contrast(a, b):
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_have_contrast(mode):
    colours = COLOURS[mode]
    for ground in ("bg", "panel", "raised"):
        for text in ("ink", "muted", "accent", "good", "warn", "bad"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for number_ in range(1, 9):
        assert _contrast(colours[f"s{number_}"], colours["panel"]) >= 3, number_
    assert _contrast(colours["on-hi"], colours["hi"]) >= 4.5
    assert _contrast(colours["on-accent"], colours["accent"]) >= 4.5
    # Words stay readable on the strongest highlight, half the colour.
    for sign in ("pos", "neg"):
        ground = plain(mix(0.5, sign, "panel"), mode)
        assert _contrast(colours["ink"], ground) >= 4.5, sign
