"""Nearest neighbours of words and of concepts, by the cosine of their vectors, in a faiss index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.browse import Chosen
from xlwh.concepts.places import Place
from xlwh.concepts.points import vectors
from xlwh.errors import MissingDataError
from xlwh.store.reading import scan

if TYPE_CHECKING:
    from xlwh.store import Warehouse


class CosineIndex:
    """Exact search by cosine, of vectors less the mean of all of them: without that, everything is near everything."""

    def __init__(self, vectors: NDArray[np.floating]) -> None:
        """`vectors` is `[rows, width]`. One that equals the mean has the cosine 0 with every other."""
        import faiss

        centred = vectors - vectors.mean(axis=0, dtype=np.float64)
        lengths = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        self._unit = np.ascontiguousarray(centred / lengths, dtype=np.float32)
        self._faiss: Any = faiss
        self._index: Any = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(self._unit)

    def near(
        self, row: int, limit: int, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The rows nearest to a row, and their cosines, nearest first: at most `limit`, without itself.

        `among` `[rows]` says which rows may be found; default: all.
        """
        candidates = np.ones(len(self._unit), dtype=bool) if among is None else among.copy()
        candidates[row] = False
        limit = min(limit, int(candidates.sum()))
        if not limit:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        selector = self._faiss.IDSelectorBatch(np.flatnonzero(candidates))
        parameters = self._faiss.SearchParameters(sel=selector)
        cosines, rows = self._index.search(self._unit[row : row + 1], limit, params=parameters)
        return rows[0], cosines[0]


def nearest_concepts(warehouse: Warehouse, chosen: Chosen, limit: int) -> pl.DataFrame:
    """Concepts of the same corpus, model and layer whose centroids are nearest.

    Columns clustering, concept, num_tokens, cosine.
    """
    run = chosen.clustering
    same = ("corpus", "stack", "convention", "layer", "aggregation", "seed")
    runs = warehouse.scan("clusterings", model=str(run["model"])).collect()
    runs = runs.filter(pl.all_horizontal(pl.col(name).eq_missing(run[name]) for name in same))
    rows = (
        warehouse.scan("concepts", model=str(run["model"]))
        .filter(pl.col("clustering").is_in(runs["clustering"].to_list()) & ~pl.col("is_empty"))
        .select("clustering", "concept", "num_tokens", "centroid")
        .collect()
    )
    schema = {"clustering": pl.String, "concept": pl.Int32, "num_tokens": pl.Int64, "cosine": pl.Float32}
    own = (pl.col("clustering") == run["clustering"]) & (pl.col("concept") == chosen.concept)
    at = rows.select(own.arg_true()).to_series()
    if not len(at):
        return pl.DataFrame(schema=schema)  # it is empty: its centroid means nothing
    index = CosineIndex(np.array(rows["centroid"].to_list()))
    near, cosines = index.near(at[0], limit)
    found: list[int] = near.tolist()
    return rows[found].with_columns(cosine=pl.Series(cosines)).select(list(schema))


class WordIndex:
    """Mean vectors of word types at one place of a model, to find a word's neighbours in any language."""

    def __init__(self, types: pl.DataFrame, vectors: NDArray[np.float32]) -> None:
        """`types` has the columns language, word, occurrences; `vectors` `[types, width]` their means."""
        self.types = types
        self._index = CosineIndex(vectors)

    @classmethod
    def load(cls, warehouse: Warehouse, model: str, dataset: str, place: Place) -> WordIndex:
        """The words of all languages that a dataset's activations have there; MissingDataError if there are none."""
        part = f"{dataset}.{place}"
        entries = [
            entry
            for entry in warehouse.entries("activations")
            if entry.slot.keys[0] == model and entry.slot.part == part
        ]
        if not entries:
            parts = sorted({e.slot.part for e in warehouse.entries("activations") if e.slot.keys[0] == model})
            raise MissingDataError(
                f"No activations of `{model}` at {part}. Available: {', '.join(parts) or 'none'}. "
                f"Run: xlwh materialize activations --model {model}"
            )
        frames, sums = [], []
        for entry in entries:
            rows = scan(warehouse.root, [entry]).filter(pl.col("vector").is_not_null())
            names = rows.select("language", "word").collect()
            if not names.height:
                continue
            types = names.group_by("language", "word").agg(occurrences=pl.len()).sort("word")
            position = {word: number for number, word in enumerate(types["word"])}
            owner = np.array([position[word] for word in names["word"]])
            total, start = np.zeros((types.height, 1)), 0
            for values in vectors(rows):
                if not start:
                    total = np.zeros((types.height, values.shape[1]))
                np.add.at(total, owner[start : start + len(values)], values.astype(np.float32))
                start += len(values)
            frames.append(types)
            sums.append(total / types["occurrences"].to_numpy()[:, None])
        if not frames:
            raise MissingDataError(f"The activations of `{model}` at {part} hold no vectors.")
        return cls(pl.concat(frames), np.concatenate(sums).astype(np.float32))

    def near(
        self, word: str, language: str, limit: int, languages: tuple[str, ...] | None = None
    ) -> pl.DataFrame:
        """The nearest words by cosine, of each language (or of `languages`): language, word, occurrences, cosine."""
        at = self.types.select(
            ((pl.col("word") == word) & (pl.col("language") == language)).arg_true()
        ).to_series()
        if not len(at):
            known = self.types.filter(
                (pl.col("language") == language) & pl.col("word").str.starts_with(word[:3])
            )["word"]
            raise MissingDataError(
                f"`{word}` is no word of `{language}` there that is frequent enough. "
                f"Similar: {', '.join(known.head(5)) or 'none'}"
            )
        owner = self.types["language"].to_numpy()
        parts: list[pl.DataFrame] = []
        for target in sorted(set(languages or self.types["language"])):
            rows, cosines = self._index.near(at[0], limit, owner == target)
            found: list[int] = rows.tolist()
            parts.append(self.types[found].with_columns(cosine=pl.Series(cosines)))
        return pl.concat(parts)
