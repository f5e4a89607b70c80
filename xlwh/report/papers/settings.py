"""Where a study is another one than a paper's own full study, key by key."""

from __future__ import annotations

import json
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from xlwh.errors import StudyError
from xlwh.report.papers.tables import plain
from xlwh.study import Methods, Study
from xlwh.texts import parsed_toml

ABSENT = "not in this study"
"""What stands for a model, dataset or section that only the paper's study has."""

_APART = {("name",), ("folder",), ("data_root",)}
"""Keys that say where things are, not what is measured."""
_KEYS = {"languages", "datasets", "models", "source_languages", "methods", "layers"}
"""Lists of which the paper needs its own entries; a study may have more."""


@dataclass(frozen=True)
class Difference:
    """One setting."""

    key: str
    """Dotted, as in the paper's study."""
    paper: str
    here: str


def differences(paper: Mapping[str, Any], study: Mapping[str, Any]) -> list[Difference]:
    """The settings of the paper's study that this one has otherwise; what only this one has is none.

    Both are the parsed text of a `study.toml`. Models are matched by `published_as`, the languages they are
    fine-tuned on and their datasets, else by key or hub; datasets by key, without case and punctuation. A key that is not set has its default.
    """
    names = _renamed(paper, study)
    return list(_compared((), paper, study, _Shape(part=Study), names))


def read_settings(path: Path) -> dict[str, Any]:
    """The parsed text of a study file; `StudyError` where it is none."""
    try:
        return parsed_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"Study file {path} cannot be read: {error}") from None


def grouped(found: Sequence[Difference], least: int = 3) -> list[Difference]:
    """The same with one line for models, or datasets, that differ alike: `models.*.finetune.epochs (4: a, b, c, d)`."""
    alike: dict[tuple[str, ...], list[Difference]] = {}
    for each in found:
        table, _, rest = each.key.partition(".")
        name, _, leaf = rest.partition(".")
        is_entry = table in ("models", "datasets") and bool(name)
        alike.setdefault((table, leaf, each.paper, each.here) if is_entry else (each.key,), []).append(each)
    lines = []
    for key, group in alike.items():
        if len(key) == 1 or len(group) < least:
            lines += group
            continue
        table, leaf, *_ = key
        names = [each.key.split(".")[1] for each in group]
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        dotted = f"{table}.*.{leaf}" if leaf else f"{table}.*"
        told = f"{dotted} ({len(names)}: {', '.join(names[:6])}{more})"
        lines.append(Difference(told, group[0].paper, group[0].here))
    return lines


def _renamed(paper: Mapping[str, Any], study: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(table, key of the paper's study) -> key of this one, for models and datasets."""
    found = {}
    for table in ("datasets", "models"):
        mine = study.get(table, {})
        for key, settings in paper.get(table, {}).items():
            alike = [key] if key in mine else [k for k in mine if plain(k) == plain(key)]
            if table == "models" and (who := _identity(settings)) is not None:
                same = [k for k, other in mine.items() if _identity(other) == who and _meet(settings, other)]
                alike = [k for k in alike if k in same] or same
            elif table == "models" and not alike and settings.get("hub") is not None:
                alike = [k for k, other in mine.items() if other.get("hub") == settings["hub"]]
            if alike:
                found[table, key] = alike[0]
    return found


def _identity(model: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name in the papers' tables and languages fine-tuned on."""
    if "published_as" not in model:
        return None
    return plain(model["published_as"]), "+".join(sorted(model.get("finetune", {}).get("languages", ())))


def _meet(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two models are evaluated on a dataset of the same name: papers have a model fine-tuned for several."""
    first, second = ({plain(each) for each in model.get("datasets", ())} for model in (one, other))
    return bool(first & second) or not first


@dataclass(frozen=True)
class _Shape:
    """What a table of a study holds: the fields of a part, or named entries of one kind."""

    part: type[BaseModel] | None = None
    entries: type[BaseModel] | None = None

    def keys(self, at: tuple[str, ...], paper: Mapping[str, Any], study: Mapping[str, Any]) -> list[str]:
        """Keys to compare: entries that only this study has are no difference, nor are its sections and methods."""
        its_own = self.part is None and at[-1:] != ("options",)
        if not at or its_own or self.part is Methods:
            return [key for key in paper if (*at, key) not in _APART]
        return list(dict.fromkeys([*paper, *study]))

    def below(self, key: str) -> _Shape:
        """What the table under a key holds."""
        if self.part is None:
            return _Shape(part=self.entries)
        field = self.part.model_fields.get(key)
        return _Shape() if field is None else _shape(field.annotation)

    def default(self, key: str) -> Any:
        """What a key stands for that is not set."""
        field = self.part.model_fields.get(key) if self.part is not None else None
        if field is None or field.is_required():
            return None
        found = field.get_default(call_default_factory=True)
        return None if isinstance(found, BaseModel | Mapping) else found


def _shape(annotation: Any) -> _Shape:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _Shape(part=annotation)
    if get_origin(annotation) is not None and get_origin(annotation) in (Mapping, dict, abc.Mapping):
        return _Shape(entries=_shape(get_args(annotation)[1]).part)
    return next((found for each in get_args(annotation) if (found := _shape(each)) != _Shape()), _Shape())


def _compared(
    at: tuple[str, ...],
    paper: Mapping[str, Any],
    study: Mapping[str, Any],
    shape: _Shape,
    names: Mapping[tuple[str, str], str],
) -> Iterator[Difference]:
    """Differences below one table."""
    for key in shape.keys(at, paper, study):
        here = names.get((at[0], key), key) if len(at) == 1 else key
        theirs, mine = paper.get(key), study.get(here)
        if isinstance(theirs, Mapping) and mine is None:
            yield Difference(".".join((*at, key)), "in the paper's study", ABSENT)
        elif isinstance(theirs, Mapping) and isinstance(mine, Mapping):
            yield from _compared((*at, key), theirs, mine, shape.below(key), names)
        else:
            default = shape.default(key)
            theirs = default if theirs is None else theirs
            mine = default if mine is None else mine
            if not _same(key, theirs, mine, names):
                yield Difference(".".join((*at, key)), _text(theirs), _text(mine))


def _same(key: str, theirs: Any, mine: Any, names: Mapping[tuple[str, str], str]) -> bool:
    if key == "published_as" and isinstance(theirs, str) and isinstance(mine, str):
        return plain(theirs) == plain(mine)
    if isinstance(theirs, str) and key in ("base", "dataset", "weights_of", "counterpart_of"):
        table = "datasets" if key == "dataset" else "models"
        return bool(names.get((table, theirs), theirs) == mine)
    if key in _KEYS and _is_list(theirs) and _is_list(mine):
        known = {plain(str(each)) for each in mine}
        return all(
            plain(names.get((key, str(each)), str(each))) in known
            or plain(names.get(("models", str(each)), str(each))) in known
            for each in theirs
        )
    if _is_list(theirs) and _is_list(mine):
        return list(theirs) == list(mine)
    return bool(theirs == mine)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=False, default=str)
