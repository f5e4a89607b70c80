"""One asset per stored table. They differ only in what the plan says of their step, so one function makes them all."""

# No `from __future__ import annotations` here: Dagster reads the types of an asset's parameters as objects.

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from dagster_project.events import defer_events, log_made, log_not_made
from dagster_project.metadata import describe, stored_of, summarise, table_metadata
from dagster_project.partitions import backfill_policy, dependencies, partitions_of, to_key, to_partition
from dagster_project.plots import plot
from dagster_project.resources import (
    FORCE_TAG,
    POOL,
    RANGE_END,
    RANGE_START,
    Plans,
    Reporter,
    Staff,
    WarehouseResource,
    ZooResource,
    attempts,
)
from dagster_project.turns import others_wait
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, Outcome, Step, in_order
from xlwh.steps.planning import Planner
from xlwh.study import Study
from xlwh.tables import TABLES
from xlwh.upkeep import scope


class Making(dg.Config):
    """Options of a materialisation."""

    blocked: dict[str, str] = Field(
        {},
        description="Partitions to leave out as failed, with the reason: ones whose input has just failed.",
    )


def table_assets(study: Study, take_turns: bool = False) -> list[dg.AssetsDefinition]:
    """The assets of all stored tables of a study. `take_turns`: whether runs share one accelerator."""
    return [_asset(study, step, take_turns) for step in STEPS.values()]


def _asset(study: Study, step: Step, take_turns: bool) -> dg.AssetsDefinition:
    deps = list(dependencies(study, step))
    pool = POOL if step.runs_model and take_turns else None

    @dg.multi_asset(
        name=step.name,
        specs=[_spec(step, table, deps) for table in step.tables],
        partitions_def=partitions_of(study, step),
        backfill_policy=backfill_policy(study, step),
        pool=pool,
    )
    def make(
        context: dg.AssetExecutionContext,
        config: Making,
        warehouse: WarehouseResource,
        zoo: ZooResource,
        plans: dg.ResourceParam[Plans],
        reporter: dg.ResourceParam[Reporter],
        staff: dg.ResourceParam[Staff],
    ) -> Iterator[dg.MaterializeResult[None]]:
        opened = warehouse.open()
        defer_events(context)
        bench = Context(study, opened, zoo.of(study, opened), force=context.run.tags.get(FORCE_TAG) == "true")
        bench.planner = plans.of(study, opened)
        # Another study may have hidden what this one reads.
        scope.renew(bench.planner, [])
        keys = keys_of_run(context, study, step)
        blocked = {to_key(step, partition): reason for partition, reason in config.blocked.items()}
        outcomes = list(attempts(context, bench, reporter, staff, step, keys, blocked))
        if pool is not None and others_wait(context.instance, context.run_id):
            # Whose turn it is then has the accelerator's memory to itself.
            bench.zoo.release()
        written = any(outcome.written for outcome in outcomes)
        if scope.renew(bench.planner, [(step, key) for key in keys]) or written:
            opened.build_catalogue()
        for table in step.tables:
            log_outcomes(context, bench.planner, outcomes, table, plot(opened, table) if written else {})
        if any(outcome.error is not None for outcome in outcomes):
            raise failure(outcomes)
        for table in step.tables:
            yield dg.MaterializeResult(asset_key=table)

    return make


def _spec(step: Step, table: str, deps: Sequence[dg.AssetDep]) -> dg.AssetSpec:
    contract = TABLES[table]
    return dg.AssetSpec(
        table,
        deps=deps,
        group_name=step.group,
        description=contract.__doc__,
        code_version=str(contract.version),
        kinds={"polars", "parquet", *(("torch",) if step.runs_model else ())},
        metadata=table_metadata(table),
    )


def keys_of_run(context: dg.AssetExecutionContext, study: Study, step: Step) -> list[Key]:
    """The partitions that a run asks for, in the order in which to make them."""
    if not step.dimensions:
        return [Key()]
    first, last = (context.run.tags.get(tag) for tag in (RANGE_START, RANGE_END))
    asked = context.partition_keys
    definition = context.assets_def.partitions_def
    if first is not None and last is not None and definition is not None:
        # Of a job's backfill Dagster hands out the first partition of the range only, where there are two dimensions.
        asked = definition.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    return in_order(study, step, {to_key(step, str(partition)) for partition in asked})


def log_outcomes(
    context: dg.AssetExecutionContext,
    planner: Planner,
    outcomes: list[Outcome],
    table: str,
    pictures: dict[str, Any],
) -> None:
    """Say of each partition that did not fail what became of it: a green cell where the table has a file of it.

    The last one carries the pictures and the summary of the run, since Dagster shows a table's latest event.
    """
    ended = [outcome for outcome in outcomes if outcome.error is None]
    made = list[tuple[str, dict[str, Any]]]()
    for outcome, stored in zip(ended, stored_of(planner, ended, table), strict=True):
        partition = to_partition(outcome.step, outcome.key)
        if outcome.result is None or outcome.result.status in ("not_applicable", "held") or stored is None:
            log_not_made(context, table, partition, describe(outcome, None))
        else:
            made.append((partition, describe(outcome, stored)))
    for number, (partition, metadata) in enumerate(made, start=1):
        last = summarise(outcomes) | pictures if number == len(made) else {}
        log_made(context, table, partition, metadata | last)


def failure(outcomes: list[Outcome]) -> dg.Failure:
    """The failure of a step some of whose partitions failed."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    return dg.Failure(
        "\n".join(f"{outcome.step.name} {outcome.key}: {outcome.error}" for outcome in failed),
        metadata={"failed partitions": len(failed), "other partitions": len(outcomes) - len(failed)},
        allow_retries=False,
    )
