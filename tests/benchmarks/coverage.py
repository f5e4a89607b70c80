"""How often intervals hold the truth and tests are wrong, by simulation of the views' own SQL; prints a table.

    python tests/benchmarks/coverage.py                  # 2000 draws of each design, minutes
    python tests/benchmarks/coverage.py --draws 200 "2 sources" ccta

Correlations over pairs of languages: numbers of a pair are normal, with what is common to a target language, to a
source language and, in studies, to a model. Coverage of a 95 % interval is to be within .92 and .97, and the share of
p at most .05 where nothing goes together (size) at most .06, give or take two standard errors of the simulation; where
that is not so the exit code is 1. The truth of Spearman is what ranks of so many
languages come to on average (Moran 1948), of Pearson that of the law.

Scores of examples that share texts: `clustered.py`, by the same measures.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent))
import clustered
from common import print_table

from xlwh.store.views import shipped_sql

LEVEL = (0.92, 0.97)
SIZE = 0.06


@dataclass(frozen=True)
class Design:
    """Which pairs of languages there are, and what their numbers have in common."""

    name: str
    sources: int
    targets: int
    """0: the sources are the targets too, each with each."""
    target_share: float = 0.0
    """Part of the variance that pairs with one target language share."""
    source_share: float = 0.0
    models: int = 1
    model_sd: float = 0.0
    """Standard deviation of the models' levels, in those of a pair."""
    source_of_model: bool = False
    """Each source language is a model of its own."""
    rho: float = 0.0
    """Correlation of the two numbers in everything that is drawn."""

    @property
    def is_shown(self) -> bool:
        """Whether there are languages enough for an interval."""
        return max(self.sources, self.targets) >= 10

    @property
    def spearman(self) -> float:
        """Mean rank correlation within a model of independent pairs with this correlation."""
        n = self.sources * self.targets or self.sources * (self.sources - 1)
        r = self.rho
        return 6 / (np.pi * (n + 1)) * (np.arcsin(r) + (n - 2) * np.arcsin(r / 2))


def _designs() -> tuple[Design, ...]:
    few = [Design(f"{n} targets", 1, n) for n in (4, 5, 7)]
    one = [Design(f"{n} targets", 1, n, rho=rho) for n in (10, 20, 50) for rho in (0, 0.8, 0.95)]
    shared = [
        Design(f"{s} sources x 10 targets, {share:.0%} by target", s, 10, share, rho=rho)
        for s, share in ((2, 0.8), (2, 0.95), (5, 0.8))
        for rho in (0, 0.8)
    ]
    square = [
        Design(f"10 x 10 languages, {t:.0%} by target, {s:.0%} by source", 10, 0, t, s, rho=rho)
        for t, s in ((0.4, 0.4), (0.8, 0.1))
        for rho in (0, 0.8)
    ]
    study = [
        Design(f"study: {m} models x 10 targets, models {sd} sd apart", 1, 10, models=m, model_sd=sd, rho=rho)
        for m, sd in ((2, 1), (4, 2))
        for rho in (0, 0.8)
    ]
    each = [Design("study: a model for each of 10 sources, 1 sd apart", 10, 0, 0.4, 0.4, model_sd=1, source_of_model=True, rho=rho) for rho in (0, 0.8)]  # fmt: skip
    return (*few, *one, *shared, *square, *study, *each)


DESIGNS = _designs()


