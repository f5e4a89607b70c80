"""The study's scope: what it does not name stays stored and is not shown; what cannot be judged is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from two_models import Bench

from xlwh.errors import StudyError
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions, step_of
from xlwh.steps.planning import definition_of
from xlwh.store import Slot, empty
from xlwh.study import Study
from xlwh.upkeep import scope


@pytest.fixture
def bench(tmp_path: Path, checkpoint: Callable[..., Path]) -> Bench:
    return Bench(tmp_path, checkpoint("roberta"))


def hidden(context: Context) -> set[str]:
    return {str(entry.slot) for entry in context.warehouse.hidden()}


def of(context: Context, column: str, value: str, *tables: str) -> set[str]:
    return {
        str(entry.slot)
        for entry in context.warehouse.entries()
        if entry.slot.partition.get(column) == value and (not tables or entry.slot.table in tables)
    }


def test_a_model_that_the_study_has_no_more_is_hidden_and_comes_back(bench):
    first = bench.make(bench.context())
    assert not scope.renew(first.planner)
    assert hidden(first) == set()
    fewer = bench.context(models=("a",))
    assert scope.renew(fewer.planner)
    assert hidden(fewer) == of(fewer, "model", "b") != set()
    assert fewer.warehouse.scan("tokens").collect()["model"].unique().to_list() == ["a"]
    assert scope.renew(bench.context().planner)
    assert hidden(first) == set()


def test_languages_and_datasets(bench):
    bench.make(bench.context())
    english = bench.context(languages=("en",))
    scope.renew(english.planner)
    assert hidden(english) >= of(english, "language", "de") != set()
    one = bench.context(datasets=("nli",))
    scope.renew(one.planner)
    assert hidden(one) == of(one, "dataset", "second") | {
        str(entry.slot) for entry in one.warehouse.entries() if entry.slot.part == "second"
    }


def test_a_stale_file_that_the_study_names_stays_shown(bench):
    bench.make(bench.context())
    fewer_rows = bench.context(seed=3)
    data = {
        name: {"reader": "xnli", "path": name, "aligned": "unchecked", "max_examples": 4}
        for name in ("nli", "second")
    }
    stale = bench.context()
    stale.study = Study.model_validate(
        {**stale.study.model_dump(), "datasets": data, "models": stale.study.model_dump()["models"]}
    )
    assert not scope.renew(fewer_rows.planner)
    assert not scope.renew(stale.planner)
    assert hidden(stale) == set()


def test_what_lies_in_a_partition_that_cannot_be_judged_stays_shown(bench):
    made = bench.make(bench.context())
    (bench.folder / "second" / "dev-de.tsv").unlink()
    one = bench.context(models=("a",), seed=1)
    scope.renew(one.planner)
    # The examples of the file that is gone, and what was made from them, cannot be planned.
    assert hidden(one) == of(made, "model", "b")


def test_steps_without_a_plan_are_judged_by_their_partitions_alone(bench, monkeypatch):
    made = bench.make(bench.context(), "examples")
    for model in ("a", "gone"):
        slot = Slot("head_importance", (model, "en"), "whatever")
        made.warehouse.write({slot: empty("head_importance")}, "read")
    step = STEPS["head_importance"]
    monkeypatch.setattr(type(made.planner), "names", lambda *_: None)
    assert [entry.slot.keys[0] for entry in scope.unnamed(made.planner, step, [])] == []
    made.planner.refresh()
    keys = partitions(made.study, step)
    assert [entry.slot.keys[0] for entry in scope.unnamed(made.planner, step, keys)] == ["gone"]


@pytest.mark.parametrize(
    ("slot", "key", "expected"),
    [
        (Slot("ccta_pairs", ("a", "de"), "nli"), Key("a", language="de"), True),
        (Slot("ccta_pairs", ("a", "de"), "nli"), Key("a", language="en"), False),
        (Slot("word_vectors", ("a.space", "de")), Key("a", language="de"), True),
        (Slot("word_vectors", ("a.space.tokens", "de")), Key("a", language="de"), True),
        (Slot("word_vectors", ("space", "de")), Key("a", language="de"), True),
        (Slot("word_vectors", ("b.space", "de")), Key("a", language="de"), False),
        (Slot("word_vectors", ("a.space", "en")), Key("a", language="de"), False),
        (Slot("lexicon", ("words", "de"), "en"), Key(language="de"), True),
        (Slot("lexicon", ("words", "en"), "de"), Key(language="de"), False),
        (Slot("lexicon", ("others", "de"), "en"), Key(language="de"), False),
        (Slot("published_results"), Key(), True),
    ],
)
def test_which_partition_a_file_lies_in(bench, slot, key, expected):
    study = bench.study(
        spaces={"space": {"kind": "input_embeddings", "pivot": "en"}},
        lexica={"words": {"datasets": ["nli"], "pairs": [["en", "de"]]}},
    )
    assert ((slot.table, slot.keys) in scope.folders(study, step_of(slot.table), key)) == expected


def test_nothing_is_planned_where_neither_study_nor_warehouse_changed(bench, monkeypatch):
    made = bench.make(bench.context(), "examples")
    scope.renew(made.planner)
    again = bench.context()
    monkeypatch.setattr(type(again.planner), "names", lambda *_: pytest.fail("was planned"))
    assert not scope.renew(again.planner)
    made.warehouse.write({Slot("published_results"): empty("published_results")}, "read")
    with pytest.raises(pytest.fail.Exception):
        scope.renew(again.planner)


def test_after_a_run_only_its_partitions_are_looked_at(bench):
    made = bench.make(bench.context(), "examples")
    scope.renew(made.planner)
    others = [Slot("examples", ("nli", language), "test") for language in ("en", "de")]
    made.warehouse.write({slot: empty("examples") for slot in others}, "read")
    assert scope.renew(made.planner, [(STEPS["examples"], Key(dataset="nli", language="en"))])
    assert hidden(made) == {str(others[0])}
    scope.renew(made.planner)
    assert hidden(made) == {str(slot) for slot in others}


def test_a_run_of_another_study_renews_all(bench):
    scope.renew(bench.make(bench.context(), "examples").planner)
    other = bench.context(datasets=("nli",))
    assert scope.renew(other.planner, [])
    assert hidden(other) == of(other, "dataset", "second")


def test_files_that_are_not_up_to_date_leave_the_question_open(bench, monkeypatch):
    """A step that asks for a file without requiring it has more to do once that is there."""
    made = bench.make(bench.context(), "examples", "tokens")
    scope.renew(made.planner)
    definition = type(definition_of(STEPS["tokens"]))
    monkeypatch.setattr(
        definition,
        "jobs",
        lambda self, partition: [partition.current(Slot("examples", ("nli", partition.language), "train"))][
            :0
        ],
    )
    fewer = bench.context(models=("a", "b"), seed=5)
    scope.renew(fewer.planner)
    assert hidden(fewer) == set()


def test_the_digest_is_of_the_study_and_not_of_its_place(bench):
    study = bench.study()
    assert scope.digest(study) == scope.digest(study.model_copy(update={"folder": Path("/elsewhere")}))
    assert scope.digest(study) != scope.digest(bench.study(seed=1))


def test_mistakes_of_the_study_are_no_reason_to_hide(bench, monkeypatch):
    made = bench.make(bench.context(), "examples")

    def refuse(self, partition):
        raise StudyError("no")

    monkeypatch.setattr(type(definition_of(STEPS["examples"])), "jobs", refuse)
    other = bench.context(seed=2)
    scope.renew(other.planner)
    assert hidden(made) == set()
