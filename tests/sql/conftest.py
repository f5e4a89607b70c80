"""Fixtures of the SQL tests: frames from partial rows, and a real warehouse filled with them.

A test writes down only the columns it is about; the others get a default that the table's contract accepts:

    def test_accuracy(connect):
        database = connect(predictions=[{"example_id": "1", "label": "a", "predicted": "a"}])
        assert database.sql("select value from task_scores where metric = 'accuracy'").fetchall() == [(1.0,)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import duckdb
import polars as pl
import pytest
from partial_rows import FrameBuilder, Rows, fill, filled

from xlwh.published import load
from xlwh.store import Warehouse
from xlwh.tables import TABLES


@pytest.fixture(scope="session")
def frame() -> FrameBuilder:
    """frame(table, rows, **common): a frame that keeps the table's contract, made from partial rows."""
    return filled


@pytest.fixture(scope="session")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of an empty warehouse: made into that of another one in a tenth of the time."""
    return Warehouse(tmp_path_factory.mktemp("empty"), create=True).build_catalogue()


@pytest.fixture(scope="session")
def warehouse(
    frame: FrameBuilder, tmp_path_factory: pytest.TempPathFactory, views: Path
) -> Callable[..., Warehouse]:
    """warehouse(predictions=[rows], tokens=frame, ...): a new warehouse on disk that holds these tables."""

    def build(**tables: Rows | pl.DataFrame) -> Warehouse:
        assert set(tables) <= set(TABLES), f"no such table: {sorted(set(tables) - set(TABLES))}"
        made = {n: t if isinstance(t, pl.DataFrame) else frame(n, t) for n, t in tables.items()}
        return fill(tmp_path_factory.mktemp("warehouse"), made, views)

    return build


@pytest.fixture
def connect(warehouse: Callable[..., Warehouse]) -> Iterator[Callable[..., duckdb.DuckDBPyConnection]]:
    """connect(predictions=[rows], tokens=frame, ...): a read-only connection with every view over these tables."""
    opened: list[duckdb.DuckDBPyConnection] = []

    def build(**tables: Rows | pl.DataFrame) -> duckdb.DuckDBPyConnection:
        opened.append(warehouse(**tables).connect())
        return opened[-1]

    yield build
    for database in opened:
        database.close()


@pytest.fixture(scope="session")
def catalogue(warehouse: Callable[..., Warehouse]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with every view over empty tables, shared by the tests that only look at names and types."""
    with warehouse().connect() as database:
        yield database


MODELS = ("one", "two")
DATASETS = ("xnli", "paws-x")
SPLITS = ("dev", "test")
LANGUAGES = ("en", "de")
AUDIT = {"joined_by": "row", "verdict": "parallel", "aligned": "checked"}
EXAMPLES = ("1", "2")
METHODS = ("lig", "random")
PLAYER = {"unit": "head", "layer": 0, "head": 0}
MASK = {"ranking": "shapley.rows", "selection": "strict", "num_removed": 1}
RATIONALE = {
    "words": ["w0", "w1"],
    "word_spans": [{"start": 0, "end": 2}, {"start": 3, "end": 5}],
    "word_labels": ["rationale", "O"],
}
SIDES = ("sufficiency", "comprehensiveness")
WAYS = (
    *(
        {"mode": "hard", "masking": masking, "ratio": ratio}
        for masking in ("mask", "zero_id")
        for ratio in (0.1, 1)
    ),
    *({"mode": "soft", "masking": masking, "ratio": None} for masking in ("bernoulli", "bernoulli_reversed")),
)

QUESTION = {"dataset": "xquad", "split": "test", "example_id": "q1", "task": "question_answering"}


