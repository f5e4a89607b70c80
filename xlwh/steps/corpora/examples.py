"""Examples and rejected rows of one (dataset, language): read from the files that the study names."""

from __future__ import annotations

from xlwh import corpora
from xlwh.errors import StudyError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.store import Slot, fingerprint

CODE_VERSION = "1"
_TABLES = ("examples", "rejected_rows")
_REASONS = 5


def run(context: Context, key: Key) -> StepResult:
    """Read one language of a dataset, unless the same files were read with the same options before.

    Accepted and rejected rows are written in one commit. Nothing is written where a file is missing or not of
    its format at all (`CorpusError`); the error says what to change.
    """
    if key.dataset is None or key.language is None:
        raise StudyError(f"examples are partitioned by dataset and language; got {key}")
    if reason := corpora.inapplicable(context.study, key.dataset, key.language):
        return not_applicable(reason)
    watch = Stopwatch()
    corpus = corpora.locate(context.study, key.dataset, key.language)
    examples, rejected = (Slot(table, (key.dataset, key.language), corpus.request.split) for table in _TABLES)
    identity = corpus.identity()
    mark = fingerprint("examples", CODE_VERSION, corpus.parameters(), identity)
    fresh = all(context.warehouse.is_fresh(slot, mark) for slot in (examples, rejected))
    if fresh and not context.force:
        _drop_other_splits(context, examples, rejected)
        entries = [context.warehouse.current(slot) for slot in (examples, rejected)]
        accepted, refused = (entry.rows if entry is not None else 0 for entry in entries)
        return StepResult(
            status="fresh",
            rows=accepted + refused,
            examples=accepted,
            duration_s=watch.seconds,
            reason="the same files were read with the same options",
            metadata={"accepted": accepted, "rejected": refused},
        )
    reading = corpus.read()
    context.warehouse.write(
        {examples: reading.examples, rejected: reading.rejected},
        mark,
        {"xlwh.reader": corpus.reader.name, "xlwh.source": "\n".join(identity)},
    )
    _drop_other_splits(context, examples, rejected)
    reasons = reading.reasons()
    metadata: dict[str, object] = {
        "records": reading.records,
        "accepted": reading.examples.height,
        "rejected": reading.rejected.height,
        "left_out": reading.left_out,
        "other_languages": reading.elsewhere,
        "files": list(reading.files),
        "reasons": dict(list(reasons.items())[:_REASONS]),
        **reading.notes,
    }
    return StepResult(
        status="written",
        rows=reading.examples.height + reading.rejected.height,
        examples=reading.examples.height,
        duration_s=watch.seconds,
        reason=_remark(reading),
        metadata=metadata,
    )


def _remark(reading: corpora.Reading) -> str:
    """How many rows were refused and why most often; empty where none was."""
    if reading.rejected.is_empty():
        return ""
    reason, count = next(iter(reading.reasons().items()))
    return (
        f"{reading.rejected.height} of {reading.records} rows rejected, most often ({count}): {reason}; "
        "see rejected_rows"
    )


def _drop_other_splits(context: Context, *current: Slot) -> None:
    """Forget what was read when the study named another split: a dataset has one split at a time."""
    stale = [
        entry.slot
        for slot in current
        for entry in context.warehouse.entries(slot.table)
        if entry.slot.keys == slot.keys and entry.slot.part != slot.part
    ]
    if stale:
        context.warehouse.drop(stale)
