"""What a run would do: plans as though whatever is to be made had been made, without making or writing anything.

Planning a step needs the files that it reads. Where those are still to be made, files stand in for them: rows from the
beginning of the corpora, and otherwise none. They lie in a folder of their own, and no warehouse names them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.corpora import Glance
from xlwh.digests import HashCache
from xlwh.errors import MissingDataError, ModelError, XlwhError
from xlwh.jsons import read_object
from xlwh.models import Zoo
from xlwh.models.pins import TASKS, Pin, architecture_of
from xlwh.steps.base import Key
from xlwh.steps.history import EVALUATED_ROWS
from xlwh.steps.job import Planned
from xlwh.steps.plan import STEPS, Step, in_order
from xlwh.steps.planning import NotApplicable, Planner
from xlwh.steps.plans import Made
from xlwh.steps.runner import provenance
from xlwh.store import Entry, Slot, Warehouse, empty, schema
from xlwh.store.artefacts import faults
from xlwh.store.checkpoints import bring
from xlwh.store.manifest_file import has_manifest
from xlwh.store.reading import StoredFile
from xlwh.store.slots import contract
from xlwh.store.warehouse import require_usable
from xlwh.study import Study
from xlwh.upkeep.on_hub import OnHub
from xlwh.upkeep.reasons import why_made

if TYPE_CHECKING:
    from xlwh.corpora import Corpus

Glances = Callable[["Corpus"], Glance]
"""What is at the beginning of a corpus's files; raises what reading it would raise."""

_ENOUGH = {EVALUATED_ROWS: str(10**12), "xlwh.undecided_players": "0"}
"""Metadata of a file that stands in for samples of heads: none are to follow it, should it be planned again."""
_KEPT = 50
"""Rows of examples that stand in for all."""
_MODELS = STEPS["models"]
_LAYERS = {"t5": 6, "mt5": 8}
"""Layers of an architecture whose configuration names none."""


@dataclass
class StepPlan:
    """What a run would do with the partitions of a step."""

    fresh: list[Key] = field(default_factory=list)
    made: dict[Key, list[Planned]] = field(default_factory=dict)
    """Partition -> the jobs that it would make."""
    not_applicable: int = 0
    waiting: dict[Key, XlwhError] = field(default_factory=dict)
    """Partition -> which of its inputs is neither there nor made by this run."""
    faults: dict[Key, XlwhError] = field(default_factory=dict)
    """Partition -> what is wrong with the study or its files."""
    why: dict[str, int] = field(default_factory=dict)
    """Why what is stored of a partition is made anew -> number of partitions."""
    new: int = 0
    """Partitions of which nothing is stored yet."""


