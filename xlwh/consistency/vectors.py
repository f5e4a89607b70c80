"""Word vectors from files in word2vec's text format (`.vec`, plain or gzip), as fastText and MUSE publish them.

A file is read once, line by line, and only the words asked for are kept, so that memory is bounded by them: four
candidate spellings a word at most, each a row of float32. Rows that nobody asked for are never parsed.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import CorpusError

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER = re.compile(rb"(\d+) (\d+)")
_LONGEST_LINE = 1 << 20
"""Bytes; a longer line is no row of vectors (1,000 dimensions take about 12,000)."""
_SAMPLE = 100
"""Rows that decide the dimension where there is no header."""


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
    """Rows asked for with a NaN, an infinity or something that is no number; skipped."""
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


def spellings(word: str) -> tuple[str, ...]:
    """Spellings under which a word is looked up, best first: as is, composed (NFC), lower-cased, both."""
    composed = unicodedata.normalize("NFC", word)
    return tuple(dict.fromkeys((word, composed, word.lower(), composed.lower())))


def read_vectors(path: Path, words: Iterable[str]) -> FoundVectors:
    """The vectors of `words` in a `.vec` file.

    The header line (`rows dimension`) is optional. A row is a word, which may hold blanks, and `dimension` numbers
    separated by single blanks. Raises `CorpusError` for a file that cannot be read or that holds no such row.
    """
    asked = list(dict.fromkeys(words))
    candidates = {spelling.encode("utf-8", "surrogatepass") for word in asked for spelling in spellings(word)}
    try:
        with _opened(path) as stream:
            found, report = _scan(path, _lines(stream), candidates)
    except FileNotFoundError:
        raise CorpusError(f"No vector file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"Vector file {path} cannot be read: {error}.") from None
    hits = [
        (word, spelling)
        for word in asked
        for spelling in [
            next((s for s in spellings(word) if s.encode("utf-8", "surrogatepass") in found), None)
        ]
        if spelling is not None
    ]
    vectors = np.empty((len(hits), report.dimension), dtype=np.float32)
    for row, (_, spelling) in enumerate(hits):
        vectors[row] = found[spelling.encode("utf-8", "surrogatepass")]
    return FoundVectors(
        words=[word for word, _ in hits],
        matched=[spelling for _, spelling in hits],
        vectors=vectors,
        report=replace(report, asked=len(asked), found=len(hits)),
    )


def _opened(path: Path) -> BinaryIO:
    stream = path.open("rb", buffering=1 << 20)
    if stream.read(2) != _GZIP_MAGIC:
        stream.seek(0)
        return stream
    stream.close()
    return cast(BinaryIO, gzip.open(path, "rb"))


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines without their end; of one too long for a row only the first part, so that memory stays bounded."""
    while line := stream.readline(_LONGEST_LINE):
        yield line.rstrip()
        while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            line = stream.readline(_LONGEST_LINE)


def _scan(
    path: Path, lines: Iterator[bytes], candidates: set[bytes]
) -> tuple[dict[bytes, NDArray[np.float32]], VectorReport]:
    header, dimension, lines = _layout(path, lines)
    # A word may hold blanks: its first piece decides cheaply whether the row is worth splitting.
    heads = {candidate.split(b" ", 1)[0] for candidate in candidates}
    found: dict[bytes, NDArray[np.float32]] = {}
    rows = wrong_length = not_finite = duplicates = 0
    for line in lines:
        rows += 1
        blanks = line.count(b" ")
        if blanks != dimension and (blanks < dimension or _too_many_numbers(line, dimension)):
            wrong_length += 1
            continue
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
    if wrong_length == rows:
        raise CorpusError(
            f"{path}: none of {rows} rows is a word followed by {dimension} numbers; word2vec text format "
            "(.vec, plain or gzip) is expected, not the binary one."
        )
    return found, VectorReport(dimension, rows, header, wrong_length, not_finite, duplicates)


def _layout(path: Path, lines: Iterator[bytes]) -> tuple[int | None, int, Iterator[bytes]]:
    """Rows by the header or None, the dimension, and all rows."""
    first = list(islice(lines, _SAMPLE))
    header = _HEADER.fullmatch(first[0]) if first else None
    sample = first[1:] if header else first
    if not sample:
        raise CorpusError(f"{path} holds no vectors.")
    if header:
        dimension = int(header[2])
    else:
        dimension = Counter(line.count(b" ") for line in sample).most_common(1)[0][0]
    if dimension < 1:
        raise CorpusError(
            f"{path}: the first line holds no numbers; word2vec text format (.vec) is expected."
        )
    return int(header[1]) if header else None, dimension, chain(sample, lines)


def _too_many_numbers(line: bytes, dimension: int) -> bool:
    """Whether a row with too many blanks has a surplus of numbers, rather than a word with blanks in it."""
    extra = line.rsplit(b" ", dimension)[0].split(b" ")[1:]
    return any(b"." in piece and _parsed([piece]) is not None for piece in extra)


def _parsed(numbers: list[bytes]) -> NDArray[np.float32] | None:
    try:
        vector = np.array([float(number) for number in numbers])
    except ValueError:
        return None
    with np.errstate(over="ignore"):
        narrow = vector.astype(np.float32)
    return narrow if np.isfinite(narrow).all() else None
