"""Examples and rejected rows of one (dataset, language): read from the files that the study names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xlwh import corpora
from xlwh.errors import StoreError, StudyError
from xlwh.steps.job import Frames, Job, recipe_of
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, fingerprint
from xlwh.store.reading import StoredFile

CONTENT_VERSION = 2
"""In place of the contract's version in `content`: a new column of `examples` is no other content."""


@dataclass(frozen=True)
class _Params:
    options: Mapping[str, object]
    """Everything that the study says of how the files are read."""


class _Examples(Whole):
    version = "1"
    counted = ("examples", "rejected_rows")

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job; CorpusError where a file is missing."""
        key, study = partition.key, partition.study
        if key.dataset is None or key.language is None:
            raise StudyError(f"examples are partitioned by dataset and language; got {key}")
        if reason := corpora.inapplicable(study, key.dataset, key.language):
            raise NotApplicable(reason)
        corpus = corpora.locate(study, key.dataset, key.language)
        slots = {
            table: Slot(table, (key.dataset, key.language), corpus.request.split) for table in self.counted
        }
        yield Job(slots, _Params(corpus.parameters()), files=tuple(corpus.identity()), tools=corpus)

    def make(self, work: Work, job: Job) -> Frames:
        """Accepted and rejected rows; CorpusError where a file is not of its format at all."""
        reading = job.tools.read()
        work.provenance = {"xlwh.reader": job.tools.reader.name, "xlwh.source": "\n".join(job.files)}
        work.examples += reading.examples.height
        work.told.update(reading.facts())
        work.remark(reading.complaint())
        return {"examples": reading.examples, "rejected_rows": reading.rejected}


STEP = _Examples()


def content(file: StoredFile) -> str:
    """What the rows of a `file` of `examples` were read from, and how: 32 hex digits.

    It outlasts other fingerprints: what is trained on the rows is named by it. A file without a recipe was written
    under this very number.
    """
    try:
        made = recipe_of(file.metadata())
        if made is None:
            return file.entry.fingerprint
        options = made.params["options"]
        return fingerprint("examples", made.version, options, made.files, contract_version=CONTENT_VERSION)
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"{file.file} of {file.entry.slot} does not say what it was made from ({error!r}). Run: xlwh repair"
        ) from None
