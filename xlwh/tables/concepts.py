"""Activations of words, the concepts that they are clustered into, and how similar languages are in them."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from xlwh.tables.base import (
    Float16,
    Table,
    dataset_column,
    end_column,
    example_id_column,
    language_column,
    model_column,
    name_column,
    probability_column,
    segment_column,
    split_column,
    start_column,
)

STACKS = ("encoder", "decoder")
CONVENTIONS = ("consumed", "predicting")
AGGREGATIONS = ("last", "first", "mean")
ALGORITHMS = ("faiss", "torch", "scikit-learn", "minibatch")
MEASURES = ("cka", "retrieval", "mutual_retrieval", "anisotropy", "language_probe")
REASONS = ("truncated", "no_tokens", "no_state", "not_finite", "overflow")


def vector_column(inner: dy.Column, nullable: bool, description: str) -> dy.List:
    # A list, not a fixed-size array: models of different widths share the table. In Parquet both are the same.
    return dy.List(inner, nullable=nullable, description=description)


def stack_column() -> dy.String:
    return dy.String(
        nullable=False,
        check=lambda c: c.is_in(STACKS),
        description="Which half of the model the states are from: encoder or decoder.",
    )


def convention_column() -> dy.String:
    return dy.String(
        nullable=True,
        check=lambda c: c.is_in(CONVENTIONS),
        description="Decoders: `consumed`, the state that has read the sub-token, or `predicting`, the one before "
        "it, which predicts it. NULL for encoders.",
    )


def layer_column() -> dy.Int32:
    return dy.Int32(nullable=False, min=0, description="Layer of that stack; 0 is the embeddings.")


def aggregation_column() -> dy.String:
    return dy.String(
        nullable=False,
        check=lambda c: c.is_in(AGGREGATIONS),
        description="How a word's sub-tokens make one vector: last, first or mean.",
    )


def clustering_column() -> dy.String:
    return name_column("Name of the clustering within the model; see `clusterings`.", "clustering")


def corpus_column() -> dy.String:
    return name_column("Dataset that was clustered, or several of them joined by `+`.", "corpus")


def scope_column() -> dy.String:
    return dy.String(
        nullable=False,
        regex=r"^(monolingual:[^+]+|mixed:[^+]+(\+[^+]+)+)$",
        description="`monolingual:<language>`, or `mixed:<language>+<language>`: whose words were clustered together.",
    )


class Activations(Table):
    """One row per (model, dataset, word occurrence, stack, layer): the word's vector, in half precision.

    Only words that the frequency policy keeps have rows. A word that the model sees nothing of has a NULL vector and
    the reason.
    """

    version = 2
    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = (
        "model", "dataset", "split", "language", "stack", "convention", "layer", "aggregation",
        "example_id", "word_index",
    )  # fmt: skip
    # Vectors are large: so many rows are 25 MB at 768 dimensions, and readers hold a group at a time.
    row_group_rows = 16 * 1024

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    stack = stack_column()
    convention = convention_column()
    layer = layer_column()
    aggregation = aggregation_column()
    example_id = example_id_column()
    word_index = dy.Int32(
        nullable=False,
        min=0,
        description="Index of the word in its example, over both segments; of translations, in this language's side.",
    )
    word = dy.String(nullable=False, min_length=1, description="Surface form of the word, case kept.")
    position = dy.Int32(
        nullable=True, min=0, description="Its first sub-token in the model's input; NULL if it has none."
    )
    num_tokens = dy.Int32(nullable=False, min=0, description="Sub-tokens of the word that the model saw.")
    segment = segment_column()
    char_start = start_column()
    char_end = end_column()
    vector = vector_column(
        Float16(nullable=True, allow_nan=True, allow_inf=True),
        True,
        "Hidden state of the word; NULL with a reason.",
    )
    norm = dy.Float32(
        nullable=True, min=0, description="Euclidean length of the vector, before it was rounded."
    )
    reason = dy.String(
        nullable=True,
        check=lambda c: c.is_in(REASONS),
        description="Why there is no vector: truncated (cut off with the end of the text), no_tokens (the tokenizer "
        "drops the word), no_state (nothing comes before it that could predict it), not_finite (NaN or infinite), "
        "overflow (beyond the range of half precision).",
    )

    @dy.rule()
    def vector_or_reason(cls) -> pl.Expr:  # noqa: N805
        return pl.col("vector").is_null() == pl.col("reason").is_not_null()


class SentenceVectors(Table):
    """One row per (model, dataset, example, stack, layer): the mean state of its sub-tokens, in half precision.

    Of examples with a word in `activations`; special tokens are not part of the mean.
    """

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "stack", "convention", "layer", "example_id")
    row_group_rows = 16 * 1024

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    stack = stack_column()
    convention = convention_column()
    layer = layer_column()
    example_id = example_id_column()
    num_tokens = dy.Int32(nullable=False, min=0, description="Sub-tokens averaged.")
    vector = vector_column(
        Float16(nullable=True, allow_nan=True, allow_inf=True),
        True,
        "Mean hidden state; NULL where there is nothing to average, or the mean is no number that half precision holds.",
    )


class ConceptKinds(Table):
    """One row per concept that is not empty: what its words have in common, for the question what kind it is.

    Facts only; from which share on a concept is called lexical, or a part of speech, is asked in a query.
    """

    partition_by = ("model",)
    named_by = ("corpus",)
    key = ("model", "clustering", "concept")

    model = model_column()
    clustering = clustering_column()
    concept = dy.Int32(nullable=False, min=0, description="Number of the cluster within the clustering.")
    num_tokens = dy.Int64(nullable=False, min=1, description="Word occurrences in it.")
    num_types = dy.Int64(nullable=False, min=1, description="Different words in it, case folded.")
    affix = dy.String(
        nullable=True,
        description="The prefix, suffix or infix that is least likely to be shared by so many of its types by chance; "
        "NULL where none is shared by three.",
    )
    affix_kind = dy.String(
        nullable=True,
        check=lambda c: c.is_in(["prefix", "suffix", "infix"]),
        description="prefix, suffix or infix.",
    )
    affix_types = dy.Int64(nullable=True, min=1, description="Types with that affix.")
    affix_base_rate = dy.Float64(
        nullable=True, min=0, max=1, description="Share of all types of the clustering with that affix."
    )
    affix_p = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        description="Chance of so many or more among as many types drawn at random (hypergeometric), times the affixes "
        "that were tried.",
    )
    num_pos_tagged = dy.Int64(nullable=False, min=0, description="Members with a gold part of speech.")
    pos = dy.String(nullable=True, description="The commonest part of speech among them.")
    pos_tokens = dy.Int64(nullable=True, min=1, description="Members with that part of speech.")
    pos_base_rate = dy.Float64(
        nullable=True, min=0, max=1, description="Its share of all tagged members of the clustering."
    )
    num_entity_tagged = dy.Int64(
        nullable=False, min=0, description="Members that have a gold named-entity tag, `O` included."
    )
    entity = dy.String(nullable=True, description="The commonest kind of entity among them; `O` is none.")
    entity_tokens = dy.Int64(nullable=True, min=1, description="Members of that kind.")
    entity_base_rate = dy.Float64(
        nullable=True, min=0, max=1, description="Its share of all tagged members of the clustering."
    )
    num_languages = dy.Int32(nullable=False, min=1, description="Languages of its members.")
    language = language_column("The commonest language of its members.")
    language_tokens = dy.Int64(nullable=False, min=1, description="Members of that language.")


class ConceptLabels(Table):
    """One row per (concept, author): the name that somebody gave to a concept."""

    partition_by = ("model",)
    key = ("model", "clustering", "concept", "author")

    model = model_column()
    clustering = clustering_column()
    concept = dy.Int32(nullable=False, min=0, description="Number of the cluster within the clustering.")
    author = dy.String(nullable=False, min_length=1, description="Who named it: a person or a model.")
    label = dy.String(nullable=False, min_length=1, description="The name.")
    note = dy.String(nullable=True, description="What else the author had to say.")


class RepresentationSimilarities(Table):
    """One row per (model, corpus, layer, measure, languages): how alike languages are in a model's hidden states."""

    partition_by = ("model",)
    named_by = ("corpus",)
    key = (
        "model", "corpus", "stack", "convention", "layer", "measure", "source_language", "target_language",
    )  # fmt: skip

    model = model_column()
    corpus = corpus_column()
    stack = stack_column()
    convention = convention_column()
    layer = layer_column()
    measure = dy.String(
        nullable=False,
        check=lambda c: c.is_in(MEASURES),
        description="cka, retrieval, mutual_retrieval (parallel sentences of two languages), anisotropy (words of one "
        "language), language_probe (words of all).",
    )
    source_language = language_column("First language; `all` for the probe.")
    target_language = language_column(
        "Second language; the same one again for anisotropy, `all` for the probe."
    )
    value = dy.Float64(
        nullable=False,
        min=-1 - 1e-6,
        max=1 + 1e-6,
        allow_nan=False,
        description="cka: linear centred kernel alignment, 0 to 1; retrieval: share of source sentences whose nearest "
        "target sentence by cosine is the translation; mutual_retrieval: share that find each other; anisotropy: mean "
        "cosine of two words of different places; language_probe: share of unseen words whose language a linear "
        "classifier tells.",
    )
    null_value = dy.Float64(
        nullable=True,
        allow_nan=False,
        description="The same by chance: sentences paired at random, or the commonest language; NULL for anisotropy.",
    )
    num_units = dy.Int64(
        nullable=False, min=1, description="Sentence pairs, or words, that it was measured on."
    )


