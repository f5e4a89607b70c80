"""Bilingual dictionaries and lexica, as they are published.

- MUSE (Conneau et al. 2018): two words a line, separated by a tab or a blank.
- XLing-Eval (Glavaš et al. 2019): two entries a line, separated by a tab; an entry may hold blanks.
- hunalign: `target @ source`; its first entry is the foreign one.
- Moses (`lex.f2e`, `lex.e2f`): `target source p(target | source)`, separated by blanks; lines with NULL are no words.
- counted: `source -> target: Probability = p, Count = c`.

A file of another form is refused, and so is a line that is no entry: a header, a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xlwh.corpora import content
from xlwh.corpora.files import Document, members
from xlwh.corpora.lines import split_lines
from xlwh.corpora.sniff import Form, is_header, refuse_other_format
from xlwh.errors import CorpusError

_HUNALIGN = " @ "
_COUNTED = re.compile(r"(.+?)\s+->\s+(.+?):\s*Probability\s*=\s*(\S+?),\s*Count\s*=\s*(\d{1,18})")
_NULL = "NULL"
_FEW = 1000
"""Lines that are looked at before anything is read."""
_COMMENTS = ("#", "%", ";", "//", "--")
_SEPARATORS = frozenset(",;:|=")
"""Marks that other formats set between columns."""
_LETTER = re.compile(r"[^\W\d_]")
_OTHERS: tuple[Form, ...] = ("json", "xml", "conllu", "blocks", "columns", "vectors", "alignments", "bars")
"""Forms of lines that are no dictionary."""


@dataclass(frozen=True)
class DictionaryEntry:
    """One line of a dictionary; probability and count where the file has them."""

    source: str
    target: str
    probability: float | None = None
    """p(target | source)"""
    count: int | None = None


@dataclass(frozen=True)
class Dictionary:
    """Word pairs of a dictionary, pivot language first."""

    pairs: tuple[tuple[str, str], ...]
    """Distinct (pivot, foreign) pairs in the order of the file; either word may have several partners."""
    rows: int
    """Entries in the file."""
    duplicates: int
    """Entries that repeat an earlier pair."""


def read_dictionary(path: Path, foreign_first: bool = False) -> Dictionary:
    """Read the word pairs of a dictionary in any of the formats; the first entry decides which.

    The pivot's word is the source, by which hunalign's form and Moses' list the foreign word first and the others the
    pivot's. `foreign_first` says that this file is the other way round: its source is the foreign language. Blank lines
    are passed over. Raises `CorpusError` naming the line for an entry of another form, and for a file without entries.
    """
    pairs = [(entry.source, entry.target) for entry in _read(path)]
    if foreign_first:
        pairs = [(right, left) for left, right in pairs]
    distinct = tuple(dict.fromkeys(pairs))
    return Dictionary(distinct, rows=len(pairs), duplicates=len(pairs) - len(distinct))


def read_entries(path: Path, swapped: bool = False) -> list[DictionaryEntry]:
    """All entries of a lexicon in the order of the file, source word first; errors as of `read_dictionary`.

    `swapped` reads the file in the other direction: what its format calls the target is the source here. A
    probability is one of the format's direction, so it is dropped then.
    """
    entries = _read(path)
    if not swapped:
        return entries
    return [replace(e, source=e.target, target=e.source, probability=None) for e in entries]


def require_dictionary(path: Path) -> None:
    """Refuse a file whose beginning is no dictionary or lexicon; `CorpusError` as of `read_dictionary`."""
    _read(path, _FEW)


def _read(path: Path, lines_read: int | None = None) -> list[DictionaryEntry]:
    """Entries, source first; of so many lines from the beginning."""
    if not path.is_file():
        raise content.missing("dictionary", path)
    names = members(path)
    inside = () if names is None else (content.only_member(path, names),)
    document = Document(path, path.name, inside, lines=lines_read)
    data = document.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"Dictionary {path} cannot be read as UTF-8 text: {error}.") from None
    refuse_other_format(document, split_lines(data), *_OTHERS)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise CorpusError(f"Dictionary {path} holds no entries.")
    split, form, target_first = _format(lines[0][1])
    _refuse_header(path, lines[0][1])
    entries = []
    for number, line in lines:
        entry = split(line)
        if entry is None or not entry.source or not entry.target:
            raise CorpusError(f"{path}, line {number}: {form} is expected, got {line[:80]!r}.")
        if "\0" in line:
            raise CorpusError(
                f"{path}, line {number}: a NUL character, so the file is damaged: {line[:80]!r}."
            )
        if any(entry.source.startswith(mark) and not entry.target.startswith(mark) for mark in _COMMENTS):
            raise CorpusError(f"{path}, line {number}: a comment, no entry: {line[:80]!r}. Delete it.")
        if target_first:
            entry = replace(entry, source=entry.target, target=entry.source)
        if _NULL not in (entry.source, entry.target) or split is not _moses:
            entries.append(entry)
    _require_words(path, entries)
    return entries


def _refuse_header(path: Path, line: str) -> None:
    """Refuse a first line that names the columns, or the languages as the file's name does."""
    fields = [field.strip() for field in re.split(r"\t| @ | ", line)]
    codes = [field.lower() for field in fields]
    named = (
        len(codes) == 2
        and all(codes)
        and re.search(
            rf"(?<![a-z]){re.escape(codes[0])}[-_.]?{re.escape(codes[1])}(?![a-z])", path.name.lower()
        )
    )
    if is_header(fields) or (named and codes[0] != codes[1]):
        raise CorpusError(f"{path}, line 1: names of columns, no entry: {line[:80]!r}. Delete it.")


