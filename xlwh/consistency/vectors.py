"""Word vectors from files in word2vec's text format (`.vec`, packed or not), as fastText and MUSE publish them.

A file is read once, line by line, and only the words asked for are kept, so that memory is bounded by them: four
candidate spellings a word at most, each a row of float32. Rows that nobody asked for are never parsed.

A file is refused where its first rows are no vectors (TABs, other dimensions than the header's, no numbers), where it
holds other rows than the header promises, where it ends within a row, and where more than one row in ten is damaged.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from xlwh.corpora import content
from xlwh.errors import CorpusError

_HEADER = re.compile(rb"(\d{1,18})\s+(\d{1,9})")
_LONGEST_LINE = 1 << 20
"""Bytes; a longer line is no row of vectors (1,000 dimensions take about 12,000)."""
_SAMPLE = 100
"""Rows that decide the dimension where there is no header."""
_SHOWN = 5
"""Words of the file that are kept to be shown."""
_LEAST_DIMENSION = 2
_DAMAGED = 10
"""One row in so many may be damaged."""


@dataclass(frozen=True)
class VectorReport:
    """What was found in a file, and what was left out."""

    dimension: int
    rows: int
    """Rows in the file, the header not counted."""
    declared_rows: int | None
    """Rows that the header promises; None without a header."""
    wrong_length: int
    """Rows that do not hold `dimension` numbers; skipped."""
    not_finite: int
    """Rows asked for with a NaN, an infinity, something that is no number, or zeros alone, which have no direction; skipped."""
    duplicates: int
    """Rows asked for whose word had come before; the first one is kept."""
    asked: int = 0
    found: int = 0


@dataclass(frozen=True)
class FoundVectors:
    """The words of a file that were asked for, in the order asked."""

    words: list[str]
    matched: list[str]
    """The file's spelling of each word."""
    vectors: NDArray[np.float32]
    """`[words, dimension]`, as in the file."""
    report: VectorReport
    examples: tuple[str, ...] = ()
    """Some words of the file, from its beginning."""
    missing: tuple[str, ...] = ()
    """Some words asked for that it does not have."""


def spellings(word: str) -> tuple[str, ...]:
    """Spellings under which a word is looked up, best first: as is, composed (NFC), lower-cased, both."""
    composed = unicodedata.normalize("NFC", word)
    return tuple(dict.fromkeys((word, composed, word.lower(), composed.lower())))


def read_vectors(path: Path, words: Iterable[str]) -> FoundVectors:
    """The vectors of `words` in a `.vec` file.

    The header line (`rows dimension`) is optional. A row is a word, which may hold blanks, and `dimension` numbers
    separated by single blanks. Raises `CorpusError` for a file that cannot be read or that is of another form.
    """
    asked = list(dict.fromkeys(words))
    candidates = {spelling.encode("utf-8", "surrogatepass") for word in asked for spelling in spellings(word)}
    if not path.exists():
        raise content.missing("vector file", path)
    try:
        with content.opened(path) as stream:
            lines = _Lines(stream)
            found, report, examples = _scan(path, lines, candidates)
    except content.DAMAGE as error:
        raise content.unreadable(path, error) from None
    hits = [
        (word, spelling)
        for word in asked
        for spelling in [
            next((s for s in spellings(word) if s.encode("utf-8", "surrogatepass") in found), None)
        ]
        if spelling is not None
    ]
    matched = {word for word, _ in hits}
    vectors = np.empty((len(hits), report.dimension), dtype=np.float32)
    for row, (_, spelling) in enumerate(hits):
        vectors[row] = found[spelling.encode("utf-8", "surrogatepass")]
    return FoundVectors(
        words=[word for word, _ in hits],
        matched=[spelling for _, spelling in hits],
        vectors=vectors,
        report=replace(report, asked=len(asked), found=len(hits)),
        examples=examples,
        missing=tuple(islice((word for word in asked if word not in matched), _SHOWN)),
    )


def require_vectors(path: Path) -> None:
    """Refuse a file whose first rows are no vectors; `CorpusError` as of `read_vectors`."""
    if not path.exists():
        raise content.missing("vector file", path)
    try:
        with content.opened(path) as stream:
            _layout(path, iter(_Lines(stream)))
    except content.DAMAGE as error:
        raise content.unreadable(path, error) from None


