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
    """Per game and player: n, mean, sd, ln of the evidence against a value >= 0 and <= 0, and the game's `players`."""
    columns = (*GAME, *PLAYER)
    x = pl.col("marginal")
    counts = observations(samples).group_by(*columns, "marginal").len().collect()
    # Few distinct values, so logarithms are taken of these and not of every observation.
    logs = [((-bet * x).log1p() * pl.col("len")).sum().alias(f"negative{i}") for i, bet in enumerate(BETS)]
    logs += [((bet * x).log1p() * pl.col("len")).sum().alias(f"positive{i}") for i, bet in enumerate(BETS)]
    sums = counts.group_by(columns).agg(
        *logs,
        n=pl.col("len").sum().cast(pl.Int64),
        total=(x * pl.col("len")).sum(),
        square=(x**2 * pl.col("len")).sum(),
    )
    mean = pl.col("total") / pl.col("n")
    return (
        sums.with_columns(
            mean=mean,
            sd=(pl.col("square") / pl.col("n") - mean**2).clip(lower_bound=0).sqrt(),
            log_e_negative=_log_mean_exp("negative"),
            log_e_positive=_log_mean_exp("positive"),
            players=pl.len().over(GAME),
        )
        .select(*columns, "n", "mean", "sd", "square", "log_e_negative", "log_e_positive", "players")
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
        n, mean, sd, players = (rows.struct.field(name).to_numpy() for name in ("n", "mean", "sd", "players"))
        wide = (
            asymptotic_radius(n, sd, delta / players)
            if variant == "asymptotic"
            else paper_radius(n, sd, delta)
        )
        return pl.Series(mean + wide < 0)

    return pl.struct("n", "mean", "sd", "players").map_batches(negative, return_dtype=pl.Boolean)


def _log_mean_exp(prefix: str) -> pl.Expr:
    columns = [pl.col(f"{prefix}{i}") for i in range(len(BETS))]
    top = pl.max_horizontal(columns)
    return (pl.sum_horizontal((column - top).exp() for column in columns) / len(BETS)).log() + top
