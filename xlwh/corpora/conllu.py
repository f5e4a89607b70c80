"""Universal Dependencies treebanks in CoNLL-U, for part-of-speech tagging.

`words` are the syntactic words (ids 1, 2, ...) and `word_labels` their UPOS. The surface token of a multiword
range (3-4) and empty nodes (5.1) are no words, though the range's form is part of the text. Forms may hold
spaces. `text` is the comment `# text` as it stands; without one it is put together from the forms and
SpaceAfter. Sentences are joined by `# sent_id`, without one by their number. A file whose forms are withheld (`_`) is
refused; where every tag of a test set is, the sentences have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xlwh.corpora.base import Collector, Reader, Reading, Request, row_id
from xlwh.corpora.files import Document
from xlwh.corpora.lines import Lines, read_lines
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.tagged import UPOS, Block, blocks
from xlwh.errors import CorpusError

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
_NAMES = ["ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"]
_WITHHELD = "_"


class Conllu(OneFileReader):
    """Sentences with a universal part of speech per word."""

    name = "conllu"
    description = "Universal Dependencies treebanks: CoNLL-U, syntactic words with UPOS"
    version = 2
    patterns = _PATTERNS

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        collector = Collector(request, "token_classification", documents)
        lines = read_lines(document)
        _require_conllu(document, lines, collector)
        for block in blocks(lines):
            _sentence(collector, document, block)
        return collector.reading()


def _require_conllu(document: Document, lines: Lines, collector: Collector) -> None:
    """Refuse a treebank whose forms are withheld; note where the tags of a test set are."""
    if (top := lines.texts[0] or "").startswith("# global.columns") and top.split("=")[-1].split() != _NAMES:
        raise CorpusError(f"{document.path}: other columns than CoNLL-U's ten: {top[:120]}")
    rows = [text.split("\t", 4) for text in lines.texts if text and text[0].isdigit()]
    words = [row for row in rows if len(row) == 5 and row[0].isdigit()]
    withheld = sum(row[1] == _WITHHELD for row in words)
    if 2 * withheld > len(words):
        raise CorpusError(
            f"{document.path}: forms are withheld (`_`) in {withheld} of {len(words)} words, as in the treebanks whose "
            "text has a licence of its own (NYUAD and others of the LDC). Merge them in by the treebank's script first."
        )
    if words and all(row[3] == _WITHHELD for row in words):
        if not collector.is_test:
            raise CorpusError(f"{document.path}: no word has a part of speech: UPOS is `_` in all of them")
        collector.notes["tags"] = "withheld"


def _sentence(collector: Collector, document: Document, block: Block) -> None:
    if block.reason:
        collector.reject(document, block.number, block.reason, block.raw)
        return
    comments: dict[str, str] = {}
    for line in block.lines:
        if line.startswith("#") and (match := _COMMENT.fullmatch(line)):
            comments[match.group(1)] = match.group(2)
    tokens = [line.split("\t") for line in block.lines if not line.startswith("#")]
    tagged = "tags" not in collector.notes
    words, flaw = _words(tokens, tagged)
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
        word_labels=[fields[3] for fields in words] if tagged else None,
    )


def _words(tokens: Sequence[list[str]], tagged: bool) -> tuple[list[list[str]], str]:
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
        if tagged and fields[3] not in UPOS:
            return [], f"unknown tag `{fields[3][:40]}`"
        words.append(fields)
    if 2 * sum(fields[1] == _WITHHELD for fields in words) > len(words):
        return [], f"forms are withheld (`{_WITHHELD}`)"
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
