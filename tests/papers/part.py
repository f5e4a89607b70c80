"""A part of a paper's study: some of its languages, models and datasets, with all that is asked for about them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlwh.papers.edit import edited


@dataclass(frozen=True)
class Part:
    """What is kept: languages by code, models and datasets by patterns that match the whole name."""

    languages: str = ""
    models: str = ".*"
    datasets: str = ".*"

    def of(self, study: Mapping[str, Any]) -> dict[str, Any]:
        """The study without the rest, wherever it is named."""
        dropped = {
            *(name for name in study["models"] if not re.fullmatch(self.models, name)),
            *(name for name in study["datasets"] if not re.fullmatch(self.datasets, name)),
        }
        if self.languages:
            dropped |= {*study["languages"]} - {*self.languages.split()}
        found: dict[str, Any] = _without(study, frozenset(dropped))
        return found

    def cut(self, file: Path) -> None:
        """Leave it out of a study's file, with the comments of what stays."""
        text = file.read_text(encoding="utf-8")
        file.write_text(edited(text, self.of(tomllib.loads(text)), {}), encoding="utf-8")


def _without(value: Any, dropped: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(each, dropped) for key, each in value.items() if key not in dropped}
    if isinstance(value, list):
        return [_without(each, dropped) for each in value if not _names(each, dropped)]
    return value


def _names(item: Any, dropped: frozenset[str]) -> bool:
    """Whether an item of a list is left out, or a pair of which one is."""
    return not dropped.isdisjoint(item) if isinstance(item, list) else item in dropped
