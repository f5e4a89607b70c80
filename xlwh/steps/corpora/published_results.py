"""Store the numbers printed in the papers, so that measured ones can be joined with them."""

from __future__ import annotations

from xlwh import published
from xlwh.steps.base import Context, Key, StepResult, Stopwatch
from xlwh.store import Slot, fingerprint

CODE_VERSION = "2"


def run(context: Context, key: Key) -> StepResult:
    """Write `published_results`; stale only when the package's data files have changed."""
    slot = Slot("published_results")
    current = fingerprint("published_results", CODE_VERSION, {}, [published.digest()])
    if not context.force and context.warehouse.is_fresh(slot, current):
        return StepResult(status="fresh")
    watch = Stopwatch()
    frame = published.load()
    context.warehouse.write({slot: frame}, current)
    papers = frame["paper"].value_counts(sort=True)
    return StepResult(
        status="written",
        rows=frame.height,
        duration_s=watch.seconds,
        metadata={"papers": dict(papers.iter_rows())},
    )
