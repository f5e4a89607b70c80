"""CALIGN and COLAP of 600 concepts in 13 layers and 4 language pairs, over a full sweep of thresholds, against a loop.

    python tests/benchmarks/bench_calign.py [--concepts 600] [--layers 13] [--pairs 4] [--loop-sources 20]

Made-up clusterings: words of a topic are translations of each other and mostly stay together. The sweep is
4 x 4 x 3 thresholds of CALIGN (share, translations, types) and 4 of COLAP, in both variants, with both baselines
(5 draws). The loop is plain Python over pairs of clusters: for each, how many words of the one have one of their N best
translations in the other. It is timed on some source clusters of one layer and pair and scaled to all; its results
there are compared with the view's. The loop computes no baseline.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import print_table

from xlwh.concepts.alignment_matches import (
    Translations,
    Types,
    covered,
    languages,
    matches,
    translations_of,
    types_of,
)
from xlwh.store import Slot, Warehouse, schema
from xlwh.tables import TABLES

THETAS = (0.7, 0.75, 0.8, 0.9)
DEPTHS = (5, 8, 10, 20)
MIN_TYPES = (3, 5, 10)
OVERLAPS = (0.2, 0.25, 0.3, 0.4)
DRAWS = 5
WORDS_PER_CONCEPT = 25
DEPTH = 20


@dataclass(frozen=True)
class Made:
    """One layer and language pair: what is matched, and what the step stores of it."""

    layer: int
    target_language: str
    source: Types
    target: Types
    translations: Translations


def run(
    concepts: int = 600, layers: int = 13, pairs: int = 4, loop_sources: int = 20
) -> list[dict[str, Any]]:
    """One row per way of computing the same numbers."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder), create=True)
        start, processor = time.perf_counter(), time.process_time()
        made = _fill(warehouse, concepts, layers, pairs)
        filled, filled_processor = time.perf_counter() - start, time.process_time() - processor
        warehouse.build_catalogue()
        with warehouse.connect() as database:
            size = database.sql("select count(*) from concept_matches").fetchall()[0][0]
            calign = (
                "select source_clustering, target_clustering, variant, theta, n_best, min_types, aligned, null_lexicon, "
                f"null_labels from calign_sweep(thetas := {list(THETAS)}, n_bests := {list(DEPTHS)}, "
                f"min_sizes := {list(MIN_TYPES)})"
            )
            colap = f"select * from colap_sweep(thetas := {list(OVERLAPS)})"
            times = []
            for _ in range(3):
                start = time.perf_counter()
                rows = database.sql(calign).fetchall()
                overlaps = database.sql(colap).fetchall()
                times.append(time.perf_counter() - start)
        at = made[0]
        looped, results = _loop(at, loop_sources)
        _compare(at, results, loop_sources)
        scale = (concepts / loop_sources) * layers * pairs
    views = float(np.median(times))
    return [
        {
            "what": "views: CALIGN and COLAP, all thresholds, variants and baselines, one query each",
            "seconds": round(views, 2),
            "rows": len(rows) + len(overlaps),
            "loop / this": round(looped * scale / views),
        },
        {
            "what": f"the step's matches and chance, {DRAWS} draws of each baseline, made-up data included",
            "seconds": round(filled, 1),
            "processor s": round(filled_processor, 1),
            "rows": size,
            "loop / this": round(looped * scale / filled),
        },
        {
            "what": f"plain loop, no baselines, from {loop_sources} source clusters of one layer and pair",
            "seconds": round(looped * scale),
            "loop / this": 1,
        },
    ]


