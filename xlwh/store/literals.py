"""Python's texts in SQL."""

from __future__ import annotations


def quoted(text: str) -> str:
    """As a text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """As a name in SQL."""
    return '"' + name.replace('"', '""') + '"'
