"""What a run would do and what it would miss, found before any work and without writing into the warehouse."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xlwh.corpora import Corpus, Glance
from xlwh.steps.base import Key
from xlwh.steps.plan import Step, upstream
from xlwh.store import Entry, Slot
from xlwh.store.rewrite import Pending
from xlwh.study import Study
from xlwh.upkeep.imagined import Imagined, StepPlan, opened
from xlwh.upkeep.preflight import Looked, look


@dataclass(frozen=True)
class Survey:
    """What a run of some partitions would do."""

    planner: Imagined
    plans: Mapping[Step, StepPlan]
    looked: Looked
    """What is missing or wrong in the study and what it names."""
    partitions: Mapping[Step, Iterable[Key]]
    force: bool
    _files: Path
    _glances: _Glances

    def examples(self, dataset: str, language: str) -> int:
        """About how many examples a dataset has in a language, those that are stored or those that are read; 0 if unknown."""
        slot = Slot("examples", (dataset, language), self.planner.study.datasets[dataset].split)
        entry = self.planner.entry(slot)
        return self.planner.rows.get(slot) or (0 if entry is None else entry.rows)

    def of_another(self, study: Study) -> tuple[Imagined, Mapping[Step, StepPlan]]:
        """What a run of the same partitions would do for another study of the same warehouse and files."""
        files = Path(tempfile.mkdtemp(dir=self._files))
        planner = Imagined(study, self.planner.warehouse, files, self._glances)
        return planner, planner.plan(self.partitions, self.force)

    @property
    def waiting(self) -> dict[str, int]:
        """What this run neither finds nor makes, with the command that makes it -> number of partitions that need it."""
        found: dict[str, int] = {}
        for step, plan in self.plans.items():
            for key, error in plan.waiting.items():
                if not self._is_behind_a_fault(step, key):
                    found[str(error)] = found.get(str(error), 0) + 1
        return found

    @property
    def is_possible(self) -> bool:
        """Whether nothing is missing."""
        return not self.looked.faults and not any(plan.waiting or plan.faults for plan in self.plans.values())

    def _is_behind_a_fault(self, step: Step, key: Key) -> bool:
        return any(
            other in self.plans[source].faults or other in self.plans[source].waiting
            for source, other in upstream(self.planner.study, step, key)
            if source in self.plans
        )


@contextmanager
def surveyed(
    study: Study,
    root: Path,
    partitions: Mapping[Step, Iterable[Key]],
    force: bool = False,
    without: Collection[Entry] = (),
) -> Iterator[Survey]:
    """Look at what a run of these partitions would do, their steps in the order of the plan; `without` some files.

    Where there is no warehouse at `root`, an empty one is looked at, and none is made.
    """
    with tempfile.TemporaryDirectory(prefix="xlwh-plan-") as folder:
        files, glances = Path(folder) / "files", _Glances()
        files.mkdir()
        warehouse = opened(root, Path(folder) / "empty")
        if without:
            warehouse.manifest = Pending(warehouse.manifest)
            warehouse.manifest.commit(drop=[entry.slot for entry in without])
        planner = Imagined(study, warehouse, files, glances)
        plans = planner.plan(partitions, force)
        yield Survey(planner, plans, look(study, plans, planner.hub), partitions, force, files, glances)


class _Glances:
    """What is at the beginning of corpora's files. A file that several datasets read in the same way is opened once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Glance] = {}

    def __call__(self, corpus: Corpus) -> Glance:
        dataset = corpus.request.dataset
        documents = tuple((document.path, document.inside) for document in corpus.documents)
        options = repr(sorted(dataset.options.items()))
        key = (
            dataset.reader,
            dataset.split,
            options,
            dataset.max_rejected,
            corpus.request.language,
            documents,
        )
        if not documents:
            return corpus.glance()
        if key not in self._known:
            self._known[key] = corpus.glance()
        return self._known[key]