def _fill(warehouse: Warehouse, concepts: int, layers: int, pairs: int) -> list[Made]:
    """Made-up members of all layers, and what the steps would store of them."""
    generator = np.random.default_rng(0)
    vocabulary = concepts * 12
    lexica = {f"l{k}": _lexicon(generator, vocabulary) for k in range(1, pairs + 1)}
    names = ["l0", *lexica]
    tables: dict[str, list[pl.DataFrame]] = {
        name: []
        for name in ("clusterings", "concepts", "concept_pairings", "concept_matches", "concept_languages")
    }
    made = []
    for layer in range(layers):
        noise = 0.6 - 0.5 * np.sin(np.pi * layer / max(1, layers - 1))
        members = {name: _members(generator, concepts, vocabulary, noise, name) for name in names}
        types = {name: types_of(frame, concepts) for name, frame in members.items()}
        for name in names:
            clustering = f"{name}.{layer}"
            tables["clusterings"].append(_clustering(clustering, [name], layer, concepts))
            sizes = types[name].sizes
            tables["concepts"].append(
                pl.DataFrame(
                    {
                        "clustering": clustering,
                        "concept": np.arange(concepts),
                        "num_tokens": sizes,
                        "num_types": sizes,
                    }
                )
            )
        for name, lexicon in lexica.items():
            translations = translations_of(lexicon, types["l0"], types[name], DEPTH)
            item = Made(layer, name, types["l0"], types[name], translations)
            made.append(item)
            pair = {
                "lexicon": "x",
                "source_clustering": f"l0.{layer}",
                "target_clustering": f"{name}.{layer}",
            }
            found = matches(
                item.source, item.target, translations, floor=0.5, draws=DRAWS, seed=(layer, name)
            )
            tables["concept_matches"].append(found.with_columns(pl.lit(v).alias(k) for k, v in pair.items()))
            tables["concept_pairings"].append(
                pl.DataFrame(
                    {
                        **pair,
                        "source_language": "l0",
                        "target_language": name,
                        "max_rank": DEPTH,
                        "floor": 0.5,
                        "num_draws": DRAWS,
                        "source_concepts": concepts,
                        "source_types": len(item.source.vocabulary),
                        "source_types_covered": covered(translations),
                    }
                )
            )
            mixed = f"l0+{name}.{layer}"
            both = pl.concat(members[side].with_columns(language=pl.lit(side)) for side in ("l0", name))
            counted = languages(both, draws=DRAWS, seed=(mixed,))
            tables["concept_languages"].append(counted.with_columns(clustering=pl.lit(mixed)))
            tables["clusterings"].append(_clustering(mixed, ["l0", name], layer, concepts))
    warehouse.write(
        {
            Slot(name, ("m",)): _typed(name, pl.concat(frames, how="diagonal_relaxed"))
            for name, frames in tables.items()
        },
        "0" * 32,
    )
    return made


def _lexicon(generator: np.random.Generator, vocabulary: int) -> pl.DataFrame:
    """Word n translates to word n of the other language at some rank, and to random words at the others."""
    words = np.repeat(np.arange(vocabulary), DEPTH)
    ranks = np.tile(np.arange(1, DEPTH + 1), vocabulary)
    targets = generator.integers(0, vocabulary, len(words))
    right = np.minimum(generator.geometric(0.4, vocabulary), DEPTH)
    targets[np.arange(vocabulary) * DEPTH + right - 1] = np.arange(vocabulary)
    frame = pl.DataFrame({"source_word": words, "target_word": targets, "rank": ranks, "file_rank": ranks})
    return frame.with_columns(pl.col("source_word", "target_word").cast(pl.String)).unique(
        ["source_word", "target_word"], keep="first", maintain_order=True
    )


def _members(
    generator: np.random.Generator, concepts: int, vocabulary: int, noise: float, language: str
) -> pl.DataFrame:
    """Occurrences of words: each in the concept of its topic, or with probability `noise` in any."""
    words = generator.integers(0, vocabulary, concepts * WORDS_PER_CONCEPT)
    at = np.where(
        generator.random(len(words)) < noise, generator.integers(0, concepts, len(words)), words % concepts
    )
    return pl.DataFrame({"concept": at.astype(np.int32), "word": words}).with_columns(
        pl.col("word").cast(pl.String)
    )


def _clustering(name: str, scope: Sequence[str], layer: int, concepts: int) -> pl.DataFrame:
    kind = "monolingual" if len(scope) == 1 else "mixed"
    return pl.DataFrame(
        {
            "clustering": [name],
            "corpus": ["c"],
            "scope": [f"{kind}:{'+'.join(scope)}"],
            "languages": [list(scope)],
            "stack": ["encoder"],
            "layer": [layer],
            "aggregation": ["last"],
            "num_clusters": [concepts],
            "algorithm": ["faiss"],
        }
    )


