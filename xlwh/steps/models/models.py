"""Say of every model what it is, exactly, and what its self-test found; make those that are made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xlwh.models.describe import describe, models_row, noted
from xlwh.selftest import self_tested, summary
from xlwh.steps.job import Frames, Job
from xlwh.steps.models import finetuned, scratch
from xlwh.steps.models.selftests import tested_with
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot
from xlwh.store.checkpoints import CHECKPOINT, checkpoint_folder

_OPTIONS = ("labels", "attention")


@dataclass(frozen=True)
class _Params:
    kind: str
    source: str
    revision: str | None
    noted: dict[str, Any]
    """Columns that repeat what the study says."""
    options: Mapping[str, object]
    """Labels, and what else than the number format, which is noted, the self-test depends on."""
    self_tested_with: str
    making: finetuned.Training | scratch.Beginning | None = None
    """How it is made, if it is made here."""


class _Models(Whole):
    version = "1"
    libraries = ("torch", "transformers")

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job."""
        name = partition.model
        slots, spec = {"models": Slot("models", (name,))}, partition.study.models[name]
        if spec.finetune is None and spec.scratch is None:
            use = partition.use(name, *_OPTIONS)
            pin = use.pin
            params = _Params(pin.kind, pin.source, pin.revision, noted(spec), use.options, tested_with())
            yield Job(slots, params, files=pin.identity, name=name)
            return
        kind, made = ("finetuned", finetuned) if spec.finetune is not None else ("scratch", scratch)
        plan = made.planned(partition)
        options = {option: getattr(spec, option) for option in _OPTIONS}
        yield Job(
            slots,
            _Params(kind, plan.source, None, noted(spec), options, tested_with(), plan.making),
            plan.reads,
            files=plan.files,
            folder=checkpoint_folder(partition.root, name, plan.making.digest),
            name=name,
            tools=plan.tools,
        )

    def make(self, work: Work, job: Job) -> Frames:
        """The row of `models`, after loading the model once as everything later will."""
        params, columns = job.params, dict[str, Any]()
        if isinstance(params.making, finetuned.Training):
            columns = finetuned.made(work, job)
        elif params.making is not None:
            columns = scratch.made(work, job)
        loaded, results = work.try_out(job.name, job.files, job.folder)
        work.provenance |= loaded.pin.provenance
        if job.folder is not None:
            work.provenance[CHECKPOINT] = job.folder.name
        row = describe(loaded, params.noted) | self_tested(results, params.self_tested_with) | columns
        for column in ("family", "task", "num_parameters", "vocab_size", "dtype", "weight_hash"):
            work.tell(column, row[column])
        work.tell("self-test", summary(results))
        return {"models": models_row(row)}


STEP = _Models()
