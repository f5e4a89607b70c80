"""What a log shows of a run: a line where a step begins, one where it ends, and one for each failure."""

from __future__ import annotations

import pytest

from xlwh.cli.display import Lines
from xlwh.errors import CorpusError, MissingDataError
from xlwh.steps.base import Key, StepResult, not_applicable
from xlwh.steps.plan import STEPS, Outcome


def test_a_step_is_two_lines_whatever_became_of_its_partitions(capsys: pytest.CaptureFixture[str]) -> None:
    tokens, models = STEPS["tokens"], STEPS["models"]
    keys = [Key("m", language=name) for name in "abcdef"]
    with Lines() as shown:
        shown.begin(tokens, keys[:4])
        shown.end(Outcome(tokens, keys[0], StepResult("written", 1200, duration_s=1.0)))
        shown.end(Outcome(tokens, keys[1], StepResult("fresh", 7)))
        shown.end(Outcome(tokens, keys[2], not_applicable("no")))
        shown.end(Outcome(tokens, keys[3], not_applicable("no")))
        # Another block of the same step is no new beginning.
        shown.begin(tokens, keys[4:])
        shown.end(Outcome(tokens, keys[4], None, CorpusError("no file")))
        shown.end(Outcome(tokens, keys[5], None, MissingDataError("waits"), blocked=True))
        shown.begin(models, keys[:1])
        shown.end(Outcome(models, Key("m"), StepResult("written", 1)))
        for name in ("one", "two"):
            shown.view(name, 3, 0.1)
    lines = [
        line.rpartition(", ")[0] if line.endswith(" s") else line
        for line in capsys.readouterr().err.splitlines()
    ]
    assert lines == [
        "tokens: 4 partitions",
        "tokens m × e: failed: no file",
        "tokens: 1 written, 1 fresh, 2 not applicable, 1 waiting, 1 failed; 1,200 rows",
        "models: 1 partition",
        "models: 1 written; 1 row",
        "views: 2",
    ]


def test_progress_is_shown_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(every_s=0) as often:
        often.progress(STEPS["tokens"], Key("m"))("cutting", 1, 2)
    with Lines(every_s=60) as seldom:
        seldom.progress(STEPS["tokens"], Key("m"))("cutting", 1, 2)
    assert capsys.readouterr().err == "tokens m: cutting, 1 of 2\n"
