"""Refusals of languages that are not translations of one another, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from xlwh.corpora.parallelism.verdict import FAULTS
from xlwh.errors import CorpusError

CLOSE = 3
"""Rows within which several languages begin to differ at the same place: an estimate of it is a few rows off."""


def refused(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `parallelism` that say that languages are not what they should be, whoever joins them."""
    return frame.filter(pl.col("verdict").is_in(FAULTS) & pl.col("is_refused"))


def refuse_faults(dataset: str, frame: pl.DataFrame) -> None:
    """CorpusError if the rows of `parallelism` of a dataset hold a fault that the study does not let pass."""
    faults = refused(frame)
    if faults.is_empty():
        return
    places = faults["first_divergence"].drop_nulls().to_list()
    suspect = ""
    if 1 < faults.height == frame.height and places and max(places) - min(places) <= CLOSE:
        suspect = f" All differ from `{faults['source_language'][0]}` there: look at that file first."
    raise CorpusError(
        f"Dataset `{dataset}`: its languages are joined by row, but are not translations of each other: "
        f"{_described(faults.iter_rows(named=True))}.{suspect} Fetch the files again, leave the language out of "
        f'`datasets.{dataset}.languages`, or, if this is meant, set `datasets.{dataset}.aligned = "unchecked"`. '
        f"See: xlwh sql \"from parallelism where dataset = '{dataset}'\""
    )


def refuse_joining(dataset: str, unlike: Iterable[Mapping[str, object]]) -> None:
    """CorpusError if there are rows of `parallelism` by which languages of a dataset must not be joined."""
    if described := _described(unlike):
        raise CorpusError(
            f"Dataset `{dataset}`: rows of different languages would be joined that are not translations of each other: "
            f"{described}. Leave the dataset out of what compares languages (or explain each language's own prediction), or, "
            f'if this is meant, set `datasets.{dataset}.aligned = "unchecked"`.'
        )


def _described(rows: Iterable[Mapping[str, object]]) -> str:
    told = []
    for row in rows:
        place = f" from row {row['first_divergence']} on" if row["first_divergence"] is not None else ""
        name = f" (id {row['example_id']})" if row["example_id"] is not None else ""
        sides = f"`{row['target_language']}` differs from `{row['source_language']}`"
        told.append(f"{sides}{place}{name}: {row['reason']}")
    return "; ".join(told)
