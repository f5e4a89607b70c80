"""Whether the languages of a dataset are translations of one another; and the check of every step that joins them.

The first language is compared with each other one, over all rows of the files. Where a row holds a text and its
translation, the two sides of the rows are compared. A fault is stored like every other verdict, so that it can be
queried; then it is refused, unless the study says `aligned = "unchecked"`. Languages that are unrelated, and are not
meant to be translations (tweets in six languages), are no fault of the dataset: only steps that join them by row are
refused, by `require_parallel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from xlwh import corpora
from xlwh.corpora.parallelism import FAULTS, Audit, audit, halves, sides
from xlwh.errors import CorpusError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.upstream import identity, required
from xlwh.store import Entry, Slot, fingerprint, schema

CODE_VERSION = "2"
FEWEST = 8
"""Rows from which on it is no accident that most texts are the same in two languages."""
CLOSE = 3
"""Rows within which several languages begin to differ at the same place: an estimate of it is a few rows off."""

Row = Mapping[str, object]


def run(context: Context, key: Key) -> StepResult:
    """Write `parallelism` of one dataset; CorpusError says at which row languages begin to differ."""
    dataset = str(key.dataset)
    languages = _languages(context, dataset)
    entries = [
        required(context, _examples_slot(context, dataset, language), Key(dataset=dataset, language=language))
        for language in languages
    ]
    slot = _slot(dataset)
    if len(languages) < 2 and corpora.source_side(context.study, dataset) is None:
        if context.warehouse.current(slot) is not None:
            context.warehouse.drop([slot])
        return not_applicable(f"Dataset `{dataset}` is in one language.")
    current, watch = _fingerprint(context, dataset, entries), Stopwatch()
    fresh = not context.force and context.warehouse.is_fresh(slot, current)
    if fresh:
        frame = context.warehouse.scan("parallelism", dataset=dataset).collect()
    else:
        audits = _audits(_files(context, dataset, languages), *_kind(context, dataset))
        frame = pl.DataFrame(_in_study(context, dataset, audits), schema=schema("parallelism"))
        context.warehouse.write({slot: frame}, current)
    refuse_faults(dataset, frame)
    if fresh:
        return StepResult("fresh", frame.height)
    shown = frame.select("target_language", "pairs", "evidence", "verdict", "odd_rows", "reason")
    return StepResult("written", frame.height, 0, watch.seconds, metadata={"by language": shown})


def refuse_faults(dataset: str, frame: pl.DataFrame) -> None:
    """CorpusError if rows of `parallelism` hold a fault that the study does not let pass."""
    faults = refused(frame)
    if faults.is_empty():
        return
    described = "; ".join(map(_described, faults.iter_rows(named=True)))
    places = faults["first_divergence"].drop_nulls()
    suspect = ""
    if 1 < faults.height == frame.height and len(places) and places.max() - places.min() <= CLOSE:  # type: ignore[operator]
        suspect = f" All differ from `{faults['source_language'][0]}` there: look at that file first."
    raise CorpusError(
        f"Dataset `{dataset}`: its languages are joined by row, but are not translations of each other: "
        f"{described}.{suspect} Fetch the files again, leave the language out of "
        f'`datasets.{dataset}.languages`, or, if this is meant, set `datasets.{dataset}.aligned = "unchecked"`. '
        f"See: xlwh sql \"from parallelism where dataset = '{dataset}'\""
    )


def refused(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `parallelism` that say that languages are not what they should be, whoever joins them."""
    return frame.filter(pl.col("verdict").is_in(FAULTS) & pl.col("is_refused"))


