"""Which class of each example is explained: the one definition for whatever attributes, perturbs or compares classes."""

from __future__ import annotations

import polars as pl

from xlwh.corpora import sample
from xlwh.study import Study


def explained(predictions: pl.DataFrame, policy: str, limit: int | None, seed: int | None) -> pl.DataFrame:
    """The classes that the predictions of one language choose: `split`, `example_id`, `target`.

    `predictions` has `split`, `example_id`, `label` and `predicted`. The gold class under the policy `gold`, else the
    predicted one; examples without such a class have no row. Of a `part` of the examples.
    """
    chosen = part(predictions, limit, seed)
    column = "label" if policy == "gold" else "predicted"
    return chosen.select("split", "example_id", target=column).drop_nulls("target")


def part(examples: pl.DataFrame, limit: int | None, seed: int | None) -> pl.DataFrame:
    """At most `limit` examples, drawn by `seed`; None is all. A smaller part lies within a larger one."""
    if limit is None:
        return examples
    assert seed is not None
    return sample(examples, limit, seed)


def num_explained_own(study: Study) -> int | None:
    """Examples whose own class is explained for faithfulness: those that it perturbs; None is all."""
    faithfulness = study.faithfulness
    limits = (study.attribution.max_examples, faithfulness.max_examples if faithfulness else None)
    return min((limit for limit in limits if limit is not None), default=None)
