"""Which pairs of parallel examples are compared, and their rows of `ccta_pairs`, one source language after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from xlwh.consistency.pairs import Vectors, ccta_pairs, explained, unit_attributions, vectors
from xlwh.consistency.spaces import agree
from xlwh.study import Consistency

ENDS = ("start", "end")
"""Targets of an answer to a question."""

_EXAMPLE = ("split", "example_id")


@dataclass(frozen=True)
class Side:
    """What is stored of one language of a dataset."""

    language: str
    alignment: str
    """How it is brought into the space: given, pivot, procrustes or none."""
    tokens: pl.LazyFrame
    attributions: pl.LazyFrame
    """Rows of `token_attributions`."""
    word_vectors: pl.LazyFrame


def pairs(
    chosen: Mapping[str, pl.DataFrame], predicted: pl.DataFrame, *, own: bool, answers: bool
) -> pl.DataFrame:
    """source_language, split, example_id, `target` (the class of the row) and `explained` (that of the target side).

    `chosen` has split, example_id and `target` of the examples that are attributed in each source language, and
    `predicted` split, example_id and `predicted` of the target language; those that both have are paired. With `own`
    each side's own class is compared, else the source's. Of `answers` each end is: a row per end.
    """
    frames = []
    for source, classes in chosen.items():
        both = classes.join(
            predicted.select(*_EXAMPLE, own="predicted"), on=_EXAMPLE, maintain_order="left"
        ).with_columns(source_language=pl.lit(source))
        if answers:
            both = pl.concat(both.with_columns(target=pl.lit(end), own=pl.lit(end)) for end in ENDS)
        other = "own" if own else "target"
        frames.append(both.select("source_language", *_EXAMPLE, "target", explained=other))
    return pl.concat(frames)


def attributed(wanted: pl.DataFrame, attributions: pl.LazyFrame, language: str) -> pl.DataFrame:
    """The `pairs` that have attributions of both classes, once per `method`; `language` is the target's.

    `attributions` are rows of `token_attributions` of all these languages.
    """
    there = attributions.select("language", *_EXAMPLE, "method", "target").unique().collect()
    source = there.rename({"language": "source_language"})
    target = there.filter(language=language).drop("language").rename({"target": "explained"})
    return wanted.join(source, on=["source_language", *_EXAMPLE, "target"]).join(
        target, on=[*_EXAMPLE, "explained", "method"]
    )


def lacking(wanted: pl.DataFrame, found: pl.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """How many `pairs` are not among the `attributed`, per source language and method, where there are any."""
    asked = wanted.group_by("source_language").agg(asked=pl.len())
    counts = found.group_by("source_language", "method").agg(pairs=pl.len())
    return (
        asked.join(pl.DataFrame({"method": methods}), how="cross")
        .join(counts, on=["source_language", "method"], how="left")
        .select("source_language", "method", missing=pl.col("asked") - pl.col("pairs").fill_null(0))
        .filter(pl.col("missing") > 0)
        .sort("source_language", "method")
        .to_dicts()
    )


def scored(
    wanted: pl.DataFrame, source: Side, target: Side, settings: Consistency, seed: object
) -> pl.DataFrame:
    """Rows of `ccta_pairs` of the `pairs` of two languages, without the columns that say of what they are."""
    here = pl.col("example_id").is_in(wanted["example_id"].unique().to_list())
    # Source and target may be one language, whose attributions are then gathered once.
    sides = {side.language: side for side in (source, target)}
    units = {
        language: unit_attributions(side.tokens.filter(here), side.attributions.filter(here), settings.unit)
        for language, side in sides.items()
    }
    known = {language: vectors(side.word_vectors.collect()) for language, side in sides.items()}
    classes = wanted.select(*_EXAMPLE, "target", "explained")
    rows = ccta_pairs(
        explained(units[source.language], classes.with_columns(explained="target")),
        explained(units[target.language], classes),
        known[source.language],
        known[target.language],
        normalizations=settings.normalizations,
        draws=settings.draws,
        seed=seed,
        identical=len(sides) == 1,
    )
    return rows.with_columns(
        source_language=pl.lit(source.language),
        target_language=pl.lit(target.language),
        alignment=pl.lit(_alignment(source, target, known)),
        space=pl.lit(settings.space),
        unit=pl.lit(settings.unit),
    )


def means(rows: pl.LazyFrame) -> list[dict[str, Any]]:
    """Pairs and means of rows of `ccta_pairs` per source language, method and normalisation."""
    by = ("source_language", "method", "normalization")
    return (
        rows.group_by(by)
        .agg(
            pl.len().alias("pairs"),
            pl.col("score", "null_uniform", "null_shuffled").mean().round(4),
            pl.col("source_coverage", "target_coverage").mean().round(4),
            pl.col("degenerate").sum(),
            pl.col("alignment").first(),
        )
        .sort(by)
        .collect()
        .to_dicts()
    )


def _alignment(source: Side, target: Side, known: Mapping[str, Vectors]) -> str:
    """How two languages came into one space, as `ccta_pairs.alignment` says it."""
    if source.language == target.language:
        return "same_language"
    kinds = {source.alignment, target.alignment}
    if kinds == {"given"}:
        near = agree(known[source.language], known[target.language])
        return "unchecked" if near is None else "given" if near else "none"
    return "none" if "none" in kinds else "rotated"