def require_parallel(context: Context, dataset: str, languages: Iterable[str]) -> None:
    """Refuse to join languages of a dataset that are not translations of each other; CorpusError says where.

    This goes by the stored audit of the files. Where none is up to date, the stored examples are audited instead.
    """
    unlike = not_parallel(context, dataset, languages)
    if unlike:
        described = "; ".join(map(_described, unlike))
        raise CorpusError(
            f"Dataset `{dataset}`: rows of different languages would be joined that are not translations of each other: "
            f"{described}. Leave the dataset out of what compares languages (or explain each language's own prediction), or, "
            f'if this is meant, set `datasets.{dataset}.aligned = "unchecked"`.'
        )


def refuse_differing(context: Context, dataset: str, languages: Iterable[str]) -> None:
    """As `require_parallel`, but unrelated languages pass: for steps that only show languages side by side."""
    if any(row["verdict"] in FAULTS for row in not_parallel(context, dataset, languages)):
        require_parallel(context, dataset, languages)


def not_parallel(context: Context, dataset: str, languages: Iterable[str]) -> list[Row]:
    """The rows of `parallelism` by which some of these languages of a dataset must not be joined."""
    wanted = set(languages)
    if len(wanted) < 2 or context.study.datasets[dataset].aligned == "unchecked":
        return []
    rows = _stored(context, dataset)
    if rows is None:
        rows = _of_stored_examples(context, dataset)
    # Each language is compared with the first one only: two that match it match each other.
    return [row for row in rows if row["is_refused"] and row["target_language"] in wanted]


def _stored(context: Context, dataset: str) -> list[Row] | None:
    """The stored audit of the files; None if there is none that is up to date."""
    entries = _entries(context, dataset)
    if None in entries.values():
        return None
    present = [entry for entry in entries.values() if entry is not None]
    # Asked as a fact: whether the audit is up to date says nothing of the step that joins the languages.
    entry = context.warehouse.current(_slot(dataset))
    if entry is None or entry.fingerprint != _fingerprint(context, dataset, present):
        return None
    return list(context.warehouse.scan("parallelism", dataset=dataset).collect().iter_rows(named=True))


def _of_stored_examples(context: Context, dataset: str) -> list[Row]:
    """An audit of the stored examples, of those languages that have some."""
    root = context.warehouse.root
    entries = _entries(context, dataset).items()
    files = tuple((language, root / entry.file) for language, entry in entries if entry is not None)
    return _in_study(context, dataset, _audits_of_files(files, *_kind(context, dataset)))


@dataclass(frozen=True)
class _Rows:
    """The examples of one language."""

    language: str
    examples: pl.DataFrame
    records: int | None = None
    """Rows of the files, refused ones included; None for stored examples, which may be a sample."""
    one_file: bool = False
    """Of translations: whether both sides of a row are from one file, so that its author joined them, not we."""


def _files(context: Context, dataset: str, languages: list[str]) -> Iterator[_Rows]:
    """All rows of the files."""
    for number, language in enumerate(languages):
        context.progress(f"{dataset}: comparing languages", number, len(languages))
        reading = corpora.read_all(context.study, dataset, language)
        yield _Rows(language, reading.examples, reading.records, len(reading.files) == 1)
    context.progress(f"{dataset}: comparing languages", len(languages), len(languages))


@lru_cache(maxsize=32)
def _audits_of_files(
    files: tuple[tuple[str, Path], ...], pivot: str | None, translations: bool
) -> tuple[Row, ...]:
    """Audits of stored files of `examples`; a file of the warehouse never changes."""
    rows = (_Rows(language, pl.read_parquet(path).sort("row_number")) for language, path in files)
    return tuple(_audits(rows, pivot, translations))


