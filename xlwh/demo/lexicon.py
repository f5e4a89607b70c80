"""The lexicon of the demo grammar: entries of `lexicon.toml`, and what excludes or implies what.

Sense relations live here (is a dog an animal? can one be in the park and inside?); how a word is inflected is the
business of the language that uses it, so an entry's forms stay the tuples of strings that the file gives.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

LANGUAGES = ("en", "de", "es", "zh", "ar", "hi")
"""Languages of the demo; the first is the pivot of alignments and dictionaries."""

Relation = Literal["same", "neutral", "excluded"]
"""What a premise's part says of the hypothesis' part: implies it, leaves it open, or rules it out."""


@dataclass(frozen=True)
class Entry:
    """One word of a class with its forms per language, in the order that `lexicon.toml` explains."""

    key: str
    forms: Mapping[str, tuple[str, ...]]
    parent: str | None = None
    kinds: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    subject: frozenset[str] = frozenset()
    object: frozenset[str] = frozenset()
    mass: bool = False
    reflexive: frozenset[str] = frozenset()
    goods: bool = False
    places: str | None = None
    arabic_stem: str | None = None

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Lexicon:
    nouns: Mapping[str, Entry]
    verbs: Mapping[str, Entry]
    adjectives: Mapping[str, Entry]
    places: Mapping[str, Entry]
    times: Mapping[str, Entry]

    def noun_relation(self, premise: str, hypothesis: str) -> Relation:
        """A dog is an animal; an animal may be a dog; a dog is no cat. A doctor may be a woman."""
        if premise == hypothesis or hypothesis in ancestors(self.nouns, premise):
            return "same"
        if premise in ancestors(self.nouns, hypothesis):
            return "neutral"
        one, other = self.nouns[premise].kinds, self.nouns[hypothesis].kinds
        if {"adult"} <= one & other and ("role" in one) != ("role" in other):
            return "neutral"
        return "excluded"

    def verb_relation(self, premise: str, hypothesis: str) -> Relation:
        """Verbs that share a group exclude each other (push and pull); others leave each other open."""
        if premise == hypothesis:
            return "same"
        shared = self.verbs[premise].groups & self.verbs[hypothesis].groups
        return "excluded" if shared else "neutral"

    def adjective_relation(self, premise: str | None, hypothesis: str | None) -> Relation:
        return _modifier_relation(self.adjectives, premise, hypothesis)

    def time_relation(self, premise: str | None, hypothesis: str | None) -> Relation:
        return _modifier_relation(self.times, premise, hypothesis)

    def place_relation(self, premise: str | None, hypothesis: str | None) -> Relation:
        """The kitchen is in the house and the house inside; two other places exclude each other."""
        if hypothesis is None or premise == hypothesis:
            return "same"
        if premise is None or premise in ancestors(self.places, hypothesis):
            return "neutral"
        return "same" if hypothesis in ancestors(self.places, premise) else "excluded"


def ancestors(entries: Mapping[str, Entry], key: str) -> tuple[str, ...]:
    """Hypernyms of an entry, the nearest first."""
    found: list[str] = []
    parent = entries[key].parent
    while parent is not None:
        found.append(parent)
        parent = entries[parent].parent
    return tuple(found)


def _modifier_relation(entries: Mapping[str, Entry], premise: str | None, hypothesis: str | None) -> Relation:
    if hypothesis is None or premise == hypothesis:
        return "same"
    if premise is None:
        return "neutral"
    return "excluded" if entries[premise].groups & entries[hypothesis].groups else "neutral"


@cache
def load() -> Lexicon:
    """Read `lexicon.toml`; all forms come in Unicode's composed form (NFC)."""
    text = (Path(__file__).parent / "lexicon.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(unicodedata.normalize("NFC", text))
    return Lexicon(
        **{part: {key: _entry(key, row) for key, row in rows.items()} for part, rows in raw.items()}
    )


def _entry(key: str, row: Mapping[str, Any]) -> Entry:
    groups = row.get("groups", [row["group"]] if "group" in row else [])
    return Entry(
        key=key,
        forms={language: tuple(row[language].split()) for language in LANGUAGES},
        parent=row.get("is"),
        kinds=frozenset(row.get("kinds", ())),
        groups=frozenset(groups),
        subject=frozenset(row.get("subject", ())),
        object=frozenset(row.get("object", ())),
        mass=row.get("mass", False),
        reflexive=frozenset(x for x in LANGUAGES if row.get(f"{x}_reflexive", False)),
        goods=row.get("goods", False),
        places=row.get("places"),
        arabic_stem=row.get("ar_stem"),
    )
