"""Readers of the original file formats: from a corpus as published to rows of `examples`.

A module per format, one way through all of them: `registry` finds the reader that a study names, `files` finds
and unpacks the files, `lines`, `columns` and `records` take them apart, `base` collects the rows and counts what
is refused. `parallelism` compares the rows of two languages. Nothing here knows of models, tokenizers or
metrics, and no text is normalised.
"""

from xlwh.corpora.base import Reader, Reading, sample
from xlwh.corpora.registry import (
    Corpus,
    Glance,
    OptionInfo,
    ReaderInfo,
    check,
    inapplicable,
    is_of_translations,
    locate,
    read,
    read_all,
    readers,
    source_side,
)

__all__ = [
    "Corpus",
    "Glance",
    "OptionInfo",
    "Reader",
    "ReaderInfo",
    "Reading",
    "check",
    "inapplicable",
    "is_of_translations",
    "locate",
    "read",
    "read_all",
    "readers",
    "sample",
    "source_side",
]
