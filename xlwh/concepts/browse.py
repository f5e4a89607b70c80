"""Looking at concepts: their words, and sentences that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.errors import MissingDataError
from xlwh.store.occurrences import CORPUS, cut, texts

if TYPE_CHECKING:
    from xlwh.store import Warehouse


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
    examples = warehouse.entries("examples")
    parts = []
    for (dataset, split, language), own in chosen.partition_by(CORPUS, as_dict=True).items():
        found = texts(warehouse.root, examples, dataset, split, language).select(
            "example_id", "text", "text_pair"
        )
        parts.append(own.join(found.collect(), on="example_id", maintain_order="left"))
    rows = [
        {**row, "sentence": marked(str(row["text_pair" if row["segment"] else "text"]), row)}
        for part in parts
        for row in part.iter_rows(named=True)
    ]
    frame = pl.DataFrame(
        rows, schema={"language": pl.String, "word": pl.String, "sentence": pl.String, "distance": pl.Float32}
    )
    return frame.sort("language", "distance", maintain_order=True)


def marked(text: str, place: Mapping[str, Any]) -> str:
    """The text of a segment with what stands at `char_start` to `char_end` in guillemets."""
    before, surface, after = cut(text, place["char_start"], place["char_end"])
    return f"{before}«{surface}»{after}"
