"""Whether the languages of a dataset are translations of one another, from all rows of its files; and who may join them.

The first language is compared with each other one; of translations, the two sides of each row. What differs is stored
like everything else, so that it can be looked at, and then refused, unless the study says `aligned = "unchecked"`.
Languages that have nothing to do with each other and are not meant to (tweets in six languages) are refused only to
who joins them, by `require_parallel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from xlwh import corpora
from xlwh.corpora.parallelism import FAULTS, Audit, Side, audit, halves, sides
from xlwh.errors import CorpusError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.upstream import identity, required
from xlwh.store import Entry, Slot, fingerprint, schema

CODE_VERSION = "2"
FEWEST = 8
"""Rows from which on it is no accident that most texts are the same in two languages."""
CLOSE = 3
"""Rows by which the place of a difference may be off."""

Row = Mapping[str, object]


def run(context: Context, key: Key) -> StepResult:
    """Write `parallelism` of one dataset. Raises `CorpusError` with the row where languages begin to differ."""
    dataset = str(key.dataset)
    languages = _languages(context, dataset)
    entries = [
        required(context, _examples_slot(context, dataset, language), Key(dataset=dataset, language=language))
        for language in languages
    ]
    slot = _slot(dataset)
    if len(languages) < 2 and not _pivot(context, dataset):
        _forget(context, slot)
        return not_applicable(f"Dataset `{dataset}` is in one language.")
    mark, watch = _mark(context, dataset, entries), Stopwatch()
    if context.force or not context.warehouse.is_fresh(slot, mark):
        rows = list(_rows(context, dataset, languages))
        frame = pl.DataFrame(rows, schema=schema("parallelism"))
        context.warehouse.write({slot: frame}, mark)
        status = "written"
    else:
        frame, status = context.warehouse.scan("parallelism", dataset=dataset).collect(), "fresh"
    refuse_faults(dataset, frame)
    if status == "fresh":
        return StepResult("fresh", frame.height)
    shown = frame.select("target_language", "pairs", "evidence", "verdict", "odd_rows", "reason")
    return StepResult("written", frame.height, 0, watch.seconds, metadata={"by language": shown})


def refuse_faults(dataset: str, frame: pl.DataFrame) -> None:
    """`CorpusError` for rows of `parallelism` that say that languages are not what they should be."""
    faults = refused(frame)
    if faults.is_empty():
        return
    told = [_told(row) for row in faults.iter_rows(named=True)]
    places = faults["first_divergence"].drop_nulls()
    suspect = ""
    if 1 < faults.height == frame.height and len(places) and places.max() - places.min() <= CLOSE:  # type: ignore[operator]
        suspect = f" All differ from `{faults['source_language'][0]}` there: look at that file first."
    raise CorpusError(
        f"Dataset `{dataset}`: its languages are joined by row, but are not translations of each other: "
        f"{'; '.join(told)}.{suspect} Fetch the files again, leave the language out of "
        f'`datasets.{dataset}.languages`, or, if this is meant, set `datasets.{dataset}.aligned = "unchecked"`. '
        f"See: xlwh sql \"from parallelism where dataset = '{dataset}'\""
    )


def refused(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `parallelism` that say that languages are not what they should be, whoever joins them."""
    return frame.filter(pl.col("verdict").is_in(FAULTS) & pl.col("is_refused"))


def require_parallel(context: Context, dataset: str, languages: Iterable[str]) -> None:
    """Refuse to join languages of a dataset that are not translations of each other; `CorpusError` says where.

    Goes by the stored audit of the files, or, where there is none that is up to date, by the rows that are stored.
    """
    unlike = not_parallel(context, dataset, languages)
    if unlike:
        told = "; ".join(_told(row) for row in unlike)
        raise CorpusError(
            f"Dataset `{dataset}`: rows of different languages would be joined that are not translations of each other: "
            f"{told}. Leave the dataset out of what compares languages (or explain each language's own prediction), or, "
            f'if this is meant, set `datasets.{dataset}.aligned = "unchecked"`.'
        )