def _require_words(path: Path, entries: list[DictionaryEntry]) -> None:
    """Refuse a file whose entries are no words: numbers, whole sentences, or words with the mark that separates columns."""
    for side, texts in (("left", [e.source for e in entries]), ("right", [e.target for e in entries])):
        if 2 * sum(_LETTER.search(text) is None for text in texts) > len(texts):
            raise CorpusError(
                f"{path}: most entries have no letter on one side ({side}): no dictionary of words."
            )
        marks = {text[-1:] for text in texts}
        if len(texts) > 1 and len(marks) == 1 and marks <= _SEPARATORS:
            raise CorpusError(
                f"{path}: every entry ends with `{marks.pop()}` on one side ({side}), such as {texts[0][:60]!r}: the mark "
                "separates the columns. Put one TAB in its place."
            )
        if 2 * sum(text.count(" ") > 3 for text in texts) > len(texts):
            raise CorpusError(
                f"{path}: most entries are sentences, such as {texts[0][:60]!r}: no dictionary of words."
            )


def _format(line: str) -> tuple[Callable[[str], DictionaryEntry | None], str, bool]:
    """How to split a line of the file that begins with this one, the form's name, and whether the target is first."""
    if _COUNTED.fullmatch(line):
        return _counted, "`source -> target: Probability = p, Count = c`", False
    if _HUNALIGN in line:
        return _hunalign, "`target @ source`", True
    if _moses(line) is not None:
        return _moses, "`target source probability`", True
    if "\t" in line:
        return _pair, "`source TAB target`", False
    return _pair, "`source target` or `source TAB target`", False


def _counted(line: str) -> DictionaryEntry | None:
    match = _COUNTED.fullmatch(line)
    probability = _share(match[3]) if match else None
    if match is None or probability is None:
        return None
    return DictionaryEntry(match[1].strip(), match[2].strip(), probability, int(match[4]))


def _hunalign(line: str) -> DictionaryEntry | None:
    parts = [part.strip() for part in line.split(_HUNALIGN)]
    return DictionaryEntry(parts[0], parts[1]) if len(parts) == 2 else None


def _moses(line: str) -> DictionaryEntry | None:
    fields = line.split(" ")
    probability = _share(fields[2]) if len(fields) == 3 else None
    return None if probability is None else DictionaryEntry(fields[0], fields[1], probability)


def _pair(line: str) -> DictionaryEntry | None:
    parts = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
    return DictionaryEntry(parts[0], parts[1]) if len(parts) == 2 else None


def _share(text: str) -> float | None:
    """A number from 0 to 1, else None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None
