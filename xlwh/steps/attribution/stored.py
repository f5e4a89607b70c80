"""What the steps share that read attributions method by method."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.errors import MissingDataError
from xlwh.steps.job import Job
from xlwh.steps.work import Work

_KEYS = ("example_id", "target")


class Stored:
    """The attributions of some targets by one method, which is a job's `name`."""

    def __init__(self, work: Work, job: Job, targets: pl.DataFrame) -> None:
        """`targets` has the columns example_id and target."""
        self._job = job
        found = (
            work.scan(job, "token_attributions")
            .join(targets.lazy().select(_KEYS), on=_KEYS, how="semi")
            .sort(*_KEYS, "position")
            .group_by(_KEYS, maintain_order=True)
            .agg("attribution")
            .collect()
        )
        values = [scores.to_numpy().astype(np.float64) for scores in found["attribution"]]
        self._values: dict[tuple[str, ...], NDArray[np.float64]] = dict(
            zip(found.select(_KEYS).rows(), values, strict=True)
        )

    def of(self, example_id: str, target: str, length: int) -> NDArray[np.float64]:
        """Attributions `[tokens]`; MissingDataError if there are none, or not of `length` tokens."""
        found = self._values.get((example_id, target))
        if found is None or len(found) != length:
            slot = next(entry.slot for entry in self._job.reads if entry.slot.table == "token_attributions")
            raise MissingDataError(
                f"{slot}: example `{example_id}` has no attribution of `{target}`, or not one of {length} sub-tokens. "
                "Run: xlwh materialize attributions --force"
            )
        return found