def _audits(languages: Iterable[_Rows], pivot: str | None, translations: bool) -> Iterator[Row]:
    """The columns of `parallelism` that come from the rows: the first language against each other one.

    `pivot`: each row holds a text in that language and its translation, and these are compared.
    """
    first: _Rows | None = None
    seen: dict[str, pl.DataFrame] = {}
    for rows in languages:
        if pivot is not None:
            a, b, ids = halves(rows.examples)
            found = audit(a, b, by_id=rows.one_file, translations=translations)
            same = rows.examples.filter(pl.col("text") == pl.col("text_pair")).height
            found = _unless_copied(found, same, rows.examples.height, pivot)
            joined_by = "pair" if rows.one_file else "row"
            yield _row((pivot, rows.language), joined_by, (_count(rows), _count(rows)), found, ids)
            continue
        texts = rows.examples.select("example_id", pl.col("text").hash(seed=0))
        if first is None:
            first = rows
        else:
            whole = first.records is not None and rows.records is not None
            counts = (_count(first), _count(rows))
            # A row that a sample left out is no gap: samples are joined by id, whatever the ids are.
            a, b, ids, by_id = sides(first.examples, rows.examples, counts if whole else None)
            found = audit(a, b, by_id=by_id, translations=translations)
            for earlier, others in seen.items():
                same = others.join(texts, on=["example_id", "text"]).height
                found = _unless_copied(found, same, min(others.height, texts.height), earlier)
            yield _row((first.language, rows.language), "id" if by_id else "row", counts, found, ids)
        seen[rows.language] = texts


def _unless_copied(found: Audit, same: int, pairs: int, other: str) -> Audit:
    """The audit, but a fault where most texts are those of another language: a file that was copied or named twice."""
    if found.verdict != "parallel" or pairs < FEWEST or 2 * same <= pairs:
        return found
    reason = f"{same} of {pairs} texts are those of `{other}`, so it is one language twice"
    return replace(found, verdict="differs", first_divergence=0, reason=reason)


def _count(rows: _Rows) -> int:
    return rows.examples.height if rows.records is None else rows.records


def _row(
    languages: tuple[str, str], joined_by: str, records: tuple[int, int], found: Audit, ids: list[str]
) -> Row:
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


def _in_study(context: Context, dataset: str, audits: Iterable[Row]) -> list[Row]:
    """Complete rows of `parallelism`: with what the study says of the dataset, and whether it lets them pass."""
    settings = context.study.datasets[dataset]
    constants = {"dataset": dataset, "split": settings.split, "aligned": settings.aligned}
    unlike = (*FAULTS, "unrelated") if settings.aligned == "checked" else ()
    return [{**row, **constants, "is_refused": row["verdict"] in unlike} for row in audits]


def _described(row: Row) -> str:
    place = f" from row {row['first_divergence']} on" if row["first_divergence"] is not None else ""
    name = f" (id {row['example_id']})" if row["example_id"] is not None else ""
    return f"`{row['target_language']}` differs from `{row['source_language']}`{place}{name}: {row['reason']}"


def _kind(context: Context, dataset: str) -> tuple[str | None, bool]:
    """The language that every row is translated from, if any, and whether the languages are meant to be translations."""
    return corpora.source_side(context.study, dataset), corpora.is_of_translations(context.study, dataset)


def _languages(context: Context, dataset: str) -> list[str]:
    """Languages that have rows of the dataset."""
    study = context.study
    return [
        language
        for language in study.dataset_languages(dataset)
        if not corpora.inapplicable(study, dataset, language)
    ]


def _entries(context: Context, dataset: str) -> dict[str, Entry | None]:
    """The stored examples of each language that has rows of the dataset; None where they are not stored yet."""
    return {
        language: context.warehouse.current(_examples_slot(context, dataset, language))
        for language in _languages(context, dataset)
    }


def _examples_slot(context: Context, dataset: str, language: str) -> Slot:
    return Slot("examples", (dataset, language), context.study.datasets[dataset].split)


def _slot(dataset: str) -> Slot:
    return Slot("parallelism", (dataset,))


def _fingerprint(context: Context, dataset: str, examples: Iterable[Entry]) -> str:
    # Files, options, languages and split are in the fingerprints of the examples.
    parameters = {"aligned": context.study.datasets[dataset].aligned}
    return fingerprint("parallelism", CODE_VERSION, parameters, map(identity, examples))
