"""What every column is counted in: one glossary over all tables and views, from `glossary.toml` beside this file.

A column name means one thing wherever it stands, and has one unit; where a table uses a name for something else, the
glossary says so. Contracts, the reference, `xlwh describe` and the checks of what views subtract read it from here.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Unit:
    """What numbers (or words) of a column are counted in."""

    name: str
    meaning: str
    low: float | None = None
    """Least value that there is; None: no bound."""
    high: float | None = None

    @property
    def range(self) -> str:
        """The bounds as text, empty without any."""
        if self.low is None and self.high is None:
            return ""
        if self.high is None:
            return f"from {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Entry:
    """One column name."""

    name: str
    unit: str
    meaning: str
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Table or view -> unit, where the name has another one."""

    @property
    def units(self) -> frozenset[str]:
        """Every unit that the name has anywhere."""
        return frozenset((self.unit, *self.elsewhere.values()))


@cache
def glossary() -> tuple[Mapping[str, Unit], Mapping[str, Entry]]:
    """Units by name, and columns by name."""
    text = (resources.files(__package__) / "glossary.toml").read_text(encoding="utf-8")
    read = tomllib.loads(text)
    units = {name: Unit(name, **about) for name, about in read["units"].items()}
    columns = {
        name: Entry(name, about["unit"], about["meaning"], about.get("in", {}))
        for name, about in read["columns"].items()
    }
    return units, columns


WITHOUT_UNIT = frozenset({"identifier", "category", "text", "flag", "by value_unit", "by measure"})
"""Units of columns that hold no quantity, or several: their descriptions say what they hold."""


def described(table: str, column: str, description: str) -> str:
    """The description of a column of a table or view with its unit, as the catalogue and Dagster show it."""
    unit = unit_of(table, column)
    return description if unit is None or unit in WITHOUT_UNIT else f"{description} [{unit}]"


def digest() -> str:
    """Hex digest of the glossary's file: what shows units depends on it."""
    content = (resources.files(__package__) / "glossary.toml").read_bytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def unit_of(table: str, column: str) -> str | None:
    """The unit of a column of a table or view; None for a name that is not in the glossary."""
    entry = glossary()[1].get(column)
    return None if entry is None else entry.elsewhere.get(table, entry.unit)
