"""What every contract shares: the base class, and the columns that many tables have."""

from __future__ import annotations

from typing import ClassVar

import dataframely as dy
import polars as pl

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
"""Model, dataset and space names: they become folder names and partition keys."""

_HOLDS = "holds"


class Table(dy.Schema):
    """Base of all contracts."""

    partition_by: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    named_by: ClassVar[tuple[str, ...]] = ()
    """What the `part` of its slots begins with, dotted: kinds of names as in `names`."""
    row_group_rows: ClassVar[int] = 256 * 1024
    """Rows per Parquet row group: small enough to skip by statistics, large enough that dictionaries pay."""

    @classmethod
    def names(cls) -> dict[str, str]:
        """Columns that hold keys of the study's models or datasets -> how.

        `model` and `dataset` are keys; `corpus` datasets joined by `+`; `clustering` begins with a corpus and a dot;
        `space` may begin with a model and a dot; `recipe` is JSON that names both; `origin` may be either; `alignment`
        lists datasets behind `alignment of`.
        """
        marked = ((name, (column.metadata or {}).get(_HOLDS)) for name, column in cls.columns().items())
        return {name: kind for name, kind in marked if kind is not None}


class Float16(dy.Float32):
    """A column of float16 values. Parquet keeps them as such; DuckDB reads them as FLOAT."""

    @property
    def dtype(self) -> pl.DataType:
        return pl.Float16()


def holding(kind: str) -> dict[str, str]:
    """Metadata of a column that holds keys of models or datasets; see `Table.names`."""
    return {_HOLDS: kind}


def name_column(description: str, kind: str | None = None) -> dy.String:
    metadata = None if kind is None else holding(kind)
    return dy.String(nullable=False, regex=KEY_PATTERN, description=description, metadata=metadata)


def model_column() -> dy.String:
    return name_column("Key of the model in the study.", "model")


def dataset_column(description: str = "Key of the dataset in the study.") -> dy.String:
    return name_column(description, "dataset")


def language_column(description: str = "Language code, as the dataset writes it.") -> dy.String:
    return name_column(description)


def split_column() -> dy.String:
    return dy.String(nullable=False, description="Part of the dataset: train, dev, test.")


def example_id_column() -> dy.String:
    return dy.String(
        nullable=False,
        min_length=1,
        description="Identity of the example; equal across languages in parallel data.",
    )


def method_column() -> dy.String:
    return dy.String(nullable=False, description="Attribution method, as the study names it.")


def target_column() -> dy.String:
    return dy.String(
        nullable=False,
        description="The output that is explained: a class label, `start` or `end` of an answer, or `<word_index>:<tag>`.",
    )


def segment_column() -> dy.Int32:
    return dy.Int32(
        nullable=False,
        min=0,
        max=1,
        description="Text of the example that it stands in: 0 `text`, 1 `text_pair`; of translations 0 is the source.",
    )


def start_column() -> dy.Int32:
    return dy.Int32(
        nullable=False, min=0, description="Its first code point in that text. See the macro `surface`."
    )


def end_column() -> dy.Int32:
    return dy.Int32(
        nullable=False,
        min=1,
        description="One past its last code point. What is cut out is the word itself, but for words of multiword "
        "tokens: there, what `examples.word_spans` says.",
    )


def probability_column(description: str) -> dy.Float64:
    return dy.Float64(
        nullable=False, min=0, max=1 + 1e-9, allow_inf=False, allow_nan=False, description=description
    )
