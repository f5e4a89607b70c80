"""From the rows of a dataset in several languages to the rows of `parallelism`.

The first language is compared with each other one. Where a row holds a text and its translation, the two halves of
the rows are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import polars as pl

from xlwh.corpora.base import Reading
from xlwh.corpora.parallelism.audit import Audit, audit
from xlwh.corpora.parallelism.sides import halves, sides
from xlwh.corpora.parallelism.verdict import FAULTS
from xlwh.store import schema

FEWEST = 8
"""Rows from which on it is no accident that most texts are the same in two languages."""


@dataclass(frozen=True)
class Compared:
    """What a study says of a dataset whose languages are compared."""

    split: str
    languages: tuple[str, ...]
    pivot: str | None
    """The language that every row is translated from, where each holds a text and its translation."""
    translations: bool
    """Whether the languages are meant to be translations by the dataset's format."""
    aligned: str
    """`unchecked` lets faults pass."""


def verdicts(dataset: str, compared: Compared, readings: Iterable[Reading]) -> pl.DataFrame:
    """Rows of `parallelism`, from all rows of the files of each of the languages, in their order."""
    unlike = (*FAULTS, "unrelated") if compared.aligned == "checked" else ()
    constants = {"dataset": dataset, "split": compared.split, "aligned": compared.aligned}
    audits = _against_first if compared.pivot is None else _within_rows
    rows = [
        {**row, **constants, "is_refused": row["verdict"] in unlike} for row in audits(compared, readings)
    ]
    return pl.DataFrame(rows, schema=schema("parallelism"))


def _against_first(compared: Compared, readings: Iterable[Reading]) -> Iterator[dict[str, object]]:
    first, records, seen = pl.DataFrame(), 0, dict[str, pl.DataFrame]()
    for language, reading in zip(compared.languages, readings, strict=True):
        texts = reading.examples.select("example_id", pl.col("text").hash(seed=0))
        if not seen:
            first, records = reading.examples, reading.records
        else:
            counts = (records, reading.records)
            source, target, ids, by_id = sides(first, reading.examples, counts)
            found = audit(source, target, by_id=by_id, translations=compared.translations)
            for earlier, others in seen.items():
                same = others.join(texts, on=["example_id", "text"]).height
                found = _unless_copied(found, same, min(others.height, texts.height), earlier)
            yield _row((next(iter(seen)), language), "id" if by_id else "row", counts, found, ids)
        seen[language] = texts


def _within_rows(compared: Compared, readings: Iterable[Reading]) -> Iterator[dict[str, object]]:
    pivot = str(compared.pivot)
    for language, reading in zip(compared.languages, readings, strict=True):
        source, target, ids = halves(reading.examples)
        # Both halves of a row are from one file: its author joined them, not we.
        one_file = len(reading.files) == 1
        found = audit(source, target, by_id=one_file, translations=compared.translations)
        same = reading.examples.filter(pl.col("text") == pl.col("text_pair")).height
        found = _unless_copied(found, same, reading.examples.height, pivot)
        counts = (reading.records, reading.records)
        yield _row((pivot, language), "pair" if one_file else "row", counts, found, ids)


def _unless_copied(found: Audit, same: int, pairs: int, other: str) -> Audit:
    """The audit, but a fault where most texts are those of another language: a file that was copied or named twice."""
    if found.verdict != "parallel" or pairs < FEWEST or 2 * same <= pairs:
        return found
    reason = f"{same} of {pairs} texts are those of `{other}`, so it is one language twice"
    return replace(found, verdict="differs", first_divergence=0, reason=reason)


def _row(
    languages: tuple[str, str], joined_by: str, records: tuple[int, int], found: Audit, ids: list[str]
) -> dict[str, object]:
    first = found.first_divergence
    return {
        **asdict(found),
        "source_language": languages[0],
        "target_language": languages[1],
        "joined_by": joined_by,
        "source_rows": records[0],
        "target_rows": records[1],
        "example_id": ids[first] if first is not None and first < len(ids) else None,
        "reason": found.reason or None,
    }
