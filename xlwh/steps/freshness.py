"""Ask a step whether a partition is up to date, without letting it do the work.

A step decides that itself: it computes the fingerprint of its inputs and asks the warehouse whether its files
have it. So it is run here against a warehouse that answers truthfully, and stops it at the first `no`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from xlwh.errors import XlwhError
from xlwh.steps.base import Context, Key, StepResult
from xlwh.steps.plan import Step
from xlwh.store import Entry, Slot, Staging, Warehouse


class _StaleError(Exception):
    """Ends a probed step: something would have to be written."""


class _Probe(Warehouse):
    """A warehouse that is read as usual, and stops whoever finds a stale slot or begins to write."""

    def is_fresh(self, slot: Slot, fingerprint: str) -> bool:
        if not super().is_fresh(slot, fingerprint):
            raise _StaleError
        return True

    def write(
        self,
        frames: Mapping[Slot, pl.DataFrame],
        fingerprint: str,
        provenance: Mapping[str, str] | None = None,
    ) -> list[Entry]:
        raise _StaleError

    def staging(self, slots: Sequence[Slot], fingerprint: str) -> Staging:
        raise _StaleError

    def drop(self, slots: Sequence[Slot]) -> None:
        raise _StaleError


def probe(context: Context) -> Context:
    """The same context over a warehouse that cannot be written: make it once, for many partitions."""
    return replace(context, warehouse=_Probe(context.warehouse.root), force=False)


def fresh(probing: Context, step: Step, key: Key) -> StepResult | None:
    """What a step reports about a partition that needs no work; None if it has to be made.

    None too where it cannot be told yet, such as with inputs that are missing: the real run says what is wrong.
    """
    if step.definition is not None:
        from xlwh.steps import runner

        return runner.fresh(step, probing, key)
    try:
        result = step.run(probing, key)
    except (_StaleError, XlwhError):
        return None
    return result if result.status in ("fresh", "not_applicable") else None
