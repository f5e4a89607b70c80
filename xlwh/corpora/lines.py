r"""Bytes to lines, once and carefully, for every line-based format.

Lines end at LF only: U+0085, U+2028, U+001C and the like are text (`str.splitlines` breaks on them). One CR
before the LF belongs to the line end. A UTF-8 byte order mark at the start is dropped. Every line is decoded
strictly by itself: one that is not UTF-8, or holds a NUL, is a broken record and its neighbours are not.
A last line without LF is a line; an empty line is one too. Otherwise text is kept as found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xlwh.corpora.content import UTF8_MARK, UTF16_MARKS
from xlwh.corpora.files import Document
from xlwh.errors import CorpusError

_FEW_LINES, _FEW_SHARE = 10, 0.02
"""As many lines may be damaged; a file with more that are not UTF-8 is of another encoding, of which the lines that
happen to be ASCII would be left."""

NOT_UTF8 = "not UTF-8"
HAS_NUL = "NUL character"


class Broken(NamedTuple):
    """A line that cannot be text."""

    reason: str
    raw: bytes


@dataclass(frozen=True)
class Lines:
    """The lines of one file."""

    texts: list[str | None]
    """Without line ends; None where the line is broken."""
    broken: Mapping[int, Broken]
    """Broken lines by their index."""

    def raw(self, index: int) -> bytes:
        """The bytes of a line, broken or not, without its line end."""
        text = self.texts[index]
        return self.broken[index].raw if text is None else text.encode("utf-8")

    def rest(self, first: int) -> Iterator[tuple[int, str | Broken]]:
        """Lines from index `first` on, counted from 0 there, broken ones as such."""
        for index in range(first, len(self.texts)):
            text = self.texts[index]
            yield index - first, self.broken[index] if text is None else text

    def ends_like_a_header(self) -> bool:
        """Whether the first line's last column is called `label`, in bytes: the line itself may be damaged.

        A header that is taken for a row would shift the row numbers, and with them every join.
        """
        return bool(self.texts) and self.raw(0).rsplit(b"\t", 1)[-1].lower() == b"label"


def read_lines(document: Document) -> Lines:
    """The lines of a file; `CorpusError` as of `lines_of`."""
    return lines_of(document, document.read())


def lines_of(document: Document, data: bytes) -> Lines:
    """The lines of a file's bytes; `CorpusError` where it is empty, of another encoding, or ends its lines with CR."""
    refuse_utf16(document, data)
    if data.count(b"\r") > 1 and b"\n" not in data.rstrip(b"\n"):
        raise CorpusError(
            f"{document.path}: its lines end with CR alone, as on old Macs, and not with LF. Convert it: tr '\\r' '\\n'"
        )
    lines = split_lines(data)
    if not lines.texts:
        raise CorpusError(f"{document.path}: the file is empty")
    foreign = sum(flaw.reason == NOT_UTF8 for flaw in lines.broken.values())
    if foreign > _FEW_LINES and foreign > _FEW_SHARE * len(lines.texts):
        raise CorpusError(
            f"{document.path}: {foreign} of {len(lines.texts)} lines are not UTF-8, so it is of another encoding. "
            "Convert it, for example: iconv -f LATIN1 -t UTF-8 FILE"
        )
    return lines


def refuse_utf16(document: Document, data: bytes) -> None:
    """Refuse UTF-16 and UTF-32 by their byte order mark, or by the zero bytes that they are half made of."""
    if data.startswith(UTF16_MARKS) or 5 * data.count(0, 0, 4096) > 2 * min(len(data), 4096) > 0:
        raise CorpusError(
            f"{document.path}: looks like UTF-16, but only UTF-8 is read. Convert it: iconv -f UTF-16 -t UTF-8 FILE"
        )


def split_lines(data: bytes) -> Lines:
    """Lines of a file's bytes, see the module."""
    # More than one: files with a mark that were saved with a mark again.
    while data.startswith(UTF8_MARK):
        data = data.removeprefix(UTF8_MARK)
    if not data:
        return Lines([], {})
    data = data.removesuffix(b"\n")
    broken: dict[int, Broken] = {}
    texts: list[str | None]
    try:
        # Byte 0x0A occurs in UTF-8 as LF only, so decoding the whole first is the same and much faster.
        texts = list(data.decode("utf-8").split("\n"))
    except UnicodeDecodeError:
        texts = []
        for index, line in enumerate(data.split(b"\n")):
            try:
                texts.append(line.decode("utf-8"))
            except UnicodeDecodeError:
                texts.append(None)
                broken[index] = Broken(NOT_UTF8, line.removesuffix(b"\r"))
    if b"\r" in data:
        texts = [text.removesuffix("\r") if text is not None else None for text in texts]
    if b"\0" in data:
        for index, text in enumerate(texts):
            if text is not None and "\0" in text:
                broken[index] = Broken(HAS_NUL, text.encode("utf-8"))
                texts[index] = None
    return Lines(texts, broken)


def require_same_length(first: Document, lines: Lines, second: Document, others: Lines) -> None:
    """Refuse line-parallel files of different lengths: a line missing anywhere misaligns all that follow."""
    if len(lines.texts) != len(others.texts):
        raise CorpusError(
            f"{first.path} has {len(lines.texts)} lines, {second.path} has {len(others.texts)}: line-parallel "
            "files must have equally many. Fetch both again from the same source."
        )
