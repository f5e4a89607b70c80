"""The contracts: one class per stored table, and nothing else.

A class says what a row is (its docstring), which columns identify it (`key`), how its files are
partitioned (`partition_by`), and every column's type, unit and rule. From it come the Polars types
checked at write time, the Parquet types, DuckDB's comments, Dagster's table schema and
`xlwh describe`. Metrics do not belong here: they are views under `sql/`.

Raise `version` when the meaning or the columns of a table change: partitions written before are then stale.
"""

from __future__ import annotations

from xlwh.tables.answering import AnswerSpans
from xlwh.tables.attribution import AttributionProbes, AttributionRuns, TokenAttributions
from xlwh.tables.base import KEY_PATTERN, Table
from xlwh.tables.concepts import (
    Activations,
    Clusterings,
    ConceptKinds,
    ConceptLabels,
    ConceptMembers,
    Concepts,
    RepresentationSimilarities,
    SentenceVectors,
)
from xlwh.tables.consistency import CctaPairs, WordVectors
from xlwh.tables.corpora import Examples, Parallelism, PublishedResults, RejectedRows
from xlwh.tables.faithfulness import Perturbations
from xlwh.tables.heads import (
    AttentionMaps,
    HeadImportance,
    HeadSamples,
    PruningEvaluations,
    PruningMasks,
    PruningTests,
)
from xlwh.tables.lexicon import ConceptLanguages, ConceptMatches, ConceptPairings, Lexicon
from xlwh.tables.models import Models, Predictions, Tokens
from xlwh.tables.tagging import TokenPredictions
from xlwh.tables.translation import Translations, TranslationStatistics

TABLES: dict[str, type[Table]] = {
    "examples": Examples,
    "rejected_rows": RejectedRows,
    "parallelism": Parallelism,
    "models": Models,
    "tokens": Tokens,
    "predictions": Predictions,
    "answer_spans": AnswerSpans,
    "token_predictions": TokenPredictions,
    "translations": Translations,
    "translation_statistics": TranslationStatistics,
    "attribution_runs": AttributionRuns,
    "token_attributions": TokenAttributions,
    "attribution_probes": AttributionProbes,
    "word_vectors": WordVectors,
    "ccta_pairs": CctaPairs,
    "activations": Activations,
    "sentence_vectors": SentenceVectors,
    "representation_similarities": RepresentationSimilarities,
    "clusterings": Clusterings,
    "concepts": Concepts,
    "concept_members": ConceptMembers,
    "concept_kinds": ConceptKinds,
    "concept_labels": ConceptLabels,
    "lexicon": Lexicon,
    "concept_pairings": ConceptPairings,
    "concept_matches": ConceptMatches,
    "concept_languages": ConceptLanguages,
    "perturbations": Perturbations,
    "head_samples": HeadSamples,
    "head_importance": HeadImportance,
    "attention_maps": AttentionMaps,
    "pruning_masks": PruningMasks,
    "pruning_evaluations": PruningEvaluations,
    "pruning_tests": PruningTests,
    "published_results": PublishedResults,
}
"""Every stored table by name, in the order in which they are made."""

__all__ = [
    "KEY_PATTERN",
    "TABLES",
    "Activations",
    "AnswerSpans",
    "AttentionMaps",
    "AttributionProbes",
    "AttributionRuns",
    "CctaPairs",
    "Clusterings",
    "ConceptKinds",
    "ConceptLabels",
    "ConceptLanguages",
    "ConceptMatches",
    "ConceptMembers",
    "ConceptPairings",
    "Concepts",
    "Examples",
    "HeadImportance",
    "HeadSamples",
    "Lexicon",
    "Models",
    "Parallelism",
    "Perturbations",
    "Predictions",
    "PruningEvaluations",
    "PruningMasks",
    "PruningTests",
    "PublishedResults",
    "RejectedRows",
    "RepresentationSimilarities",
    "SentenceVectors",
    "Table",
    "TokenAttributions",
    "TokenPredictions",
    "Tokens",
    "TranslationStatistics",
    "Translations",
    "WordVectors",
]
