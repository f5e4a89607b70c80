"""What jobs took is written down and read back, in units that are the same before and after; and it never stops work."""

from __future__ import annotations

import math
import platform
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import small_study

from xlwh.steps.base import Key
from xlwh.steps.history import _COLUMNS, History, Made, name_of, size_of
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.rates import Rates
from xlwh.steps.runner import run
from xlwh.store.parquet import metadata_of
from xlwh.upkeep.survey import surveyed


def _made(size: float, seconds: float, **more: Any) -> Made:
    return Made("tokens", "", size, seconds, {"tokens": (round(10 * size), round(100 * size) + 5000)}, **more)


def test_what_was_made_is_read_back_newest_first(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.of_this_machine() == []
    assert not (tmp_path / "cache").exists()
    history.add([_made(1, 2.0, model="a", device="cpu", parameters=7)])
    history.add([_made(3, 4.0, model="b", device="cpu")])
    found = history.of_this_machine()
    assert [(each.size, each.seconds, each.model, each.parameters) for each in found] == [
        (3, 4.0, "b", None),
        (1, 2.0, "a", 7),
    ]
    assert {name: tuple(told) for name, told in found[1].tables.items()} == {"tokens": (10, 5100)}


def test_only_the_device_that_was_used_last_counts(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.add([_made(1, 9.0, model="a", device="cpu"), _made(1, 1.0)])
    history.add([_made(1, 0.1, model="a", device="cuda")])
    assert [each.seconds for each in history.of_this_machine()] == [0.1, 1.0]


def test_a_history_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    History(tmp_path).add([_made(1, 1.0)])
    (tmp_path / "other" / "cache").mkdir(parents=True)
    (tmp_path / "other" / "cache" / "history.sqlite").write_text("no database")
    History(tmp_path / "other").add([_made(1, 1.0)])
    assert History(tmp_path / "other").of_this_machine() == []


@pytest.mark.parametrize("place", ["plain", "a#b", "a%41", "a?mode=rw", "a b"])
def test_it_is_found_wherever_it_lies(tmp_path: Path, place: str) -> None:
    History(tmp_path / place).add([_made(1, 2.0)])
    assert [each.seconds for each in History(tmp_path / place).of_this_machine()] == [2.0]


OTHERS: tuple[Any, ...] = (
    *(None, "", "x", "x\0", b"", b"\xff", -1, 0, 7, 10**18, 1e-300, 1e300, float("inf"), "9" * 5_000, "[" * 10_000),
    *("[1, 2]", "[]", "{}", '{"tokens": 5}', '{"tokens": ["a", "b"]}', '{"tokens": [1]}', '{"tokens": [1, null]}'),
    *('{"tokens": [true, 1]}', '{"tokens": [-1, 1]}', f'{{"tokens": [{10**30}, 1]}}', '{"tokens": [1.5, NaN]}', "null"),
)  # fmt: skip


@pytest.mark.parametrize("column", [name for name in _COLUMNS if name != "made_at"])
def test_rows_that_hold_something_else_are_left_out(tmp_path: Path, column: str) -> None:
    """Whatever is put into a column: SQLite keeps it."""
    history, left_out = History(tmp_path), 0
    history.add([_made(10, 1.5, model="a", device="cpu", parameters=7), _made(10, 1.5)])
    for other in OTHERS:
        with closing(sqlite3.connect(tmp_path / "cache" / "history.sqlite")) as connection, connection:
            connection.execute(f"update jobs set {column} = ? where rowid = 1", (other,))
            # Text that is no text.
            if other == b"\xff":
                connection.execute(f"update jobs set {column} = cast({column} as text) where rowid = 1")
        found = history.of_this_machine()
        assert found[0] == _made(10, 1.5, host=platform.node())
        assert len(found) in (1, 2)
        left_out += len(found) == 1
        rates = Rates(found)
        for size in (0, 1, 10.0**6):
            estimate, rows = rates.estimate(_Planned, size, None)  # type: ignore[arg-type]
            assert all(math.isfinite(value) for value in (*vars(estimate).values(), *rows.values())), other
    assert left_out


def test_the_runner_notes_what_it_makes_and_no_file_depends_on_it(tmp_path: Path) -> None:
    settings = small_study.settings(tmp_path)
    context = small_study.context(settings, tmp_path / "w")
    assert run(STEPS["examples"], context, Key(dataset="nli", language="en")).status == "written"
    (noted,) = History(tmp_path / "w").of_this_machine()
    (entry,) = context.warehouse.entries("examples")
    assert (noted.step, noted.partition) == ("examples", "examples/dataset=nli/language=en/dev")
    assert tuple(noted.tables["examples"]) == (entry.rows, entry.size_bytes)
    assert noted.seconds > 0
    told = metadata_of(context.warehouse.root / entry.file)
    assert told is not None
    assert not any("history" in key or "seconds" in key for key in told)
    with sqlite3.connect(tmp_path / "w" / "cache" / "history.sqlite") as connection:
        assert connection.execute("select count(*) from jobs").fetchone() == (1,)


def test_every_step_s_jobs_have_a_size(tmp_path: Path) -> None:
    """From a plan of a study that nothing was made of yet."""
    settings = small_study.settings(tmp_path)
    study = small_study.context(settings, tmp_path / "w").study
    with surveyed(
        study, tmp_path / "none", {step: partitions(study, step) for step in STEPS.values()}
    ) as survey:
        assert survey.is_possible, (survey.waiting, survey.looked.faults)
        planned = [job for plan in survey.plans.values() for jobs in plan.made.values() for job in jobs]
        sizes = {(job.step, name_of(job)): size_of(job, lambda entry: 10) for job in planned}
    assert {step for step, _ in sizes} == set(STEPS)
    assert all(size > 0 for size in sizes.values()), sizes
    assert {"lig", "random"} <= {name for step, name in sizes if step == "attributions"}
    assert {"loaded", "training", "beginning"} == {name for step, name in sizes if step == "models"}


class _Planned:
    """As much of a planned job as an estimate needs."""

    step = "tokens"

    class job:  # noqa: N801 - a stand-in
        params = None
        model = None
        slots: dict[str, None] = {"tokens": None}  # noqa: RUF012 - a stand-in


def test_a_pace_has_a_fixed_part_where_sizes_tell_it() -> None:
    rates = Rates([_made(10, 1.5), _made(10, 1.5), _made(100, 6.0), _made(100, 6.0)])
    estimate, rows = rates.estimate(_Planned, 1000, None)  # type: ignore[arg-type]
    assert estimate.seconds == pytest.approx(1 + 0.05 * 1000)
    assert estimate.size_bytes == pytest.approx(5000 + 100 * 1000)
    assert rows == {"tokens": pytest.approx(10_000)}
    assert (estimate.unknown, estimate.scaled) == (0, 0)


def test_jobs_of_one_size_tell_a_pace_alone_and_how_much_it_varies() -> None:
    rates = Rates([_made(10, seconds) for seconds in (1.0, 1.0, 1.0, 4.0)])
    estimate, _ = rates.estimate(_Planned, 20, None)  # type: ignore[arg-type]
    assert estimate.seconds == pytest.approx(2.0)
    assert estimate.low == pytest.approx(2.0)
    assert estimate.high == pytest.approx(8.0)


def test_jobs_that_something_else_made_slow_do_not_count_among_those_of_one_size() -> None:
    rates = Rates([_made(10, 1.5), _made(100, 6.0), _made(100, 6.0), _made(100, 60.0)])
    estimate, _ = rates.estimate(_Planned, 1000, None)  # type: ignore[arg-type]
    assert estimate.seconds == pytest.approx(1 + 0.05 * 1000)


def test_the_time_of_jobs_that_were_made_together_is_not_told_apart_by_their_sizes() -> None:
    """Each takes 0.05 s and 0.001 s per unit; what a group takes is divided by size, as the runner does."""

    def group(*sizes: float) -> list[Made]:
        seconds = sum(0.05 + 0.001 * size for size in sizes)
        return [Made("tokens", "", size, seconds * size / sum(sizes), {"tokens": (1, 1)}) for size in sizes]

    rates = Rates([*group(10, 20, 10, 20), *group(40, 80, 40, 80), *group(5, 10, 5, 10)])
    estimate, _ = rates.estimate(_Planned, 1000, None)  # type: ignore[arg-type]
    assert estimate.seconds == pytest.approx(1.05, rel=0.05)


def test_what_was_never_made_has_no_estimate() -> None:
    estimate, rows = Rates([]).estimate(_Planned, 20, None)  # type: ignore[arg-type]
    assert (estimate.unknown, estimate.seconds, rows) == (1, 0.0, {})


def test_what_was_imagined_can_be_planned_again(tmp_path: Path) -> None:
    """As where many plans are let go: nothing of a partition that this run makes is left to make then."""
    study = small_study.context(small_study.settings(tmp_path), tmp_path / "w").study
    with surveyed(
        study, tmp_path / "none", {step: partitions(study, step) for step in STEPS.values()}
    ) as survey:
        planner = survey.planner
        for step, plan in survey.plans.items():
            for key in plan.made:
                assert all(map(planner.is_fresh, planner.jobs(step, key, again=True))), (step.name, key)


def test_what_partitions_will_take_is_told_from_what_like_ones_took(tmp_path: Path) -> None:
    context = small_study.context(small_study.settings(tmp_path), tmp_path / "w")
    for name in ("published_results", "examples", "parallelism", "models"):
        for key in partitions(context.study, STEPS[name]):
            run(STEPS[name], context, key)
    context.planner.refresh()
    step = STEPS["tokens"]
    plain, tagged, without = (
        Key("nli_en", language="en"),
        Key("pos", language="en"),
        Key("base", language="en"),
    )
    keys = [plain, tagged, without]

    def seconds(force: bool = False) -> dict[Key, float]:
        return Rates(History(tmp_path / "w").of_this_machine()).seconds(context.planner, step, keys, force)

    assert seconds() == {}
    took = [_made(10, 1.0, model="nli_en", device="cpu"), _made(10, 5.0, model="pos", device="cpu")]
    History(tmp_path / "w").add(took)
    sizes = {
        key: sum(size_of(job, lambda e: e.rows) for job in context.planner.jobs(step, key))
        for key in keys[:2]
    }
    found = seconds()
    assert found == {
        plain: pytest.approx(0.1 * sizes[plain]),
        tagged: pytest.approx(0.5 * sizes[tagged]),
        without: 0.0,  # it does not apply
    }
    small_study.write_empty(context, step, tagged)
    context.planner.refresh()
    assert seconds() == {**found, tagged: 0.0}
    assert seconds(force=True) == found
