"""Changes of a study's text that keep its comments."""

from __future__ import annotations

import tomllib

import pytest

from xlwh.errors import StudyError
from xlwh.papers.edit import blocks, comments, edited, head, joined, joined_text, merged

FULL = """# A study.

name = "x"   # the name
languages = ["en", "de"]

# ---- Data ----

# About a.
[datasets.a]
reader = "hub"   # from the hub
max_examples = 5
checked = true   # or not
big = [
  "one", "two",   # two of them
  "three",
]
options = { text = "t", label = "l" }

# About b,
# in two lines.
[datasets.b]
reader = "hub"

# ---- Models ----

[models.m]
hub = "m"

[models.m.finetune]
epochs = 10
"""

SIZE = """# A smaller one.
languages = ["en"]
remove = ["datasets.b"]
[datasets.a]
max_examples = 2      # two batches
aligned = "unchecked"
big = ["one"]
options = { text = "u" }
checked = false
[models.m.finetune]
epochs = 1
"""


def sized() -> str:
    wanted = merged(tomllib.loads(FULL), tomllib.loads(SIZE), "x.smoke.toml")
    return edited(FULL, wanted, comments(SIZE), label="full")


def test_a_text_is_the_sum_of_its_blocks():
    found = blocks(FULL)
    assert "".join(map(str, found)) == FULL
    assert [block.place for block in found] == [
        (),
        ("datasets", "a"),
        ("datasets", "b"),
        ("models", "m"),
        ("models", "m", "finetune"),
    ]
    assert found[2].head == "# About b,\n# in two lines.\n[datasets.b]\n"
    assert head(FULL) == "# A study.\n\n"


def test_changed_lines_say_what_the_full_study_has_and_all_other_lines_stay():
    text = sized()
    assert tomllib.loads(text) == {
        "name": "x",
        "languages": ["en"],
        "datasets": {
            "a": {
                "reader": "hub",
                "max_examples": 2,
                "checked": False,
                "big": ["one"],
                "options": {"text": "u", "label": "l"},
                "aligned": "unchecked",
            }
        },
        "models": {"m": {"hub": "m", "finetune": {"epochs": 1}}},
    }
    lines = text.splitlines()
    assert 'languages = ["en"]  # full: ["en", "de"]' in lines
    assert "max_examples = 2  # full: 5; two batches" in lines
    assert 'aligned = "unchecked"  # full: not set' in lines
    assert 'big = ["one"]  # full: ["one", "two", "three"]' in lines
    assert "epochs = 1  # full: 10" in lines
    assert "checked = false  # full: true; or not" in lines
    for kept in (
        "# A study.",
        'name = "x"   # the name',
        'reader = "hub"   # from the hub',
        "# ---- Models ----",
    ):
        assert kept in lines


def test_a_removed_table_goes_with_the_comment_above_it():
    text = sized()
    assert "About b" not in text
    assert "in two lines" not in text
    assert "# About a." in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('remove = ["models.none"]', "`remove` names `models.none`"),
        ('[datasets.c]\nreader = "hub"', "`datasets.c` is no table of the full study"),
    ],
)
def test_a_size_changes_only_what_the_full_study_has(change, said):
    with pytest.raises(StudyError, match=said):
        merged(tomllib.loads(FULL), tomllib.loads(change), "x.smoke.toml")


ONE = """# One.
name = "one"
languages = ["en", "de"]

# Read by both.
[datasets.a]
reader = "hub"
languages = ["en", "de"]

[models.m]
hub = "m"
"""
TWO = """# Two.
name = "two"
languages = ["en", "sw"]

[datasets.a]
reader = "hub"
languages = ["en", "sw"]

# Only of two.
[datasets.b]
reader = "hub"
"""


def test_studies_in_one_join_their_lists():
    parsed = {"one": tomllib.loads(ONE), "two": tomllib.loads(TWO)}
    settled = {"name": "both", "datasets": {"b": {"split": "test"}}}
    found = joined(parsed, settled)
    assert found == {
        "name": "both",
        "languages": ["en", "de", "sw"],
        "datasets": {
            "a": {"reader": "hub", "languages": ["en", "de", "sw"]},
            "b": {"reader": "hub", "split": "test"},
        },
        "models": {"m": {"hub": "m"}},
    }
    text = edited(joined_text("# Both.\n\n", [ONE, TWO]), found, {("name",): "of two"})
    assert text.startswith('# Both.\n\nname = "both"  # of two\n')
    assert "# Read by both.\n[datasets.a]" in text
    assert "# Only of two.\n[datasets.b]" in text
    assert text.index("[datasets.b]") < text.index("[models.m]")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            TWO.replace('reader = "hub"', 'reader = "udpos"', 1),
            "`datasets.a.reader` differs between the papers",
        ),
        (TWO.replace('languages = ["en", "sw"]\n\n#', "\n#"), r"`datasets.a.languages` .*two: not set"),
    ],
)
def test_studies_that_share_a_table_agree_or_it_is_settled(other, said):
    parsed = {"one": tomllib.loads(ONE), "two": tomllib.loads(other)}
    with pytest.raises(StudyError, match=said):
        joined(parsed, {"name": "both"})