class Clusterings(Table):
    """One row per run of k-means: what was clustered, how, and how well it went."""

    partition_by = ("model",)
    named_by = ("corpus",)
    key = ("model", "clustering")

    model = model_column()
    clustering = clustering_column()
    corpus = corpus_column()
    scope = scope_column()
    languages = dy.List(dy.String(), nullable=False, description="Languages of the scope.")
    stack = stack_column()
    convention = convention_column()
    layer = layer_column()
    aggregation = aggregation_column()
    num_clusters = dy.Int32(nullable=False, min=1, description="Clusters asked for, K.")
    algorithm = dy.String(
        nullable=False,
        check=lambda c: c.is_in(ALGORITHMS),
        description="What ran Lloyd's iterations: faiss, torch, scikit-learn or minibatch.",
    )
    seed = dy.Int64(nullable=False, min=0, description="Seed of the starting centroids.")
    restarts = dy.Int32(
        nullable=False, min=1, description="Runs from other starts; the one of least inertia is kept."
    )
    width = dy.Int32(nullable=False, min=1, description="Dimensions of a vector.")
    num_points = dy.Int64(
        nullable=False, min=1, description="Word occurrences clustered: all that have a vector."
    )
    num_left_out = dy.Int64(
        nullable=False, min=0, description="Word occurrences of the scope without a vector."
    )
    num_types = dy.Int64(nullable=False, min=1, description="Different (language, word) among them.")
    num_empty = dy.Int32(nullable=False, min=0, description="Clusters without a point.")
    inertia = dy.Float64(
        nullable=False, min=0, allow_nan=False, description="Sum of squared distances to the own centroid."
    )
    total_inertia = dy.Float64(
        nullable=False,
        min=0,
        allow_nan=False,
        description="Sum of squared distances to the mean of all points.",
    )
    iterations = dy.Int32(nullable=False, min=0, description="Lloyd iterations of the run that was kept.")
    converged = dy.Bool(
        nullable=False, description="It stopped because inertia fell no more, not at the limit."
    )
    stability = dy.Float64(
        nullable=True,
        min=-1,
        max=1 + 1e-9,
        allow_nan=False,
        description="Mean adjusted Rand index with the study's other seeds; NULL with one seed.",
    )
    duration_s = dy.Float64(nullable=False, min=0, description="Seconds, all restarts together.")


