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
from functools import partial

import polars as pl

from xlwh import corpora
from xlwh.corpora.parallelism import FAULTS, Audit, audit, halves, sides
from xlwh.errors import CorpusError
from xlwh.steps.job import Frames, Job, Stored
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, schema

FEWEST = 8
"""Rows from which on it is no accident that most texts are the same in two languages."""
CLOSE = 3
"""Rows within which several languages begin to differ at the same place: an estimate of it is a few rows off."""

Row = Mapping[str, object]


@dataclass(frozen=True)
class _Params:
    split: str
    languages: tuple[str, ...]
    pivot: str | None
    """The language that every row is translated from, if any."""
    translations: bool
    """Whether the languages are meant to be translations by the dataset's format."""
    aligned: str


class _Parallelism(Whole):
    version = "2"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job, of the examples of all languages that have rows of the dataset."""
        study, dataset = partition.study, partition.dataset
        languages = [
            language
            for language in study.dataset_languages(dataset)
            if not corpora.inapplicable(study, dataset, language)
        ]
        settings, pivot = study.datasets[dataset], corpora.source_side(study, dataset)
        entries = [
            partition.required(Slot("examples", (dataset, language), settings.split))
            for language in languages
        ]
        if len(languages) < 2 and pivot is None:
            raise NotApplicable(f"Dataset `{dataset}` is in one language.")
        translations = corpora.is_of_translations(study, dataset)
        params = _Params(settings.split, tuple(languages), pivot, translations, settings.aligned)
        # All rows of the files are compared, of which the examples may be a part.
        readers = [partial(corpora.locate, study, dataset, language) for language in languages]
        yield Job({"parallelism": _slot(dataset)}, params, tuple(entries), name=dataset, tools=readers)

    def make(self, work: Work, job: Job) -> Frames:
        """The verdict of every pair of languages."""
        audits = _audits(_files(work, job), job.params.pivot, job.params.translations)
        rows = list(_in_study(job.name, job.params, audits))
        return {"parallelism": pl.DataFrame(rows, schema=schema("parallelism"))}

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """The verdicts."""
        columns = ("target_language", "pairs", "evidence", "verdict", "odd_rows", "reason")
        return {"by language": rows["parallelism"].select(columns).collect()}

    def judge(self, job: Job, rows: Stored) -> None:
        """CorpusError says at which row languages begin to differ."""
        refuse_faults(job.name, rows["parallelism"].collect())


STEP = _Parallelism()


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


def require_parallel(partition: Partition, dataset: str, languages: Iterable[str]) -> None:
    """Refuse to join languages of a dataset that are not translations of each other; CorpusError says where.

    MissingDataError where they were not compared yet.
    """
    unlike = not_parallel(partition, dataset, languages)
    if unlike:
        described = "; ".join(map(_described, unlike))
        raise CorpusError(
            f"Dataset `{dataset}`: rows of different languages would be joined that are not translations of each other: "
            f"{described}. Leave the dataset out of what compares languages (or explain each language's own prediction), or, "
            f'if this is meant, set `datasets.{dataset}.aligned = "unchecked"`.'
        )


def refuse_differing(partition: Partition, dataset: str, languages: Iterable[str]) -> None:
    """As `require_parallel`, but unrelated languages pass: for steps that only show languages side by side."""
    if any(row["verdict"] in FAULTS for row in not_parallel(partition, dataset, languages)):
        require_parallel(partition, dataset, languages)


def not_parallel(partition: Partition, dataset: str, languages: Iterable[str]) -> list[Row]:
    """The rows of `parallelism` by which some of these languages of a dataset must not be joined."""
    wanted = set(languages)
    if len(wanted) < 2 or partition.study.datasets[dataset].aligned == "unchecked":
        return []
    rows = partition.read(partition.required(_slot(dataset))).collect().iter_rows(named=True)
    # Each language is compared with the first one only: two that match it match each other.
    return [row for row in rows if row["is_refused"] and row["target_language"] in wanted]


@dataclass(frozen=True)
class _Rows:
    """The examples of one language."""

    language: str
    examples: pl.DataFrame
    records: int
    """Rows of the files, refused ones included."""
    one_file: bool
    """Of translations: whether both sides of a row are from one file, so that its author joined them, not we."""


def _files(work: Work, job: Job) -> Iterator[_Rows]:
    """All rows of the files, language by language."""
    for number, (language, locate) in enumerate(zip(job.params.languages, job.tools, strict=True)):
        work.progress(f"{job.name}: comparing languages", number, len(job.tools))
        corpus = locate()
        reading = corpus.reader.parse(corpus.request, corpus.documents)
        yield _Rows(language, reading.examples, reading.records, len(reading.files) == 1)
    work.progress(f"{job.name}: comparing languages", len(job.tools), len(job.tools))


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
            yield _row((pivot, rows.language), joined_by, (rows.records, rows.records), found, ids)
            continue
        texts = rows.examples.select("example_id", pl.col("text").hash(seed=0))
        if first is None:
            first = rows
        else:
            counts = (first.records, rows.records)
            a, b, ids, by_id = sides(first.examples, rows.examples, counts)
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


def _in_study(dataset: str, params: _Params, audits: Iterable[Row]) -> Iterator[Row]:
    """Complete rows of `parallelism`: with what the study says of the dataset, and whether it lets them pass."""
    constants = {"dataset": dataset, "split": params.split, "aligned": params.aligned}
    unlike = (*FAULTS, "unrelated") if params.aligned == "checked" else ()
    for row in audits:
        yield {**row, **constants, "is_refused": row["verdict"] in unlike}


def _described(row: Row) -> str:
    place = f" from row {row['first_divergence']} on" if row["first_divergence"] is not None else ""
    name = f" (id {row['example_id']})" if row["example_id"] is not None else ""
    return f"`{row['target_language']}` differs from `{row['source_language']}`{place}{name}: {row['reason']}"


def _slot(dataset: str) -> Slot:
    return Slot("parallelism", (dataset,))
