"""The history of runs with its connections kept open: the same files, as Dagster's own storage reads them."""

# No `from __future__ import annotations` here: Dagster reads the types of an asset's parameters as objects.

from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dagster_project.history import OpenEventLog
from dagster_project.instance import instance_of

COUNT = 12
PARTITIONS = dg.StaticPartitionsDefinition([str(number) for number in range(COUNT)])


@dg.asset(partitions_def=PARTITIONS)
def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    for number in range(COUNT):
        context.log_event(dg.AssetObservation("made", partition=str(number), metadata={"number": number}))
    return dg.MaterializeResult()


def run(instance: dg.DagsterInstance, tags: dict[str, str], partition: str) -> str:
    job = dg.Definitions([made]).resolve_implicit_global_asset_job_def()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(quiet, instance=instance, tags=tags, partition_key=partition)
    assert result.success
    return result.run_id


def test_what_is_written_is_what_dagster_reads(root: Path) -> None:
    with instance_of(root) as (instance, tags):
        runs = [run(instance, tags, partition) for partition in ("3", "5")]
        # While the connections are open, as the web interface does.
        with dg.DagsterInstance.from_config(str(root / "dagster")) as other:
            assert type(other.event_log_storage) is SqliteEventLogStorage
            assert {record.run_id for record in other.get_runs()} == set(runs)
            events = [len(other.all_logs(run_id)) for run_id in runs]
            assert events == [len(instance.all_logs(run_id)) for run_id in runs]
            assert min(events) > COUNT
            assert other.get_materialized_partitions(dg.AssetKey("made")) == {"3", "5"}
            runs.append(run(other, {}, "7"))
        assert instance.get_materialized_partitions(dg.AssetKey("made")) == {"3", "5", "7"}
        assert len(instance.all_logs(runs[2])) > COUNT


def test_connections_do_not_follow_events(root: Path) -> None:
    opened = list[object]()

    def count(connection: object, _record: object) -> None:
        opened.append(connection)

    with instance_of(root) as (instance, tags):
        run(instance, tags, "0")
        log = instance.event_log_storage
        assert isinstance(log, OpenEventLog)
        event.listen(Engine, "connect", count)
        try:
            for number in range(COUNT):
                instance.report_runless_asset_event(dg.AssetObservation("made", metadata={"number": number}))
        finally:
            event.remove(Engine, "connect", count)
        # To the file of events without a run, and to make it.
        assert len(opened) <= 2 < COUNT
        assert len(log._engines) == 2
    assert log._engines == {}


def test_another_storage_is_left_as_it_is(root: Path) -> None:
    home = root / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(
        "telemetry:\n  enabled: false\n"
        "event_log_storage:\n"
        "  module: dagster._core.storage.event_log\n"
        "  class: ConsolidatedSqliteEventLogStorage\n"
        f"  config:\n    base_dir: {home}\n",
        encoding="utf-8",
    )
    with instance_of(root) as (instance, tags):
        assert not isinstance(instance.event_log_storage, SqliteEventLogStorage)
        run(instance, tags, "0")
