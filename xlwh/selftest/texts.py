"""The examples that a model is tried on: a few of the study's, and a few that are always there."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from xlwh.store import schema

TEXTS: tuple[tuple[str, str, str], ...] = (
    ("en", "The cat doesn't sit on the mat; it sleeps, doesn't it?", "A cat sleeps."),
    ("zh", "他说，妈妈，我回来了。", "他回家了。"),
    ("hi", "वह घर पर किताब पढ़ रहा है।", "वह पढ़ता है।"),
    ("de", "Äpfel", "Der Hund schläft auf dem Sofa!"),
)
"""Language, first text, second text: scripts with and without blanks, marks that combine, unequal lengths."""

COLUMNS = ("dataset", "split", "language", "example_id", "text", "text_pair", "words", "word_spans")
LONGEST = 160
"""Characters of an example at most, both texts together: the test is to take a second."""


def built_in(pairs: bool) -> pl.DataFrame:
    """The texts that are always there, as columns of the `examples` table; with or without second texts."""
    return _frame(
        [
            {
                "dataset": "self_test",
                "split": "self_test",
                "language": language,
                "example_id": language,
                "text": first,
                "text_pair": second if pairs else None,
            }
            for language, first, second in TEXTS
        ]
    )


PAIRED = ("sequence_classification", "question_answering")
"""Heads (`models.task`) that may see two texts at once."""


def chosen(frames: Sequence[pl.DataFrame], head: str | None) -> pl.DataFrame:
    """One short example of each of some frames of examples, and some that are always there, of the same shape.

    Words of a source that has some are left out: what is tried is the whole text. Where none is short enough, the
    shortest one is taken. The second text of a head that sees one only (a translation) is left out too.
    """
    rows = []
    if head not in PAIRED:
        frames = [frame.with_columns(text_pair=pl.lit(None, pl.String)) for frame in frames]
    for frame in frames:
        length = pl.col("text").str.len_chars() + pl.col("text_pair").str.len_chars().fill_null(0)
        some = frame.select(*COLUMNS[:-2]).filter(pl.col("text").str.strip_chars() != "")
        short = some.filter(length <= LONGEST)
        found = (some if short.is_empty() else short).sort(length, "example_id")
        if found.height:
            rows.append(found.row(0 if short.is_empty() else found.height // 2, named=True))
    if not rows:
        return built_in(pairs=head in PAIRED)
    pairs = rows[0]["text_pair"] is not None
    same = [row for row in rows if (row["text_pair"] is not None) == pairs]
    return pl.concat([_frame(same), built_in(pairs)[:2]])


def _frame(rows: Sequence[dict[str, str | None]]) -> pl.DataFrame:
    types = dict.fromkeys(COLUMNS[:-2], pl.String)
    own_words = {name: pl.lit(None, schema("examples")[name]) for name in COLUMNS[-2:]}
    return pl.DataFrame(list(rows), schema=types).with_columns(**own_words)
