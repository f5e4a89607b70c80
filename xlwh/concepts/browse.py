"""Looking at concepts: their words, sentences that show them, and what lies near them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.places import Place
from xlwh.errors import MissingDataError

if TYPE_CHECKING:
    from xlwh.store import Warehouse

KEYS = ["dataset", "split", "language", "example_id"]


@dataclass(frozen=True)
class Chosen:
    """One concept: the row of its clustering and its members, nearest to the centroid first."""

    clustering: dict[str, object]
    concept: int
    members: pl.DataFrame


def choose(warehouse: Warehouse, model: str, clustering: str, concept: int) -> Chosen:
    """A concept of a stored clustering; MissingDataError lists what there is instead."""
    runs = warehouse.scan("clusterings", model=model).collect()
    if not runs.height:
        models = sorted({entry.slot.keys[0] for entry in warehouse.entries("clusterings")})
        raise MissingDataError(
            f"No concepts of `{model}`. Available: {', '.join(models) or 'none'}. "
            f"Run: xlwh materialize concepts --model {model}"
        )
    found = runs.filter(pl.col("clustering") == clustering)
    if not found.height:
        names = sorted(runs["clustering"])
        raise MissingDataError(
            f"`{model}` has no clustering `{clustering}`. There are {len(names)}, such as: {', '.join(names[:5])}"
        )
    run = found.row(0, named=True)
    if not 0 <= concept < run["num_clusters"]:
        raise MissingDataError(
            f"`{clustering}` has the concepts 0 to {run['num_clusters'] - 1}, not {concept}."
        )
    members = warehouse.scan("concept_members", model=model, clustering=clustering).filter(
        pl.col("concept") == concept
    )
    return Chosen(run, concept, members.collect().sort("distance"))


def words(members: pl.DataFrame, limit: int | None = None) -> pl.DataFrame:
    """The commonest words of each language: language, word, occurrences, distance (of the nearest one)."""
    counted = (
        members.group_by("language", "word")
        .agg(occurrences=pl.len(), distance=pl.col("distance").min())
        .sort(["language", "occurrences", "distance", "word"], descending=[False, True, False, False])
    )
    return counted if limit is None else counted.group_by("language", maintain_order=True).head(limit)


def sentences(warehouse: Warehouse, members: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Sentences around the members nearest to the centroid, a word each: language, word, sentence, distance.

    The word stands in «guillemets»; of the same word at most two sentences are shown.
    """
    order = pl.int_range(pl.len()).over("language", "word")
    chosen = members.filter(order < 2).group_by("language", maintain_order=True).head(limit)
    rows = []
    for (dataset, language), own in chosen.partition_by("dataset", "language", as_dict=True).items():
        examples = warehouse.scan("examples", dataset=dataset, language=language)
        if not examples.select(pl.len()).collect().item():
            # The source side of translations, which lies in the partition of their language.
            examples = warehouse.scan("examples", dataset=dataset).with_columns(
                text_pair=pl.lit(None, pl.String)
            )
        elif "translation" in examples.select("task").head(1).collect()["task"]:
            examples = examples.with_columns(text=pl.col("text_pair"), text_pair=pl.lit(None, pl.String))
        wanted = own.select("split", "example_id").unique()
        texts = examples.join(wanted.lazy(), on=["split", "example_id"], how="semi").collect()
        by_id = {(row["split"], row["example_id"]): row for row in texts.to_dicts()}
        for member in own.to_dicts():
            row = by_id.get((member["split"], member["example_id"]))
            if row is not None:
                rows.append({**member, "sentence": marked(row, language, member["word_index"])})
    frame = pl.DataFrame(
        rows, schema={"language": pl.String, "word": pl.String, "sentence": pl.String, "distance": pl.Float32}
    )
    return frame.sort("language", "distance", maintain_order=True)


def marked(example: dict[str, object], language: str, word_index: int) -> str:
    """The segment of an example that a word is in, the word in guillemets."""
    from xlwh.models.words import segment

    own = example["words"]
    if isinstance(own, list):
        if word_index < len(own):
            return " ".join([*own[:word_index], f"«{own[word_index]}»", *own[word_index + 1 :]])
        word_index -= len(own)
        texts = [example["text_pair"]]
    else:
        texts = [example["text"], example["text_pair"]]
    for text in texts:
        spans = segment(text, language) if isinstance(text, str) else []
        if word_index < len(spans):
            start, end = spans[word_index]
            return f"{str(text)[:start]}«{str(text)[start:end]}»{str(text)[end:]}"
        word_index -= len(spans)
    return ""


def nearest_concepts(warehouse: Warehouse, chosen: Chosen, limit: int) -> pl.DataFrame:
    """Concepts of the same corpus, model and layer whose centroids are nearest: clustering, concept, cosine, words.

    Cosines of centroids less the mean of all of them: without that, everything is near everything.
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
    centroids = np.array(rows["centroid"].to_list(), dtype=np.float64)
    centroids -= centroids.mean(axis=0)
    lengths = np.maximum(np.linalg.norm(centroids, axis=1), 1e-12)
    own = rows.select(
        ((pl.col("clustering") == run["clustering"]) & (pl.col("concept") == chosen.concept)).arg_true()
    ).to_series()
    schema = {"clustering": pl.String, "concept": pl.Int32, "num_tokens": pl.Int64, "cosine": pl.Float64}
    if not len(own):
        return pl.DataFrame(schema=schema)
    cosine = centroids @ centroids[own[0]] / lengths / lengths[own[0]]
    near = rows.drop("centroid").with_columns(cosine=pl.Series(cosine))
    return near[[i for i in np.argsort(-cosine).tolist() if i != own[0]][:limit]].select(list(schema))


class WordIndex:
    """Mean vectors of word types at one place of a model, to find a word's neighbours in any language."""

    def __init__(self, types: pl.DataFrame, vectors: NDArray[np.float32]) -> None:
        """`types` has the columns language, word, occurrences; `vectors` `[types, width]` their means."""
        self.types = types
        centred = vectors - vectors.mean(axis=0)
        self._unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)

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
            rows = pl.scan_parquet(warehouse.root / entry.file, glob=False).filter(
                pl.col("vector").is_not_null()
            )
            names = rows.select("language", "word").collect()
            if not names.height:
                continue
            types = names.group_by("language", "word").agg(occurrences=pl.len()).sort("word")
            position = {word: number for number, word in enumerate(types["word"])}
            owner = np.array([position[word] for word in names["word"]])
            total: NDArray[np.float64] | None = None
            start = 0
            for batch in rows.select("vector").collect_batches(chunk_size=16_384, maintain_order=True):
                width = len(batch["vector"][0]) if batch.height else 0
                if batch.height:
                    values = batch["vector"].cast(pl.Array(pl.Float16, width)).to_numpy().astype(np.float32)
                    total = np.zeros((types.height, width)) if total is None else total
                    np.add.at(total, owner[start : start + batch.height], values)
                    start += batch.height
            if total is not None:
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
        cosine = self._unit @ self._unit[at[0]]
        found = (
            self.types.with_columns(cosine=pl.Series(cosine))
            .with_row_index()
            .filter(pl.col("index") != at[0])
        )
        if languages is not None:
            found = found.filter(pl.col("language").is_in(languages))
        return (
            found.drop("index")
            .sort(["cosine", "word"], descending=[True, False])
            .group_by("language", maintain_order=True)
            .head(limit)
            .sort("language", maintain_order=True)
        )
