"""Universal Dependencies treebanks in CoNLL-U, for part-of-speech tagging.

`words` are the syntactic words (ids 1, 2, ...) and `word_labels` their UPOS. The surface token of a multiword
range (3-4) and empty nodes (5.1) are no words, though the range's form is part of the text. Forms may hold
spaces. `text` is the comment `# text` as it stands; without one it is put together from the forms and their spacing
(SpaceAfter=No, UDPipe's SpacesAfter and the like). `word_spans` come from forms and spacing; where `# text` is spaced
otherwise, from forms and text, white space aside; a sentence whose forms are another text is refused. Each word of a
multiword range has its own part of what is written if the words make that up (can + not), else the whole of it (du for
de + le). Sentences are joined by `# sent_id`, without one by their number. A file whose forms
are withheld (`_`) is refused; where every tag of a test set is, the sentences have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from xlwh.corpora.base import Collector, Reader, Reading, row_id
from xlwh.corpora.files import Document
from xlwh.corpora.lines import Lines, read_lines
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.request import Request
from xlwh.corpora.spans import Span, aligned, disagreement
from xlwh.corpora.tagged import UPOS, Block, blocks
from xlwh.errors import CorpusError

_PATTERNS = (
    "{language}_*-ud-{split}.conllu",
    "*/{language}_*-ud-{split}.conllu",
    "{split}-{language}.conllu",
    "{language}/{split}.conllu",
)
_COMMENT = re.compile(r"#\s*(text|sent_id)\s*= ?(.*)", re.DOTALL)
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b")
_RANGE = re.compile(r"([1-9]\d{0,5})-([1-9]\d{0,5})")
_EMPTY_NODE = re.compile(r"\d+\.[1-9]\d*")
_COLUMNS = 10
_ESCAPE = re.compile(r"\\([strnp\\])")
_ESCAPES = {"s": " ", "t": "\t", "r": "\r", "n": "\n", "p": "|", "\\": "\\"}
"""What UDPipe writes in SpacesAfter, SpacesBefore and SpacesInToken."""
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
        # Sentences before the first document, if there are any documents, belong to none.
        shared = None
        for block in blocks(lines):
            if any(_NEW_DOCUMENT.match(line) for line in block.lines):
                shared = row_id(block.number)
            _sentence(collector, document, block, shared)
        return collector.reading()


class _Token(NamedTuple):
    """A token of the text: a word, or a multiword range that stands for several."""

    form: str
    before: str
    """White space before it that is not the token before's."""
    after: str
    first: int
    """Its first syntactic word, from 0."""
    last: int


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


def _sentence(collector: Collector, document: Document, block: Block, shared: str | None) -> None:
    if block.reason:
        collector.reject(document, block.number, block.reason, block.raw)
        return
    comments: dict[str, str] = {}
    for line in block.lines:
        if line.startswith("#") and (match := _COMMENT.fullmatch(line)):
            comments[match.group(1)] = match.group(2)
    rows = [line.split("\t") for line in block.lines if not line.startswith("#")]
    tagged = "tags" not in collector.notes
    words, tokens, flaw = _words(rows, tagged)
    text, places = _rebuilt(tokens)
    stated = comments.get("text")
    if not flaw and stated and stated != text:
        # Forms and text disagree on spacing: the text is what was read.
        forms = [token.form for token in tokens]
        found = aligned(stated, forms)
        if found is None:
            flaw = f"the forms are not the text of `# text`: {disagreement(stated, forms)}"
        else:
            text, places = stated, found
    if flaw:
        collector.reject(document, block.number, flaw, block.raw)
        return
    forms = [fields[1] for fields in words]
    collector.accept(
        document,
        block.number,
        block.raw,
        comments.get("sent_id", "").strip() or row_id(block.number),
        text,
        words=forms,
        word_spans=[
            span
            for token, place in zip(tokens, places, strict=True)
            for span in _parts(text, place, forms[token.first : token.last + 1])
        ],
        word_labels=[fields[3] for fields in words] if tagged else None,
        shared=shared,
    )


def _words(rows: Sequence[list[str]], tagged: bool) -> tuple[list[list[str]], list[_Token], str]:
    """Syntactic words of a sentence, its tokens, and why it is refused (empty where it is not)."""
    words: list[list[str]] = []
    tokens: list[_Token] = []
    covered = 0
    for fields in rows:
        if len(fields) != _COLUMNS:
            return [], [], f"{len(fields)} column{'s' * (len(fields) != 1)} instead of {_COLUMNS}"
        number = fields[0]
        if _EMPTY_NODE.fullmatch(number):
            continue
        span = _RANGE.fullmatch(number)
        if span:
            first, last = int(span.group(1)), int(span.group(2))
            if first != len(words) + 1 or last < first:
                return [], [], "a multiword range that does not start at the next word"
            if first <= covered:
                return [], [], "multiword ranges that overlap"
            if not fields[1] or fields[1].isspace():
                return [], [], "a multiword range without a form"
            covered = last
            tokens.append(_token(fields, first - 1, last - 1))
            continue
        if number != str(len(words) + 1):
            return [], [], "word ids do not run 1, 2, ..."
        if tagged and fields[3] not in UPOS:
            return [], [], f"unknown tag `{fields[3][:40]}`"
        words.append(fields)
        if len(words) > covered:
            tokens.append(_token(fields, len(words) - 1, len(words) - 1))
    if covered > len(words):
        return [], [], "a multiword range that ends past the last word"
    if 2 * sum(fields[1] == _WITHHELD for fields in words) > len(words):
        return [], [], f"forms are withheld (`{_WITHHELD}`)"
    return words, tokens, "" if words else "a sentence without words"


def _token(fields: list[str], first: int, last: int) -> _Token:
    """A token with the spacing that its column MISC states: SpaceAfter=No, or UDPipe's Spaces*."""
    misc = dict(item.split("=", 1) for item in fields[9].split("|") if "=" in item)
    spaced = "" if misc.get("SpaceAfter") == "No" else " "
    after = _unescaped(misc["SpacesAfter"]) if "SpacesAfter" in misc else spaced
    form = _unescaped(misc["SpacesInToken"]) if "SpacesInToken" in misc else fields[1]
    if "".join(form.split()) != "".join(fields[1].split()):
        form = fields[1]
    return _Token(form, _unescaped(misc.get("SpacesBefore", "")), after, first, last)


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES[match.group(1)], value)


def _rebuilt(tokens: Sequence[_Token]) -> tuple[str, list[Span]]:
    """The text of a sentence from the forms and the spacing of its tokens, and where each one stands in it."""
    parts: list[str] = []
    places: list[Span] = []
    at = 0
    for number, token in enumerate(tokens):
        gap = tokens[number - 1].after + token.before if number else ""
        parts += [gap, token.form]
        places.append((at + len(gap), at + len(gap) + len(token.form)))
        at += len(gap) + len(token.form)
    return "".join(parts), places


def _parts(text: str, place: Span, forms: Sequence[str]) -> list[Span]:
    """Spans of the words of one token: each its own part where they make up what is written, else the whole."""
    start, end = place
    if "".join(forms) != text[start:end]:
        return [place] * len(forms)
    ends = list(accumulate(map(len, forms), initial=start))
    return list(pairwise(ends))


READER: Reader = Conllu()
