"""The self-test of each model of a study: run once per weights, and kept beside the warehouse's tables.

The examples that a model is tried on are those of its datasets that are there when it is first tried; other ones later
are no reason to try it again. What was found is kept per identity of the model (weights, tokenizer, configuration),
number format, datasets and versions of what computes, so that further runs, and variants that are tried on the same
texts, find it there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.errors import ModelError
from xlwh.jsons import parsed, typed
from xlwh.selftest.items import ITEMS, VERSION, Capability, Result, refusal
from xlwh.store import Slot, Warehouse
from xlwh.store.files import write_whole
from xlwh.study import Study

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models import LoadedModel, Pin

LANGUAGES = 4
"""Languages of which an example is taken at most."""
OFFERED = 2_000
"""Examples of a language among which one is chosen."""


@cache
def tested_with() -> str:
    """What a result depends on beside the model: the items and the versions of the libraries that compute."""
    versions = (f"{name} {metadata.version(name).partition('+')[0]}" for name in ("torch", "transformers"))
    return f"self-test {VERSION}, {', '.join(versions)}"


@dataclass(frozen=True)
class SelfTests:
    """The results of a study's models."""

    study: Study
    warehouse: Warehouse

    def known(self, pin: Pin) -> tuple[Result, ...] | None:
        """The results of a model that was tried; None if it was not."""
        try:
            rows = parsed(self._file(pin).read_text(encoding="utf-8"))
            results: tuple[Result, ...] = typed(tuple[Result, ...], rows)
        except (OSError, ValueError):
            return None  # not there, or not what was written: it is tried again
        # Each item that is not there would pass.
        is_whole = [result.item for result in results] == [item.name for item in ITEMS]
        return results if is_whole else None

    def of(self, loaded: LoadedModel, again: bool = False) -> tuple[Result, ...]:
        """The results of a model, which is tried unless it was; `again` tries it in any case."""
        known = None if again else self.known(loaded.pin)
        if known is not None:
            return known
        from xlwh.selftest.checks import self_test
        from xlwh.selftest.texts import chosen

        found = self_test(loaded, chosen(self._offered(loaded.key), loaded.task))
        write_whole(self._file(loaded.pin), json.dumps([result.row() for result in found]).encode("utf-8"))
        return found

    def unused(self, pins: Iterable[Pin]) -> list[Path]:
        """Files of results that none of these models of the study asks for, of other versions too."""
        used = {self._file(pin) for pin in pins}
        return [file for file in self._folder.glob("*.json") if file not in used]

    @property
    def _folder(self) -> Path:
        return self.warehouse.root / "cache" / "self-tests"

    def _file(self, pin: Pin) -> Path:
        options = self.study.models[pin.key]
        # With what decides which texts it is tried on: whoever of several variants comes first, the result is the same.
        said = [options.dtype, options.attention, options.max_length, options.languages, options.datasets]
        named = [*pin.identity, *said, tested_with()]
        return self._folder / f"{hashlib.sha256(json.dumps(named).encode()).hexdigest()}.json"

    def _offered(self, model: str) -> list[pl.DataFrame]:
        """Examples of the first dataset of the model that is there, in up to LANGUAGES of its languages."""
        for dataset in self.study.models[model].datasets:
            split = self.study.datasets[dataset].split
            there = [
                language
                for language in self.study.all_languages()
                if dataset in self.study.evaluations(model, language)
                and self.warehouse.current(Slot("examples", (dataset, language), split)) is not None
            ]
            step = max(1, -(-len(there) // LANGUAGES))
            stored = self.warehouse.verifying()
            scans = (
                stored.scan("examples", dataset=dataset, language=language, split=split)
                for language in there[::step]
            )
            frames = [scan.head(OFFERED).collect() for scan in scans]
            if any(frame.height for frame in frames):
                return frames
        return []


def require(model: str, results: Iterable[Result], capability: Capability) -> None:
    """ModelError that names the failed items if a model may not be used for something."""
    if reason := refusal(model, tuple(results), capability):
        raise ModelError(reason)
