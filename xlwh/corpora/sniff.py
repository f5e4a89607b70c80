"""What a file of lines looks like, so that no reader takes another format's file for its own.

Judged by the first thousand lines that are not empty. A form is named only where nine in ten of them have it: a
damaged line, or one that happens to look like something else, changes nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Literal

from xlwh.corpora.files import Document
from xlwh.corpora.lines import Lines
from xlwh.errors import CorpusError

Form = Literal[
    "json", "xml", "conllu", "blocks", "columns", "vectors", "alignments", "bars", "probabilities", "table"
]

_SAMPLE = 1000
_LONGEST = 20_000
_SHARE = 0.9
TAGGED: tuple[Form, ...] = ("conllu", "blocks", "columns")
NO_TABLE: tuple[Form, ...] = ("json", "xml", *TAGGED, "vectors", "alignments", "bars")
"""Forms that a reader of columns refuses."""

UPOS_TAGS = "ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|SYM|VERB|X"
_TAGGED = re.compile(rf"\S+([ \t]+\S+){{0,5}}[ \t]+(O|[BIES]-\w+|{UPOS_TAGS})\s*")
_CONLLU = re.compile(r"\d+([-.]\d+)?\t[^\t]+\t[^\t]*\t([A-Z]+|_)\t[^\t]*\t[^\t]*\t(\d+|_)(\t[^\t]*){3}")
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_VECTOR = re.compile(rf"\S+([ \t]+{_NUMBER}){{3,}}\s*")
_ALIGNED = re.compile(r"(\d+[-p]\d+(\s+|$))+")
_PROBABLE = re.compile(r"\S+ \S+ (0?\.\d+|[01](\.\d*)?|\d\.?\d*e-\d+)\s*")

_NAMES: Mapping[Form, str] = {
    "json": "JSON, an object a line",
    "xml": "XML",
    "conllu": "CoNLL-U (reader `conllu`)",
    "blocks": "a token and its tag a line (readers `udpos`, `panx`)",
    "columns": "a token and its tags a line, separated by blanks (CoNLL-2003, MasakhaNER); `udpos` and `panx` read it "
    "with one TAB between token and tag",
    "vectors": "word vectors",
    "alignments": "word alignments (0-0 1-2)",
    "bars": "`source ||| target`",
    "probabilities": "a lexicon with probabilities",
    "table": "columns separated by TABs",
}

_COLUMNS = frozenset(
    [
        "premise",
        "hypothesis",
        "hypo",
        "s1",
        "s2",
        "sent1",
        "sent2",
        "label",
        "labels",
        "gold",
        "goldlabel",
        "gold_label",
        "sentence",
        "sentences",
        "sentence1",
        "sentence2",
        "sentence_1",
        "sentence_2",
        "text",
        "texts",
        "text1",
        "text2",
        "text_1",
        "text_2",
        "text_a",
        "text_b",
        "id",
        "ids",
        "idx",
        "index",
        "guid",
        "uid",
        "pairid",
        "pair_id",
        "promptid",
        "language",
        "lang",
        "locale",
        "source",
        "target",
        "src",
        "tgt",
        "trg",
        "source_text",
        "target_text",
        "source_lang",
        "target_lang",
        "question",
        "context",
        "answer",
        "answers",
        "score",
        "sentiment",
        "class",
        "category",
        "title",
        "body",
        "review",
        "tweet",
        "translation",
        "word",
        "words",
        "token",
        "tokens",
        "tag",
        "tags",
        "pos",
        "upos",
        "xpos",
        "ner",
        "ner_tags",
        "lemma",
        "form",
        "genre",
        "split",
        "partition",
        "intent",
        "utt",
        "utterance",
        "english",
        "german",
        "french",
        "spanish",
        "arabic",
        "chinese",
        "hindi",
        "russian",
        "word1",
        "word2",
        "phrase",
        "count",
        "counts",
        "freq",
        "frequency",
        "probability",
        "prob",
        "mt",
        "ref",
        "reference",
        "references",
        "content",
        "topic",
        "stars",
        "rating",
        "polarity",
        "annotator",
        "docid",
        "doc_id",
    ]
)
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,30}")


_TESTS: Mapping[Form, Callable[[str], object]] = {
    "json": lambda line: is_json_object(line),
    "conllu": _CONLLU.fullmatch,
    "blocks": lambda line: line.count("\t") == 1 and _TAGGED.fullmatch(line),
    "columns": _TAGGED.fullmatch,
    "vectors": _VECTOR.fullmatch,
    "alignments": _ALIGNED.fullmatch,
    "bars": lambda line: " ||| " in line,
    "probabilities": _PROBABLE.fullmatch,
    "table": lambda line: "\t" in line,
}
"""In the order in which they are tried: the narrower first."""

_BESIDE: Mapping[Form, re.Pattern[str]] = {
    "conllu": re.compile(r"#.*"),
    "blocks": re.compile(r"(-DOCSTART-|# ).*"),
    "columns": re.compile(r"(-DOCSTART-|# ).*"),
    "vectors": re.compile(r"\d+ \d+\s*"),
}
"""Lines that a form has besides: comments, marks of documents, a header."""


def form_of(lines: Lines) -> Form | None:
    """The form that the lines have; None where it is none of those known, such as plain text."""
    texts = list(islice((text for text in lines.texts if text and text.strip()), _SAMPLE))
    if texts and texts[0].lstrip("\ufeff \t").lower().startswith("<?xml"):
        return "xml"
    # A line of megabytes is no token and no vector, wherever it ends.
    short = [text[:_LONGEST] for text in texts]
    for form, test in _TESTS.items():
        beside = _BESIDE.get(form)
        cut = texts if form == "json" else short
        judged = [text for text in cut if beside is None or not beside.fullmatch(text)]
        if judged and sum(bool(test(text)) for text in judged) >= _SHARE * len(judged):
            return form
    return None


def is_json_object(line: str) -> bool:
    """Whether a line is a whole JSON object."""
    line = line.strip()
    if not (line.startswith("{") and line.endswith("}")):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def refuse_other_format(document: Document, lines: Lines, *forms: Form) -> None:
    """Refuse a file that has one of the forms; `CorpusError` names it."""
    form = form_of(lines)
    if form in forms:
        raise CorpusError(
            f"{document.path}: looks like {_NAMES[form]}; the dataset's reader reads another format."
        )


def is_header(fields: Sequence[str]) -> bool:
    """Whether the fields of a first line are names of columns: all of them are such as corpora use, or language codes.

    A single field, or one name beside none, is a word like any other.
    """
    names = [field.strip().strip('"').lower() for field in fields if field.strip()]
    return len(names) > 1 and all(name in _COLUMNS for name in names) and len(set(names)) == len(names)


def refuse_header(document: Document, rows: Sequence[Sequence[str]]) -> None:
    """Refuse a table that is read without a header but begins with one.

    Told by the names, or, from ten rows on, by a first line of identifiers of which none occurs again.
    """
    if not rows:
        return
    first, rest = rows[0], rows[1:]
    header = is_header(first)
    if len(first) == 1 and rest:
        header = first[0].strip().lower() in _COLUMNS and 2 * sum(" " in row[0] for row in rest) > len(rest)
    if not header and len(rest) >= 9 and len(first) > 1 and all(map(_IDENTIFIER.fullmatch, first)):
        columns = [Counter(row[i] for row in rest if i < len(row)) for i in range(len(first))]
        # A column of few values, such as labels, in which the first line alone has another one.
        header = any(
            len(counts) * 3 <= len(rest) and first[i] not in counts for i, counts in enumerate(columns)
        ) and not any(_mostly_words(counts) for counts in columns)
    if header:
        raise CorpusError(
            f"{document.path}: line 1 holds names of columns ({', '.join(first)}), but the file is read without a header. "
            "Set the option `header`: true where it is one, false where it is data."
        )


def _mostly_words(counts: Counter[str]) -> bool:
    """Whether a column of many values holds single words, so that a first line of words is no header."""
    many = len(counts) > 20 or len(counts) * 2 > counts.total()
    return many and 2 * sum(_IDENTIFIER.fullmatch(value) is not None for value in counts) > len(counts)