def _typed(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """All columns of a table: those given, `m` for the model, NULL or the least value for the others."""
    columns = []
    for column, definition in TABLES[name].columns().items():
        dtype = schema(name)[column]
        if column in frame.columns:
            columns.append(pl.col(column).cast(dtype))
        elif column == "model":
            columns.append(pl.lit("m").alias(column))
        elif definition.nullable:
            columns.append(pl.lit(None, dtype=dtype).alias(column))
        elif isinstance(dtype, pl.List):
            columns.append(pl.lit([], dtype=dtype).alias(column))
        elif dtype == pl.Boolean:
            columns.append(pl.lit(False).alias(column))
        else:
            columns.append(pl.lit(getattr(definition, "min", 0) or 0, dtype=dtype).alias(column))
    return frame.select(columns)


def _loop(made: Made, sources: int) -> tuple[float, dict[tuple[int, int], list[int]]]:
    """Seconds, and for each (depth, source cluster) the aligned partners of the strict variant at theta .8."""
    source = _sets(made.source)
    target = _sets(made.target)
    best: dict[str, list[str]] = {}
    order = np.lexsort((made.translations.rank, made.translations.source))
    ranks = {}
    for at in order:
        word = made.source.vocabulary[made.translations.source[at]]
        translation = made.target.vocabulary[made.translations.target[at]]
        best.setdefault(word, []).append(translation)
        ranks[word, translation] = int(made.translations.rank[at])
    found: dict[tuple[int, int], list[int]] = {}
    start = time.process_time()
    for depth in DEPTHS:
        near = {word: [t for t in words if ranks[word, t] <= depth] for word, words in best.items()}
        for s in range(sources):
            partners = []
            for t in range(len(target)):
                matched = 0
                for word in source[s]:
                    for translation in near.get(word, ()):
                        if translation in target[t]:
                            matched += 1
                            break
                sizes = len(source[s]), len(target[t])
                if (
                    min(sizes)
                    and matched / sizes[0] >= 0.8
                    and sizes[0] > 5
                    and min(sizes) / max(sizes) >= 0.6
                ):
                    partners.append(t)
            found[depth, s] = partners
    return time.process_time() - start, found


def _sets(types: Types) -> list[set[str]]:
    found: list[set[str]] = [set() for _ in range(types.num_concepts)]
    for concept, word in zip(types.concepts.tolist(), types.words.tolist(), strict=True):
        found[concept].add(types.vocabulary[word])
    return found


def _compare(made: Made, looped: dict[tuple[int, int], list[int]], sources: int) -> None:
    """The stored matches give what the loop finds."""
    frame = matches(made.source, made.target, made.translations, floor=0.5, draws=1, seed=(0,))
    frame = frame.filter((pl.col("baseline") == "none") & (pl.col("source_concept") < sources))
    for (depth, s), partners in looped.items():
        ours = frame.filter(
            (pl.col("source_concept") == s)
            & (pl.col("matched").list.get(depth - 1) / pl.col("source_types") >= 0.8)
            & (pl.col("source_types") > 5)
            & (
                pl.min_horizontal("source_types", "target_types")
                / pl.max_horizontal("source_types", "target_types")
                >= 0.6
            )
        )
        assert ours["target_concept"].to_list() == partners, (depth, s)


def main() -> None:
    """Print the table of benchmarks.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concepts", type=int, default=600)
    parser.add_argument("--layers", type=int, default=13)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--loop-sources", type=int, default=20)
    asked = parser.parse_args()
    rows = run(asked.concepts, asked.layers, asked.pairs, asked.loop_sources)
    title = (
        f"CALIGN and COLAP, {asked.concepts} concepts, {asked.layers} layers, {asked.pairs} language pairs"
    )
    print_table(title, rows)


if __name__ == "__main__":
    main()
