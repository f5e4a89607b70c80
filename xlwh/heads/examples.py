"""Examples that games are played on: those that can be right or wrong, the same ids in every language."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def with_gold(examples: pl.LazyFrame) -> pl.DataFrame:
    """The examples that can be right or wrong: with a label, in tagging with a tag of some word."""
    import polars as pl

    tagged = pl.col("word_labels").list.drop_nulls().list.len() > 0
    labelled = pl.col("label").is_not_null()
    tagging = pl.col("task") == "token_classification"
    return examples.filter(pl.when(tagging).then(tagged).otherwise(labelled)).collect()


def valued_examples(examples: pl.LazyFrame, count: int | None, seed: int | None) -> pl.DataFrame:
    """Those that heads are valued on: `count` with gold, or all where that or the seed is None."""
    from xlwh.corpora import sample

    known = with_gold(examples)
    return known if count is None or seed is None else sample(known, count, seed)


def evaluated_examples(
    examples: pl.LazyFrame, valued: pl.DataFrame | None, count: int | None, seed: int
) -> pl.DataFrame:
    """Those that masks are evaluated on: `count` (None: all) with gold, none of them in `valued`."""
    from xlwh.corpora import sample

    known = with_gold(examples)
    if valued is not None:
        known = known.join(valued, on="example_id", how="anti", maintain_order="left")
    return known if count is None else sample(known, count, seed)


def short_examples(
    valued: pl.DataFrame, elsewhere: Iterable[pl.DataFrame], max_characters: int, count: int, seed: int
) -> pl.DataFrame:
    """`count` of the valued examples whose texts have at most so many characters together, in other languages too.

    A language that shares none of them has no say.
    """
    import polars as pl

    from xlwh.corpora import sample

    characters = pl.col("text").str.len_chars() + pl.col("text_pair").str.len_chars().fill_null(0)
    short = characters <= max_characters
    found = valued.filter(short)
    for other in elsewhere:
        if other.join(found, on="example_id", how="semi").height:
            found = found.join(other.filter(short), on="example_id", how="semi", maintain_order="left")
    return sample(found, count, seed)


def keys_of(examples: pl.DataFrame, model: str) -> pl.DataFrame:
    """Columns model, dataset, split and language of what is said of all of some examples together: one row."""
    import polars as pl

    return examples.select("dataset", "split", "language", model=pl.lit(model)).head(1)
