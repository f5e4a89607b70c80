"""Whole studies of published papers, in three sizes.

`<paper>.toml` is a paper's full study: its own models, data and settings, with what the paper leaves open and what we
chose. `<paper>.<size>.toml` holds only what a size changes: a value or list replaces that of the full study, and
the list `remove` names tables (dotted keys) to leave out. `all.toml` settles what the papers say differently where
they share a table. Nothing is computed here: `compose` writes the text of a `study.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from xlwh.errors import StudyError

FOLDER = Path(__file__).parent

ALL = "all"
"""The study that joins those of all papers."""

SIZES = ("smoke", "small", "full")
"""Minutes on a CPU with tiny checkpoints; about a day on one GPU; the papers' own settings."""

PAPERS = tuple(
    sorted(path.stem for path in FOLDER.glob("*.toml") if "." not in path.stem and path.stem != ALL)
)
"""Papers that have a study."""


def compose(paper: str, size: str = "full") -> str:
    """Text of the `study.toml` that repeats a paper, or `all` of them.

    The comments of the full study are kept; each line that the size changes ends with what the full study has, and
    the size's own comment stands first.

    Raises:
        StudyError: for another paper or size; where a size changes a table that the full study lacks; where papers
            differ in a table that they share and `all.toml` does not settle it.
    """
    from xlwh.papers.edit import edited, joined_text

    wanted = settings(paper, size)
    full = settings(paper, "full")
    if paper == ALL:
        header, notes = _comments(_text(ALL))
        text = edited(joined_text(header, [_text(name) for name in PAPERS]), full, notes)
    else:
        text = _text(paper)
    if size == "full":
        return text
    header, notes = _comments(_text(paper, size)) if _has(paper, size) else ("", {})
    return header.rstrip("\n") + "\n#\n" * bool(header.strip()) + edited(text, wanted, notes, label="full")


def settings(paper: str, size: str = "full") -> dict[str, Any]:
    """The same as a mapping: what a study is compared with to tell which of its settings differ from a paper's.

    Raises:
        StudyError: as `compose`.
    """
    if paper not in (*PAPERS, ALL):
        raise StudyError(f"No paper `{paper}`; there are: {', '.join((*PAPERS, ALL))}.")
    if size not in SIZES:
        raise StudyError(f"No size `{size}`; there are: {', '.join(SIZES)}.")
    from xlwh.papers.edit import joinable, joined, merged

    if paper == ALL:
        changes = _parsed(ALL)
        if size != "full" and _has(ALL, size):
            changes = merged(changes, _parsed(ALL, size), f"all.{size}.toml", strict=False)
        return joined({name: joinable(settings(name, size)) for name in PAPERS}, changes)
    full = _parsed(paper)
    return full if size == "full" else merged(full, _parsed(paper, size), f"{paper}.{size}.toml")


def _file(paper: str, size: str = "full") -> Path:
    return FOLDER / (f"{paper}.toml" if size == "full" else f"{paper}.{size}.toml")


def _has(paper: str, size: str) -> bool:
    return _file(paper, size).is_file()


@cache
def _text(paper: str, size: str = "full") -> str:
    return _file(paper, size).read_text(encoding="utf-8")


def _parsed(paper: str, size: str = "full") -> dict[str, Any]:
    try:
        return tomllib.loads(_text(paper, size))
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{_file(paper, size)}: not valid TOML: {error}") from None


def _comments(text: str) -> tuple[str, Mapping[tuple[str, ...], str]]:
    """Comment at the head of a file, and those behind its keys."""
    from xlwh.papers.edit import comments, head

    return head(text), comments(text)
