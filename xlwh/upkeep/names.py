"""Keys of models and datasets in what is stored: in addresses of files, and in the columns that hold them.

Names of files and clusterings are made of keys that may hold the same dots and plus signs that join them. Where one
ends is told by the keys that there are: of several that fit, the longest is meant.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel

from xlwh.store import Entry, Slot
from xlwh.study import Study
from xlwh.tables import TABLES

What = Literal["model", "dataset"]

_ALIGNMENT = "alignment of "
PLACES: Mapping[What, frozenset[str]] = {
    "model": frozenset({"models", "base", "tokenizer_of", "weights_of", "counterpart_of"}),
    "dataset": frozenset({"datasets", "dataset", "dev_dataset", "keep_query"}),
}
"""Keys of the study file whose values, or names in a table, are models or datasets."""
_IN_RECIPES: Mapping[What, tuple[str, ...]] = {
    "model": ("base", "tokenizer_of"),
    "dataset": ("dataset", "dev_dataset"),
}


@dataclass(frozen=True)
class Known:
    """Every key that names can be made of."""

    datasets: frozenset[str]
    lexica: frozenset[str]
    spaces: frozenset[str]
    """Keys of the study's spaces."""

    def corpus(self, text: str) -> tuple[list[str], str]:
        """The datasets that a name begins with, joined by `+`, and what follows them."""
        found: list[str] = []
        rest = text
        while key := _leading(rest, self.datasets, "+."):
            found.append(key)
            if not rest[len(key) :].startswith("+"):
                return found, rest[len(key) :]
            rest = rest[len(key) + 1 :]
        # What follows a plus sign is no dataset: the sign belongs to it.
        return found, rest if not found else f"+{rest}"

    def datasets_of(self, slot: Slot) -> list[str]:
        """Datasets that a file is of, by its address; those that it also holds beside others included."""
        if "dataset" in slot.partition:
            return [slot.partition["dataset"]]
        return self.part(slot)[1]

    def part(self, slot: Slot) -> tuple[str, list[str], str]:
        """What the part of a slot is made of: what stands before the datasets, these, and what follows."""
        kinds, rest, before = TABLES[slot.table].named_by, slot.part, ""
        for kind in kinds:
            if kind == "lexicon":
                key = _leading(rest, self.lexica, ".")
                before, rest = rest[: len(key) + 1], rest[len(key) + 1 :]
            else:
                return before, *self.corpus(rest)
        return before, [], rest


def known(studies: Iterable[Study], entries: Iterable[Entry]) -> Known:
    """The keys of some studies, and those that are stored."""
    studies = list(studies)
    stored = [entry.slot.partition for entry in entries]
    return Known(
        frozenset(
            {key for study in studies for key in study.datasets}
            | {keys["dataset"] for keys in stored if "dataset" in keys}
        ),
        frozenset(
            {key for study in studies for key in study.lexica}
            | {keys["lexicon"] for keys in stored if "lexicon" in keys}
        ),
        frozenset(key for study in studies for key in study.spaces),
    )


def model_of(slot: Slot, models: Collection[str]) -> str | None:
    """The model that a file is of, by its address; None where it is of none."""
    keys = slot.partition
    if "space" in keys:
        return _leading(keys["space"], models, ".", whole=False) or None
    return keys.get("model")


def languages_of(slot: Slot) -> list[str]:
    """The languages that a file is of, by its folder."""
    return [value for name, value in slot.partition.items() if name in ("language", "target_language")]


@dataclass(frozen=True)
class Renaming:
    """A model or dataset under another key."""

    what: What
    old: str
    new: str
    known: Known

    def value(self, kind: str, text: str | None) -> str | None:
        """A value of a column that holds names in some way (see `Table.names`), with the new key for the old."""
        if text is None:
            return None
        if kind == "recipe":
            return json.dumps(self.recipe(json.loads(text)), sort_keys=True)
        if kind in (self.what, "origin"):
            return self._key(text)
        if self.what == "model":
            return self._space(text) if kind == "space" else text
        if kind in ("corpus", "clustering"):
            return self._corpus(text)
        if kind == "alignment" and text.startswith(_ALIGNMENT):
            names = text.removeprefix(_ALIGNMENT).split(", ")
            return _ALIGNMENT + ", ".join(map(self._key, names))
        return text

    def slot(self, slot: Slot) -> Slot:
        """Where a file lies under the new key."""
        columns = TABLES[slot.table].names()
        keys = tuple(str(self.value(columns.get(column, ""), key)) for column, key in slot.partition.items())
        before, datasets, after = self.known.part(slot)
        part = slot.part
        if self.what == "dataset" and datasets:
            part = f"{before}{'+'.join(map(self._key, datasets))}{after}"
        return Slot(slot.table, keys, part)

    def _key(self, text: str) -> str:
        return self.new if text == self.old else text

    def _corpus(self, text: str) -> str:
        datasets, after = self.known.corpus(text)
        return f"{'+'.join(map(self._key, datasets))}{after}"

    def _space(self, text: str) -> str:
        if text in self.known.spaces or not text.startswith(f"{self.old}."):
            return text
        return self.new + text[len(self.old) :]

    def recipe(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """How a model was trained, with the new key for the old."""
        places = _IN_RECIPES[self.what]
        return {name: self._key(value) if name in places else value for name, value in recipe.items()}


def renamed_study(study: Study, what: What, old: str, new: str) -> Study:
    """The study with another key for a model or a dataset, wherever it names it."""

    def renamed(value: Any, named: bool = False) -> Any:
        if isinstance(value, BaseModel):
            fields = type(value).model_fields
            return value.model_copy(
                update={name: renamed(getattr(value, name), name in PLACES[what]) for name in fields}
            )
        if isinstance(value, Mapping):
            return {renamed(key, named): renamed(each, named) for key, each in value.items()}
        if isinstance(value, tuple):
            return tuple(renamed(each, named) for each in value)
        return new if named and value == old else value

    return cast("Study", renamed(study))


def _leading(text: str, keys: Iterable[str], ends: str, whole: bool = True) -> str:
    """The longest of some keys that a text begins with, one of `ends` (or nothing, with `whole`) behind it; or empty."""
    fitting = [
        key
        for key in keys
        if text.startswith(key) and ((whole and text == key) or text[len(key) : len(key) + 1] in tuple(ends))
    ]
    return max(fitting, key=len, default="")
