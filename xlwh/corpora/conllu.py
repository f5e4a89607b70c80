"""Universal Dependencies treebanks in CoNLL-U, for part-of-speech tagging.

`words` are the syntactic words (ids 1, 2, ...) and `word_labels` their UPOS. The surface token of a multiword
range (3-4) and empty nodes (5.1) are no words, though the range's form is part of the text. Forms may hold
spaces. `text` is the comment `# text` as it stands; without one it is put together from the forms and
SpaceAfter. Sentences are joined by `# sent_id`, without one by their number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xlwh.corpora.base import Collector, Reader, Reading, Request, row_id
from xlwh.corpora.files import Document
from xlwh.corpora.lines import read_lines
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.tagged import UPOS, Block, blocks

_PATTERNS = (
    "{language}_*-ud-{split}.conllu",
    "*/{language}_*-ud-{split}.conllu",
    "{split}-{language}.conllu",
    "{language}/{split}.conllu",
)
_COMMENT = re.compile(r"#\s*(text|sent_id)\s*= ?(.*)", re.DOTALL)
_RANGE = re.compile(r"([1-9]\d{0,5})-([1-9]\d{0,5})")
_EMPTY_NODE = re.compile(r"\d+\.[1-9]\d*")
_COLUMNS = 10


class Conllu(OneFileReader):
    """Sentences with a universal part of speech per word."""

    name = "conllu"
    description = "Universal Dependencies treebanks: CoNLL-U, syntactic words with UPOS"
    version = 1
    patterns = _PATTERNS

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        collector = Collector(request, "token_classification", documents)
        for block in blocks(read_lines(document)):
            _sentence(collector, document, block)
        return collector.reading()


def _sentence(collector: Collector, document: Document, block: Block) -> None:
    if block.reason:
        collector.reject(document, block.number, block.reason, block.raw)
        return
    comments: dict[str, str] = {}
    for line in block.lines:
        if line.startswith("#") and (match := _COMMENT.fullmatch(line)):
            comments[match.group(1)] = match.group(2)
    tokens = [line.split("\t") for line in block.lines if not line.startswith("#")]
    words, flaw = _words(tokens)
    if flaw:
        collector.reject(document, block.number, flaw, block.raw)
        return
    collector.accept(
        document,
        block.number,
        block.raw,
        comments.get("sent_id", "").strip() or row_id(block.number),
        comments.get("text") or _rebuilt(tokens),
        words=[fields[1] for fields in words],
        word_labels=[fields[3] for fields in words],
    )


def _words(tokens: Sequence[list[str]]) -> tuple[list[list[str]], str]:
    """The syntactic words of a sentence, and why it is refused (empty where it is not)."""
    words: list[list[str]] = []
    for fields in tokens:
        if len(fields) != _COLUMNS:
            return [], f"{len(fields)} column{'s' * (len(fields) != 1)} instead of {_COLUMNS}"
        number = fields[0]
        if _EMPTY_NODE.fullmatch(number):
            continue
        span = _RANGE.fullmatch(number)
        if span:
            if int(span.group(1)) != len(words) + 1 or int(span.group(2)) < int(span.group(1)):
                return [], "a multiword range that does not start at the next word"
            continue
        if number != str(len(words) + 1):
            return [], "word ids do not run 1, 2, ..."
        if fields[3] not in UPOS:
            return [], f"unknown tag `{fields[3][:40]}`"
        words.append(fields)
    return words, "" if words else "a sentence without words"


def _rebuilt(tokens: Sequence[list[str]]) -> str:
    """The text of a sentence from its surface forms, with a space after each but where SpaceAfter=No."""
    parts: list[str] = []
    covered = 0
    for fields in tokens:
        span = _RANGE.fullmatch(fields[0])
        if span:
            covered = int(span.group(2))
        elif "." in fields[0] or int(fields[0]) <= covered:
            continue
        parts.append(fields[1])
        parts.append("" if "SpaceAfter=No" in fields[9].split("|") else " ")
    return "".join(parts).rstrip(" ")


READER: Reader = Conllu()