def refuse_differing(context: Context, dataset: str, languages: Iterable[str]) -> None:
    """The same, but languages that are not meant to be translations may pass: of who only shows them side by side."""
    if any(row["verdict"] in FAULTS for row in not_parallel(context, dataset, languages)):
        require_parallel(context, dataset, languages)


def not_parallel(context: Context, dataset: str, languages: Iterable[str]) -> list[Row]:
    """Rows of `parallelism`, of some languages of a dataset, which say that they must not be joined."""
    wanted = set(languages)
    if len(wanted) < 2 or context.study.datasets[dataset].aligned == "unchecked":
        return []
    rows = _stored(context, dataset)
    if rows is None:
        rows = _of_stored_examples(context, dataset)
    # Two languages that are both like a third are like each other.
    return [
        row
        for row in rows
        if row["is_refused"]
        and {row["target_language"], row["source_language"]} & wanted
        and row["target_language"] in wanted
    ]


def _stored(context: Context, dataset: str) -> list[Row] | None:
    entries = [
        context.warehouse.current(_examples_slot(context, dataset, language))
        for language in _languages(context, dataset)
    ]
    present = [entry for entry in entries if entry is not None]
    if len(present) < len(entries):
        return None
    # Asked as a fact: whether the audit is up to date says nothing of the step that joins the languages.
    entry = context.warehouse.current(_slot(dataset))
    if entry is None or entry.fingerprint != _mark(context, dataset, present):
        return None
    return list(context.warehouse.scan("parallelism", dataset=dataset).collect().iter_rows(named=True))


def _of_stored_examples(context: Context, dataset: str) -> list[Row]:
    found = {}
    for language in _languages(context, dataset):
        entry = context.warehouse.current(_examples_slot(context, dataset, language))
        if entry is not None:
            found[language] = context.warehouse.root / entry.file
    files = tuple(found.items())
    declared = corpora.is_of_translations(context.study, dataset)
    rows = _audited_files(files, _pivot(context, dataset), declared)
    return [
        {**row, "dataset": dataset, "is_refused": row["verdict"] in (*FAULTS, "unrelated")} for row in rows
    ]


@lru_cache(maxsize=32)
def _audited_files(files: tuple[tuple[str, Path], ...], pivot: str, declared: bool) -> tuple[Row, ...]:
    """Audits of files of `examples`, which never change."""
    frames = {language: pl.read_parquet(path).sort("row_number") for language, path in files}
    if pivot:
        return tuple(
            _row(pivot, language, "pair", (frame.height,) * 2, *_halved(frame, False))
            for language, frame in frames.items()
        )
    first, *others = frames or {"": pl.DataFrame()}
    made = []
    for other in others:
        # What `max_examples` left out is no gap: by id, whatever the ids are.
        source, target = frames[first], frames[other]
        a, b, ids, _ = sides(source, target, (0, 0))
        found = _refuse_copy(audit(a, b, by_id=True, translations=declared), a, b, first)
        made.append(_row(first, other, "id", (source.height, target.height), found, ids))
    return tuple(made)


def _rows(context: Context, dataset: str, languages: list[str]) -> Iterator[Row]:
    """Rows of the table, from all rows of the files."""
    settings = context.study.datasets[dataset]
    declared = corpora.is_of_translations(context.study, dataset)
    pivot = _pivot(context, dataset)
    first: corpora.Reading | None = None
    seen: dict[str, pl.DataFrame] = {}
    for number, language in enumerate(languages):
        context.progress(f"{dataset}: comparing languages", number, len(languages))
        reading = corpora.read_all(context.study, dataset, language)
        records = reading.records
        if pivot:
            # Of two files the rows are joined by us, of one by whoever made it.
            one_file = len(reading.files) == 1
            row = _row(
                pivot,
                language,
                "pair" if one_file else "row",
                (records, records),
                *_halved(reading.examples, one_file),
            )
        elif first is None:
            first, seen[language] = reading, _hashed(reading.examples)
            continue
        else:
            a, b, ids, by_id = sides(first.examples, reading.examples, (first.records, records))
            found = _refuse_copy(audit(a, b, by_id=by_id, translations=declared), a, b, languages[0])
            hashed = _hashed(reading.examples)
            for earlier, others in list(seen.items())[1:]:
                same = others.join(hashed, on=["example_id", "text"]).height
                if found.verdict == "parallel":
                    found = _refuse_same(found, same, min(others.height, hashed.height), earlier)
            seen[language] = hashed
            row = _row(languages[0], language, "id" if by_id else "row", (first.records, records), found, ids)
        refused = row["verdict"] in (*FAULTS, "unrelated") and settings.aligned == "checked"
        yield {
            **row,
            "dataset": dataset,
            "split": settings.split,
            "aligned": settings.aligned,
            "is_refused": refused,
        }
    context.progress(f"{dataset}: comparing languages", len(languages), len(languages))


