"""Samples to one row per player: mean, evidence and bounds of every variant, as `head_shapley` has them in SQL."""

from __future__ import annotations

import polars as pl

from xlwh.heads.sequences import BETS, asymptotic_radius, paper_radius

GAME = ("model", "dataset", "split", "language", "sampler")
"""What one game's samples share."""
PLAYER = ("unit", "layer", "head")


def observations(samples: pl.LazyFrame) -> pl.LazyFrame:
    """One independent observation a row: marginals as they are, of antithetic pairs their mean."""
    columns = (*GAME, *PLAYER)
    paired = (
        samples.filter(pl.col("estimator") == "antithetic")
        .group_by(*columns, pl.col("permutation") // 2)
        .agg(pl.col("marginal").cast(pl.Float64).mean())
        .select(*columns, "marginal")
    )
    single = samples.filter(pl.col("estimator") != "antithetic").select(
        *columns, pl.col("marginal").cast(pl.Float64)
    )
    return pl.concat([single, paired])


def summarise(samples: pl.LazyFrame) -> pl.DataFrame:
    """Per game and player: n, mean, sd, skewness, ln of the evidence against a value >= 0 and <= 0, and the game's `players`."""
    columns = (*GAME, *PLAYER)
    x = pl.col("marginal")
    counts = observations(samples).group_by(*columns, "marginal").len().collect()
    # About the mean, since the difference of two large sums is noise where values are nearly all alike.
    counts = counts.with_columns(
        off=x - (x * pl.col("len")).sum().over(columns) / pl.col("len").sum().over(columns)
    )
    # Few distinct values, so logarithms are taken of these and not of every observation.
    logs = [((-bet * x).log1p() * pl.col("len")).sum().alias(f"negative{i}") for i, bet in enumerate(BETS)]
    logs += [((bet * x).log1p() * pl.col("len")).sum().alias(f"positive{i}") for i, bet in enumerate(BETS)]
    sums = counts.group_by(columns).agg(
        *logs,
        n=pl.col("len").sum().cast(pl.Int64),
        total=(x * pl.col("len")).sum(),
        square=(x**2 * pl.col("len")).sum(),
        second=(pl.col("off") ** 2 * pl.col("len")).sum(),
        third=(pl.col("off") ** 3 * pl.col("len")).sum(),
    )
    sd = (pl.col("second") / pl.col("n")).sqrt()
    return (
        sums.with_columns(
            mean=pl.col("total") / pl.col("n"),
            sd=sd,
            skewness=pl.when(sd > 0).then(pl.col("third") / pl.col("n") / sd**3).otherwise(0.0),
            log_e_negative=_log_mean_exp("negative"),
            log_e_positive=_log_mean_exp("positive"),
            players=pl.len().over(GAME),
        )
        .select(
            *columns, "n", "mean", "sd", "skewness", "square", "log_e_negative", "log_e_positive", "players"
        )
        .sort(columns)
    )


def harmful(variant: str, delta: float) -> pl.Expr:
    """Whether a row of `summarise` is a player shown to do harm, at error `delta`.

    strict: evidence against a value of 0 or more beyond players / delta, so that no player of the game is ever
    called harmful wrongly with probability 1 - delta. asymptotic: the upper end of the asymptotic interval at
    delta / players is negative. paper: the upper bound of Eq. 4 with R = 1 is negative.
    """
    if variant == "strict":
        return pl.col("log_e_negative") >= (pl.col("players") / delta).log()

    def negative(rows: pl.Series) -> pl.Series:
        n, mean, sd, skewness, players = (rows.struct.field(name).to_numpy() for name in needed)
        wide = (
            asymptotic_radius(n, mean, sd, skewness, delta / players)
            if variant == "asymptotic"
            else paper_radius(n, sd, delta)
        )
        return pl.Series(mean + wide < 0)

    needed = ("n", "mean", "sd", "skewness", "players")
    return pl.struct(*needed).map_batches(negative, return_dtype=pl.Boolean)


def _log_mean_exp(prefix: str) -> pl.Expr:
    columns = [pl.col(f"{prefix}{i}") for i in range(len(BETS))]
    top = pl.max_horizontal(columns)
    return (pl.sum_horizontal((column - top).exp() for column in columns) / len(BETS)).log() + top
