"""Metrics that are functions: computed, shown as views, replaced, refused with their name."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib.metadata import EntryPoint

import polars as pl
import pytest

from xlwh.errors import SqlError
from xlwh.store import Warehouse, metrics
from xlwh.store.connect import KEPT
from xlwh.store.files import RESULTS
from xlwh.store.objects import behind, root_of


def surprise(warehouse):
    """Mean probability of the
    predicted label."""
    best = pl.col("probabilities").list.max()
    return warehouse.scan("predictions").group_by("model").agg(mean=best.mean().cast(pl.Float64), n=pl.len())


def failing(warehouse):
    return warehouse.scan("predictions").select("no_such_column")


def nothing(warehouse):
    return 1


@pytest.fixture
def register(monkeypatch):
    def set_to(**functions):
        entries = [EntryPoint(n, f"{__name__}:{f.__name__}", metrics.GROUP) for n, f in functions.items()]
        monkeypatch.setattr(EntryPoint, "load", lambda entry: functions[entry.name])
        monkeypatch.setattr(metrics, "entry_points", lambda group: [e for e in entries if e.group == group])

    return set_to


def test_a_function_becomes_a_view(warehouse, frames, register):
    warehouse = Warehouse(warehouse.root)
    register()
    warehouse.compute_metrics()
    assert not (warehouse.root / metrics.FOLDER).exists()

    register(surprise=surprise)
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=3)}, "one")
    warehouse.compute_metrics()
    warehouse.build_catalogue()
    with warehouse.connect() as database:
        assert database.execute("select model, n from surprise").fetchall() == [("m", 3)]
        [(comment,)] = database.execute(
            "select comment from duckdb_views() where view_name = 'surprise'"
        ).fetchall()
    assert comment == "Mean probability of the predicted label."
    # Readable without the package that brought it, and by the study's own SQL.
    register()
    folder = warehouse.root.parent / "study-sql"
    folder.mkdir()
    (folder / "doubled.sql").write_text("select model, 2 * n as n from surprise")
    warehouse.adopt_sql(folder)
    assert warehouse.scan("doubled").collect().rows() == [("m", 6)]


def of_a_table(warehouse):
    return warehouse.scan("predictions").select(n=pl.len())


def of_a_view(warehouse):
    return warehouse.scan("counted").select(n=pl.len())


@pytest.mark.parametrize("function", [of_a_table, of_a_view])
@pytest.mark.parametrize("is_kept", [False, True])
def test_nothing_is_computed_from_a_damaged_file(warehouse, frames, register, function, is_kept):
    """Neither of a table nor of kept rows: it would be stored as sound."""
    warehouse = Warehouse(warehouse.root)
    (warehouse.root / "sql").mkdir()
    (warehouse.root / "sql" / "counted.sql").write_text(
        "select model, count(*) as n from predictions group by model"
    )
    [entry] = warehouse.write({frames.PREDICTIONS: frames.predictions(examples=3)}, "one")
    if is_kept:
        assert warehouse.keep_views(["counted"])["counted"].error is None
    register(of_all=function)
    warehouse.compute_metrics()
    of_kept = is_kept and function is of_a_view
    [path] = (
        (warehouse.root / KEPT / "counted").rglob("*.parquet") if of_kept else [warehouse.root / entry.file]
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(content)
    before = metrics.current(warehouse.root)
    with pytest.raises(
        SqlError, match=f"`of_all`.* is damaged: .*Run: xlwh {'catalogue' if of_kept else 'repair'}"
    ):
        warehouse.compute_metrics()
    assert metrics.current(warehouse.root) == before


def test_results_are_replaced_and_collected(warehouse, frames, register):
    warehouse = Warehouse(warehouse.root)
    register(surprise=surprise)
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=1)}, "one")
    warehouse.compute_metrics()
    warehouse.build_catalogue()
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=2)}, "two")
    with warehouse.connect() as before:
        warehouse.compute_metrics()
        warehouse.build_catalogue()
        assert before.execute("select n from surprise").fetchall() == [(1,)]
    with warehouse.connect() as after:
        assert after.execute("select n from surprise").fetchall() == [(2,)]
    [former, current] = sorted(
        (warehouse.root / metrics.FOLDER).glob("*.parquet"), key=lambda f: f.stat().st_mtime
    )
    [named] = warehouse.manifest.artefacts()["metric", "surprise"].files
    assert warehouse.root / named.file == current
    # A reader of the earlier catalogue may be at work.
    assert warehouse.gc(timedelta(hours=1)).removed == ()
    gone = former.relative_to(warehouse.root).as_posix()
    assert gone in warehouse.gc(timedelta(0)).removed
    assert warehouse.manifest.files()[gone].removed
    # What the catalogue shows is kept, though no commit has it any more.
    register()
    warehouse.compute_metrics()
    assert "surprise" not in warehouse.definitions().views
    assert warehouse.manifest.artefacts() == {}
    assert warehouse.gc(timedelta(0)).removed == ()
    warehouse.build_catalogue()
    assert warehouse.gc(timedelta(0)).removed == (named.file,)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (failing, r"Metric `broken` \(.*:failing\) failed: ColumnNotFoundError: .*no_such_column"),
        (nothing, r"Metric `broken` \(.*:nothing\) returned int, not a Polars frame"),
    ],
)
def test_a_function_that_fails_is_named_and_changes_nothing(warehouse, register, function, message):
    warehouse = Warehouse(warehouse.root)
    register(surprise=surprise)
    warehouse.compute_metrics()
    register(surprise=surprise, broken=function)
    with pytest.raises(SqlError, match=message):
        warehouse.compute_metrics()
    assert "surprise" in warehouse.definitions().views


def test_names_are_checked(register):
    register(**{"Bad-Name": surprise})
    with pytest.raises(SqlError, match="Metric `Bad-Name`"):
        metrics.registered()


def with_nan(warehouse):
    """Numbers, one of them NaN."""
    return pl.DataFrame({"x": [1.0, float("nan")]})


def test_nan_is_found_by_a_filter(warehouse, register):
    """A reader that goes by the minimum and maximum of a file would skip it."""
    register(odd=with_nan)
    warehouse = Warehouse(warehouse.root)
    warehouse.compute_metrics()
    warehouse.build_catalogue()
    with warehouse.connect() as database:
        assert database.execute("select count(*) from odd where x > 100").fetchall() == [(1,)]


def test_a_view_over_a_metric_is_kept_by_what_is_in_the_metric(warehouse, frames, register):
    register(surprise=surprise)
    warehouse = Warehouse(warehouse.root)
    (warehouse.root / "sql").mkdir()
    (warehouse.root / "sql" / "doubled.sql").write_text("select model, 2 * n as n from surprise")
    for examples in (3, 5, 5):
        warehouse.write({frames.PREDICTIONS: frames.predictions(examples=examples)}, f"f{examples}")
        warehouse.compute_metrics()
        made = warehouse.keep_views(["doubled"])["doubled"]
        assert (made.error, made.slices) == (None, 1)
        assert warehouse.scan("doubled").collect().rows() == [("m", 2 * examples)]
    # The metric came out the same.
    assert made.computed == 0


def counting(warehouse):
    """How many predictions there are."""
    return warehouse.scan("predictions").select(n=pl.len())


def test_results_reach_other_machines_with_what_is_said_of_them(url, node, frames, register, monkeypatch):
    """Whatever machine computes some at the same time: each shows what the last commit has, and no other."""
    Warehouse(url).write({frames.PREDICTIONS: frames.predictions(examples=3)}, "one")
    genuine = Warehouse._keep_up

    def late(warehouse, kind, artefacts):
        monkeypatch.setattr(Warehouse, "_keep_up", genuine)
        node("two")
        register(counting=counting)
        Warehouse(url).compute_metrics()
        # Looked at by somebody else on the first machine.
        node("one")
        Warehouse(url).sources()
        genuine(warehouse, kind, artefacts)

    register(surprise=surprise)
    monkeypatch.setattr(Warehouse, "_keep_up", late)
    Warehouse(url).compute_metrics()
    for name in ("one", "two", "three"):
        node(name)
        assert set(Warehouse(url).manifest.artefacts()) == {("metric", "surprise")}
        [view] = Warehouse(url).sources().more.values()
        assert (view.name, view.description) == ("surprise", "Mean probability of the predicted label.")
        assert Warehouse(url).scan("surprise").collect()["n"].to_list() == [3]
    there = {each.key.partition("-")[0] for each in behind(root_of(url)).bucket.listing("metrics")}
    assert there == {"metrics/counting", "metrics/surprise"}


def test_results_of_an_earlier_version_are_told_by_its_object(url, node, frames, register, monkeypatch):
    Warehouse(url).write({frames.PREDICTIONS: frames.predictions(examples=3)}, "one")
    register(surprise=surprise)
    plain = pl.DataFrame.write_parquet
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", lambda frame, target, **_: plain(frame, target))
        Warehouse(url).compute_metrics()
    root = root_of(url)
    [file] = (root / "metrics").glob("*.parquet")
    told = {"file": file.name, "function": "p:f", "description": "How odd."}
    for said, description in (({"surprise": told}, "How odd."), ([1], ""), ({"surprise": 1}, "")):
        behind(root).bucket.put(RESULTS, json.dumps(said).encode())
        [view] = Warehouse(url).sources().more.values()
        assert view.description == description
