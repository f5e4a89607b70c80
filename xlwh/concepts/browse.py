"""Looking at concepts: their words, and sentences that show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

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
