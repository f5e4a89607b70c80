"""What Dagster is told of partitions that no run was started for, since they do not apply to the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from dagster_project.events import not_made
from dagster_project.metadata import describe
from dagster_project.partitions import partitions_of, to_partition
from xlwh.steps.plan import Outcome, Step, partitions
from xlwh.study import Study


def log_settled(instance: DagsterInstance, study: Study, outcomes: Iterable[Outcome]) -> int:
    """Record why partitions do not apply, where that is not the latest that Dagster knows of them; how many events.

    Where none of a step's partitions applies, as in most studies of most analyses, that is one event of the whole table.
    """
    found: dict[Step, dict[str, Outcome]] = {}
    for outcome in outcomes:
        if outcome.result is not None and outcome.result.status == "not_applicable":
            found.setdefault(outcome.step, {})[to_partition(outcome.step, outcome.key)] = outcome
    logged = 0
    for step, absent in found.items():
        definition = partitions_of(study, step)
        told = {partition: describe(outcome, None) for partition, outcome in absent.items()}
        if len(absent) == len(partitions(study, step)):
            told = {"": _together(list(absent.values()))}
        for table in step.tables:
            known = _known(instance, dg.AssetKey(table), is_whole="" in told)
            for partition, metadata in told.items():
                if partition not in known:
                    event = not_made(definition, table, partition, metadata)
                    instance.report_runless_asset_event(event)
                    logged += 1
    return logged


def _together(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Metadata of a table none of whose partitions applies: each reason with how many have it."""
    counts = Counter(outcome.result.reason for outcome in outcomes if outcome.result is not None)
    reasons = [
        reason if len(counts) == 1 else f"{reason} ({count})" for reason, count in counts.most_common()
    ]
    return {"status": "not applicable", "reason": "; ".join(reasons), "partitions": len(outcomes)}


def _known(instance: DagsterInstance, asset: dg.AssetKey, is_whole: bool) -> set[str]:
    """Partitions of which the latest event says that there is nothing; of the whole table the empty text."""
    last = _latest(instance, asset, DagsterEventType.ASSET_OBSERVATION, is_whole)
    made = _latest(instance, asset, DagsterEventType.ASSET_MATERIALIZATION, is_whole)
    return {partition for partition, number in last.items() if number > made.get(partition, -1)}


def _latest(
    instance: DagsterInstance, asset: dg.AssetKey, kind: DagsterEventType, is_whole: bool
) -> Mapping[str, int]:
    """Partition -> number of its latest event of a kind."""
    if not is_whole:
        return instance.event_log_storage.get_latest_storage_id_by_partition(asset, kind)
    is_observed = kind is DagsterEventType.ASSET_OBSERVATION
    of_kind = instance.fetch_observations if is_observed else instance.fetch_materializations
    records = of_kind(asset, limit=1).records
    return {"": records[0].storage_id} if records else {}