@pytest.fixture(scope="session")
def populated(warehouse: Callable[..., Warehouse]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with every view over a warehouse with two of everything; model `one` needs nothing of `two`."""
    runs = [
        {"model": m, "dataset": d, "split": s, "language": language, "example_id": e}
        for m, d, s, language, e in product(MODELS, DATASETS, SPLITS, LANGUAGES, EXAMPLES)
    ]
    positions = [
        {**run, "position": p, "word_index": p // 2, "word": f"w{p // 2}", "segment": 0}
        for run in runs
        for p in range(4)
    ]
    attributed = [
        {**row, "method": method, "target": t} for row, method, t in product(runs, METHODS, ("yes", "no"))
    ]
    texts = {
        tuple(run[c] for c in ("dataset", "split", "language", "example_id")): run for run in runs
    }.values()
    occurrences = [
        {**run, "layer": layer, "word_index": w, "word": f"w{w}"}
        for run in runs
        for layer, w in product((0, 1), (0, 1))
    ]
    clusterings = [
        {
            "model": model,
            "clustering": f"{dataset}.encoder.{layer}.{scope.replace(':', '-')}.k2.s0",
            "corpus": dataset,
            "scope": scope,
            "languages": languages,
            "layer": layer,
            "num_clusters": 2,
        }
        for model, dataset, layer, (scope, languages) in product(
            MODELS,
            DATASETS,
            (0, 1),
            (("monolingual:en", ["en"]), ("monolingual:de", ["de"]), ("mixed:en+de", ["en", "de"])),
        )
    ]
    pairings = [
        {
            "model": c["model"],
            "lexicon": lexicon,
            "source_clustering": c["clustering"],
            "target_clustering": c["clustering"].replace("monolingual-en", "monolingual-de"),
            "max_rank": 10,
            "num_draws": 1,
            "source_concepts": 2,
            "source_types": 2,
        }
        for c, lexicon in product(clusterings, "ab")
        if c["scope"] == "monolingual:en"
    ]
    games = [
        {"model": m, "dataset": d, "split": s, "language": language}
        for m, d, s, language in product(MODELS, DATASETS, SPLITS, LANGUAGES)
    ]
    made = warehouse(
        activations=[{**row, "vector": [1.0, 0.0]} for row in occurrences],
        sentence_vectors=[{**run, "layer": layer} for run in runs for layer in (0, 1)],
        representation_similarities=[
            {
                "model": model,
                "corpus": dataset,
                "layer": layer,
                "measure": "cka",
                "source_language": "en",
                "target_language": "de",
            }
            for model, dataset, layer in product(MODELS, DATASETS, (0, 1))
        ],
        concept_labels=[
            {"model": c["model"], "clustering": c["clustering"], "concept": k, "author": author}
            for c, k, author in product(clusterings, (0, 1), ("a", "b"))
        ],
        concept_kinds=[
            {"model": c["model"], "clustering": c["clustering"], "concept": k, "num_pos_tagged": 4}
            for c, k in product(clusterings, (0, 1))
        ],
        clusterings=clusterings,
        concepts=[
            {
                "model": c["model"],
                "clustering": c["clustering"],
                "concept": k,
                "num_tokens": 4,
                "num_types": 1,
            }
            for c, k in product(clusterings, (0, 1))
        ],
        concept_members=[
            {
                **{name: c[name] for name in ("clustering", "corpus", "scope", "layer")},
                **{name: value for name, value in row.items() if name != "layer"},
                "concept": row["word_index"],
            }
            for c, row in product(clusterings, occurrences)
            if (c["model"], c["corpus"], c["layer"]) == (row["model"], row["dataset"], row["layer"])
            and row["language"] in c["languages"]
        ],
        lexicon=[
            {"lexicon": lexicon, "source_word": a, "target_word": b, "rank": rank, "file_rank": rank}
            for lexicon, (a, (rank, b)) in product("ab", product(("w0", "w1"), ((1, "w0"), (2, "w1"))))
        ],
        concept_pairings=pairings,
        concept_matches=[
            {
                **{
                    name: row[name] for name in ("model", "lexicon", "source_clustering", "target_clustering")
                },
                "baseline": baseline,
                "draw": int(baseline != "none"),
                "source_concept": concept,
                "target_concept": concept,
                "source_types": 6,
                "target_types": 6,
                "matched": [6] * 10,
                "matched_in_file": [6] * 10,
            }
            for row, baseline, concept in product(
                pairings, ("none", "shuffled_lexicon", "random_labels"), (0, 1)
            )
        ],
        concept_languages=[
            {
                **{name: c[name] for name in ("model", "clustering")},
                "baseline": baseline,
                "draw": int(baseline != "none"),
                "concept": concept,
                "language": language,
                "num_tokens": 2,
                "num_types": 1,
            }
            for c, baseline, concept, language in product(
                clusterings, ("none", "random_labels"), (0, 1), LANGUAGES
            )
            if len(c["languages"]) == 2
        ],
        examples=[
            *(
                {**{c: v for c, v in run.items() if c != "model"}, **RATIONALE, "text": "w0 w1"}
                for run in texts
            ),
            *(
                {**QUESTION, "language": x, "answers": [{"text": "the answer", "start": 0}]}
                for x in LANGUAGES
            ),
        ],
        parallelism=[{"dataset": d, "target_language": x, **AUDIT} for d, x in product(DATASETS, LANGUAGES)],
        rejected_rows=[{"dataset": d, "language": x} for d, x in product(DATASETS, LANGUAGES)],
        models=[
            {
                "model": model,
                "published_as": "XLM-R-Base",
                "finetuned_languages": [language],
                "weights_of": None if model == "one" else "one",
                "tokenization_sampling": None if model == "one" else 0.1,
                "randomized": None if model == "one" else "all",
            }
            for model, language in zip(MODELS, LANGUAGES, strict=True)
        ],
        tokens=positions,
        predictions=[
            {
                **run,
                "label": "yes",
                "predicted": "yes" if run["example_id"] == "1" else "no",
                "logits": [0.0] * 2,
            }
            for run in runs
        ]
        + [
            {**QUESTION, "model": m, "language": x, "predicted": "answer"}
            for m, x in product(MODELS, LANGUAGES)
        ],
        answer_spans=[
            {
                **{c: v for c, v in QUESTION.items() if c != "task"},
                "model": m,
                "language": x,
                "num_windows": 1,
            }
            for m, x in product(MODELS, LANGUAGES)
        ],
        token_predictions=[
            {
                **run,
                "dataset": f"tagged-{run['dataset']}",
                "word_index": word,
                "word": f"w{word}",
                "status": "tagged",
                "position": 2 * word,
                "label": "B-PER",
                "predicted": "B-PER" if word else "O",
                "logits": [0.0] * 2,
            }
            for run in runs
            for word in range(2)
        ],
        translation_statistics=[
            {
                **run,
                "dataset": f"translated-{run['dataset']}",
                "metric": metric,
                "signature": metric,
                "statistics": counts,
            }
            for run in runs
            for metric, counts in (("bleu", [4, 4, 4, 3, 2, 1, 4, 3, 2, 1]), ("chrf", [5, 4, 3] * 6))
        ],
        translations=[{**run, "dataset": f"translated-{run['dataset']}"} for run in runs],
        attribution_runs=attributed,
        token_attributions=[
            {**row, "position": p, "attribution": float(p)} for row in attributed for p in range(4)
        ],
        attribution_probes=[
            {**row, "draw": draw, "attributed": 1.0, "lost": draw, "norm": 1.0}
            for row, draw in product(attributed, range(2))
        ],
        word_vectors=[{"space": s, "language": x, "word": w} for s, x, w in product("ab", LANGUAGES, "vw")],
        ccta_pairs=[
            {
                **{c: v for c, v in row.items() if c != "language"},
                "source_language": row["language"],
                "target_language": target,
                "space": space,
                "normalization": normalization,
                "score": 1.0 if target == row["language"] else 0.4,
                "num_draws": 1,
                "source_units": 1,
                "target_units": 1,
            }
            for row, target, space, normalization in product(attributed, LANGUAGES, "ab", ("abs", "relu"))
            if row["target"] == "yes"
        ],
        perturbations=[
            {
                **run,
                "method": method,
                "side": side,
                **way,
                "repeat": repeat,
                "p_full": 0.9,
                "p_perturbed": 0.5 if method == "lig" else 0.6,
                "p_empty": 0.3,
            }
            for run, method, side, way, repeat in product(runs, METHODS, SIDES, WAYS, range(2))
            if method == "random" or way["mode"] == "soft" or repeat == 0
        ],
        head_samples=[
            {
                **run,
                "sampler": x,
                "estimator": "permutation",
                "permutation": int(run["example_id"]),
                **PLAYER,
                "head": h,
            }
            for run, x, h in product(runs, ("rows", "whole"), (0, 1))
        ],
        head_importance=[{**game, "method": "gradient", **PLAYER, "num_examples": 1} for game in games],
        attention_maps=[
            {
                **run,
                "layer": PLAYER["layer"],
                "head": 0,
                "tokens": ["a", "b"],
                "is_special": [True, False],
                "weights": [0.25] * 4,
            }
            for run in runs
        ],
        pruning_masks=[{**game, **MASK} for game in games],
        pruning_evaluations=[
            {**run, **MASK, "mask_language": x, "weight": 1} for run, x in product(runs, LANGUAGES)
        ],
        pruning_tests=[
            {**game, **MASK, "mask_language": x, "selection": s, "num_examples": 2, "resamples": 1000}
            for game, x, s in product(games, LANGUAGES, ("strict", "curve"))
        ],
        published_results=load(),
    )
    with made.connect() as connection:
        yield connection
