"""What Dagster is told of what was made. A cell becomes green where the table has a file of that partition.

It stays green where that file is dropped later, as when the study no longer asks for it: Dagster's storage cannot take
back one partition. The latest event of the cell, an observation, then says that there is nothing.

Dagster by itself records every partition of a run as materialised, also those that do not apply to the study. An
asset that yields nothing would say otherwise, but then Dagster skips whatever reads it in the same run. So its own
events are put off, and each asset logs its own.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.storage.tags import EXTERNALLY_MANAGED_ASSETS_TAG


def defer_events(context: dg.AssetExecutionContext) -> None:
    """Keep Dagster from recording all partitions of the run as materialised; what was made is logged by `log_made`.

    The tag is set on the run as this process holds it, and not before the run starts: Dagster would then not show
    what is planned and under way.
    """
    tags: Any = context.run.tags
    tags[EXTERNALLY_MANAGED_ASSETS_TAG] = "true"


def log_made(context: dg.AssetExecutionContext, asset: str, partition: str, metadata: dict[str, Any]) -> None:
    """Record that an asset, or one partition of it, holds something; `partition` is empty where it has none."""
    definition = context.assets_def.specs_by_key[dg.AssetKey(asset)].partitions_def
    context.log_event(
        dg.AssetMaterialization(
            asset, _description(metadata), metadata=metadata, partition=_key(definition, partition)
        )
    )


def log_not_made(
    context: dg.AssetExecutionContext, asset: str, partition: str, metadata: dict[str, Any]
) -> None:
    """Record that there is nothing to make: the cell says why, and stays empty."""
    definition = context.assets_def.specs_by_key[dg.AssetKey(asset)].partitions_def
    context.log_event(not_made(definition, asset, partition, metadata))


def not_made(
    definition: dg.PartitionsDefinition | None, asset: str, partition: str, metadata: dict[str, Any]
) -> dg.AssetObservation:
    """The event of `log_not_made`; `definition` says how Dagster names the partitions of the asset."""
    return dg.AssetObservation(
        asset, _description(metadata), metadata=metadata, partition=_key(definition, partition)
    )


def _description(metadata: dict[str, Any]) -> str | None:
    """What the log of a run says in the event's line: what became of it, and why."""
    told = [str(metadata[name]) for name in ("status", "reason") if name in metadata]
    return ": ".join(told) or None


def _key(definition: dg.PartitionsDefinition | None, partition: str) -> str | None:
    """The partition as Dagster names it: one of two dimensions is an object that knows both."""
    if not partition:
        return None
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return definition.get_partition_key_from_str(partition)
    return partition
