"""Numbers and TOML in texts that others wrote: whatever such a text holds, it is an error of few kinds.

Python refuses to read integers of thousands of digits, and nests only so deep.
"""

from __future__ import annotations

import tomllib
from typing import Any


def whole_number(text: str | bytes, digits: int = 18) -> int | None:
    """The number that decimal digits say, of any script; None for any other text, and for more digits than `digits`."""
    if isinstance(text, bytes):
        text = text.decode("ascii", errors="replace")
    return int(text) if text.isdecimal() and len(text) <= digits else None


def parsed_toml(text: str) -> dict[str, Any]:
    """A TOML text; `ValueError` where it is none, where it is nested too deeply or a number is too long for Python."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
