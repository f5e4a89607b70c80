"""What can be wrong with activations: vectors that are missing, zero, or far longer or shorter than the others."""

from __future__ import annotations

import polars as pl

OUTLIER = 5.0
"""A norm this many times the layer's median, or less than its share of it, is an outlier."""

LAYER = ("model", "dataset", "language", "stack", "convention", "layer")


def per_layer(activations: pl.LazyFrame) -> pl.DataFrame:
    """Counts for each layer of some `activations`, whose vectors are not read.

    words, vectors, truncated, no_tokens, no_state, not_finite, overflow, zero, norm_outliers, median_norm.
    """
    reasons = ("truncated", "no_tokens", "no_state", "not_finite", "overflow")
    norm, median = pl.col("norm"), pl.col("norm").median()
    outlier = (norm > OUTLIER * median) | (norm < median / OUTLIER)
    return (
        activations.group_by(LAYER)
        .agg(
            words=pl.len(),
            vectors=pl.col("reason").null_count(),
            **{reason: (pl.col("reason") == reason).sum() for reason in reasons},
            zero=(norm == 0).sum(),
            norm_outliers=(outlier & (norm != 0)).sum(),
            median_norm=median,
        )
        .sort(LAYER)
        .collect()
    )


def health(activations: pl.LazyFrame) -> dict[str, int]:
    """The same counts over all layers together, without those that are zero."""
    counts = per_layer(activations).drop(*LAYER, "median_norm").sum().row(0, named=True)
    return {name: int(count) for name, count in counts.items() if count}