def _hashed(frame: pl.DataFrame) -> pl.DataFrame:
    """What is needed to find out whether a later language has the same texts: a hash of each."""
    return frame.select("example_id", pl.col("text").hash(seed=0))


def _refuse_copy(found: Audit, a: Side, b: Side, source: str) -> Audit:
    """The audit, but a fault where the target's texts are the source's own: a file that was copied or named twice."""
    if found.verdict != "parallel":
        return found
    same = sum(x is not None and x == y for x, y in zip(a.texts[0], b.texts[0], strict=False))
    return _refuse_same(found, same, found.pairs, source)


def _refuse_same(found: Audit, same: int, pairs: int, other: str) -> Audit:
    if pairs < FEWEST or 2 * same <= pairs:
        return found
    reason = f"{same} of {pairs} texts are those of `{other}`, so it is one language twice"
    return replace(found, verdict="differs", first_divergence=0, reason=reason)


def _halved(frame: pl.DataFrame, one_file: bool) -> tuple[Audit, list[str]]:
    a, b, ids = halves(frame)
    return audit(a, b, by_id=one_file), ids


def _row(
    source: str, target: str, joined_by: str, rows: tuple[int, int], found: Audit, ids: list[str]
) -> Row:
    first = found.first_divergence
    return {
        "source_language": source,
        "target_language": target,
        "joined_by": joined_by,
        "source_rows": rows[0],
        "target_rows": rows[1],
        "pairs": found.pairs,
        "label_agreement": found.label_agreement,
        "pattern_agreement": found.pattern_agreement,
        "length_outliers": found.length_outliers,
        "shared_numbers": found.shared_numbers,
        "shared_words": found.shared_words,
        "evidence": found.evidence,
        "odd_rows": found.odd_rows,
        "verdict": found.verdict,
        "first_divergence": first,
        "example_id": ids[first] if first is not None and first < len(ids) else None,
        "reason": found.reason or None,
    }


def _told(row: Row) -> str:
    place = f" from row {row['first_divergence']} on" if row["first_divergence"] is not None else ""
    name = f" (id {row['example_id']})" if row["example_id"] is not None else ""
    return f"`{row['target_language']}` differs from `{row['source_language']}`{place}{name}: {row['reason']}"


def _languages(context: Context, dataset: str) -> list[str]:
    """Languages that have rows of the dataset."""
    study = context.study
    return [
        language
        for language in study.dataset_languages(dataset)
        if not corpora.inapplicable(study, dataset, language)
    ]


def _pivot(context: Context, dataset: str) -> str:
    """The language of the first side, where each row holds both sides of a translation; empty elsewhere."""
    settings = context.study.datasets[dataset]
    return str(settings.options.get("source", "en")) if settings.reader == "parallel" else ""


def _examples_slot(context: Context, dataset: str, language: str) -> Slot:
    return Slot("examples", (dataset, language), context.study.datasets[dataset].split)


def _slot(dataset: str) -> Slot:
    return Slot("parallelism", (dataset,))


def _mark(context: Context, dataset: str, entries: Iterable[Entry]) -> str:
    # What the rows are of is in the fingerprints of the examples: files, options, language, split.
    parameters = {"aligned": context.study.datasets[dataset].aligned}
    return fingerprint("parallelism", CODE_VERSION, parameters, map(identity, entries))


def _forget(context: Context, slot: Slot) -> None:
    if context.warehouse.current(slot) is not None:
        context.warehouse.drop([slot])
