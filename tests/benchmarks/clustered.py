"""Scores of examples that share texts, and how often the views' intervals hold their truth.

Three examples a cluster, as XNLI has three hypotheses a premise, with an intra-class correlation of .76, as its CCTA scores
have. A view is run by its own SQL, over tables that hold only what it reads: each draw is a model of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import polars as pl

from xlwh.heads.evaluate import compare
from xlwh.store.views import shipped_sql

SIZE, CORRELATION = 3, 0.76
CELL = {"dataset": "d", "split": "s", "language": "en"}
MACROS = ("resampling", "intervals", "clusters", "convergence", "names", "ranks")


def first_of(example: int) -> int:
    """The first example of an example's cluster."""
    return example - example % SIZE


@dataclass(frozen=True)
class Clustered:
    """What of which view is looked at, and over how many clusters."""

    name: str
    clusters: int
    shared: float
    """Intra-class correlation."""
    measure: Callable[[np.random.Generator, Clustered, int], dict[str, float | None]]


def clusters(design: Clustered) -> list[str]:
    """The cluster of each example."""
    return [f"{first_of(i):05}" for i in range(design.clusters * SIZE)]


def latent(random: np.random.Generator, design: Clustered, draws: int) -> Any:
    """Standard normal numbers `[draws, clusters, 3]` that go together within a cluster."""
    common = random.normal(size=(draws, design.clusters, 1))
    own = random.normal(size=(draws, design.clusters, SIZE))
    return np.sqrt(design.shared) * common + np.sqrt(1 - design.shared) * own


def right(random: np.random.Generator, design: Clustered, draws: int, share: float) -> Any:
    """Right or wrong, as often right as `share`: an example has its cluster's outcome with probability sqrt(shared)."""
    shape = (draws, design.clusters, SIZE)
    common = random.random((draws, design.clusters, 1)) < share
    return np.where(random.random(shape) < np.sqrt(design.shared), common, random.random(shape) < share)


def rows(values: Any, **more: Any) -> pl.DataFrame:
    """A row an example: model, example_id and its value."""
    draws, clusters, size = values.shape
    return pl.DataFrame(
        {
            "model": np.repeat(np.arange(draws), clusters * size),
            "example_id": [f"{i:05}" for i in range(clusters * size)] * draws,
            "value": values.ravel(),
        }
    ).with_columns(pl.lit(value).alias(name) for name, value in (CELL | more).items())


