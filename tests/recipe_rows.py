"""A small warehouse in which every recipe has an answer, with numbers that can be told beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from partial_rows import fill, filled

from xlwh.published import load
from xlwh.store import Warehouse

D = {"dataset": "xnli"}
RIGHT = {"en": 4, "de": 2, "es": 3, "fr": 1, "sw": 0}
"""Examples of four that model `m`, fine-tuned on English, gets right."""
CONSISTENCY = {"de": 0.5, "es": 0.7, "fr": 0.3, "sw": 0.2}
PIECES = {("m", "en"): 2, ("m", "de"): 3, ("m", "es"): 2, ("mono", "de"): 2, ("mono", "es"): 2}
"""Sub-tokens of the one word."""
RATIOS = {("m", "de"): 1.5, ("m", "es"): 2.0, ("mono", "de"): 1.0, ("mono", "es"): 1.75}
"""Faithfulness of `lig` over that of random attributions."""
EN, DE = (f"xnli.encoder.1.monolingual-{language}.k2.s0" for language in ("en", "de"))
PAIR = {"lexicon": "x", "source_clustering": EN, "target_clustering": DE}


def build(root: Path) -> Warehouse:
    """Write it."""
    rows: dict[str, list[dict[str, Any]]] = {
        "models": [
            {"model": "base"},
            {"model": "m", "kind": "finetuned", "source": "base", "finetuned_languages": ["en"], "published_as": "XLM-R-Base"},
            {"model": "mono", "counterpart_of": "m"},
        ],
        "examples": [
            {**D, "language": language, "example_id": str(i), "text": f"{language} {i}"} for language in RIGHT for i in range(1, 5)
        ],
        "rejected_rows": [{**D, "language": "de", "reason": "no text", "raw": "\t", "row_number": i} for i in (1, 2)],
        "predictions": [
            {
                **D,
                "language": language,
                "example_id": str(i),
                "label": "yes",
                "predicted": "yes" if i <= right else "no",
                "logits": [0.0, 0.0],
                "probabilities": [0.5, 0.5],
            }
            for language, right in RIGHT.items()
            for i in range(1, 5)
        ],
        "tokens": [
            {**D, "model": model, "language": language, "example_id": str(i), "position": p, "word_index": 0, "word": "w", "segment": 0}
            for (model, language), pieces in PIECES.items()
            for i in range(1, 6)
            for p in range(pieces)
        ],
        "token_attributions": [
            {**D, "language": "en", "example_id": str(i), "position": p, "attribution": value}
            for i in range(1, 6)
            for p, value in enumerate((0.5, -1.0))
        ],
        "attribution_runs": [
            {**D, "model": "base", "example_id": str(i), "relative_delta": delta, "converged": delta < 0.1, "num_gradient_rows": 10 * i}
            for i, delta in ((1, 0.01), (2, 0.3))
        ],
        "ccta_pairs": [
            {**D, "target_language": language, "example_id": str(i), "score": score, "null_shuffled": 0.1}
            for language, score in CONSISTENCY.items()
            for i in range(1, 5)
        ],
        "perturbations": [
            {
                **D,
                "model": model,
                "language": language,
                "method": method,
                "side": "comprehensiveness",
                "ratio": 1.0,
                "p_full": 0.9,
                "p_empty": 0.4,
                # Random attributions have .4: a drop of .2 of a span of .5.
                "p_perturbed": 0.7 if method == "random" else 0.9 - 0.2 * ratio,
            }
            for (model, language), ratio in RATIOS.items()
            for method in ("lig", "random")
        ],
        **_concepts(),
        **_heads(),
    }  # fmt: skip
    tables = {name: filled(name, given) for name, given in rows.items()}
    return fill(root, {**tables, "published_results": load()})


def _concepts() -> dict[str, list[dict[str, Any]]]:
    """Two concepts a language, of which the first is aligned; by chance none is."""
    clusterings = [
        {
            "clustering": name,
            "corpus": "xnli",
            "scope": f"monolingual:{language}",
            "languages": [language],
            "num_clusters": 2,
        }
        for name, language in ((EN, "en"), (DE, "de"))
    ]
    return {
        "clusterings": clusterings,
        "concepts": [
            {"clustering": name, "concept": k, "num_tokens": 6, "num_types": 6} for name in (EN, DE) for k in (0, 1)
        ],
        "concept_members": [
            {**D, "clustering": name, "corpus": "xnli", "scope": f"monolingual:{language}", "language": language, "concept": 0, "word": word}
            for name, language, word in ((EN, "en", "cat"), (DE, "de", "Katze"))
        ],
        "lexicon": [{"lexicon": "x", "source_word": "cat", "target_word": "Katze", "rank": 1, "file_rank": 1, "probability": 0.9}],
        "concept_pairings": [
            {**PAIR, "max_rank": 10, "num_draws": 1, "source_concepts": 2, "source_types": 12},
        ],
        "concept_matches": [
            {
                **PAIR,
                "baseline": baseline,
                "draw": int(baseline != "none"),
                "source_concept": k,
                "target_concept": k,
                "source_types": 6,
                "target_types": 6,
                "matched": [6 if (baseline, k) == ("none", 0) else 2] * 10,
                "matched_in_file": [2] * 10,
            }
            for baseline in ("none", "shuffled_lexicon", "random_labels")
            for k in (0, 1)
        ],
    }  # fmt: skip


def _heads() -> dict[str, list[dict[str, Any]]]:
    """Of three heads one always does harm, one always helps, and the third was hardly seen; a mask from English."""
    marginals = {0: [-1.0] * 40, 1: [1.0] * 40, 2: [0.02, -0.01] * 4}
    player = {"unit": "head", "layer": 0, "sampler": "rows", "estimator": "permutation", "remaining": 1}
    mask = {
        "ranking": "shapley.rows",
        "selection": "strict",
        "num_removed": 1,
        "mask_language": "en",
        "before": 0.5,
        "num_examples": 100,
    }
    return {
        "head_samples": [
            {**D, **player, "language": language, "head": head, "permutation": n, "example_id": str(n), "marginal": value}
            for language in ("en", "de")
            for head, values in marginals.items()
            for n, value in enumerate(values)
        ],
        "pruning_tests": [
            {**D, **mask, "language": language, "after": after, "effect_low": -0.1, "effect_high": 0.1, "bootstrap_p": 0.04}
            for language, after in (("en", 0.6), ("de", 0.52))
        ],
    }  # fmt: skip
