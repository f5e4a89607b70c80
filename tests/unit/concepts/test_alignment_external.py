"""An aligner of somebody else's: what it is given, what is made of its links, and what goes wrong."""

from __future__ import annotations

import shlex
import sys

import pytest

from xlwh.concepts.alignment import encode
from xlwh.concepts.alignment_external import align_externally
from xlwh.errors import CorpusError

BITEXT = encode([["a b", "c"], ["d"]], [["x", "y"], ["z", "w"]])


def program(tmp_path, body: str) -> str:
    """A command that runs `body` with the three files as `text`, `ahead` and `back`."""
    script = tmp_path / "aligner.py"
    script.write_text(f"import sys, pathlib\ntext, ahead, back = map(pathlib.Path, sys.argv[1:])\n{body}\n")
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{input}} {{forward}} {{reverse}}"


def test_links_of_both_directions(tmp_path):
    seen = tmp_path / "seen"
    body = (
        f"pathlib.Path({str(seen)!r}).write_text(text.read_text())\n"
        "ahead.write_text('0-0 1-1\\n0-1\\n'); back.write_text('0-1\\n\\n')"
    )
    directions = align_externally(BITEXT, program(tmp_path, body))
    assert seen.read_text() == "a_b c ||| x y\nd ||| z w\n"
    assert directions.source_of_target.tolist() == [0, 1, -1, 0]
    assert directions.target_of_source.tolist() == [1, -1, -1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no memory')", "failed: no memory"),
        ("pass", "wrote no forward links"),
        ("ahead.write_text('0-0\\n')", "1 lines of forward links for 2"),
        ("ahead.write_text('0-0\\n0-9\\n')", "line 2: 0-9 links a word that is not there"),
        ("ahead.write_text('0:0\\n\\n')", "line 1: '0:0' is no `i-j` link"),
        ("ahead.write_text('0-²\\n\\n', encoding='utf-8')", "line 1: '0-²' is no `i-j` link"),
        ("ahead.write_text('0-' + '9' * 5000 + '\\n\\n')", "is no `i-j` link"),
    ],
)
def test_errors_are_the_programs_own(tmp_path, body, message):
    with pytest.raises(CorpusError, match=message):
        align_externally(BITEXT, program(tmp_path, body))


def test_a_program_that_is_not_there():
    with pytest.raises(CorpusError, match="no-such-aligner"):
        align_externally(BITEXT, "no-such-aligner {input}")
