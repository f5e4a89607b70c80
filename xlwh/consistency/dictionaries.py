"""Bilingual dictionaries: MUSE and XLing-Eval (`source target`), and hunalign (`target @ source`).

- MUSE (Conneau et al. 2018): two words a line, separated by a tab or a blank.
- XLing-Eval (Glavaš et al. 2019): two entries a line, separated by a tab; an entry may hold blanks.
- hunalign: `target @ source`; its first entry is the foreign one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xlwh.errors import CorpusError

_HUNALIGN = " @ "


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
    """Read a dictionary in any of the formats; the first entry decides which.

    `foreign_first` says that the left word is the foreign one, as it always is in hunalign's form. Blank lines are
    passed over. Raises `CorpusError` naming the line for an entry of another form, and for a file without entries.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CorpusError(f"No dictionary {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"Dictionary {path} cannot be read as UTF-8 text: {error}.") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    entries = [(number, line) for number, line in lines if line]
    if not entries:
        raise CorpusError(f"Dictionary {path} holds no entries.")
    hunalign = _HUNALIGN in entries[0][1]
    pairs = [_split(path, number, line, hunalign) for number, line in entries]
    if foreign_first or hunalign:
        pairs = [(right, left) for left, right in pairs]
    distinct = tuple(dict.fromkeys(pairs))
    return Dictionary(distinct, rows=len(pairs), duplicates=len(pairs) - len(distinct))


def _split(path: Path, number: int, line: str, hunalign: bool) -> tuple[str, str]:
    if hunalign:
        parts, form = line.split(_HUNALIGN), "`target @ source`"
    elif "\t" in line:
        parts, form = line.split("\t"), "`source TAB target`"
    else:
        parts, form = line.split(), "`source target` or `source TAB target`"
    words = [part.strip() for part in parts]
    if len(words) != 2 or not all(words):
        raise CorpusError(f"{path}, line {number}: {form} is expected, got {line[:80]!r}.")
    return words[0], words[1]
