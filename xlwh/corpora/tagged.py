"""Sentences as blocks of lines with a blank line between them, and XTREME's `token TAB tag` form of it.

A line of blanks and TABs alone is blank: it holds no token. Columns separated by blanks, as CoNLL-2003 and MasakhaNER
have them, are another format and refused. A file of tokens without tags is taken for a test set whose tags are
withheld, and for nothing else.

The readers `udpos` and `panx` are this module with another set of tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from xlwh.corpora.base import Collector, row_id
from xlwh.corpora.files import Document
from xlwh.corpora.lines import Lines
from xlwh.corpora.sniff import is_header, refuse_other_format
from xlwh.errors import CorpusError

_DOCUMENT = "-DOCSTART-"

UPOS = frozenset(
    [
        "ADJ",
        "ADP",
        "ADV",
        "AUX",
        "CCONJ",
        "DET",
        "INTJ",
        "NOUN",
        "NUM",
        "PART",
        "PRON",
        "PROPN",
        "PUNCT",
        "SCONJ",
        "SYM",
        "VERB",
        "X",
    ]
)
"""The 17 universal parts of speech of Universal Dependencies v2."""


class Block(NamedTuple):
    """The lines of one sentence."""

    number: int
    """Sentence in the file, from 0."""
    lines: list[str]
    reason: str
    """Why it is refused: the flaw of its first broken line; empty where there is none."""
    raw: str | bytes


def blocks(lines: Lines) -> Iterator[Block]:
    """Runs of lines between blank ones; several blank lines count as one."""
    number = 0
    start = 0
    for index in range(len(lines.texts) + 1):
        if index < len(lines.texts) and not _is_blank(lines.texts[index]):
            continue
        if index > start:
            yield _block(lines, number, start, index)
            number += 1
        start = index + 1


def _is_blank(line: str | None) -> bool:
    return line is not None and not line.strip(" \t")


def _block(lines: Lines, number: int, start: int, stop: int) -> Block:
    texts = lines.texts[start:stop]
    whole = [text for text in texts if text is not None]
    if len(whole) == len(texts):
        return Block(number, whole, "", "\n".join(whole))
    flaw = next(lines.broken[index] for index in range(start, stop) if index in lines.broken)
    return Block(number, [], flaw.reason, b"\n".join(lines.raw(index) for index in range(start, stop)))


def read_tagged(
    lines: Lines,
    document: Document,
    collector: Collector,
    tags: frozenset[str],
    strip: Callable[[str], str | None],
) -> None:
    """Hand over every sentence of `token TAB tag` lines; `strip` makes a token of what the file holds.

    Where every tag is withheld (`_`, or no column at all, both in a test set) the sentences have none. Text is the
    tokens joined by spaces: the source's own spacing is lost. `CorpusError` where the file is of another form.
    """
    texts = [text for text in lines.texts if not _is_blank(text) and text is not None]
    if not texts and not lines.broken:
        raise CorpusError(f"{document.path}: only empty lines")
    refuse_other_format(document, lines, "json", "xml", "conllu", "columns", "vectors", "alignments", "bars")
    if texts and is_header(texts[0].split("\t")):
        raise CorpusError(
            f"{document.path}: line 1 names columns ({texts[0][:60]!r}), it is no token. Delete it."
        )
    widths = Counter(text.count("\t") + 1 for text in texts)
    width = 2 if widths[2] >= widths[1] else 1
    sentences = list(blocks(lines))
    if width == 1:
        _require_withheld(document, collector, texts, len(sentences))
    elif collector.is_test and texts and all(text.endswith("\t_") for text in texts):
        collector.notes["tags"] = "withheld"
    withheld = width == 1 or "tags" in collector.notes
    for block in sentences:
        words, labels, flaw = _split(block, width, None if withheld else tags, strip)
        if flaw:
            collector.reject(document, block.number, flaw, block.raw)
            continue
        collector.accept(
            document,
            block.number,
            block.raw,
            row_id(block.number),
            " ".join(words),
            words=words,
            word_labels=None if withheld else labels,
        )


def _require_withheld(document: Document, collector: Collector, texts: list[str], sentences: int) -> None:
    """Refuse a file of one column that is no test set of tokens."""
    if 2 * sum(" " in text.strip() for text in texts) > len(texts):
        raise CorpusError(
            f"{document.path}: no TABs, but blanks within most lines ({texts[0][:60]!r}): `token TAB tag` is read. Where "
            "blanks separate the columns (CoNLL-2003, MasakhaNER), write one TAB between token and tag."
        )
    if not collector.is_test:
        raise CorpusError(
            f"{document.path}: one column, so no tags ({texts[0][:60]!r}). Only a test set comes without; of any other "
            "split `token TAB tag` is read."
        )
    if sentences < 2 < len(texts):
        raise CorpusError(
            f"{document.path}: {len(texts)} lines of one column without a blank line between them: a list of words is no "
            "set of sentences."
        )


def _split(
    block: Block, width: int, tags: frozenset[str] | None, strip: Callable[[str], str | None]
) -> tuple[list[str], list[str], str]:
    words: list[str] = []
    labels: list[str] = []
    if block.reason:
        return words, labels, block.reason
    for line in block.lines:
        fields = line.split("\t")
        if len(fields) != width:
            return words, labels, f"{len(fields)} column{'s' * (len(fields) != 1)} instead of {width}"
        if fields[0] == _DOCUMENT:
            return words, labels, f"a mark of documents ({_DOCUMENT}), no sentence"
        token = strip(fields[0])
        if token is None:
            return words, labels, "a token without the language prefix of the others"
        if width == 1 and " " in fields[0]:
            return words, labels, "a blank in a token"
        if tags is not None and fields[1] not in tags:
            return words, labels, f"unknown tag `{fields[1][:40]}`"
        words.append(token)
        labels.append(fields[-1])
    return words, labels, ""


def common_prefix(lines: Lines, prefix: str) -> bool:
    """Whether most lines start with `prefix`: a majority, so that a damaged line changes nothing."""
    tokens = [text for text in lines.texts if text]
    return 2 * sum(text.startswith(prefix) for text in tokens) > len(tokens)