def points(design: Design, draws: int, seed: int) -> pl.DataFrame:
    """Rows of `correlated_pairs`, a population a draw."""
    random = np.random.default_rng(seed)
    mixing = np.linalg.cholesky(np.array([[1, design.rho], [design.rho, 1]]))

    def normal(count: int) -> Any:
        return random.normal(size=(draws, count, 2)) @ mixing.T

    square = design.targets == 0
    size = design.sources if square else design.sources + design.targets
    source, target = (x.ravel() for x in np.meshgrid(
        range(design.sources), range(size) if square else range(design.sources, size), indexing="ij"
    ))  # fmt: skip
    source, target = source[source != target], target[source != target]
    rest = 1 - design.target_share - design.source_share
    parts = []
    for model in range(design.models):
        values = np.sqrt(rest) * normal(len(source))
        values += np.sqrt(design.target_share) * normal(size)[:, target]
        values += np.sqrt(design.source_share) * normal(size)[:, source]
        names = source if design.source_of_model else np.full(len(source), model)
        values += design.model_sd * normal(max(design.models, design.sources))[:, names]
        parts.append(
            pl.DataFrame(
                {
                    "population": np.repeat(np.arange(draws), len(source)),
                    "model": [f"m{name:02}" for name in names] * draws,
                    "source_language": [f"l{name:02}" for name in source] * draws,
                    "target_language": [f"l{name:02}" for name in target] * draws,
                    "a": values[..., 0].ravel(),
                    "b": values[..., 1].ravel(),
                }
            )
        )
    return pl.concat(parts)


def correlations(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `pair_correlations` by the view's own SQL, a population a row."""
    sql = shipped_sql()
    with duckdb.connect(config={"threads": 1}) as database:
        for name in ("resampling", "ranks"):
            database.execute((sql / "macros" / f"{name}.sql").read_text(encoding="utf-8"))
        database.register("points", rows)
        database.execute(
            "create table correlated_pairs as select * exclude (model), null::double as converged_share, "
            "struct_pack(model, dataset := 'd', split := 's') as stratum, null::bigint as num_unconverged from points"
        )
        return database.sql((sql / "core" / "pair_correlations.sql").read_text(encoding="utf-8")).pl()


def measured(design: Design, draws: int, seed: int = 0) -> dict[str, float | None]:
    """Share of the intervals that hold the truth, and of p at most .05; None where there is no such thing."""
    found = correlations(points(design, draws, seed))
    rates: dict[str, float | None] = {}
    truths = {"pearson": design.rho, "spearman": design.spearman}
    for name, truth in truths.items():
        inside = found.select(pl.lit(truth).is_between(f"{name}_low", f"{name}_high").alias("x"))[
            "x"
        ].drop_nulls()
        rates[name] = float(np.mean(inside.to_numpy())) if len(inside) else None
    rates["p at most .05"] = float((found["p"] <= 0.05).mean() or 0.0)
    return rates


def kept(rates: dict[str, float | None], draws: int) -> bool:
    """Whether all shares are what is promised, give or take two standard errors of the simulation."""
    chance = 2 * float(np.sqrt(0.05 * 0.95 / draws))
    return all(
        rate is None
        or (
            rate <= SIZE + chance if name.startswith("p ") else LEVEL[0] - chance <= rate <= LEVEL[1] + chance
        )
        for name, rate in rates.items()
    )


def shown(rates: dict[str, float | None]) -> dict[str, str]:
    return {name: "" if rate is None else f"{rate:.3f}" for name, rate in rates.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a part of a design's name; default: all designs"
    )
    parser.add_argument("--draws", type=int, default=2000)
    asked = parser.parse_args()
    draws, broken = asked.draws, False
    tables: dict[str, list[dict[str, object]]] = {"languages": [], "clusters": []}
    for number, design in enumerate((*DESIGNS, *clustered.DESIGNS)):
        if asked.names and not any(name in design.name for name in asked.names):
            continue
        row: dict[str, object] = {"design": design.name}
        if isinstance(design, Design):
            rates = measured(design, draws, number)
            judged = {n: rate for n, rate in rates.items() if design.rho == 0 or not n.startswith("p ")}
            row |= {"correlation": design.rho, **shown(rates)}
        else:
            rates = judged = clustered.measured(design, draws, number)
            row["rates"] = ", ".join(f"{name} {rate}" for name, rate in shown(rates).items())
        row["kept"] = "yes" if kept(judged, draws) else "no"
        broken |= row["kept"] == "no"
        tables["languages" if isinstance(design, Design) else "clusters"].append(row)
        print(row, file=sys.stderr, flush=True)
    for what, rows in tables.items():
        if rows:
            print_table(f"Coverage of 95 % intervals and size of tests by {what}, {draws} draws", rows)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
