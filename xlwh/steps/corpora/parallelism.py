"""Whether the languages of a dataset are translations of one another; and the check of every step that joins them.

All rows of the files are compared. A fault is stored like every other verdict, so that it can be queried; then it is
refused, unless the study says `aligned = "unchecked"`. Languages that are unrelated, and are not meant to be
translations (tweets in six languages), are no fault of the dataset: only steps that join them by row are refused, by
`require_parallel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial

from xlwh import corpora
from xlwh.corpora.parallelism import FAULTS, Compared, refuse_faults, refuse_joining, verdicts
from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.job import Frames, Job, Stored
from xlwh.steps.plan import command
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot
from xlwh.store.reading import StoredFile


class _Parallelism(Whole):
    version = "2"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job, of the examples of all languages that have rows of the dataset; of those that are read already."""
        study, dataset = partition.study, partition.dataset
        settings, pivot = study.datasets[dataset], corpora.source_side(study, dataset)
        examples = {
            language: Slot("examples", (dataset, language), settings.split)
            for language in study.dataset_languages(dataset)
            if not corpora.inapplicable(study, dataset, language)
        }
        fewest = 2 if pivot is None else 1
        if len(examples) < fewest:
            raise NotApplicable(f"Dataset `{dataset}` is in one language.")
        there = {language: partition.current(slot) for language, slot in examples.items()}
        found = {language: entry for language, entry in there.items() if entry is not None}
        missing = [language for language in there if language not in found]
        if len(found) < fewest:
            partition.required(examples[missing[0]])
        if missing:
            partition.remark(f"without {', '.join(missing)}, of which the examples are still to be read")
        translations = corpora.is_of_translations(study, dataset)
        yield Job(
            {"parallelism": Slot("parallelism", (dataset,))},
            Compared(settings.split, tuple(found), pivot, translations, settings.aligned),
            tuple(found.values()),
            name=dataset,
            # The examples may be a part of the rows of the files.
            tools=partial(corpora.read_all, study, dataset),
        )

    def make(self, work: Work, job: Job) -> Frames:
        """The verdict of every pair of languages."""

        def readings() -> Iterator[corpora.Reading]:
            what, languages = f"{job.name}: comparing languages", job.params.languages
            for number, language in enumerate(languages):
                work.progress(what, number, len(languages))
                yield job.tools(language)
            work.progress(what, len(languages), len(languages))

        return {"parallelism": verdicts(job.name, job.params, readings())}

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """The verdicts."""
        columns = ("target_language", "pairs", "evidence", "verdict", "odd_rows", "reason")
        return {"by language": rows["parallelism"].select(columns).collect()}

    def judge(self, job: Job, rows: Stored) -> None:
        """CorpusError says at which row languages begin to differ."""
        refuse_faults(job.name, rows["parallelism"].collect())


STEP = _Parallelism()


def require_parallel(partition: Partition, dataset: str, languages: Iterable[str]) -> None:
    """Refuse to join languages of a dataset that are not translations of each other; CorpusError says where.

    MissingDataError where they were not compared yet.
    """
    refuse_joining(dataset, not_parallel(partition, dataset, languages))


def refuse_differing(partition: Partition, dataset: str, languages: Iterable[str]) -> None:
    """As `require_parallel`, but unrelated languages pass: for steps that only show languages side by side."""
    unlike = not_parallel(partition, dataset, languages)
    if any(row["verdict"] in FAULTS for row in unlike):
        refuse_joining(dataset, unlike)


def not_parallel(partition: Partition, dataset: str, languages: Iterable[str]) -> list[Mapping[str, object]]:
    """The rows of `parallelism` by which some of these languages of a dataset must not be joined."""
    wanted = set(languages)
    if len(wanted) < 2 or partition.study.datasets[dataset].aligned == "unchecked":
        return []
    entry = partition.required(Slot("parallelism", (dataset,)))
    compared, refused = _verdicts(partition.file(entry))
    lacking = wanted - compared
    if lacking:
        key = Key(dataset=dataset)
        raise MissingDataError(
            f"`{min(lacking)}` of dataset `{dataset}` was not yet compared with the other languages. Run: "
            f"{command('examples', Key(dataset=dataset, language=min(lacking)))}, then: {command('parallelism', key)}"
        )
    # Each language is compared with the first one only: two that match it match each other.
    return [row for row in refused if row["target_language"] in wanted]


@lru_cache(maxsize=4096)
def _verdicts(file: StoredFile) -> tuple[frozenset[str], tuple[Mapping[str, object], ...]]:
    """The languages that were compared, and the rows that are refused. A file of the warehouse never changes."""
    rows = file.scan().collect()
    compared = frozenset[str]((*rows["source_language"], *rows["target_language"]))
    return compared, tuple(rows.filter("is_refused").iter_rows(named=True))
