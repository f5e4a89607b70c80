"""Everything that comes from data is escaped, and what cannot be seen is made visible."""

import pytest

from xlwh.report.markup import Markup, cut, data, el, join, short, text_width, visible


def test_children_and_attributes_are_escaped():
    made = el("a", "<b>", title='"x"', class_="c", data_tip="a&b", hidden=True, absent=None)
    assert made == '<a title="&quot;x&quot;" class="c" data-tip="a&amp;b" hidden>&lt;b&gt;</a>'


def test_markup_is_not_escaped_again():
    assert el("p", el("b", "x"), [el("i"), None], 3) == "<p><b>x</b><i></i>3</p>"
    assert isinstance(join(["<"]), Markup)


def test_void_elements_have_no_end():
    assert el("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x07b", "a␇b"),
        ("\u202eevil", "‹U+202E›evil"),
        ("\u2066x\u2069", "‹U+2066›x‹U+2069›"),
        ("\x7f", "␡"),
        ("\x9b", "‹U+009B›"),
        ("\ud800", "‹U+D800›"),
        ("line\nend\t", "line\nend\t"),
        ("क\u200dष", "क\u200dष"),
    ],
)
def test_control_characters_are_visible(text, shown):
    assert visible(text) == shown


def test_data_is_isolated():
    assert data("<شيء>") == '<bdi dir="auto">&lt;شيء&gt;</bdi>'


def test_numbers_are_short():
    assert [short(v) for v in (1.0, 1.239, -0.001, 12)] == ["1", "1.24", "0", "12"]


def test_width_counts_wide_letters_and_no_marks():
    assert text_width("漢字", 10) == 20
    assert text_width("e\u0301", 10) == text_width("e", 10)
    assert cut("abcdef", 4) == "abc…"
