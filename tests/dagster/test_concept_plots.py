"""The pictures of CALIGN and COLAP by layer: one curve per model, role and pair of languages."""

from __future__ import annotations

import base64
import re
from typing import Any

import polars as pl

from dagster_project.plots import plot
from xlwh.store import Slot, Warehouse, schema
from xlwh.tables import TABLES

SCOPES = {"monolingual:en": ["en"], "monolingual:de": ["de"], "mixed:en+de": ["en", "de"]}


def _rows(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a table from some of their columns; the others are the least that the contract accepts."""
    filled = []
    for row in rows:
        whole: dict[str, Any] = {}
        for name, column in TABLES[table].columns().items():
            least = {"String": "x", "Bool": False, "List": []}.get(type(column).__name__, 1)
            whole[name] = row.get(name, None if column.nullable else least)
        filled.append(whole)
    return pl.DataFrame(filled, schema=schema(table))


def _fill(warehouse: Warehouse) -> None:
    clusterings = [
        {
            "model": model,
            "clustering": f"{scope.replace(':', '-')}.{layer}",
            "corpus": "d",
            "scope": scope,
            "languages": languages,
            "stack": "encoder",
            "layer": layer,
            "aggregation": "last",
            "algorithm": "faiss",
            "num_clusters": 4,
            "seed": 0,
        }
        for model in ("base", "tuned")
        for layer in (0, 1)
        for scope, languages in SCOPES.items()
    ]
    models = [
        {"model": "base", "kind": "path", "weight_hash": "0" * 64, "tokenizer_hash": "0" * 64},
        {
            "model": "tuned",
            "kind": "finetuned",
            "source": "base",
            "finetuned_languages": ["en", "de"],
            "weight_hash": "0" * 64,
            "tokenizer_hash": "0" * 64,
        },
    ]
    pairings = [
        {
            "model": row["model"],
            "lexicon": "x",
            "source_clustering": row["clustering"],
            "target_clustering": f"monolingual-de.{row['layer']}",
            "source_language": "en",
            "target_language": "de",
            "max_rank": 10,
            "floor": 0.5,
            "source_concepts": 4,
        }
        for row in clusterings
        if row["scope"] == "monolingual:en"
    ]
    concepts = [
        {"model": row["model"], "clustering": row["clustering"], "concept": k, "num_types": 6}
        for row in clusterings
        for k in range(4)
    ]
    languages = [
        {
            "model": row["model"],
            "clustering": row["clustering"],
            "baseline": "none",
            "draw": 0,
            "concept": 0,
            "language": language,
        }
        for row in clusterings
        if row["scope"] == "mixed:en+de"
        for language in ("en", "de")
    ]
    tables = {
        "clusterings": clusterings,
        "concepts": concepts,
        "concept_pairings": pairings,
        "concept_languages": languages,
    }
    frames = {
        Slot(name, (model,)): _rows(name, [row for row in rows if row["model"] == model])
        for name, rows in tables.items()
        for model in ("base", "tuned")
    }
    frames |= {Slot("models", (row["model"],)): _rows("models", [row]) for row in models}
    warehouse.write(frames, "f")


def test_curves_by_layer(tmp_path):
    warehouse = Warehouse(tmp_path / "w", create=True)
    assert plot(warehouse, "concept_matches") == {}
    _fill(warehouse)
    for table in ("concept_matches", "concept_languages"):
        found = re.fullmatch(
            r"!\[plot\]\(data:image/png;base64,(.+)\)", plot(warehouse, table)["by layer"].value
        )
        assert found is not None
        picture = base64.b64decode(found[1])
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 30_000
