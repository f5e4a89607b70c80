"""What an asset says about itself and about what it has just done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.plots import learning_curve
from xlwh.steps.base import Key
from xlwh.steps.plan import Outcome
from xlwh.steps.planning import Planner
from xlwh.tables import TABLES
from xlwh.tables.glossary import described


def table_metadata(table: str) -> dict[str, Any]:
    """Columns, key and partitioning of a stored table, from its contract."""
    contract = TABLES[table]
    columns = [
        dg.TableColumn(
            name,
            type=str(column.dtype),
            description=described(table, name, column.description or ""),
            constraints=dg.TableColumnConstraints(nullable=column.nullable),
        )
        for name, column in contract.columns().items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "key": ", ".join(contract.key),
        "partitioned by": ", ".join(contract.partition_by) or "nothing",
        "contract version": contract.version,
    }


def stored_of(planner: Planner, outcomes: list[Outcome], table: str) -> list[int | None]:
    """Rows that a table now holds for each outcome's partition; None where it has no file of it."""
    if (
        "space" in TABLES[table].partition_by
    ):  # several models may share a space, so its rows are no model's own
        return [outcome.result.rows or None if outcome.result else None for outcome in outcomes]
    dimensions = [name.removeprefix("target_") for name in TABLES[table].partition_by]
    known = [hasattr(Key, name) for name in dimensions]

    def own(values: Iterable[str]) -> tuple[str, ...]:
        return tuple(value for value, is_known in zip(values, known, strict=True) if is_known)

    keys = [tuple(str(getattr(outcome.key, name)) for name in own(dimensions)) for outcome in outcomes]
    if all(known):
        lying = {key: planner.entries_in(table, key) for key in keys}
    else:
        # Cut finer than its step's partitions, such as lexica.
        lying = {}
        for entry in planner.entries(table):
            lying.setdefault(own(entry.slot.keys), []).append(entry)
    return [sum(entry.rows for entry in lying[key]) if lying.get(key) else None for key in keys]


def describe(outcome: Outcome, rows: int | None) -> dict[str, Any]:
    """Metadata of one partition that was made, found fresh, left to another process, or does not apply; `rows` is None without a file of it."""
    result = outcome.result
    if result is None:
        return {}
    told: dict[str, Any] = {"status": result.status.replace("_", " ")}
    is_absent = result.status in ("not_applicable", "held")
    if rows is None and not is_absent:
        told["status"] = "nothing of this table"
    elif rows is not None and result.status == "fresh":
        told["status"] = f"fresh, {rows:,} rows kept"
    if result.reason:
        told["reason"] = result.reason
    if rows is not None and not is_absent:
        told["dagster/partition_row_count" if outcome.step.dimensions else "dagster/row_count"] = rows
    if result.status == "written":
        told["seconds"] = round(result.duration_s, 3)
        told["worker"] = result.worker
        if result.examples:
            told["examples"] = result.examples
            told["examples per second"] = round(result.examples / max(result.duration_s, 1e-9), 2)
    curve = result.metadata.get("curve")
    if isinstance(curve, list) and curve:
        told |= learning_curve(curve)
    return told | {name: _plain(value) for name, value in result.metadata.items()}


def summarise(outcomes: list[Outcome]) -> dict[str, Any]:
    """Metadata of all partitions of a run together."""
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    counts = Counter(result.status.replace("_", " ") for result in results)
    return {
        "partitions of the run": ", ".join(f"{number} {status}" for status, number in counts.items()),
        "seconds of the run": round(sum(result.duration_s for result in results), 3),
    }


def _plain(value: object) -> Any:
    """A value as Dagster can show it."""
    if isinstance(value, pl.DataFrame):
        return dg.MetadataValue.md(markdown(value))
    if isinstance(value, Mapping | list | tuple):
        return dg.MetadataValue.json(dict(value) if isinstance(value, Mapping) else list(value))
    return value if isinstance(value, bool | int | float | str) else str(value)


def markdown(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table."""
    rows = [frame.columns, ["---"] * frame.width, *frame.rows()]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
