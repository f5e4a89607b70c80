"""Sentences as blocks of lines with a blank line between them, and XTREME's `token TAB tag` form of it.

The readers `udpos` and `panx` are this module with another set of tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from xlwh.corpora.base import Collector, row_id
from xlwh.corpora.files import Document
from xlwh.corpora.lines import Lines
from xlwh.errors import CorpusError

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
    """Runs of lines between empty ones; several empty lines count as one."""
    number = 0
    start = 0
    for index in range(len(lines.texts) + 1):
        if index < len(lines.texts) and lines.texts[index] != "":
            continue
        if index > start:
            yield _block(lines, number, start, index)
            number += 1
        start = index + 1


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

    Without tags at all (a test set whose labels are withheld) the sentences have none. Text is the tokens
    joined by spaces: the source's own spacing is lost.
    """
    widths = Counter(text.count("\t") + 1 for text in lines.texts if text)
    width = 2 if widths[2] >= widths[1] else 1
    if not widths and not lines.broken:
        raise CorpusError(f"{document.path}: only empty lines")
    for block in blocks(lines):
        words, labels, flaw = _split(block, width, tags, strip)
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
            word_labels=labels if width == 2 else None,
        )


def _split(
    block: Block, width: int, tags: frozenset[str], strip: Callable[[str], str | None]
) -> tuple[list[str], list[str], str]:
    words: list[str] = []
    labels: list[str] = []
    if block.reason:
        return words, labels, block.reason
    for line in block.lines:
        fields = line.split("\t")
        if len(fields) != width:
            return words, labels, f"{len(fields)} column{'s' * (len(fields) != 1)} instead of {width}"
        token = strip(fields[0])
        if token is None:
            return words, labels, "a token without the language prefix of the others"
        if width == 2 and fields[1] not in tags:
            return words, labels, f"unknown tag `{fields[1][:40]}`"
        words.append(token)
        labels.append(fields[-1])
    return words, labels, ""


def common_prefix(lines: Lines, prefix: str) -> bool:
    """Whether most lines start with `prefix`: a majority, so that a damaged line changes nothing."""
    tokens = [text for text in lines.texts if text]
    return 2 * sum(text.startswith(prefix) for text in tokens) > len(tokens)
