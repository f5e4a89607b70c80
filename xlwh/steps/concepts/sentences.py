"""The texts of one language that concepts are made from: whole datasets, or one side of translations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from xlwh.corpora import inapplicable
from xlwh.errors import MissingDataError
from xlwh.steps.base import Context, Key
from xlwh.steps.upstream import identity, required
from xlwh.store import Entry, Slot

CHUNK = 2_000
"""Examples worked on at once: the bound on memory."""


@dataclass(frozen=True)
class Sentences:
    """One dataset in one language."""

    dataset: str
    split: str
    language: str
    inputs: tuple[str, ...]
    """Identities of what it was read from, for fingerprints."""
    rows: int
    """Examples."""
    frame: pl.LazyFrame
    """Columns of `examples`; of translations only this language's side, as `text`."""
    segment: int = 0
    """What `text` is in `examples`: 0 the first text, 1 the second, as of translations into this language."""

    def chunks(self) -> Iterator[pl.DataFrame]:
        """The examples in their order, in parts of about CHUNK rows, read as they are needed."""
        for batch in self.frame.collect_batches(chunk_size=CHUNK, maintain_order=True, lazy=True):
            for start in range(0, batch.height, CHUNK):
                yield batch[start : start + CHUNK]


def sentences(context: Context, language: str) -> list[Sentences]:
    """What the study's concepts are made from in a language; MissingDataError if it has not been read yet."""
    concepts = context.study.concepts
    found = []
    for dataset in concepts.datasets if concepts is not None else ():
        if language in context.study.dataset_languages(dataset):
            texts = _texts(context, dataset, language)
            if texts is not None:
                found.append(texts)
    return found


def _texts(context: Context, dataset: str, language: str) -> Sentences | None:
    split = context.study.datasets[dataset].split
    slot = Slot("examples", (dataset, language), split)
    if context.warehouse.current(slot) is None and inapplicable(context.study, dataset, language):
        return _source_side(context, dataset, language)
    entry = required(context, slot, Key(dataset=dataset, language=language))
    frame = _scan(context, entry)
    translated = _is_translation(frame)
    if translated:
        frame = frame.with_columns(text=pl.col("text_pair"), text_pair=pl.lit(None, pl.String))
    return Sentences(dataset, split, language, (identity(entry),), entry.rows, frame, int(translated))


def _source_side(context: Context, dataset: str, language: str) -> Sentences | None:
    """The language that a dataset's translations are from, out of the partitions of the languages they are into.

    Of translations into several languages each source text counts once: that of the first language, by name, as in
    the view `example_texts`.
    """
    split = context.study.datasets[dataset].split
    entries = []
    for other in sorted(context.study.dataset_languages(dataset)):
        if not inapplicable(context.study, dataset, other):
            entries.append(
                required(context, Slot("examples", (dataset, other), split), Key(None, dataset, other))
            )
    frames = [_scan(context, entry) for entry in entries]
    if not frames:
        return None
    if not all(_is_translation(frame) for frame in frames):
        raise MissingDataError(f"Dataset `{dataset}` has no texts in `{language}`.")
    rows = max(entry.rows for entry in entries)
    side = pl.concat(frames).unique("example_id", keep="first", maintain_order=True)
    side = side.with_columns(language=pl.lit(language), text_pair=pl.lit(None, pl.String))
    return Sentences(dataset, split, language, tuple(map(identity, entries)), rows, side)


def _scan(context: Context, entry: Entry) -> pl.LazyFrame:
    dataset, language = entry.slot.keys
    split = entry.slot.part
    return context.warehouse.scan("examples", dataset=dataset, language=language, split=split)


def _is_translation(frame: pl.LazyFrame) -> bool:
    first = frame.select("task").head(1).collect()
    return bool(first.height) and first.item() == "translation"
