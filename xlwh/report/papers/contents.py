"""What the papers have: their tables, and the figures here that show what theirs show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xlwh.errors import XlwhError


@dataclass(frozen=True)
class TableTitle:
    """One table of a paper."""

    number: str
    """As in `published_results.table`."""
    title: str
    """What its numbers are, in a sentence without a full stop."""
    digits: int
    """Decimals of its numbers, as printed."""
    command: str
    """Fills it."""

    @property
    def name(self) -> str:
        """How the paper calls it; tables of the released notebooks have words in the place of numbers."""
        return f"Table {self.number}" if self.number.isdigit() else f"Released numbers: {self.number}"


@dataclass(frozen=True)
class Shown:
    """A figure here that stands for figures of a paper."""

    title: str
    axes: str
    """What is drawn against what."""
    figure: str
    """Name in `xlwh.report.figures`."""
    selection: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    """Choices of the figure that are all shown, beyond those that every report shows."""


@dataclass(frozen=True)
class Paper:
    """One paper."""

    name: str
    """As in `xlwh init --paper`."""
    published: str
    """As in `published_results.paper`."""
    title: str
    source: str
    tables: tuple[TableTitle, ...]
    figures: tuple[Shown, ...]


_CCTA = "xlwh materialize +ccta"
_SCORES = "xlwh materialize +predictions"
_PRUNING = "xlwh materialize +pruning_effects"
_FAITHFUL = "xlwh materialize +faithfulness"
_SCORE = {"measure": "score C(s, t)"}

REPORTED: Mapping[str, Paper] = {
    paper.name: paper
    for paper in (
        Paper(
            "ccta",
            "ccta",
            "Do multi-lingual pre-trained language models reveal consistent token attributions in different languages?",
            "arXiv 2112.12356",
            (
                TableTitle("1", "Consistency of each target language with English, XNLI", 3, _CCTA),
                TableTitle("2", "Consistency of each target language with English, PAWS-X", 3, _CCTA),
                TableTitle(
                    "3",
                    "Consistency of each target language with English, starts and ends of XQuAD",
                    3,
                    _CCTA,
                ),
                TableTitle(
                    "4",
                    "Accuracy by language trained on (rows) and evaluated in (columns), PAWS-X",
                    3,
                    _SCORES,
                ),
                TableTitle(
                    "5", "Consistency by language trained on (rows) and compared with, PAWS-X", 3, _CCTA
                ),
            ),
            (
                Shown(
                    "Consistency and performance (figure 2)",
                    "Consistency with the source language against the score in the target language, a point per language.",
                    "ccta_performance",
                    _SCORE,
                    ("dataset",),
                ),
                Shown(
                    "Their correlations (figure 2)",
                    "Pearson correlation over target languages without the self pair, by model.",
                    "ccta_correlation",
                    {"kind": "Pearson"},
                    ("dataset",),
                ),
                Shown(
                    "Consistency of all pairs (tables 1 to 3 and 5)",
                    "Source language against target language.",
                    "ccta_matrix",
                    _SCORE,
                    ("dataset",),
                ),
                Shown(
                    "What of it the word vectors give",
                    "The score beside its nulls, by target language; the paper has no nulls.",
                    "ccta_nulls",
                    also=("dataset",),
                ),
            ),
        ),
        Paper(
            "faithfulness",
            "faithfulness",
            "Comparing explanation faithfulness between multilingual and monolingual fine-tuned language models",
            "arXiv 2403.12809",
            (
                TableTitle(
                    "hard",
                    "Sufficiency and comprehensiveness over those of random attributions, with F1 and accuracy",
                    3,
                    _FAITHFUL,
                ),
                TableTitle(
                    "soft", "Soft sufficiency and comprehensiveness over random, English", 3, _FAITHFUL
                ),
                TableTitle("fertility", "How the tokenizers cut the datasets", 3, "xlwh materialize +tokens"),
            ),
            (
                Shown(
                    "Disparity by attribution method",
                    "Ratio of the multilingual model less that of its counterparts, mean over datasets and languages.",
                    "faithfulness_disparity",
                    also=("mode",),
                ),
                Shown(
                    "Disparity by dataset and language",
                    "Dataset and language against attribution method.",
                    "faithfulness_cells",
                    also=("mode",),
                ),
                Shown(
                    "Disparity against tokenization",
                    "How differently the two tokenizers cut a dataset, against the disparity on it.",
                    "faithfulness_cuts",
                    also=("mode",),
                ),
                Shown(
                    "Correlation of the disparity with tokenization",
                    "Pearson correlation over datasets and languages, by attribution method.",
                    "faithfulness_tokenization",
                    {"kind": "Pearson"},
                    ("mode",),
                ),
            ),
        ),
        Paper(
            "concepts",
            "concept-alignment",
            "Exploring alignment in shared cross-lingual spaces",
            "ACL 2024, arXiv 2405.14535",
            (
                TableTitle("1", "BLEU of translations into English, by test set", 2, _SCORES),
                TableTitle("2", "F1 of named entities, by language", 1, _SCORES),
            ),
            (
                Shown(
                    "Aligned concepts by layer (CALIGN)",
                    "Layer against the share of concepts that are aligned; dotted the base model, solid fine-tuned, dashed zero-shot.",
                    "concept_profiles",
                    {"metric": "calign"},
                    ("corpus", "stack"),
                ),
                Shown(
                    "Overlapping concepts by layer (COLAP)",
                    "Layer against the share of concepts that overlap; lines as above.",
                    "concept_profiles",
                    {"metric": "colap"},
                    ("corpus", "stack"),
                ),
                Shown(
                    "Matched concepts",
                    "The aligned concepts with the most matched words, with the words that match.",
                    "matched_concepts",
                    also=("corpus",),
                ),
                Shown(
                    "Other thresholds of CALIGN (figure 30)",
                    "Layer against the share of aligned concepts, a line per threshold.",
                    "calign_thresholds",
                    also=("corpus",),
                ),
            ),
        ),
        Paper(
            "heads",
            "shapley-heads",
            "Shapley head pruning: identifying and removing interference in multilingual transformers",
            "EACL 2023, arXiv 2210.05709",
            (
                TableTitle(
                    "2",
                    "Accuracy without the heads that do harm in the language itself, by ranking",
                    1,
                    _PRUNING,
                ),
                TableTitle(
                    "3", "Accuracy without the heads that do harm in English, by ranking", 1, _PRUNING
                ),
            ),
            (
                Shown("Values of the heads", "Layer against head, a panel per language.", "head_values"),
                Shown(
                    "Agreement of languages on heads",
                    "Spearman's rho of head values, language against language.",
                    "head_ranks",
                    {"kind": "as it comes out"},
                ),
                Shown(
                    "Heads of all languages",
                    "In how many languages a head is among the twenty most valuable, layer against head.",
                    "head_affinity",
                ),
                Shown(
                    "Pruning curves",
                    "Heads removed against accuracy, a panel per language, a line per ranking.",
                    "pruning_curves",
                ),
                Shown(
                    "What heads attend to",
                    "Token against token attended to, the most and the least valuable head.",
                    "head_attention",
                ),
            ),
        ),
    )
}
"""Papers by name."""


def paper(name: str) -> Paper:
    """The paper of that name; `XlwhError` with the names there are."""
    if name not in REPORTED:
        raise XlwhError(f"There is no paper `{name}`. Papers: {', '.join(REPORTED)}; all: all of them.")
    return REPORTED[name]