class _Lines:
    """Lines without their end; of one too long for a row only the first part, so that memory stays bounded."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.ended = True
        """Whether the line read last ended with a line end."""

    def __iter__(self) -> Iterator[bytes]:
        first = True
        while line := self._stream.readline(_LONGEST_LINE):
            kept = line.removeprefix(content.UTF8_MARK).rstrip() if first else line.rstrip()
            first = False
            while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                line = self._stream.readline(_LONGEST_LINE)
            self.ended = line.endswith(b"\n")
            # An empty line is no row.
            if kept:
                yield kept


def _scan(
    path: Path, source: _Lines, candidates: set[bytes]
) -> tuple[dict[bytes, NDArray[np.float32]], VectorReport, tuple[str, ...]]:
    declared, dimension, lines = _layout(path, iter(source))
    # A word may hold blanks: its first piece decides cheaply whether the row is worth splitting.
    heads = {candidate.split(b" ", 1)[0] for candidate in candidates}
    found: dict[bytes, NDArray[np.float32]] = {}
    examples: list[str] = []
    rows = wrong_length = not_finite = duplicates = 0
    wrong = False
    for line in lines:
        rows += 1
        blanks = line.count(b" ")
        wrong = blanks != dimension and (blanks < dimension or _too_many_numbers(line, dimension))
        if wrong:
            wrong_length += 1
            continue
        if len(examples) < _SHOWN:
            examples.append(line.rsplit(b" ", dimension)[0].decode("utf-8", "replace"))
        if line[: line.index(b" ")] not in heads:
            continue
        word, *numbers = line.rsplit(b" ", dimension)
        if word not in candidates:
            continue
        if word in found:
            duplicates += 1
            continue
        vector = _parsed(numbers)
        if vector is None:
            not_finite += 1
        else:
            found[word] = vector
    if wrong and not source.ended:
        raise CorpusError(f"{path}: ends in the middle of row {rows}: part of a download. Fetch it again.")
    if declared is not None and declared != rows:
        raise CorpusError(
            f"{path}: its first line promises {declared} rows, it holds {rows}. Fetch it again; where it was cut on "
            "purpose, correct the first line."
        )
    if wrong_length * _DAMAGED > rows:
        raise CorpusError(
            f"{path}: {wrong_length} of {rows} rows are not a word followed by {dimension} numbers; word2vec text format "
            "(.vec) is expected, not the binary one."
        )
    report = VectorReport(dimension, rows, declared, wrong_length, not_finite, duplicates)
    return found, report, tuple(examples)


def _layout(path: Path, lines: Iterator[bytes]) -> tuple[int | None, int, Iterator[bytes]]:
    """Rows by the header or None, the dimension, and all rows; `CorpusError` where the first rows are no vectors."""
    first = list(islice(lines, _SAMPLE))
    if first and first[0].startswith(content.UTF16_MARKS):
        raise CorpusError(
            f"{path}: looks like UTF-16, but only UTF-8 is read. Convert it: iconv -f UTF-16 -t UTF-8 FILE"
        )
    header = _HEADER.fullmatch(first[0]) if first else None
    sample = first[1:] if header else first
    if not sample:
        raise CorpusError(f"{path} holds no vectors.")
    if 2 * sum(b"\t" in line for line in sample) > len(sample):
        raise CorpusError(
            f"{path}: its rows hold TABs ({_shown(sample[0])}); in word2vec's text format single blanks separate the word "
            "and its numbers."
        )
    usual = Counter(line.count(b" ") for line in sample).most_common(1)[0][0]
    dimension = int(header[2]) if header else usual
    vectors = sum(_is_vector(line, dimension) for line in sample)
    if usual > dimension and 2 * sum(_is_vector(line, usual) for line in sample) > len(sample):
        # Of whole numbers, the surplus could be taken for a part of the word.
        vectors = 0
    if dimension < _LEAST_DIMENSION:
        raise CorpusError(
            f"{path}: rows such as {_shown(sample[0])} hold {dimension} number{'s' * (dimension != 1)}, which is no vector (a "
            "list of words or of counts?); word2vec text format (.vec) is expected."
        )
    if 2 * vectors <= len(sample):
        seen = f"; most rows hold {usual}" if usual != dimension else ""
        raise CorpusError(
            f"{path}: {len(sample) - vectors} of the first {len(sample)} rows are not a word followed by {dimension} "
            f"numbers{seen}, such as {_shown(sample[0])}; word2vec text format (.vec) is expected, not the binary one."
        )
    return int(header[1]) if header else None, dimension, chain(sample, lines)


def _is_vector(line: bytes, dimension: int) -> bool:
    """Whether a row is a word and as many numbers as there are dimensions, no more."""
    word, *numbers = line.rsplit(b" ", dimension) if dimension else [line]
    if len(numbers) != dimension or not word:
        return False
    try:
        [float(number) for number in numbers]
    except ValueError:
        return False
    return not _too_many_numbers(line, dimension)


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace"))


def _too_many_numbers(line: bytes, dimension: int) -> bool:
    """Whether a row with too many blanks has a surplus of numbers, rather than a word with blanks in it."""
    extra = line.rsplit(b" ", dimension)[0].split(b" ")[1:]
    return bool(extra) and any(b"." in piece and _is_number(piece) for piece in extra)


def _is_number(piece: bytes) -> bool:
    try:
        return math.isfinite(float(piece))
    except ValueError:
        return False


def _parsed(numbers: list[bytes]) -> NDArray[np.float32] | None:
    try:
        vector = np.array([float(number) for number in numbers])
    except ValueError:
        return None
    with np.errstate(over="ignore"):
        narrow = vector.astype(np.float32)
    return narrow if np.isfinite(narrow).all() and narrow.any() else None
