"""Kept rows of views: what is computed again after a change, and that nobody ever sees other rows than those of the SQL."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from kept_rows import columns, differing, live, rows

from xlwh.errors import SqlError, StoreError
from xlwh.report.views import FrameViews
from xlwh.store import Slot, Warehouse, keeping
from xlwh.store.catalogue import NAME, read_info
from xlwh.store.connect import KEPT as FOLDER
from xlwh.store.kept import Fingerprints, kept, note_change, note_digest
from xlwh.store.views import load

VIEWS = {
    "macros/share.sql": "create macro share(a, b) as a / b;",
    "core/lengths.sql": """-- Sub-tokens of an example.
-- key: model, language, example_id
-- kept: by model, language
-- column total: Sum.
select model, language, dataset, example_id, sum(position) as total, avg(attribution) as mean
from token_attributions group by all
""",
    "core/labels.sql": """-- A projection.
-- kept: no
select model, language, example_id, label from predictions
""",
    "metric/agreement.sql": """-- By model, over what is kept by slot and what is not kept.
-- key: model
-- kept: by model
select model, count(*) as n, share(sum(total), count(label)) as ratio
from lengths left join labels using (model, language, example_id) group by model
""",
    "mart/everything.sql": """-- Of all models.
-- kept: whole
select count(*) as models, sum(n)::hugeint as n, max(ratio) as ratio from agreement
""",
    "mart/with_hidden.sql": """-- Also what is out of scope, beside what is in it.
