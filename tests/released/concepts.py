"""Concepts that are aligned or overlap, and the word alignment behind them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from released.harness import Case, warehouse
from xlwh.concepts.alignment import align, encode
from xlwh.concepts.alignment_matches import covered, languages, matches, translations_of, types_of
from xlwh.study import Aligner

DEMO = Path(importlib.util.find_spec("xlwh").origin).parent / "demo" / "data" / "alignments"


def calign(cases: Sequence[Case]) -> list[dict[str, Any]]:
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in (
            "clusterings",
            "concepts",
            "concept_members",
            "lexicon",
            "concept_pairings",
            "concept_matches",
        )
    }
    for number, case in enumerate(cases):
        model = f"m{number}"
        sides = (case["source"], case["target"])
        frames = [
            pl.DataFrame(
                [{"concept": k, "word": word} for k, words in enumerate(side) for word in words],
                schema={"concept": pl.Int32, "word": pl.String},
            )
            for side in sides
        ]
        types = [types_of(frame, len(side)) for frame, side in zip(frames, sides, strict=True)]
        lexicon = _lexicon(case["lexicon"])
        translations = translations_of(pl.DataFrame(lexicon), *types, 20)
        names = [f"d.encoder.1.monolingual-{language}.k2.s0" for language in ("en", "de")]
        pair = {
            "model": model,
            "lexicon": model,
            "source_clustering": names[0],
            "target_clustering": names[1],
        }
        for name, language, side in zip(names, ("en", "de"), sides, strict=True):
            key = {"model": model, "clustering": name}
            scope = {"scope": f"monolingual:{language}"}
            tables["clusterings"].append({**key, **scope, "languages": [language], "num_clusters": len(side)})
            tables["concepts"] += [
                {**key, "concept": k, "num_types": len(set(words))} for k, words in enumerate(side)
            ]
            tables["concept_members"] += [
                {
                    **key,
                    **scope,
                    "language": language,
                    "concept": k,
                    "word": word,
                    "example_id": f"{k}.{at}",
                }
                for k, words in enumerate(side)
                for at, word in enumerate(words)
            ]
        tables["lexicon"] += [{"lexicon": model, **row} for row in lexicon]
        tables["concept_pairings"].append(
            {
                **pair,
                "max_rank": 20,
                "floor": 0.0,
                "num_draws": 1,
                "source_concepts": len(sides[0]),
                "source_types": len(types[0].vocabulary),
                "source_types_covered": covered(translations),
            }
        )
        found = matches(*types, translations, floor=0.0, draws=1, seed=(0,))
        tables["concept_matches"] += [{**pair, **row} for row in found.to_dicts()]
    with warehouse(**tables) as database:
        rows = database.sql(
            "select distinct model, source_concept, target_concept from calign_matches "
            "where variant = 'published_code' order by all"
        ).fetchall()
    aligned: dict[str, dict[str, list[int]]] = {f"m{number}": {} for number in range(len(cases))}
    for model, source, target in rows:
        aligned[model].setdefault(str(source), []).append(target)
    return [{"aligned": aligned[f"m{number}"]} for number in range(len(cases))]


def _lexicon(lines: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Lines [source, target, probability, count] with the two ranks that the lexicon step gives them."""
    by_word: dict[str, list[tuple[int, str, float, int]]] = {}
    for source, target, probability, count in lines:
        known = by_word.setdefault(source, [])
        known.append((len(known) + 1, target, probability, count))
    return [
        {
            "source_word": word,
            "target_word": target,
            "rank": rank,
            "file_rank": file_rank,
            "probability": probability,
        }
        for word, known in by_word.items()
        for rank, (file_rank, target, probability, _) in enumerate(
            sorted(known, key=lambda line: (-line[2], -line[3], line[1])), start=1
        )
    ]


def colap(cases: Sequence[Case]) -> list[dict[str, Any]]:
    clusterings, rows = [], []
    for number, case in enumerate(cases):
        key = {"model": f"m{number}", "clustering": "d.encoder.1.mixed-en+de.k4.s0"}
        members = pl.DataFrame(
            [
                {"concept": k, "language": language, "word": word}
                for k, concept in enumerate(case["concepts"])
                for language, words in concept.items()
                for word in words
            ]
        )
        clusterings.append(
            {
                **key,
                "scope": "mixed:en+de",
                "languages": ["en", "de"],
                "num_clusters": len(case["concepts"]),
            }
        )
        rows += [{**key, **row} for row in languages(members, draws=1, seed=(0,)).to_dicts()]
    with warehouse(clusterings=clusterings, concept_languages=rows) as database:
        found = dict(
            database.sql(
                "select model, overlapping from colap where variant = 'published_code' and unit = 'tokens'"
            ).fetchall()
        )
    return [{"overlapping": found[f"m{number}"]} for number in range(len(cases))]


def fast_align(cases: Sequence[Case]) -> list[dict[str, Any]]:
    found = []
    for case in cases:
        lines = (DEMO / case["demo"]).read_text(encoding="utf-8").splitlines()
        pairs = [json.loads(line)[side] for line in lines for side in ("premise", "hypothesis")]
        pairs = pairs[: case["sentences"]]
        bitext = encode([p["source"] for p in pairs], [p["target"] for p in pairs])
        optimised = "-o" in case["flags"]
        made = align(
            bitext,
            Aligner(
                model="diagonal",
                optimise_tension=optimised,
                tension_update="released",
                alpha=0.01 if "-v" in case["flags"] else 0.0,
            ),
        )
        forward = [
            [f"{i}-{j}" for j, i in enumerate(made.source_of_target[start:end].tolist()) if i >= 0]
            for start, end in zip(bitext.target_starts[:-1], bitext.target_starts[1:], strict=True)
        ]
        reverse = [
            [f"{i}-{j}" for i, j in enumerate(made.target_of_source[start:end].tolist()) if j >= 0]
            for start, end in zip(bitext.source_starts[:-1], bitext.source_starts[1:], strict=True)
        ]
        output: dict[str, Any] = {
            "forward": [" ".join(line) for line in forward],
            "reverse": [" ".join(line) for line in reverse],
        }
        if optimised:
            output |= {"tension_forward": made.tensions[0], "tension_reverse": made.tensions[1]}
        found.append(output)
    return found
