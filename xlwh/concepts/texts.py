"""The texts of a dataset in one language, out of its examples: whole examples, or one side of translations."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl


class Texts:
    """Texts in one language, read a few at a time."""

    def __init__(self, examples: pl.LazyFrame, language: str) -> None:
        """`examples`: those of the language; or, of the one that translations are from, those of all other languages."""
        self._rows, self._repeat = examples, False
        self.segment = 0
        """What `text` is in `examples`: 0 the first text, 1 the second, as of translations into this language."""
        first = examples.select("task", "language").head(1).collect()
        if first["task"].to_list() == ["translation"]:
            self.segment = int(first["language"][0] == language)
            self._repeat = not self.segment
            self._rows = examples.with_columns(
                language=pl.lit(language),
                text="text_pair" if self.segment else "text",
                text_pair=pl.lit(None, pl.String),
            )

    def ids(self) -> pl.DataFrame:
        """Columns `example_id` and `row`, in their order.

        Of translations into several languages each source text counts once: that of the first language, by name, as in
        the view `example_texts`.
        """
        ids = self._rows.select("example_id").with_row_index("row")
        if self._repeat:
            ids = ids.unique("example_id", keep="first", maintain_order=True)
        return ids.collect()

    def read(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The examples of some rows of `ids` that follow one another; no others are in memory."""
        first, last = ids["row"][0], ids["row"][-1]
        near = self._rows.slice(first, last - first + 1).with_row_index("row", offset=first)
        return near.filter(pl.col("row").is_in(ids["row"].implode())).drop("row").collect(engine="streaming")

    def parts(self, ids: pl.DataFrame, size: int) -> Iterator[pl.DataFrame]:
        """The examples of all rows of `ids`, `size` at a time."""
        for start in range(0, ids.height, size):
            yield self.read(ids[start : start + size])
