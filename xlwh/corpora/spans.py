"""Where the words of a pre-tokenised text stand in it, as its source states it; in code points.

Nothing is searched for: a word that occurs twice would be found at the wrong place. Words joined by blanks have their
places by that; other words have them if words and text are the same, white space aside.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

Span = tuple[int, int]
"""First code point, and one past the last."""

_SHOWN = 20
"""Code points of each side that a disagreement shows."""


def joined(words: Sequence[str]) -> list[Span]:
    """The spans of words in their join by single blanks."""
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return spans


def aligned(text: str, words: Sequence[str]) -> list[Span] | None:
    """The spans of words that are the text, white space aside; None where they are not.

    White space inside a word may differ from the text's, or be missing on either side. A span begins and ends with
    the word's own first and last character.
    """
    bare = ["".join(word.split()) for word in words]
    if not all(bare) or "".join(bare) != "".join(text.split()):
        return None
    places = [at for at, character in enumerate(text) if not character.isspace()]
    spans, at = [], 0
    for word in bare:
        spans.append((places[at], places[at + len(word) - 1] + 1))
        at += len(word)
    return spans


def disagreement(text: str, words: Sequence[str]) -> str:
    """Where a text and its words begin to differ, white space aside; for texts that `aligned` has no spans of."""
    bare = "".join("".join(words).split())
    places = [at for at, character in enumerate(text) if not character.isspace()]
    alike = (text[at] == wanted for at, wanted in zip(places, bare, strict=False))
    number = next((n for n, same in enumerate(alike) if not same), min(len(places), len(bare)))
    at = places[number] if number < len(places) else len(text)
    there = text[at : at + _SHOWN] or "nothing"
    return f"from character {at} on the text has `{there}`, the words `{bare[number : number + _SHOWN] or 'nothing'}`"


def flaw(text: str, words: Sequence[str], spans: Sequence[Span]) -> str:
    """Why spans cannot be those of words in a text; empty where they can.

    One a word, inside the text, in order; words of one multiword token may share their span.
    """
    if len(spans) != len(words):
        return f"{len(words)} words but {len(spans)} places of words"
    for number, (start, end) in enumerate(spans):
        if not 0 <= start < end <= len(text):
            return f"word {number} has no place in the text: {start} to {end} of {len(text)}"
        if number and start < spans[number - 1][1] and (start, end) != spans[number - 1]:
            return f"words {number - 1} and {number} overlap in the text"
    return ""


def column(rows: Sequence[Sequence[Span] | None]) -> pl.Series:
    """Spans of many rows as a column of `examples`; built flat, since a mapping per word takes long."""
    import polars as pl

    from xlwh.tables import Examples

    dtype = Examples.create_empty().schema["word_spans"]
    if all(row is None for row in rows):
        return pl.Series("word_spans", [None] * len(rows), dtype=dtype)

    import pyarrow as pa

    flat = array("i", (end for row in rows for span in row or () for end in span))
    ends = pa.array(flat, pa.int32())
    structs = pa.StructArray.from_arrays([ends[0::2], ends[1::2]], ["start", "end"])
    bounds = [0]
    for row in rows:
        bounds.append(bounds[-1] + len(row or ()))
    lists = pa.LargeListArray.from_arrays(
        pa.array(bounds, pa.int64()), structs, mask=pa.array([row is None for row in rows])
    )
    made = pl.from_arrow(lists)
    assert isinstance(made, pl.Series)
    return made.cast(dtype).alias("word_spans")
