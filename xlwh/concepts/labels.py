"""Names that people or models gave to concepts, read from a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl

from xlwh.errors import CorpusError
from xlwh.texts import whole_number

COLUMNS = ("model", "clustering", "concept", "label", "author", "note")


def read(path: Path) -> pl.DataFrame:
    """Rows (model, clustering, concept, label, author, note) of a CSV file with such a header.

    Other columns are passed over, and so are rows without a label. CorpusError names the line of what is wrong.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"model", "clustering", "concept", "label"} - set(reader.fieldnames or ())
            if missing:
                raise CorpusError(f"{path}: the header lacks {', '.join(sorted(missing))}.")
            rows = [(reader.line_num, row) for row in reader if (row["label"] or "").strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from None
    told = []
    for line, row in rows:
        written = (row["concept"] or "").strip()
        if (number := whole_number(written, 9)) is None:
            raise CorpusError(
                f"{path}, line {line}: `concept` is {written[:40]!r}, not a number of a concept."
            )
        texts = {name: (row.get(name) or "").strip() or None for name in COLUMNS if name != "concept"}
        told.append({**texts, "concept": number, "author": texts["author"] or "unknown"})
    types = {name: pl.Int32 if name == "concept" else pl.String for name in COLUMNS}
    frame = pl.DataFrame(told, schema=types)
    twice = frame.filter(pl.struct("model", "clustering", "concept", "author").is_duplicated())
    if twice.height:
        raise CorpusError(f"{path}: two labels of one author for {twice.row(0, named=True)}")
    return frame


def of_model(path: Path, model: str, known: pl.DataFrame) -> pl.DataFrame:
    """The rows of one model, which has the concepts `known` (clustering, concept).

    CorpusError for a label of any other: clusterings are made anew with other settings, and a label must not move to
    another concept without notice.
    """
    labels = read(path).filter(pl.col("model") == model)
    lost = labels.join(known, on=["clustering", "concept"], how="anti", maintain_order="left")
    if lost.height:
        row = lost.row(0, named=True)
        raise CorpusError(
            f"{path}: {lost.height} labels are of concepts that `{model}` does not have, the first "
            f'"{row["label"]}" of concept {row["concept"]} of `{row["clustering"]}`.'
        )
    return labels
