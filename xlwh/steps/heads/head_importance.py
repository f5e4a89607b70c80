"""Value heads by gradients and by what their attention looks like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.definition import Frames, Whole
from xlwh.steps.heads.game import (
    LIBRARIES,
    Valued,
    game_of,
    head_settings,
    use_of,
    valued_corpora,
    valued_on,
)
from xlwh.steps.job import Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.runner import Work
from xlwh.store import Slot, schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xlwh.heads.scores import Gold
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded


@dataclass(frozen=True)
class _Params:
    methods: tuple[str, ...]
    valued: Valued


class _HeadImportance(Whole):
    version = "1"
    libraries = LIBRARIES

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        heads = head_settings(partition)
        corpora = valued_corpora(partition, heads)
        if not heads.importance:
            raise NotApplicable("The study asks for no other measures of importance.")
        for corpus in corpora:
            yield Job(
                {
                    "head_importance": Slot(
                        "head_importance", (partition.model, partition.language), corpus.dataset
                    )
                },
                _Params(heads.importance, valued_on(partition, heads)),
                (corpus.entry,),
                use_of(partition),
                name=corpus.dataset,
            )

    def make(self, work: Work, job: Job) -> Frames:
        """A row per method and head: the mean over the valued examples."""
        import numpy as np

        methods = job.params.methods
        work.progress(f"{job.name}: importance", 0, 1)
        examples = job.params.valued.of(work.scan(job, "examples"))
        work.examples += examples.height
        if examples.is_empty():
            return {"head_importance": pl.DataFrame(schema=schema("head_importance"))}
        loaded = work.load(job, "heads")
        if not all(method.startswith("gradient") for method in methods):
            work.load(job, "attention_weights")
        _, encoded, gold = game_of(job, loaded, examples, ("head",))
        weights = gold.weights / gold.weights.sum()
        parts = []
        for method, values in _measures(loaded, methods, encoded, gold).items():
            mean = np.tensordot(weights, values, axes=1)
            sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(mean.shape, np.nan)
            layer, head = np.indices(mean.shape)
            parts.append(
                examples.select("dataset", "split", "language")
                .head(1)
                .join(
                    pl.DataFrame(
                        {
                            "layer": layer.ravel(),
                            "head": head.ravel(),
                            "value": mean.ravel(),
                            "sd": pl.Series(sd.ravel()).fill_nan(None),
                        }
                    ),
                    how="cross",
                )
                .with_columns(
                    model=pl.lit(loaded.key),
                    method=pl.lit(method),
                    unit=pl.lit("head"),
                    num_examples=pl.lit(len(values)),
                )
            )
        return {"head_importance": pl.concat(parts)}


STEP = _HeadImportance()


def _measures(
    loaded: LoadedModel, methods: tuple[str, ...], encoded: Encoded, gold: Gold
) -> dict[str, NDArray[np.float64]]:
    """Every measure that is asked for: `[examples, layers, heads]` each."""
    from xlwh.heads.importance import LOOKS, attention_looks, gradient_importance, layer_normalised

    found: dict[str, NDArray[np.float64]] = {}
    if any(method.startswith("gradient") for method in methods):
        gradients = gradient_importance(loaded, encoded, gold)
        found["gradient"], found["gradient_layer_norm"] = gradients, layer_normalised(gradients)
    looks = [method for method in methods if method in LOOKS]
    if looks:
        found |= attention_looks(loaded, encoded, looks)
    return {method: found[method] for method in methods}
