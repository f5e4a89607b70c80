"""A clock that was wrong: what as_of, gc, scope and backups make of commits and files with times that cannot be right."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from xlwh.cli import main
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse
from xlwh.store.clock import commit_at, settled, stamps
from xlwh.store.connect import KEPT
from xlwh.store.recover import recover

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FUTURE = NOW + 5 * 365 * DAY


def judged(*times):
    return list(stamps(list(enumerate(times, 1)), NOW))


def ago(hours):
    return NOW - hours * HOUR


@pytest.mark.parametrize(
    ("times", "moment", "commit"),
    [
        ((), ago(1), 0),
        ((ago(3), ago(2), ago(1)), ago(4), 0),
        ((ago(3), ago(2), ago(1)), ago(2), 2),
        ((ago(3), ago(2), ago(1)), ago(1.5), 2),
        ((ago(3), FUTURE, ago(1)), ago(4), 0),
        ((ago(3), FUTURE, ago(1)), ago(2), None),
        ((ago(3), FUTURE, ago(1)), ago(0.5), 3),
        ((ago(3), FUTURE, ago(1)), FUTURE + DAY, 3),
        ((ago(3), FUTURE), ago(1), None),
        ((ago(3), FUTURE), NOW, 2),
        ((FUTURE, ago(1)), ago(2), None),
        ((FUTURE, FUTURE), ago(2), None),
        ((ago(3), ago(999), ago(1)), ago(2), None),
        ((ago(3), ago(999), ago(1)), ago(998), 0),
        ((ago(3), ago(999), ago(1)), ago(0.5), 3),
        ((ago(3), ago(999)), NOW, 2),
        # Machines whose clocks differ by a little.
        ((ago(3), ago(3) - timedelta(seconds=5), ago(1)), ago(2), 2),
        ((ago(3), NOW + timedelta(seconds=5)), NOW, 2),
    ],
)
def test_the_commit_at_a_moment(times, moment, commit):
    if commit is not None:
        assert commit_at(judged(*times), moment, NOW) == commit
    else:
        with pytest.raises(
            StoreError, match=r"the clock was wrong when commit \d .*Choose a commit by its number"
        ):
            commit_at(judged(*times), moment, NOW)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((ago(3), ago(2)), {1: ago(3), 2: ago(2)}),
        ((ago(3), FUTURE), {1: ago(3)}),
        ((ago(3), FUTURE, ago(1)), {1: ago(3), 2: ago(1), 3: ago(1)}),
        ((ago(3), ago(999)), {1: ago(3)}),
        ((ago(3), ago(999), ago(998), ago(1)), {1: ago(3), 2: ago(1), 3: ago(1), 4: ago(1)}),
        ((FUTURE,), {}),
    ],
)
def test_by_when_a_commit_was_surely_made(times, expected):
    assert settled(judged(*times)) == expected


@pytest.fixture
def clock(monkeypatch):
    """clock(moment): what the store's clock shows from now on."""

    class Kind(type):
        def __instancecheck__(cls, instance):
            return isinstance(instance, datetime)

    class Clock(datetime, metaclass=Kind):
        shown = None

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) if cls.shown is None else cls.shown.astimezone(tz)

    for module in ("manifest_file", "gc", "recover"):
        monkeypatch.setattr(f"xlwh.store.{module}.datetime", Clock)

    def show(moment):
        Clock.shown = moment

    return show