-- key: model
-- kept: by model
select model, count(*) as shown, (select count(*) from stored.predictions) as stored from files.predictions group by model
""",
}
KEPT = ("lengths", "agreement", "everything", "with_hidden")
SLOTS = [
    Slot(table, (model, language), part)
    for table, part in (("token_attributions", "xnli.lig"), ("predictions", "xnli"))
    for model in ("m", "n")
    for language in ("en", "de")
]


@pytest.fixture
def views(sql: Path) -> Path:
    for name, text in VIEWS.items():
        (sql / name).write_text(text)
    return sql


@pytest.fixture
def write(frames) -> Callable[..., None]:
    def write(warehouse: Warehouse, slot: Slot, examples: int = 2, first: int = 0) -> None:
        build = frames.predictions if slot.table == "predictions" else frames.attributions
        constants = dict(zip(("model", "language"), slot.keys, strict=True))
        warehouse.write({slot: build(examples=examples, first=first, **constants)}, f"f{examples}.{first}")

    return write


@pytest.fixture
def filled(views: Path, open_warehouse, write) -> Warehouse:
    """Two models in two languages, and nothing kept yet."""
    warehouse = open_warehouse()
    for number, slot in enumerate(SLOTS):
        write(warehouse, slot, examples=2 + number % 3)
    warehouse.build_catalogue()
    return warehouse


def computed(warehouse: Warehouse) -> dict[str, int]:
    """Slices that keeping computes now, of the views that have any; all without an error."""
    outcomes = warehouse.keep_views()
    assert [each.error for each in outcomes.values() if each.error] == []
    return {name: each.computed for name, each in outcomes.items() if each.computed}


def same(warehouse: Warehouse) -> None:
    """What the catalogue, `scan` and the SQL itself give is the same."""
    with warehouse.connect() as shown, live(warehouse) as truth:
        assert differing(shown, truth, (*KEPT, "labels")) == []
    assert warehouse.scan("everything").collect().rows() == _fetched(warehouse, "everything")


def _fetched(warehouse: Warehouse, view: str) -> list[tuple]:
    with live(warehouse) as truth:
        return truth.sql(f"from {view}").pl().rows()


def test_everything_is_computed_once(filled):
    before = read_info(filled.root / NAME)
    assert computed(filled) == {"lengths": 4, "agreement": 2, "everything": 1, "with_hidden": 2}
    assert set(read_info(filled.root / NAME).kept) == set(KEPT) > set(before.kept)
    same(filled)
    inode = (filled.root / NAME).stat().st_ino
    assert computed(filled) == {}
    assert (filled.root / NAME).stat().st_ino == inode


def test_types_names_and_comments_are_the_same(filled):
    with filled.connect() as before:
        expected = {view: columns(before, view) for view in (*KEPT, "labels")}
    computed(filled)
    with filled.connect() as after:
        assert {view: columns(after, view) for view in (*KEPT, "labels")} == expected
        assert ("n", "HUGEINT", None) in columns(after, "everything")
        assert ("total", "HUGEINT", "Sum.") in columns(after, "lengths")
        assert after.execute(
            "select comment from duckdb_views() where view_name = 'agreement'"
        ).fetchall() == [("By model, over what is kept by slot and what is not kept.",)]


@pytest.mark.parametrize("batch", [0, 10**9], ids=["slice by slice", "all slices together"])
def test_whatever_is_committed_only_what_depends_on_it_is_computed_again(batch, filled, write, monkeypatch):
    monkeypatch.setattr(keeping, "BATCH_BYTES", batch)
    draw = random.Random(batch)
    computed(filled)
    for step in range(12):
        slot = draw.choice(SLOTS)
        change = draw.choice(["write", "write", "drop", "hide", "show"])
        before = filled.manifest.snapshot()
        if change == "write":
            write(filled, slot, examples=draw.randint(1, 4), first=100 * step)
        elif change == "drop":
            filled.drop([slot])
        else:
            filled.manifest.set_scope([e for e in filled.entries() if e.slot == slot and change == "hide"])
        after = filled.manifest.snapshot()
        filled.build_catalogue()
        same(filled)
        found, expected = computed(filled), _dependent(before, after)
        # A state that is hidden again, or shown again, may have been there before.
        assert found == expected if change == "write" else _at_most(found, expected), (step, change, slot)
        same(filled)


def _at_most(found: dict[str, int], expected: dict[str, int]) -> bool:
    return all(number <= expected.get(name, 0) for name, number in found.items())


def _dependent(before, after) -> dict[str, int]:
    """By hand: which slices of the four views read what changed."""
    shown = [{entry.slot: entry.file for entry in snapshot.shown} for snapshot in (before, after)]
    stored = [{e.file for e in s.entries if e.slot.table == "predictions"} for s in (before, after)]
    changed = {s for s in (*shown[0], *shown[1]) if shown[0].get(s) != shown[1].get(s)}
    there = set(shown[1])
    slots = {s.keys for s in there if s.table == "token_attributions"}
    lengths = {s.keys for s in changed if s.table == "token_attributions"} & slots
    models = {s.keys[0] for s in there}
    found = {
        "lengths": len(lengths),
        "agreement": len({s.keys[0] for s in changed} & models),
        "everything": int(bool(changed)),
        "with_hidden": len(
            {s.keys[0] for s in there if s.table == "predictions"}
            if stored[0] != stored[1]
            else {s.keys[0] for s in changed if s.table == "predictions"}
            & {s.keys[0] for s in there if s.table == "predictions"}
        ),
    }
    return {name: number for name, number in found.items() if number}


def test_what_was_kept_before_is_right_again_when_the_state_comes_back(filled):
    computed(filled)
    hidden = [entry for entry in filled.entries("predictions") if entry.slot.keys == ("m", "en")]
    filled.manifest.set_scope(hidden)
    computed(filled)
    filled.manifest.set_scope([])
    filled.build_catalogue()
    assert set(read_info(filled.root / NAME).kept) == set(KEPT)
    assert computed(filled) == {}
    same(filled)


def test_an_earlier_commit_reads_what_was_kept_for_it(filled, write):
    computed(filled)
    commit = filled.manifest.head()
    expected = _fetched(filled, "agreement")
    write(filled, SLOTS[0], examples=4, first=50)
    computed(filled)
    where = f"select count(*) from duckdb_views() where view_name in {KEPT} and contains(sql, '{FOLDER}')"
    with filled.connect(as_of=commit) as then:
        assert then.execute(where).fetchall() == [(len(KEPT),)]
        assert sorted(then.sql("from agreement").pl().rows()) == sorted(expected)
    with filled.connect(as_of=1) as first:
        # The one slice that there was is the same now.
        assert first.execute(where).fetchall() == [(1,)]
        assert first.execute("select models from everything").fetchall() == [(1,)]


def test_everything_that_is_stored_is_not_mixed_up_with_what_is_shown(filled):
    computed(filled)
    filled.manifest.set_scope([e for e in filled.entries() if e.slot.keys[0] == "n"])
    computed(filled)
    with filled.connect() as shown, filled.connect(everything=True) as complete:
        assert shown.execute("select models from everything").fetchall() == [(1,)]
        assert complete.execute("select models from everything").fetchall() == [(2,)]
    assert filled.scan("everything", everything=True).collect()["models"].to_list() == [2]


def test_a_changed_macro_changes_what_calls_it_and_what_reads_that(filled, views):
    computed(filled)
    (views / "macros/share.sql").write_text("create macro share(a, b) as a / b + 1;")
    assert computed(filled) == {"agreement": 2, "everything": 1}
    same(filled)


def test_a_changed_description_changes_no_rows(filled, views):
    computed(filled)
    (views / "core/lengths.sql").write_text(VIEWS["core/lengths.sql"].replace("Sum.", "The sum."))
    assert computed(filled) == {}
    with filled.connect() as database:
        assert ("total", "HUGEINT", "The sum.") in columns(database, "lengths")


def test_a_copied_warehouse_keeps_what_was_kept(filled, views, tmp_path):
    computed(filled)
    copy = tmp_path / "a=copy"
    shutil.copytree(filled.root, copy)
    moved = Warehouse(copy, sql_dirs=[views])
    with moved.connect() as database:
        assert database.execute("select models from everything").fetchall() == [(2,)]
    same(moved)
    assert computed(moved) == {}
    with duckdb.connect(copy / NAME, read_only=True) as plain:
        assert plain.execute("select models from everything").fetchall() == [(2,)]
    shutil.copy(filled.root / NAME, copy / NAME)
    for view in KEPT:
        with (
            duckdb.connect(copy / NAME, read_only=True) as plain,
            pytest.raises(duckdb.Error, match="copied or moved"),
        ):
            plain.execute(f"select * from {view}").fetchall()


@pytest.mark.parametrize("gone", ["the folder", "one file", "the columns"])
def test_kept_files_that_are_deleted_by_hand_are_noticed(gone, filled):
    computed(filled)
    folder = filled.root / FOLDER
    if gone == "the folder":
        shutil.rmtree(folder)
    else:
        next(
            folder.rglob("agreement/**/*.parquet" if gone == "one file" else "agreement/*/columns.json")
        ).unlink()
    assert not filled.catalogue_is_current()
    assert {finding.kind for finding in filled.check()} == {"stale_catalogue"}
    if gone != "the columns":
        opened = duckdb.connect(filled.root / NAME, read_only=True)
        with opened as plain, pytest.raises(duckdb.Error, match="xlwh-catalogue"):
            plain.execute("select * from agreement").fetchall()
    same(filled)
    assert filled.catalogue_is_current()
    assert bool(computed(filled)) == (gone != "the columns")
    same(filled)


@pytest.mark.parametrize("view", ["lengths", "everything"])
@pytest.mark.parametrize("left", [0, 4, 0.5, -1])
def test_a_file_that_was_cut_short_is_none(view, left, filled):
    """As a full disk or a copy that was broken off leave it."""
    computed(filled)
    file = next((filled.root / FOLDER / view).rglob("*.parquet"))
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(whole[: int(len(whole) * left) if isinstance(left, float) else left])
    [finding] = filled.check()
    assert (finding.kind, "cut short" in finding.problem) == ("stale_catalogue", True)
    assert not filled.catalogue_is_current()
    same(filled)
    assert filled.catalogue_is_current()
    assert view not in read_info(filled.root / NAME).kept
    assert computed(filled)[view] == 1
    assert (filled.check(), set(read_info(filled.root / NAME).kept)) == ([], set(KEPT))
    same(filled)


def _damage(file: Path, where: str) -> None:
    """Of the size that it had, as a failing disk leaves it."""
    content = bytearray(file.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    begin, end = (4, footer) if where == "rows" else (footer, len(content) - 8)
    content[begin:end] = bytes(end - begin)
    file.chmod(0o644)
    file.write_bytes(content)


@pytest.mark.parametrize("where", ["rows", "footer"])
def test_a_damaged_file_is_told_and_mended(where, filled):
    for view in ("lengths", "everything"):
        computed(filled)
        _damage(next((filled.root / FOLDER / view).rglob("*.parquet")), where)
        [finding] = filled.check(deep=True)
        assert (finding.kind, "`xlwh catalogue`" in finding.problem) == ("wrong_digest", True)
        with closing(filled.connect()) as opened:
            for read in (FrameViews(opened.cursor).frame, filled.scan):
                with pytest.raises((SqlError, StoreError), match="`xlwh catalogue`"):
                    read(view)
        outcomes = filled.keep_views(reads_all=True)
        assert {name: each.computed for name, each in outcomes.items() if each.computed} == {view: 1}
        assert filled.check(deep=True) == []
        same(filled)


@pytest.mark.parametrize("where", ["rows", "footer"])
def test_damage_behind_a_view_that_is_kept_is_told_and_mended(where, filled, write):
    computed(filled)
    for file in (filled.root / FOLDER / "lengths").rglob("*.parquet"):
        _damage(file, where)
    write(filled, next(slot for slot in SLOTS if slot.table == "predictions"), examples=4, first=50)
    try:
        error = filled.keep_views()["agreement"].error
    except StoreError as refused:
        error = str(refused)
    assert "`xlwh catalogue`" in error
    assert [each.error for each in filled.keep_views(reads_all=True).values() if each.error] == []
    assert filled.check(deep=True) == []
    same(filled)


def test_where_nothing_can_be_written(filled, monkeypatch):
    computed(filled)
    filled.drop([SLOTS[0]])

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(keeping, "make_folder", refused)
    with pytest.raises(OSError, match="Read-only"):
        filled.keep_views()
    shutil.rmtree(filled.root / FOLDER / "lengths")
    monkeypatch.setattr(filled, "build_catalogue", refused)
    same(filled)


CHILD = """
import os, signal, sys
from xlwh.store import Warehouse, keeping
keeping.BATCH_BYTES = 0
done = []
def progress(name, number, total):
    done.append(name)
    if len(done) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
