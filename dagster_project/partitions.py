"""Dagster's partitions and partition mappings, derived from the steps' plan."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import dagster as dg

from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Reads, Step, partitions, values
from xlwh.study import Study


def partitions_of(study: Study, step: Step) -> dg.PartitionsDefinition | None:
    """Partitions of a step's tables; None where there is just one."""
    single = {
        dimension: dg.StaticPartitionsDefinition(list(values(study, dimension)))
        for dimension in step.dimensions
    }
    if not single:
        return None
    return dg.MultiPartitionsDefinition(single) if len(single) == 2 else next(iter(single.values()))


def stage(step: Step) -> int:
    """How many times languages (or models) have to wait for each other before a step, among steps of its partitions.

    0 for a step that reads only its own cell of those; one more than what it reads across, and as much as what it reads
    of its own cell.
    """
    alike = ((STEPS[read.step], bool(read.across)) for read in step.reads)
    return max(
        (
            stage(source) + across
            for source, across in alike
            if source is not step and source.dimensions == step.dimensions
        ),
        default=0,
    )


def backfill_policy(study: Study, step: Step) -> dg.BackfillPolicy | None:
    """All partitions in one run, which is as few as Dagster can make of two dimensions: one per model or language.

    In a backfill, assets of the same partitions and policy share those runs, so a step that reads other languages would
    be run for one before the inputs of the others are there. A policy for each stage keeps it apart: it waits for all of
    them. Each allows a run to hold at least as many partitions as there are, so none is ever cut by it.
    """
    if not step.dimensions:
        return None
    if (wait := stage(step)) == 0:
        return dg.BackfillPolicy.single_run()
    return dg.BackfillPolicy.multi_run(len(partitions(study, step)) + wait - 1)


def to_key(step: Step, partition: str) -> Key:
    """The study's key of a Dagster partition such as `de|mbert` (dimensions in alphabetical order)."""
    parts = partition.split("|")
    return Key(**dict(zip(sorted(step.dimensions), parts, strict=True)))


def to_partition(step: Step, key: Key) -> str:
    """The other way round; an empty text for a table without partitions."""
    return "|".join(str(getattr(key, dimension)) for dimension in sorted(step.dimensions))


def dependencies(study: Study, step: Step) -> Iterator[dg.AssetDep]:
    """What a step's tables are made from, with the partitions that each of their partitions needs."""
    for read in step.reads:
        source = STEPS[read.step]
        if source is step:
            continue  # a base before the models made from it: Dagster has no such mapping, the plan's order does it
        with warnings.catch_warnings():
            # Mappings between two dimensions are in beta in the Dagster versions that we allow.
            warnings.simplefilter("ignore", dg.BetaWarning)
            mapping = _mapping(study, step, source, read)
        for table in source.tables:
            yield dg.AssetDep(table, partition_mapping=mapping)


def _mapping(study: Study, step: Step, source: Step, read: Reads) -> dg.PartitionMapping:
    if len(step.dimensions) == 1:
        same = source.dimensions == step.dimensions
        return dg.IdentityPartitionMapping() if same else dg.AllPartitionMapping()
    if source.dimensions == ("dataset",):
        return dg.AllPartitionMapping()
    if source.dimensions == ("model",):
        return dg.MultiToSingleDimensionPartitionMapping("model")
    return dg.MultiPartitionMapping(
        {dimension: _dimension(study, dimension, read) for dimension in source.dimensions}
    )


def _dimension(study: Study, dimension: str, read: Reads) -> dg.DimensionPartitionMapping:
    if dimension == "dataset":
        evaluated = {
            dataset: [key for key, model in study.models.items() if dataset in model.datasets]
            for dataset in study.datasets
        }
        return dg.DimensionPartitionMapping("model", dg.StaticPartitionMapping(evaluated))
    if dimension in read.across:
        return dg.DimensionPartitionMapping(dimension, dg.AllPartitionMapping())
    return dg.DimensionPartitionMapping(dimension, dg.IdentityPartitionMapping())