def database(design: Clustered, **tables: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    """These tables, and `examples` with their clusters."""
    made = duckdb.connect(config={"threads": 1})
    count = design.clusters * SIZE
    ids = [f"{i:05}" for i in range(count)]
    examples = pl.DataFrame({"example_id": ids, "cluster": clusters(design)}).with_columns(
        pl.lit(value).alias(name) for name, value in CELL.items()
    )
    for name, table in {"examples": examples, **tables}.items():
        made.register(f"{name}_rows", table)
        made.execute(f"create table {name} as from {name}_rows")
    for name in MACROS:
        made.execute(view("macros", name))
    return made


def view(folder: str, name: str) -> str:
    return (shipped_sql() / folder / f"{name}.sql").read_text(encoding="utf-8")


def covered(found: pl.DataFrame, truths: dict[str, tuple[str, str, float]]) -> dict[str, float | None]:
    """Share of the intervals, named by their two columns, that hold the truth; None where there is none."""
    rates: dict[str, float | None] = {}
    for name, (low, high, truth) in truths.items():
        inside = found.select(pl.lit(truth).is_between(low, high).alias("x"))["x"].drop_nulls()
        rates[name] = float(np.mean(inside.to_numpy())) if len(inside) else None
    return rates


NO_RUNS = pl.DataFrame(
    schema={
        **dict.fromkeys(("dataset", "split", "language", "example_id", "method", "target"), pl.String),
        "model": pl.Int64,
        "converged": pl.Boolean,
    }
)


def ccta(random: np.random.Generator, design: Clustered, draws: int) -> dict[str, float | None]:
    score = 0.5 + 0.1 * latent(random, design, draws)
    pairs = rows(score, method="lig", target="yes", target_policy="gold", space="v", unit="word").rename(
        {"value": "score"}
    )
    pairs = pairs.rename({"language": "source_language"}).with_columns(
        null_uniform=pl.lit(0.4), null_shuffled=pl.Series((0.45 + 0.05 * latent(random, design, draws)).ravel()),
        target_language=pl.lit("de"), normalization=pl.lit("abs"), alignment=pl.lit("given"),
        source_coverage=pl.lit(1.0), target_coverage=pl.lit(1.0), degenerate=pl.lit(value=False),
    )  # fmt: skip
    own = NO_RUNS.select("dataset", "split", "language", "example_id", "model", predicted="target")
    with database(design, ccta_pairs=pairs, attribution_runs=NO_RUNS, predictions=own) as made:
        made.execute(view("macros", "consistency"))
        found = made.sql("from ccta_at()").pl()
    return covered(
        found,
        {
            "score": ("score_low", "score_high", 0.5),
            "excess": ("excess_shuffled_low", "excess_shuffled_high", 0.05),
        },
    )


def task_scores(random: np.random.Generator, design: Clustered, draws: int) -> dict[str, float | None]:
    hit = right(random, design, draws, 0.75)
    said = rows(hit.astype(int), task="sentence_pair", num_truncated=0).with_columns(
        logits=pl.lit([0.0, 0.0]), label=pl.lit("1"), predicted=pl.col("value").cast(pl.String)
    )
    part = rows(np.clip(0.6 + 0.2 * latent(random, design, draws), 0, 1), task="question_answering")
    words = random.integers(1, 30, len(part)).astype(float)
    part = part.with_columns(
        metric=pl.lit("f1"), variant=pl.lit("strict"), denominator=pl.Series(words), truncated=pl.lit(value=False),
        numerator=pl.col("value") * pl.Series(words), num_classes=pl.lit(None, pl.Int64),
        cluster=pl.Series(clusters(design) * draws),
    )  # fmt: skip
    with database(design, predictions=said, example_scores=part) as made:
        classes = made.sql(
            f"select * from ({view('core', 'classification_scores')}) where metric = 'accuracy'"
        ).pl()
        ratios = made.sql(view("core", "ratio_scores")).pl()
    # Of a normal variable that is cut off at 1.
    truth = float(np.clip(0.6 + 0.2 * np.random.default_rng(1).normal(size=1_000_000), 0, 1).mean())
    return covered(classes, {"accuracy": ("ci_low", "ci_high", 0.75)}) | covered(
        ratios, {"ratio": ("ci_low", "ci_high", truth)}
    )


def faithfulness(random: np.random.Generator, design: Clustered, draws: int) -> dict[str, float | None]:
    common = {
        "importance": "signed",
        "mode": "hard",
        "masking": "mask",
        "side": "sufficiency",
        "variant": "strict",
    }
    frames = [
        rows(mean + 0.1 * latent(random, design, draws), method=method, saturated=False, **common).rename(
            {"value": "score"}
        )
        for method, mean in (("lig", 0.6), ("random", 0.4))
    ]
    every = pl.concat(frames).with_columns(
        unnormalized=pl.col("score"), draw_sd=pl.lit(None, pl.Float64), converged=pl.lit(None, pl.Boolean),
        cluster=pl.Series(clusters(design) * draws * 2),
    )  # fmt: skip
    with database(design, faithfulness_examples=every) as made:
        found = made.sql(f"select * from ({view('metric', 'faithfulness')}) where method = 'lig'").pl()
    return covered(
        found,
        {
            "score": ("score_low", "score_high", 0.6),
            "ratio": ("ratio_low", "ratio_high", 1.5),
            "difference": ("difference_low", "difference_high", 0.2),
        },
    )


def plausibility(random: np.random.Generator, design: Clustered, draws: int) -> dict[str, float | None]:
    """Four words an example, one of them the rationale: F1 is 1 where it has the largest attribution, else 0."""
    found = rows(
        right(random, design, draws, 0.6).astype(float), method="lig", target="yes", segment=0
    ).with_columns(converged=pl.lit(None, pl.Boolean), predicted=pl.col("target"))
    words = found.join(pl.DataFrame({"word_index": [0, 1, 2, 3]}), how="cross").with_columns(
        attribution=pl.when(pl.col("word_index") == 0)
        .then("value")
        .when(pl.col("word_index") == 1)
        .then(0.5)
        .otherwise(0.1)
    )
    gold = words.filter(pl.col("model") == 0).select(
        *CELL, "example_id", "word_index", is_rationale=pl.col("word_index") == 0
    )
    with database(design, word_attributions=words, predictions=found, rationale_words=gold) as made:
        result = made.sql(view("metric", "plausibility")).pl()
    return covered(result, {"token F1": ("token_f1_low", "token_f1_high", 0.6)})


def pruning_effects(random: np.random.Generator, design: Clustered, draws: int) -> dict[str, float | None]:
    """A mask that loses as many examples as it wins."""
    before = right(random, design, draws, 0.7).reshape(draws, -1).astype(np.float32)
    after = right(random, design, draws, 0.7).reshape(draws, -1).astype(np.float32)
    tests = [
        compare(x, y, np.ones(len(x), dtype=np.int64), clusters(design), 500, seed, tagging=False)
        for seed, (x, y) in enumerate(zip(before, after, strict=True))
    ]
    found = pl.DataFrame(tests, infer_schema_length=None)
    return covered(found, {"effect": ("effect_low", "effect_high", 0.0)}) | {
        "p at most .05": float((found["bootstrap_p"] <= 0.05).mean() or 0.0)
    }


VIEWS = (ccta, task_scores, faithfulness, plausibility, pruning_effects)
DESIGNS = tuple(
    Clustered(f"{measure.__name__}: {count} clusters of 3, correlation {shared:g}", count, shared, measure)
    for measure in VIEWS
    for count, shared in ((10, CORRELATION), (20, CORRELATION), (100, CORRELATION), (100, 0.0))
)


def measured(design: Clustered, draws: int, seed: int = 0) -> dict[str, float | None]:
    """Share of the intervals that hold the truth, and of p at most .05 where nothing changes."""
    return design.measure(np.random.default_rng(seed), design, draws)
