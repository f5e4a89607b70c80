"""The whole of it: the assets, checks, jobs and resources of one study.

The study is the file named by XLWH_STUDY (default: the demo that ships with the package), the warehouse the
folder named by XLWH_WAREHOUSE (default: ./warehouse); XLWH_WORKERS says where partitions are made (default: auto).
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from dagster_project.assets import table_assets
from dagster_project.checks import table_checks
from dagster_project.jobs import jobs
from dagster_project.resources import Plans, Reporter, Staff, WarehouseResource, ZooResource
from dagster_project.views import view_assets
from xlwh.steps.planning import Planner
from xlwh.steps.workers import VARIABLE, Workers, take_turns
from xlwh.store.objects import root_of
from xlwh.study import Study, load


def build(
    study: Study,
    root: Path,
    reporter: Reporter | None = None,
    planner: Planner | None = None,
    staff: Staff | None = None,
) -> dg.Definitions:
    """Definitions of a study whose warehouse is the folder `root`; without `staff` this process makes everything."""
    staff = staff or Staff()
    return dg.Definitions(
        assets=[*table_assets(study, take_turns(staff.workers)), view_assets(study)],
        asset_checks=table_checks(),
        jobs=list(jobs()),
        resources={
            "warehouse": WarehouseResource(root=str(root.resolve())),
            "zoo": ZooResource(),
            "plans": Plans(planner),
            "reporter": reporter or Reporter(),
            "staff": staff,
        },
        # One process for all partitions of a run: a model is loaded once, not once per step.
        executor=dg.in_process_executor,
    )


def study_file() -> Path:
    """The study that the environment names."""
    named = os.environ.get("XLWH_STUDY")
    if named:
        return Path(named)
    from xlwh.demo import study_path

    return Path(study_path())


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    root = root_of(os.environ.get("XLWH_WAREHOUSE") or "warehouse")
    workers = Workers.parse(os.environ.get(VARIABLE) or "auto")
    return build(load(study_file()), root, staff=Staff(workers))
