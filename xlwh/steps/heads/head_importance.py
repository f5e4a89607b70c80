"""Value heads by gradients and by what their attention looks like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
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
    max_examples: int | None
    seed: int | None


class _HeadImportance(Whole):
    version = "1"
    libraries = game.LIBRARIES

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        heads = game.head_settings(partition)
        corpora = game.valued_corpora(partition, heads)
        if not heads.importance:
            raise NotApplicable("The study asks for no other measures of importance.")
        params = _Params(heads.importance, heads.max_examples, game.seed_of(partition, heads))
        use = game.use_of(partition)
        for corpus in corpora:
            slot = Slot("head_importance", (partition.model, partition.language), corpus.dataset)
            yield Job({"head_importance": slot}, params, (corpus.entry,), use, name=corpus.dataset)

    def make(self, work: Work, job: Job) -> Frames:
        """A row per method and head: the mean over the valued examples."""
        import numpy as np

        params: _Params = job.params
        work.progress(f"{job.name}: importance", 0, 1)
        examples = game.valued_examples(work.scan(job, "examples"), params.max_examples, params.seed)
        work.examples += examples.height
        if examples.is_empty():
            return {"head_importance": pl.DataFrame(schema=schema("head_importance"))}
        loaded = work.load(job, "heads")
        if not all(method.startswith("gradient") for method in params.methods):
            work.load(job, "attention_weights")
        _, encoded, gold = game.game_of(job, loaded, examples, ("head",))
        weights = gold.weights / gold.weights.sum()
        keys_of = examples.select(
            "dataset", "split", "language", model=pl.lit(loaded.key), unit=pl.lit("head")
        )[:1]
        parts = []
        for method, values in _measures(loaded, params.methods, encoded, gold).items():
            mean = np.tensordot(weights, values, axes=1)
            sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(mean.shape, np.nan)
            layer, head = np.indices(mean.shape)
            values_of = {
                "layer": layer.ravel(),
                "head": head.ravel(),
                "value": mean.ravel(),
                "sd": pl.Series(sd.ravel()).fill_nan(None),
            }
            keys = keys_of.with_columns(method=pl.lit(method), num_examples=len(values))
            parts.append(keys.join(pl.DataFrame(values_of), how="cross"))
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