Warehouse(sys.argv[1], sql_dirs=[sys.argv[2]]).keep_views(progress=progress)
"""


def _child(warehouse: Warehouse, views: Path, die_at: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(warehouse.root), str(views), str(die_at)])


def test_killed_it_goes_on_with_what_is_left(filled, views, monkeypatch):
    assert _child(filled, views, die_at=6).wait() == -signal.SIGKILL
    same(filled)
    # Called at the start of a view and after each of its slices: two of four were done.
    assert computed(filled) == {"lengths": 2, "agreement": 2, "everything": 1}
    same(filled)


@pytest.mark.parametrize(
    ("where", "shown"),
    [("before its view is done", set()), ("after it", {"lengths"}), ("at the end", set(KEPT))],
)
def test_what_a_killed_process_kept_is_shown_by_the_next_catalogue(where, shown, filled, monkeypatch):
    class Killed(BaseException):
        pass

    done = []

    def publish(unfinished: Path, path: Path, final: bool = False) -> None:
        unfinished.rename(path)
        done.append(path)
        # The columns, and a file for each of four slices.
        if (where == "before its view is done" and len(done) == 4) or (
            where == "after it" and len(done) == 5
        ):
            raise Killed

    monkeypatch.setattr(keeping, "publish", publish)
    if where == "at the end":
        filled.keeper().run()
    else:
        with pytest.raises(Killed):
            filled.keeper().run(["lengths"])
    assert set(read_info(filled.root / NAME).kept) == set()
    inodes = [(filled.build_catalogue(), (filled.root / NAME).stat().st_ino)[1] for _ in range(2)]
    assert set(read_info(filled.root / NAME).kept) == shown
    assert inodes[0] == inodes[1]
    same(filled)


def test_two_processes_at_once(filled, views):
    both = [_child(filled, views, die_at=10**6) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert computed(filled) == {}
    same(filled)


def test_a_view_that_cannot_be_computed_is_told_and_the_others_are_kept(filled, views):
    (views / "metric/broken.sql").write_text("select error('no: ' || model) as x from predictions")
    (views / "mart/above.sql").write_text("select count(x) as n from broken")
    outcomes = filled.keep_views()
    assert {name for name, each in outcomes.items() if each.error} == {"broken", "above"}
    assert "no: m" in outcomes["broken"].error
    assert "it reads `broken`" in outcomes["above"].error
    assert set(read_info(filled.root / NAME).kept) == set(KEPT)
    same(filled)


def test_a_broken_promise_is_refused(filled, views):
    """Rows that stand in another slice than what they are made from, in one batch and alone."""
    text = "-- key: model\n-- kept: by model\nselect 'm' as model, count(*) as n from predictions group by files.model"
    (views / "metric/wrong.sql").write_text(text.replace(" group by files.model", " having count(*) > 0"))
    (views / "metric/null_model.sql").write_text(
        "-- kept: by model\nselect null::varchar as model, count(*) as n from predictions"
    )
    for batch in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keeping, "BATCH_BYTES", batch)
            outcomes = filled.keep_views(["null_model"])
            assert "promises that the rows of a slice" in outcomes["null_model"].error
            assert "promises that the rows of a slice" in filled.keep_views(["wrong"])["wrong"].error
    assert not list((filled.root / FOLDER / "null_model").rglob("*.parquet"))


@pytest.mark.parametrize("batch", [0, 10**9], ids=["slice by slice", "all slices together"])
@pytest.mark.parametrize(
    "query",
    [
        "select model, sum(count(*)) over () as x from predictions group by model",
        "select model, count(*) / (select count(*) from predictions) as x from predictions group by model",
        "select model, row_number() over (order by model desc) as x from agreement",
    ],
)
def test_a_view_that_mixes_slices_is_refused(query, batch, filled, views, monkeypatch):
    """Its rows are in the right slices, but would be others with each batch in which they are computed."""
    monkeypatch.setattr(keeping, "BATCH_BYTES", batch)
    (views / "metric/mixed.sql").write_text(f"-- kept: by model\n{query}")
    for _ in range(2):
        outcomes = filled.keep_views()
        assert {name for name, each in outcomes.items() if each.error} == {"mixed"}
        assert "others where further slices are read too" in outcomes["mixed"].error
    with filled.connect() as shown, live(filled) as truth:
        assert differing(shown, truth, ["mixed"]) == []


def test_rows_of_a_slice_that_does_not_exist_are_refused(views, open_warehouse):
    (views / "metric/outside.sql").write_text(
        "-- kept: by model\nselect m as model, count(p.model) as n from (values ('m'), ('n')) known(m) "
        "left join predictions p on p.model = m group by all"
    )
    warehouse = open_warehouse()
    for _ in range(2):
        assert "promises that the rows of a slice" in warehouse.keep_views(["outside"])["outside"].error
    with warehouse.connect() as shown:
        assert sorted(shown.sql("from outside").fetchall()) == [("m", 0), ("n", 0)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("by", "is not understood"),
        ("by model language", "is not understood"),
        ("sometimes", "is not understood"),
    ],
)
def test_a_header_that_says_nothing_sensible_is_refused(header, message, filled, views):
    (views / "metric/odd.sql").write_text(f"-- kept: {header}\nselect model from predictions")
    with pytest.raises(SqlError, match=message):
        filled.build_catalogue()


def test_columns_that_divide_nothing_and_columns_that_are_not_there(filled, views):
    (views / "metric/odd.sql").write_text("-- kept: by dataset\nselect dataset from predictions")
    (views / "metric/none.sql").write_text("-- kept: by model\nselect language from predictions")
    with pytest.raises(SqlError, match="nothing that it reads is divided by that"):
        filled.build_catalogue()
    (views / "metric/odd.sql").unlink()
    with pytest.raises(SqlError, match="`model`, which the view does not have"):
        filled.build_catalogue()
    assert "`model`, which the view does not have" in filled.keeper().run()["none"].error


@pytest.mark.parametrize(
    "query",
    [
        "select random() as x",
        "select now() as x",
        "select current_date as x",
        "select x from unnest([1, 2, 3]) as t(x) using sample 1",
        "select * from duckdb_settings()",
        "select ago(interval '1 day') as x",
        "select ticking() as x",
        "select * from clock",
    ],
)
def test_what_changes_by_itself_is_not_kept(query, views):
    (views / "macros/ticking.sql").write_text("create macro ticking() as random();")
    (views / "core/clock.sql").write_text("select now() as x")
    (views / "metric/odd.sql").write_text(query)
    assert load([views]).views["odd"].by is None
    (views / "metric/odd.sql").write_text(f"-- kept: whole\n{query}")
    with pytest.raises(SqlError, match="are others at another time"):
        load([views])


def test_a_view_of_ones_own_is_kept_whole(views):
    (views / "metric/mine.sql").write_text("select count(*) as n from predictions")
    found = load([views]).views
    assert found["mine"].by == ()
    assert found["lengths"].by == ("model", "language")
    assert found["labels"].by is None
    assert found["predictions"].by is None


VALUES = """
select * from (values
    (true, (-128)::tinyint, 255::utinyint, 32767::smallint, 65535::usmallint, 4294967295::uinteger, (-9223372036854775808)::bigint,
     18446744073709551615::ubigint, 170141183460469231731687303715884105727::hugeint,
     '340282366920938463463374607431768211455'::uhugeint, 'nan'::float, '-inf'::double, 1.5::decimal(4, 1),
     12345678901234567890123456789012345.678::decimal(38, 3), 'a"b,c]}', '\\x00\\xFF'::blob, '0044-03-15 (BC)'::date,
     'infinity'::timestamp, '2020-01-01 00:00:01'::timestamp_s, '2020-01-01 00:00:01.001'::timestamp_ms,
     '2020-01-01 00:00:01.000000001'::timestamp_ns, '2020-01-01 00:00:01+02'::timestamptz, '23:59:59.999999'::time,
     '23:59:59.999999+15:00'::timetz, interval '1 month 2 days 3.000001 seconds',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '0101'::bit, 'it''s'::enum('a,b', 'it''s'), '{"a": 1}'::json,
     [[170141183460469231731687303715884105727::hugeint, null], null], [1.5, 2]::float[2],
     {'a b': 1::hugeint, 'c"': ['x']}, map {'a,': interval '1 month'}, []::integer[], null)
)
"""


def test_every_type_comes_back_as_it_was(views, open_warehouse):
    (views / "metric/typed.sql").write_text(VALUES)
    warehouse = open_warehouse()
    outcomes = warehouse.keep_views(["typed"])
    assert outcomes["typed"].error is None
    with warehouse.connect() as shown, live(warehouse) as truth:
        assert "typed" in read_info(warehouse.root / NAME).kept
        assert columns(shown, "typed") == columns(truth, "typed")
        assert rows(shown, "typed") == rows(truth, "typed")
        texts = "select columns(*)::varchar from typed"
        assert shown.execute(texts).fetchall() == truth.execute(texts).fetchall()


def test_a_type_without_a_place_in_parquet_is_told(views, open_warehouse):
    (views / "metric/typed.sql").write_text("select [union_value(a := 1)] as odd")
    error = open_warehouse().keep_views(["typed"])["typed"].error
    assert "column `odd` is of type UNION" in error


def test_nan_is_found_by_a_filter(views, open_warehouse):
    """A reader that goes by the minimum and maximum of a file would skip it."""
    (views / "metric/typed.sql").write_text("select unnest([1.0, 'nan'::double]) as x")
    warehouse = open_warehouse()
    warehouse.keep_views(["typed"])
    with warehouse.connect() as shown:
        assert shown.execute("select count(*) from typed where x > 100").fetchall() == [(1,)]


def test_work_is_stopped_by_another_thread(views, open_warehouse):
    (views / "metric/slow.sql").write_text("select count(*) as n from range(10000000) a, range(10000000) b")
    keeper = open_warehouse().keeper()
    found: list[object] = []

    def run() -> None:
        try:
            found.append(keeper.run(["slow"]))
        except SqlError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    began = time.monotonic()
    while thread.is_alive() and time.monotonic() - began < 60:
        keeper.stop()
        thread.join(timeout=0.05)
    assert not thread.is_alive()
    assert len(found) == 1


def test_gc_removes_what_no_state_needs_after_the_grace(filled, write, made_long_ago):
    from datetime import timedelta

    computed(filled)
    first = set((filled.root / FOLDER).rglob("*.parquet"))
    write(filled, SLOTS[0], examples=4, first=50)
    computed(filled)
    now = set((filled.root / FOLDER).rglob("*.parquet"))
    stray = filled.root / FOLDER / "gone" / ".tmp-1"
    stray.parent.mkdir()
    stray.write_text("")
    assert not [file for file in filled.gc(timedelta(0)).removed if file.startswith(FOLDER)]
    old = time.time() - 7200
    for path in (*now, stray):
        os.utime(path, (old, old))
    removed = made_long_ago(filled).gc(timedelta(0)).removed
    left = set((filled.root / FOLDER).rglob("*.parquet"))
    assert len(removed) == len(now) - len(left) + 1
    assert left < now
    assert not stray.parent.exists()
    prints = Fingerprints(filled.definitions(), filled.manifest.snapshot())
    assert all(kept(filled.root, prints, view) is not None for view in KEPT)
    assert first - left
    same(filled)


def test_what_stops_being_shown_begins_its_grace_then(filled, write):
    computed(filled)
    files = list((filled.root / FOLDER / "agreement").glob("*/model=m/*.parquet"))
    for path in files:
        os.utime(path, (1, 1))
    write(filled, SLOTS[0], examples=4, first=50)
    filled.build_catalogue()
    assert files
    assert all(path.stat().st_mtime > 1 for path in files)


HOSTILE_TYPES = [
    "BIGINT); copy (select 1) to '{}'; --",
    "BIGINT, more INTEGER",
    "bigint",
    "nonsense",
    "BIGINT) as x",
    "",
]


@pytest.mark.parametrize("kind", HOSTILE_TYPES)
def test_types_of_columns_become_no_statement(kind, filled, tmp_path):
    """What lies in the folder of kept rows comes with a copied warehouse, its digests too."""
    computed(filled)
    path = next((filled.root / FOLDER / "lengths").rglob("columns.json"))
    columns = json.loads(path.read_text())
    columns[0][1] = kind.format(tmp_path / "written")
    path.write_text(json.dumps(columns))
    note_digest(path, path)
    note_change(filled.root)
    filled.build_catalogue()
    same(filled)
    assert "lengths" not in read_info(filled.root / NAME).kept
    assert not (tmp_path / "written").exists()


def test_kept_rows_of_a_moved_warehouse_are_checked(filled, tmp_path):
    computed(filled)
    moved = Warehouse(shutil.move(filled.root, tmp_path / "moved"), sql_dirs=filled._sql_dirs)
    _damage(next((moved.root / FOLDER / "lengths").rglob("*.parquet")), "rows")
    assert {finding.kind for finding in moved.check(deep=True)} == {"stale_catalogue", "wrong_digest"}
