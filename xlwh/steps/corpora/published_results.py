"""The numbers printed in the papers, so that measured ones can be joined with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xlwh import published
from xlwh.steps.job import Frames, Job, Stored
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


class _PublishedResults(Whole):
    version = "2"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job, from the package's data files."""
        yield Job({"published_results": Slot("published_results")}, files=(published.digest(),))

    def make(self, work: Work, job: Job) -> Frames:
        """The rows of those files."""
        return {"published_results": published.load()}

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Numbers by paper."""
        papers = rows["published_results"].collect()["paper"].value_counts(sort=True)
        return {"papers": dict(papers.iter_rows())}


STEP = _PublishedResults()
