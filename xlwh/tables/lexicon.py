"""Bilingual lexica, and how the concepts of two languages match through them."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from xlwh.tables.base import Table, holding, language_column, model_column, name_column, probability_column

BASELINES = ("none", "shuffled_lexicon", "random_labels")
OVERLAP_BASELINES = ("none", "random_labels")


def lexicon_column() -> dy.String:
    return name_column("Key of the lexicon in the study.")


def clustering_column(description: str) -> dy.String:
    return name_column(description, "clustering")


def draw_column() -> dy.Int32:
    return dy.Int32(
        nullable=False, min=0, description="Number of the random draw, from 1; 0 if nothing is random."
    )


class Lexicon(Table):
    """One row per (lexicon, source word, target word): a translation, with its rank among those of the source word."""

    partition_by = ("lexicon", "target_language")
    key = ("lexicon", "source_language", "target_language", "source_word", "target_word")

    lexicon = lexicon_column()
    source_language = language_column("Language of the words that are translated.")
    target_language = language_column("Language of the translations.")
    source_word = dy.String(nullable=False, min_length=1, description="Word, case kept.")
    target_word = dy.String(nullable=False, min_length=1, description="Its translation, case kept.")
    probability = dy.Float64(
        nullable=True,
        min=0,
        max=1 + 1e-9,
        allow_nan=False,
        description="p(target word | source word); NULL where a file has none.",
    )
    count = dy.Int64(
        nullable=True, min=0, description="Links between the two words; NULL where a file has none."
    )
    rank = dy.Int32(
        nullable=False,
        min=1,
        description="Place among the translations of the source word: by probability, then count, then alphabetically; "
        "as in the file where it has neither.",
    )
    file_rank = dy.Int32(
        nullable=False,
        min=1,
        description="Place among the translations of the source word in the file; `rank` where there is no file.",
    )
    provenance = dy.String(
        nullable=False,
        metadata=holding("alignment"),
        description="The file, or `alignment of <dataset>` with the numbers of sentence pairs and links.",
    )


class ConceptPairings(Table):
    """One row per (lexicon, source clustering, target clustering): the concepts that were matched, and how.

    The two clusterings are monolingual, and differ in nothing but the language.
    """

    partition_by = ("model",)
    named_by = ("lexicon", "corpus")
    key = ("model", "lexicon", "source_clustering", "target_clustering")

    model = model_column()
    lexicon = lexicon_column()
    source_clustering = clustering_column("Clustering of the source language; see `clusterings`.")
    target_clustering = clustering_column("Clustering of the target language.")
    source_language = language_column("Language whose concepts are looked for.")
    target_language = language_column("Language in which they are looked for.")
    max_rank = dy.Int32(nullable=False, min=1, description="Translations of a word that were looked at.")
    floor = probability_column("Pairs of concepts with a smaller share of matched types are not stored.")
    num_draws = dy.Int32(nullable=False, min=1, description="Random draws of each baseline.")
    source_concepts = dy.Int32(nullable=False, min=1, description="Source concepts, empty ones included.")
    source_types = dy.Int64(nullable=False, min=0, description="Different source words.")
    source_types_covered = dy.Int64(
        nullable=False,
        min=0,
        description="Those with a translation among the words of the target clustering.",
    )


class ConceptMatches(Table):
    """One row per pair of concepts of which at least the pairing's `floor` matches: how many types do, by rank.

    A type (word) of the source concept matches at rank r if one of its r best translations is in the target concept.
    """

    partition_by = ("model",)
    named_by = ("lexicon", "corpus")
    key = (
        "model", "lexicon", "source_clustering", "target_clustering", "baseline", "draw",
        "source_concept", "target_concept",
    )  # fmt: skip

    model = model_column()
    lexicon = lexicon_column()
    source_clustering = clustering_column("Clustering of the source language; see `clusterings`.")
    target_clustering = clustering_column("Clustering of the target language.")
    baseline = dy.String(
        nullable=False,
        check=lambda c: c.is_in(BASELINES),
        description="none: as measured; shuffled_lexicon: every word has the translations of another; random_labels: "
        "words in random concepts of the same sizes.",
    )
    draw = draw_column()
    source_concept = dy.Int32(nullable=False, min=0, description="Concept of the source clustering.")
    target_concept = dy.Int32(nullable=False, min=0, description="Concept of the target clustering.")
    source_types = dy.Int32(nullable=False, min=1, description="Different words in the source concept.")
    target_types = dy.Int32(nullable=False, min=1, description="Different words in the target concept.")
    matched = dy.List(
        dy.Int32(nullable=False, min=0),
        nullable=False,
        description="Item r: source types that match within rank r by probability, r = 1 to max_rank.",
    )
    matched_in_file = dy.List(
        dy.Int32(nullable=False, min=0),
        nullable=False,
        description="The same by the order of the file (`file_rank`).",
    )

    @dy.rule()
    def no_more_matched_than_there_are(cls) -> pl.Expr:  # noqa: N805
        return pl.max_horizontal(
            pl.col("matched").list.max(), pl.col("matched_in_file").list.max()
        ) <= pl.col("source_types")


class ConceptLanguages(Table):
    """One row per (mixed clustering, concept, language present in it): how much of the concept is of the language."""

    partition_by = ("model",)
    named_by = ("corpus",)
    key = ("model", "clustering", "baseline", "draw", "concept", "language")

    model = model_column()
    clustering = clustering_column("Name of the clustering within the model; see `clusterings`.")
    baseline = dy.String(
        nullable=False,
        check=lambda c: c.is_in(OVERLAP_BASELINES),
        description="none: as measured; random_labels: occurrences in random concepts of the same sizes.",
    )
    draw = draw_column()
    concept = dy.Int32(nullable=False, min=0, description="Number of the cluster within the clustering.")
    language = language_column()
    num_tokens = dy.Int64(
        nullable=False, min=1, description="Word occurrences of the language in the concept."
    )
    num_types = dy.Int64(nullable=False, min=1, description="Different words of the language in the concept.")
