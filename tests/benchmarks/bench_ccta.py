"""Consistency of 5,000 XNLI pairs against PuLP/CBC, HiGHS and bare `ot.emd`, and the view `ccta` over 200,000 pairs.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_ccta.py ../shared [--pairs 5000] [--skip-view]

Words of XNLI dev (English with German, French, Spanish, Turkish, ...), their vectors from mini-x11's input embeddings
(unaligned, which does not matter here) and made-up attributions. Seconds of one-core rows are of the processor, so
that other work on the machine does not count (without the variables, what a second thread of the matrix products waits
does); the last two rows are of the clock, with the processor's beside them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from common import print_table
from peers.pulp_transport import consistency as pulp_consistency

from xlwh.consistency.embeddings import word_embedder
from xlwh.consistency.pairs import Vectors, ccta_pairs, vectors
from xlwh.consistency.parallel import available_cores
from xlwh.consistency.transport import consistency, weights
from xlwh.corpora import read
from xlwh.digests import HashCache
from xlwh.models import Zoo
from xlwh.models.words import segment
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Study

LANGUAGES = ("de", "fr", "es", "tr", "ar", "zh", "ru", "hi", "th", "sw")
DRAWS = 20
SLOW_PAIRS = 100
"""Pairs that the slow solvers are timed on; their time per pair is what is compared."""

Case = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Weights of both sides and cosines of one pair."""


def run(shared: Path, pairs: int = 5000) -> list[dict[str, Any]]:
    """One row per solver: what it did, seconds for all pairs, and how many times as long ours takes or saves."""
    parts, known = corpus(shared, pairs)
    problems = [case for part in parts for case in cases(part, known)]
    costs = [1 - np.maximum(similarity, 0) for _, _, similarity in problems]
    import ot

    def ours_scores() -> list[float]:
        return [consistency(s, t, similarity) for part in parts for s, t, similarity in cases(part, known)]

    def bare_scores() -> list[float]:
        return [
            1 - float((ot.emd(s, t, cost) * cost).sum())
            for (s, t, _), cost in zip(problems, costs, strict=True)
        ]

    def bare_nulls() -> None:
        for (s, t, _), cost in zip(problems, costs, strict=True):
            for _ in range(DRAWS + 2):
                ot.emd(s, t, cost)

    def ours_nulls(workers: int) -> None:
        for language, source, target in parts:
            ccta_pairs(
                source, target, known["en"], known[language],
                normalizations=("abs",), draws=DRAWS, seed=0, workers=workers,
            )  # fmt: skip

    ours_scores()
    ours, scores = _processor_seconds(ours_scores)
    bare, bare_values = _processor_seconds(bare_scores)
    few = slice(0, SLOW_PAIRS)
    cbc, cbc_values = _processor_seconds(lambda: [pulp_consistency(*case) for case in problems[few]])
    highs, highs_values = _processor_seconds(lambda: [_highs(*case) for case in problems[few]])
    for values in (bare_values, cbc_values, highs_values):
        np.testing.assert_allclose(scores[: len(values)], values, atol=1e-6)
    np.testing.assert_allclose(scores[few], highs_values, atol=1e-9)
    scale = len(problems) / SLOW_PAIRS
    bare_full, _ = _processor_seconds(bare_nulls)
    ours_full, _ = _processor_seconds(lambda: ours_nulls(1))
    cores = available_cores()
    one, one_processor = _clock_seconds(lambda: _processor_seconds(lambda: _in_one_go(parts, known, 1))[0])
    several, several_processor = _clock_seconds(
        lambda: _processor_seconds(lambda: _in_one_go(parts, known, cores))[0]
    )
    units = np.array([case[2].shape for case in problems])

    def row(what: str, solver: str, seconds: float, against: float) -> dict[str, Any]:
        return {
            "what": what,
            "solver": solver,
            "pairs": len(problems),
            "median words": "x".join(str(int(n)) for n in np.median(units, axis=0)),
            "seconds": round(seconds, 3),
            "us a pair": round(seconds / len(problems) * 1e6, 1),
            "times ours": round(seconds / against, 2),
        }

    score, full = "score, similarities included", f"score and nulls ({DRAWS + 2} programs a pair)"
    return [
        row(score, "xlwh", ours, ours),
        row("score, costs given", "ot.emd", bare, ours),
        row(f"score, costs given, from {SLOW_PAIRS} pairs", "PuLP/CBC", cbc * scale, ours),
        row(f"score, costs given, from {SLOW_PAIRS} pairs", "SciPy HiGHS", highs * scale, ours),
        row(f"{full}, frames to rows", "xlwh", ours_full, ours_full),
        row(f"{DRAWS + 2} programs a pair, costs given", "ot.emd", bare_full, ours_full),
        row(f"{full}, clock", "xlwh, this process", one, one) | {"processor s": round(one_processor, 1)},
        row(f"{full}, clock, start included", f"xlwh, {cores} processes", several, one)
        | {"processor s": round(several_processor, 1)},
    ]


