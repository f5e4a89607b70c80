"""Inputs of a step that must be there, or an error that says how to make them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xlwh.errors import MissingDataError
from xlwh.steps.base import Context, Key
from xlwh.steps.plan import step_of
from xlwh.store import Entry, Slot


def required(context: Context, slot: Slot, key: Key) -> Entry:
    """The current entry of a slot that partition `key` of its step writes.

    MissingDataError with the command that makes it if there is none.
    """
    entry = context.warehouse.current(slot)
    if entry is None:
        raise MissingDataError(f"There is no {slot} yet. Run: {command(slot.table, key)}")
    return entry


def command(table: str, key: Key) -> str:
    """The command that makes a partition of a table."""
    options = (("model", key.model), ("dataset", key.dataset), ("language", key.language))
    return f"xlwh materialize {step_of(table).name}" + "".join(f" --{k} {v}" for k, v in options if v)


def identity(entry: Entry) -> str:
    """What an input adds to a fingerprint: the slot, so that two inputs cannot change places, and its content."""
    return f"{entry.slot} {entry.fingerprint}"


def keep_only(
    context: Context, tables: Iterable[str], keys: tuple[str, ...], wanted: Collection[Slot]
) -> None:
    """Forget the slots of a partition that the study no longer asks for."""
    others = [
        entry.slot
        for table in tables
        for entry in context.warehouse.entries(table)
        if entry.slot.keys == keys and entry.slot not in wanted
    ]
    if others:
        context.warehouse.drop(others)
