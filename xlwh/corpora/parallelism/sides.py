"""The two sides of a comparison: rows of `examples` in two languages, each at its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Side:
    """The rows of one language by place. A row that is not there (the reader refused it) is None everywhere."""

    texts: tuple[tuple[str | None, ...], ...]
    """Per segment (first text, second text): one entry per row."""
    labels: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


def sides(
    source: pl.DataFrame, target: pl.DataFrame, records: tuple[int, int] | None
) -> tuple[Side, Side, list[str], bool]:
    """Two sides from `examples` in two languages, the id of each place, and whether the rows are joined by id.

    `records` counts the rows of the two files, refused ones included. Where every id is a row number, that number is
    the place, and the sides may differ in length. Elsewhere, and where `records` is None (the frames are samples), the
    place is that of the same id in the source, and ids that only the target has are left out.
    """
    frames = (source, target)
    if records and all(
        _are_row_numbers(frame["example_id"], n) for frame, n in zip(frames, records, strict=True)
    ):
        first, second = (
            _side(frame, frame["example_id"].cast(pl.Int64).to_list(), n)
            for frame, n in zip(frames, records, strict=True)
        )
        return first, second, [f"{place:05d}" for place in range(max(records))], False
    ids = source["example_id"].to_list()
    place_of = {name: place for place, name in enumerate(ids)}
    kept = target.filter(pl.col("example_id").is_in(ids))
    places = [place_of[name] for name in kept["example_id"].to_list()]
    return _side(source, range(len(ids)), len(ids)), _side(kept, places, len(ids)), ids, True


def halves(frame: pl.DataFrame) -> tuple[Side, Side, list[str]]:
    """The two sides of `examples` whose rows hold a text and its translation, and the ids of the rows."""
    no_labels = (None,) * frame.height
    first, second = (Side((tuple(frame[column].to_list()),), no_labels) for column in ("text", "text_pair"))
    return first, second, frame["example_id"].to_list()


def _are_row_numbers(ids: pl.Series, records: int) -> bool:
    numbers = ids.str.contains(r"^\d{5,9}$").all()
    return bool(numbers) and bool(len(ids)) and int(ids.cast(pl.Int64).max()) < records  # type: ignore[arg-type]


def _side(frame: pl.DataFrame, places: Sequence[int], records: int) -> Side:
    def column(name: str) -> tuple[str | None, ...]:
        found: list[str | None] = [None] * records
        for place, value in zip(places, frame[name].to_list(), strict=True):
            found[place] = value
        return tuple(found)

    segments = [
        name for name in ("text", "text_pair") if frame[name].null_count() < frame.height or name == "text"
    ]
    return Side(tuple(column(name) for name in segments), column("label"))