class Imagined(Planner):
    """Plans as though everything had been made that was planned before."""

    def __init__(self, study: Study, warehouse: Warehouse, folder: Path, glances: Glances) -> None:
        """`folder` is where files are put that stand in for those that are still to be made."""
        super().__init__(study, warehouse, Zoo(study, warehouse))
        self.rows: dict[Slot, int | None] = {}
        """Of examples that are still to be read: about how many there are, None where that is unknown."""
        self.imagined: set[Slot] = set()
        self.hub = OnHub()
        self._folder, self._glances, self._templates = folder, glances, dict[str, str]()

    def refresh(self) -> None:
        # What is imagined stays, whoever else writes meanwhile.
        if self.head < 0:
            super().refresh()

    def plan(self, partitions: Mapping[Step, Iterable[Key]], force: bool = False) -> dict[Step, StepPlan]:
        """What a run of these partitions would do, their steps in the order of the plan; `force`: with all of them."""
        self.refresh()
        found = {}
        for step, keys in partitions.items():
            found[step] = StepPlan()
            # A model comes after its base, whatever the order is in which they are named.
            for key in in_order(self.study, step, keys):
                self._imagine(step, key, found[step], force)
        return found

    def _imagine(self, step: Step, key: Key, found: StepPlan, force: bool) -> None:
        try:
            jobs = self.jobs(step, key)
            # A package that its recipe needs and that is not there is told by its fingerprint.
            stale = [each for each in jobs if each.fingerprint and (force or not self.is_fresh(each))]
            if not stale:
                found.fresh.append(key)
                return
            stands_in = [self._standing_in(planned) for planned in stale]
        except NotApplicable:
            found.not_applicable += 1
            return
        except MissingDataError as error:
            found.waiting[key] = error
            return
        except XlwhError as error:
            found.faults[key] = error
            return
        why = [] if force else why_made(self, stale, self._anew)
        if why:
            told = "; ".join(why)
            found.why[told] = found.why.get(told, 0) + 1
        else:
            found.new += not any(self.entry(slot) for each in stale for slot in each.job.slots.values())
        found.made[key] = stale
        for planned, files in zip(stale, stands_in, strict=True):
            self._put(planned, files)

    def _anew(self, planned: Planned) -> frozenset[str]:
        """Parts of a job's recipe that this run makes anew: what differs in them is explained elsewhere."""
        job, found = planned.job, set[str]()
        if any(entry.slot in self.imagined for entry in job.inputs):
            found.add("inputs")
        if job.model is not None and self._pin_of_made(job.model.key) is not None:
            found.add("model")
        base = self.study.models[job.name].base if planned.step == "models" else None
        if base is not None and self._pin_of_made(base) is not None:
            found.add("files")
        return frozenset(found)

    def file(self, entry: Entry) -> StoredFile:
        # What stands in lies outside of the warehouse, by an absolute path, and was never committed.
        return StoredFile.of(Path(), entry) if entry.slot in self.imagined else super().file(entry)

    def pin(self, model: str) -> Pin:
        if model not in self._pins:
            self._pins[model] = self._pin_of_made(model) or self._pin_on_hub(model) or super().pin(model)
        return self._pins[model]

    def _pin_on_hub(self, model: str) -> Pin | None:
        """The identity of a hub model as far as its configuration tells, where the rest is still to be fetched."""
        spec = self.study.models[model]
        if spec.weights_of is not None:
            pin = self._pin_on_hub(spec.weights_of)
            return None if pin is None else replace(pin, key=model)
        if spec.hub is None or spec.revision is None:
            return None
        from xlwh.models.hub import cached

        folder, _ = cached(model, spec.hub, spec.revision)
        if folder is not None:
            return None
        file = self.hub.configuration(model, spec.hub, spec.revision)
        config = read_object(file, ModelError, f"Model `{model}`: ")
        architecture, mark = architecture_of(model, file.parent, config), f"{spec.hub}@{spec.revision}"
        kind = str(config.get("model_type"))
        return Pin(model, "hub", spec.hub, spec.revision, kind, architecture, mark, mark, mark, file.parent)

    def _is_made(self, slot: Slot, made: Planned | Made) -> bool:
        if slot in self.imagined:
            entry = self.entry(slot)
            return entry is not None and entry.fingerprint == made.fingerprint
        return super()._is_made(slot, made)

    def _put(self, planned: Planned, files: Mapping[str, str]) -> None:
        now = datetime.now(UTC)
        for table, slot in planned.job.slots.items():
            version = contract(table).version
            self._take(
                Entry(slot, files[table], planned.fingerprint, 0, 0, version, now, self.head + 1, None)
            )
            self.imagined.add(slot)

    def _standing_in(self, planned: Planned) -> dict[str, str]:
        """Files for the tables of a job. CorpusError where what is to be read is not of its format."""
        made = {table: self._template(table) for table in planned.job.slots}
        if planned.step == "examples":
            corpus, slot = planned.job.tools, planned.job.slots["examples"]
            seen = self._glances(corpus)
            self.rows[slot] = None if seen.rows is None else corpus.kept(seen.rows)
            if seen.examples is not None:
                made["examples"] = self._written(slot.keys, seen.examples, planned)
        elif planned.step == "parallelism":
            made["parallelism"] = self._written((planned.job.name,), _all_parallel(planned), planned)
        return made

    def _template(self, table: str) -> str:
        if table not in self._templates:
            file = self._folder / f"{table}.parquet"
            empty(table).write_parquet(file, metadata=_ENOUGH)
            self._templates[table] = str(file)
        return self._templates[table]

    def _written(self, name: tuple[str, ...], rows: pl.DataFrame, planned: Planned) -> str:
        file = self._folder / f"{planned.step}-{len(self._templates)}-{'-'.join(name)}.parquet"
        rows.head(_KEPT).write_parquet(file, metadata=provenance(planned))
        return str(file)

    def _pin_of_made(self, model: str) -> Pin | None:
        """The identity of a model that this run makes; None for one that is there."""
        spec = self.study.models[model]
        slot = Slot("models", (model,))
        if spec.weights_of is not None:
            pin = self._pin_of_made(spec.weights_of)
            if pin is None:
                return None
            options = f"{spec.tokenization} {spec.randomization}"
            return replace(pin, key=model, weight_hash=f"{pin.weight_hash} {options}")
        if slot not in self.imagined or (spec.finetune is None and spec.scratch is None):
            return None
        (planned,) = self.jobs(_MODELS, Key(model))
        assert planned.job.folder is not None
        known = self.warehouse.manifest.artefact(("model", model), planned.job.folder.name)
        root, read = self.warehouse.root, self.warehouse.hashes.digest
        bring(root, known)
        if planned.job.folder.is_dir() and (known is None or not any(faults(root, known, True, read))):
            # Trained already: only its row is made anew.
            return self.zoo.pin_made(model, planned.job.folder)
        if spec.scratch is not None:
            folder = self._folder / f"model-{model}"
            folder.mkdir(exist_ok=True)
            config: dict[str, Any] = {
                "model_type": spec.scratch.family,
                "num_layers": _LAYERS[spec.scratch.family],
            }
            (folder / "config.json").write_text(json.dumps(config | dict(spec.scratch.config)))
            mark = planned.fingerprint
            architecture = "ForConditionalGeneration"
            return Pin(
                model, "scratch", model, None, spec.scratch.family, architecture, mark, mark, mark, folder
            )
        assert spec.finetune is not None
        base, mark = self.pin(spec.finetune.base), planned.fingerprint
        return replace(
            base,
            key=model,
            kind="finetuned",
            source=spec.finetune.base,
            revision=None,
            architecture=self._head(spec.finetune.dataset, planned, base.architecture),
            weight_hash=mark,
        )

    def _head(self, dataset: str, planned: Planned, otherwise: str | None) -> str | None:
        """End of the name of the architecture that a training on a dataset gives."""
        for entry in planned.job.reads:
            if entry.slot.table == "examples" and entry.slot.keys[0] == dataset:
                task = self.file(entry).scan().select("task").head(1).collect()
                if task.height:
                    wanted = {"sentence_pair": "sequence_classification"}.get(task.item(), task.item())
                    return next(suffix for suffix, name in TASKS.items() if name == wanted)
        return otherwise


class UnreadHashes(HashCache):
    """For a warehouse that holds nothing, with which nothing is compared: files are told apart without reading them."""

    def digest(self, files: Sequence[Path], named: bool = False) -> str:
        states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns, named) for file in files]
        return hashlib.sha256(repr(states).encode()).hexdigest()


def opened(root: Path, instead: Path) -> Warehouse:
    """The warehouse at `root` to be looked at and not written to; an empty one at `instead` where there is none."""
    require_usable(root)
    if has_manifest(root):
        return Warehouse(root, keeps_hashes=False)
    made = Warehouse(instead, create=True)
    made.hashes = UnreadHashes(instead / "unused")
    return made


def _all_parallel(planned: Planned) -> pl.DataFrame:
    """Rows of `parallelism` by which all languages of a dataset may be joined."""
    params, columns = planned.job.params, schema("parallelism")
    source = params.pivot or params.languages[0]
    rows = [
        {
            "dataset": planned.job.name,
            "split": params.split,
            "source_language": source,
            "target_language": language,
            "verdict": "parallel",
            "aligned": params.aligned,
            "is_refused": False,
        }
        for language in params.languages
        if language != source
    ]
    return pl.DataFrame(rows, schema={name: columns[name] for name in columns}, orient="row")