@pytest.mark.parametrize("wrong", [FUTURE, NOW - 2000 * DAY], ids=["future", "past"])
def test_one_commit_under_a_wrong_clock(clock, warehouse, frames, wrong):
    clock(NOW - 10 * DAY)
    with closing(sqlite3.connect(warehouse.root / "manifest.sqlite")) as manifest, manifest:
        manifest.execute(
            "update about set value = ? where name = 'began_at'", ((NOW - 20 * DAY).isoformat(),)
        )
    slot, written = frames.PREDICTIONS, []
    for number, shown in enumerate([NOW - 10 * DAY, NOW - 9 * DAY, wrong], 1):
        clock(shown)
        written += warehouse.write({slot: frames.predictions(examples=number)}, str(number))
    # Since when the second file is superseded cannot be told yet.
    clock(NOW)
    assert warehouse.manifest.snapshot(NOW - 9.5 * DAY).commit == 1
    assert warehouse.manifest.snapshot(NOW).commit == 3
    report = warehouse.gc(DAY)
    assert (report.removed, report.kept) == ((written[0].file,), 1)
    # The next commit has its own time, and the grace period counts from there.
    written += warehouse.write({slot: frames.predictions(examples=4)}, "4")
    assert written[-1].created_at == NOW
    assert [stamp.made_at is None for stamp in warehouse.manifest.stamps()] == [False, False, True, False]
    clock(NOW + HOUR)
    assert warehouse.gc(DAY).removed == ()
    assert warehouse.manifest.snapshot(NOW + HOUR).commit == 4
    with pytest.raises(StoreError, match="the clock was wrong when commit 3 was made"):
        warehouse.manifest.snapshot(NOW - HOUR)
    clock(NOW + 2 * DAY)
    assert set(warehouse.gc(DAY).removed) == {written[1].file, written[2].file}
    # A backup has the times as they were.
    (warehouse.root / "manifest.sqlite").unlink()
    recover(warehouse.root)
    again = Warehouse(warehouse.root).manifest
    assert [stamp.told for stamp in again.stamps()] == [NOW - 10 * DAY, NOW - 9 * DAY, wrong, NOW]
    assert again.snapshot().entries == (written[-1],)


@pytest.mark.parametrize("wrong", [5 * 365 * DAY, -2000 * DAY], ids=["future", "past"])
def test_files_that_were_written_under_a_wrong_clock(clock, warehouse, frames, wrong):
    """They are neither removed while somebody works on them nor kept for ever."""
    now = datetime.now(UTC)
    with closing(sqlite3.connect(warehouse.root / "manifest.sqlite")) as manifest, manifest:
        manifest.execute(
            "update about set value = ? where name = 'began_at'", ((now - 20 * DAY).isoformat(),)
        )
    slot = Slot("predictions", ("m", "de"), "xnli")
    with warehouse.staging([slot], "mark") as work:
        work.append({slot: frames.predictions(language="de")})
    paths = ["tables/predictions/model=m/language=en/xnli-0000.parquet", f"{KEPT}/view/1.parquet", ".tmp-1",
             f"models/m/{'a' * 16}/weights", f"staging/finetune/m-{'b' * 16}/state"]  # fmt: skip
    for path in paths:
        (warehouse.root / path).parent.mkdir(parents=True, exist_ok=True)
        (warehouse.root / path).write_text("x")
    for path in (warehouse.root, *warehouse.root.rglob("*")):
        os.utime(path, ((now + wrong).timestamp(),) * 2)
    assert warehouse.gc(DAY).removed == ()
    clock(now + 2 * DAY)
    removed = warehouse.gc(DAY).removed
    assert {path.split("/weights")[0] for path in paths[:4]} <= set(removed)
    assert not any(path.startswith("staging") for path in removed)
    clock(now + 9 * DAY)
    assert len([path for path in warehouse.gc(DAY).removed if path.startswith("staging")]) == 2


def test_check_tells_commits_that_were_made_under_a_wrong_clock(
    clock, warehouse, frames, monkeypatch, capsys
):
    clock(datetime.now(UTC) + DAY)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "1")
    clock(None)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "2")
    main(["check", "--warehouse", str(warehouse.root)])
    assert (
        "Made while the clock was wrong: 1 commit, the first number 1, which says 20"
        in capsys.readouterr().out
    )


def test_a_manifest_that_was_made_under_a_wrong_clock(clock, tmp_path, frames):
    clock(FUTURE)
    warehouse = Warehouse(tmp_path / "w", create=True)
    clock(None)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "1")
    orphan = warehouse.root / "tables/predictions/model=m/language=en/xnli-0000.parquet"
    orphan.write_text("x")
    assert warehouse.gc(timedelta(0)).removed == ()
    clock(datetime.now(UTC) + 2 * DAY)
    assert warehouse.gc(timedelta(0)).removed == (orphan.relative_to(warehouse.root).as_posix(),)
