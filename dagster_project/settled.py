"""What Dagster is told of partitions that no run was started for, since they do not apply to the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from dagster_project.events import not_made
from dagster_project.metadata import describe
from dagster_project.partitions import partitions_of, to_partition
from xlwh.steps.plan import Outcome, Step
from xlwh.study import Study


def log_settled(instance: DagsterInstance, study: Study, outcomes: Iterable[Outcome]) -> int:
    """Record why partitions do not apply, where that is not the latest that Dagster knows of them; how many events."""
    found: dict[Step, dict[str, Outcome]] = {}
    for outcome in outcomes:
        if outcome.result is not None and outcome.result.status == "not_applicable":
            found.setdefault(outcome.step, {})[to_partition(outcome.step, outcome.key)] = outcome
    logged = 0
    for step, absent in found.items():
        definition = partitions_of(study, step)
        for table in step.tables:
            known = _known(instance, dg.AssetKey(table))
            for partition, outcome in absent.items():
                if partition not in known:
                    told = not_made(definition, table, partition, describe(outcome, None))
                    instance.report_runless_asset_event(told)
                    logged += 1
    return logged


def _known(instance: DagsterInstance, asset: dg.AssetKey) -> set[str]:
    """Partitions of which the latest event says that there is nothing; of an asset without partitions the empty text."""
    last = _latest(instance, asset, DagsterEventType.ASSET_OBSERVATION)
    made = _latest(instance, asset, DagsterEventType.ASSET_MATERIALIZATION)
    return {partition for partition, number in last.items() if number > made.get(partition, -1)}


def _latest(instance: DagsterInstance, asset: dg.AssetKey, kind: DagsterEventType) -> Mapping[str, int]:
    """Partition -> number of its latest event of a kind."""
    found = dict(instance.event_log_storage.get_latest_storage_id_by_partition(asset, kind))
    if found:
        return found
    is_observed = kind is DagsterEventType.ASSET_OBSERVATION
    of_kind = instance.fetch_observations if is_observed else instance.fetch_materializations
    records = of_kind(asset, limit=1).records
    return {"": records[0].storage_id} if records else {}