def run_view(pairs: int = 200_000, attributions: int = 5_000_000) -> list[dict[str, Any]]:
    """One row per query over a warehouse of that many rows: the first and the median time on an open connection."""
    queries = {
        "select * from ccta": "select * from ccta",
        "select * from ccta_overall": "select * from ccta_overall",
        "select * from ccta_performance_correlation": "select * from ccta_performance_correlation",
        "select count(*) from word_attributions": "select count(*) from word_attributions",
    }
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder) / "warehouse", create=True)
        _fill(warehouse, pairs, attributions)
        warehouse.build_catalogue()
        rows = []
        with warehouse.connect() as database:
            for name, query in queries.items():
                times = []
                for _ in range(9):
                    start = time.perf_counter()
                    found = database.sql(query).pl()
                    times.append((time.perf_counter() - start) * 1000)
                rows.append(
                    {
                        "query": name,
                        "pairs": pairs,
                        "attribution rows": attributions,
                        "rows found": found.height,
                        "first ms": round(times[0], 1),
                        "median ms": round(float(np.median(times[1:])), 1),
                    }
                )
    return rows


def corpus(
    shared: Path, pairs: int
) -> tuple[list[tuple[str, pl.DataFrame, pl.DataFrame]], dict[str, Vectors]]:
    """Units of English and of each target language, language by language, and vectors of all of them."""
    study = Study.model_validate(
        {
            "name": "bench",
            "languages": ["en", *LANGUAGES],
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {"mini": {"path": str(shared / "models" / "mini-x11")}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        warehouse: Any = SimpleNamespace(root=Path(folder), hashes=HashCache.of(folder))
        loaded = Zoo(study, warehouse, device="cpu").load("mini")
        english, parts, left = _units(study, "en"), [], pairs
        for language in LANGUAGES:
            examples = english["example_id"].unique(maintain_order=True).head(left)
            if left <= 0:
                break
            chosen = [
                x.filter(pl.col("example_id").is_in(examples.to_list()))
                for x in (english, _units(study, language))
            ]
            parts.append((language, *chosen))
            left -= len(examples)
        frames = {"en": english} | {language: target for language, _, target in parts}
        known = {name: _embed(word_embedder(loaded, name), frame) for name, frame in frames.items()}
    return parts, known


def _units(study: Study, language: str) -> pl.DataFrame:
    """Words of premise and hypothesis with made-up attributions, in the columns that pairs are made from."""
    examples = read(study, "xnli", language).examples.sort("row_number")
    rows = [
        (example, text[start:end])
        for example, *texts in examples.select("example_id", "text", "text_pair").iter_rows()
        for text in texts
        for start, end in segment(text, language)
    ]
    draws = np.random.default_rng(len(rows)).normal(size=len(rows))
    return pl.DataFrame(rows, schema=["example_id", "unit"], orient="row").with_columns(
        split=pl.lit("dev"),
        target=pl.lit("entailment"),
        method=pl.lit("lig"),
        index=pl.int_range(pl.len(), dtype=pl.Int32).over("example_id"),
        attribution=pl.Series(draws),
    )


def _embed(embed: Callable[..., Any], frame: pl.DataFrame) -> Vectors:
    words = frame["unit"].unique().sort().to_list()
    found, covered = embed(words)
    rows = [(word, found[i].tolist()) for i, word in enumerate(words) if covered[i]]
    return vectors(
        pl.DataFrame(rows, schema={"word": pl.String, "vector": pl.List(pl.Float32)}, orient="row")
    )


def cases(part: tuple[str, pl.DataFrame, pl.DataFrame], known: dict[str, Vectors]) -> Iterator[Case]:
    """Weights and cosines of each pair, in the order of the examples."""
    language, source, target = part
    sides = []
    for name, frame in (("en", source), (language, target)):
        placed = frame.join(known[name].rows, on="unit", how="left").sort("example_id", "index")
        grouped = placed.group_by("example_id", maintain_order=True).agg(
            "attribution", pl.col("row").fill_null(-1)
        )
        sides.append(zip(grouped["attribution"], grouped["row"], strict=True))
    for (a_s, r_s), (a_t, r_t) in zip(*sides, strict=True):
        similarity = known["en"].matrix[r_s.to_numpy()] @ known[language].matrix[r_t.to_numpy()].T
        yield (
            weights(a_s.to_numpy(), "abs")[0],
            weights(a_t.to_numpy(), "abs")[0],
            similarity.astype(np.float64),
        )


def _in_one_go(
    parts: list[tuple[str, pl.DataFrame, pl.DataFrame]], known: dict[str, Vectors], workers: int
) -> None:
    """All languages as one batch, so that the workers start once: ids and words are told apart by the language."""
    offset, rows, matrices = 0, [], []
    for language, _, _ in parts:
        one = known[language]
        rows.append(one.rows.with_columns(unit=language + ":" + pl.col("unit"), row=pl.col("row") + offset))
        matrices.append(one.matrix[:-1])
        offset += len(one.matrix) - 1
    together = Vectors(pl.concat(rows), np.vstack([*matrices, np.zeros_like(matrices[0][:1])]))

    source, target = [], []
    for language, s, t in parts:
        renamed = language + ":" + pl.col("example_id")
        source.append(s.with_columns(example_id=renamed))
        target.append(t.with_columns(example_id=renamed, unit=language + ":" + pl.col("unit")))
    ccta_pairs(
        pl.concat(source), pl.concat(target), known["en"], together,
        normalizations=("abs",), draws=DRAWS, seed=0, workers=workers,
    )  # fmt: skip


def _highs(source: np.ndarray, target: np.ndarray, similarity: np.ndarray) -> float:
    """The linear program of the definition, with SciPy's HiGHS and sparse constraints."""
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    n, m = similarity.shape
    rows = vstack([kron(eye_array(n), np.ones((1, m))), kron(np.ones((1, n)), eye_array(m))]).tocsr()
    solved = linprog(-similarity.ravel(), A_ub=rows, b_ub=np.concatenate([source, target]), method="highs")
    return float(-solved.fun)


def _fill(warehouse: Warehouse, pairs: int, attributions: int) -> None:
    """A warehouse of one model with ten target languages, and predictions enough for their accuracies."""
    each, tokens_each = pairs // len(LANGUAGES), attributions // len(LANGUAGES)
    generator = np.random.default_rng(0)
    for language in LANGUAGES:
        shares = generator.random((each, 6))
        pair_columns = {
            "target_language": language, "source_language": "en", "method": "lig", "target_policy": "gold",
            "space": "space", "unit": "word", "normalization": "abs", "num_draws": 20, "source_units": 20,
            "target_units": 20, "degenerate": False, "alignment": "rotated", "target": "yes", **_KEYS,
        }  # fmt: skip
        measured = (
            "score",
            "null_uniform",
            "null_shuffled",
            "null_shuffled_sd",
            "source_coverage",
            "target_coverage",
        )
        frame = _frame("ccta_pairs", each, pair_columns, dict(zip(measured, shares.T, strict=True)))
        warehouse.write({Slot("ccta_pairs", ("m", language), "d"): frame}, "x")
        seen = {"language": language, **_KEYS}
        predicted = {"label": "yes", "task": "sentence_pair", "num_tokens": 9, "num_truncated": 0}
        answers = np.where(generator.random(1000) < 0.7, "yes", "no")
        frame = _frame("predictions", 1000, seen | predicted, {"predicted": answers})
        warehouse.write({Slot("predictions", ("m", language), "d"): frame}, "x")
        position = np.arange(tokens_each) % 50
        example = (np.arange(tokens_each) // 50).astype(str)
        spots = {"position": position, "example_id": example}
        frame = _frame(
            "token_attributions", tokens_each, seen | {"method": "lig", "target": "yes"},
            spots | {"attribution": generator.normal(size=tokens_each)},
        )  # fmt: skip
        warehouse.write({Slot("token_attributions", ("m", language), "d.lig"): frame}, "x")
        about = {"segment": 0, "word": "word", "token_id": 5, "token": "word", "is_special": False}
        frame = _frame(
            "tokens", tokens_each, seen | about | {"is_unknown": False, "segmenter": "s"},
            spots | {"word_index": position // 2},
        )  # fmt: skip
        warehouse.write({Slot("tokens", ("m", language), "d"): frame}, "x")


_KEYS = {"model": "m", "dataset": "d", "split": "dev"}


def _frame(table: str, height: int, constants: dict[str, Any], columns: dict[str, Any]) -> pl.DataFrame:
    types = schema(table)
    ids = np.arange(height).astype(str)
    given = {"example_id": ids, **columns}
    values = {name: pl.Series(name, values) for name, values in given.items()}
    return pl.DataFrame(values).select(
        (
            pl.col(name)
            if name in values
            else pl.lit([0.5, 0.5] if isinstance(dtype, pl.List) else constants.get(name))
        )
        .cast(dtype)
        .alias(name)
        for name, dtype in types.items()
    )


def _processor_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, child processes included: PuLP runs CBC as one."""
    start = sum(os.times()[:4])
    result = work()
    return sum(os.times()[:4]) - start, result


def _clock_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--skip-view", action="store_true")
    arguments = parser.parse_args()
    print_table(f"Consistency of {arguments.pairs:,} XNLI pairs", run(arguments.shared, arguments.pairs))
    if not arguments.skip_view:
        print()
        print_table("Views over 200,000 pairs and 5 million attributions", run_view())


if __name__ == "__main__":
    main()