class Concepts(Table):
    """One row per cluster of a clustering, empty ones included."""

    partition_by = ("model",)
    named_by = ("corpus",)
    key = ("model", "clustering", "concept")

    model = model_column()
    clustering = clustering_column()
    concept = dy.Int32(nullable=False, min=0, description="Number of the cluster within the clustering.")
    num_tokens = dy.Int64(nullable=False, min=0, description="Word occurrences in it.")
    num_types = dy.Int64(nullable=False, min=0, description="Different (language, word) in it.")
    is_empty = dy.Bool(nullable=False, description="No point is nearest to its centroid.")
    inertia = dy.Float64(
        nullable=False, min=0, allow_nan=False, description="Sum of squared distances of its members."
    )
    inertia_share = probability_column("Its share of the clustering's inertia.")
    centroid = vector_column(dy.Float32(nullable=True), False, "Mean of its members.")


class ConceptMembers(Table):
    """One row per (clustering, word occurrence): the concept that it belongs to."""

    version = 2
    partition_by = ("model",)
    named_by = ("corpus",)
    key = ("model", "clustering", "dataset", "split", "language", "example_id", "word_index")

    model = model_column()
    clustering = clustering_column()
    corpus = corpus_column()
    scope = scope_column()
    stack = stack_column()
    layer = layer_column()
    concept = dy.Int32(nullable=False, min=0, description="Number of the cluster within the clustering.")
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    word_index = dy.Int32(
        nullable=False,
        min=0,
        description="Index of the word in its example, over both segments; of translations, in this language's side.",
    )
    word = dy.String(nullable=False, min_length=1, description="Surface form of the word, case kept.")
    segment = segment_column()
    char_start = start_column()
    char_end = end_column()
    distance = dy.Float32(
        nullable=False, min=0, allow_nan=False, description="Euclidean distance to the concept's centroid."
    )
