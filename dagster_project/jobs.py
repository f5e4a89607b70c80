"""Jobs over all stored tables, to be launched from the web interface without a configuration of one's own.

Each part of the study has two: `materialize_…` makes what is missing or stale and keeps what is fresh, `force_…` makes all
that is chosen anew. They are numbered in the order in which to launch them.

Several, since Dagster lets one choose the partitions of a job only where all its assets have the same ones. Nor does a
step stand in one job with what it reads across languages: the runs of a job are one per model or language, each with all
of its assets.

A backfill of a job is done when its runs are. One of assets, which Dagster puts together from their dependencies, is not:
it takes cells that do not apply to the study for failed, and makes nothing that reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dagster_project.partitions import stage
from dagster_project.resources import FORCE_TAG
from xlwh.steps.plan import STEPS, Step


def jobs() -> Iterator[UnresolvedAssetJobDefinition]:
    """The jobs, those that keep what is fresh first."""
    parts = list(enumerate(waves(), start=1))
    for number, steps in parts:
        yield _job("materialize", number, steps, "Makes what is missing or stale of", {})
    for number, steps in parts:
        yield _job("force", number, steps, "Makes anew, also where it is fresh,", {FORCE_TAG: "true"})


def waves() -> Iterator[list[Step]]:
    """The steps in order, cut where the partitions change, and where languages have to wait for each other."""
    for _, same in groupby(STEPS.values(), key=lambda step: step.dimensions):
        staged = sorted(same, key=stage)
        for _, wave in groupby(staged, key=stage):
            yield list(wave)


def _job(
    verb: str, number: int, steps: Sequence[Step], does: str, tags: dict[str, str]
) -> UnresolvedAssetJobDefinition:
    names = "_to_".join(dict.fromkeys((steps[0].name, steps[-1].name)))
    tables = [table for step in steps for table in step.tables]
    return dg.define_asset_job(
        f"{verb}_{number}_{names}",
        selection=[dg.AssetKey(table) for table in tables],
        description=f"{does} {', '.join(tables)}.",
        tags=tags,
    )
