"""What the steps share that make or read attributions method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.attribution.methods import Registered
from xlwh.errors import MissingDataError
from xlwh.steps.base import Context, Key
from xlwh.steps.models.evaluated import Corpus
from xlwh.steps.upstream import command


@dataclass(frozen=True)
class MethodJob:
    """One method on one dataset."""

    corpus: Corpus
    method: str
    registered: Registered
    parameters: Any
    fingerprint: str


Job = TypeVar("Job", bound=MethodJob)


def passes(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that one pass of the model serves: methods on the same dataset that share their function."""
    found: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        name = job.registered.function if job.registered.shared else job.method
        found.setdefault((job.corpus.dataset, name), []).append(job)
    return list(found.values())


class Stored:
    """The attributions that are stored of some targets, by one method."""

    def __init__(
        self, context: Context, model: str, corpus: Corpus, method: str, targets: pl.DataFrame
    ) -> None:
        """`targets` has the columns example_id and target."""
        self._model, self._corpus, self._method = model, corpus, method
        scanned = context.warehouse.scan(
            "token_attributions", model=model, language=corpus.language, dataset=corpus.dataset
        )
        keys = ("example_id", "target")
        found = (
            scanned.filter(pl.col("method") == method)
            .join(targets.lazy().select(keys), on=keys, how="semi")
            .sort(*keys, "position")
            .group_by(keys, maintain_order=True)
            .agg("attribution")
            .collect()
        )
        values = [scores.to_numpy().astype(np.float64) for scores in found["attribution"]]
        self._values: dict[tuple[str, ...], NDArray[np.float64]] = dict(
            zip(found.select(keys).rows(), values, strict=True)
        )

    def of(self, example_id: str, target: str, length: int) -> NDArray[np.float64]:
        """Attributions `[tokens]`; MissingDataError if there are none, or not of `length` tokens."""
        found = self._values.get((example_id, target))
        if found is None or len(found) != length:
            language = self._corpus.language
            raise MissingDataError(
                f"Example `{example_id}` of `{self._corpus.dataset}` in `{language}` has no `{self._method}` "
                f"attribution of `{target}` by `{self._model}`. "
                f"Run: {command('token_attributions', Key(self._model, language=language))}"
            )
        return found
