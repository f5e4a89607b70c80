"""Jobs that make partitions anew, to be launched from the web interface without a configuration of one's own.

What is missing or stale needs no job: materialise it in the graph of the assets, where what is fresh is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dagster_project.partitions import stage
from dagster_project.resources import FORCE_TAG
from xlwh.steps.plan import STEPS, Step


def force_jobs() -> list[UnresolvedAssetJobDefinition]:
    """Jobs over all stored tables, numbered in the order in which they would have to be launched.

    Several, since Dagster lets one choose the partitions of a job only where all its assets have the same ones. Nor does
    a step stand in one job with what it reads across languages: a job's runs are one per model or language, each with
    all of its assets.
    """
    return [_job(number, steps) for number, steps in enumerate(waves(), start=1)]


def waves() -> Iterator[list[Step]]:
    """The steps in order, cut where the partitions change, and where languages have to wait for each other."""
    for _, same in groupby(STEPS.values(), key=lambda step: step.dimensions):
        staged = sorted(same, key=stage)
        for _, wave in groupby(staged, key=stage):
            yield list(wave)


def _job(number: int, steps: list[Step]) -> UnresolvedAssetJobDefinition:
    tables = [table for step in steps for table in step.tables]
    names = "_to_".join(dict.fromkeys((steps[0].name, steps[-1].name)))
    return dg.define_asset_job(
        f"force_{number}_{names}",
        selection=[dg.AssetKey(table) for table in tables],
        tags={FORCE_TAG: "true"},
        description=f"Makes partitions anew, also where they are fresh: {', '.join(tables)}.",
    )
