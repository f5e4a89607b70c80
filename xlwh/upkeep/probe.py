"""A measured probe: a copy of the study, cut to a few examples in two languages, is made in a folder that is thrown away.

It goes through the same runner as every other work, so what it takes is told in the same way. Two passes differ in the
number of examples, which tells what a job costs whatever its size from what each example costs. The first partition
of each step in the first pass loads libraries and is not counted. Of models that are alike (architecture, task, weights) one is measured. Models
that are there are used where they are; those that are still to be made are made from a few batches.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlwh.errors import XlwhError
from xlwh.models import Zoo
from xlwh.steps.context import Context
from xlwh.steps.history import History, Made, parameters
from xlwh.steps.plan import STEPS, Step, of_same_weights, partitions
from xlwh.steps.runner import run
from xlwh.store import Warehouse
from xlwh.study import Finetune, Study
from xlwh.upkeep.imagined import Imagined, StepPlan

SIZES = (5, 20)
"""Examples of each pass."""
BATCHES = (3, 15)
"""Batches of a training in each pass."""
LANGUAGES = 2
_ROWS = 20
"""Evaluated rows of head samples per example."""
_MOST_S = 120.0
"""Seconds after which no further partition is begun."""


@dataclass
class Probed:
    """What was measured."""

    models: list[str]
    made: list[Made] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Step -> why it could not be measured."""
    examples: int = SIZES[-1]
    device: str = "cpu"
    is_complete: bool = True
    seconds: float = 0.0


def probe(planner: Imagined, plans: Mapping[Step, StepPlan], progress: Callable[[str], None]) -> Probed:
    """Measure the steps that have something to make. Nothing is left behind, however it ends."""
    wanted = _with_upstream(step for step, plan in plans.items() if plan.made)
    found = Probed(representatives(planner, plans))
    with tempfile.TemporaryDirectory(prefix="xlwh-probe-") as folder:
        passes = [
            _context(cut(planner, found.models, size, batches), Path(folder) / str(size))
            for size, batches in zip(SIZES, BATCHES, strict=True)
        ]
        found.languages = list(passes[0].study.languages)
        for step in STEPS.values():
            # The passes side by side: what is left when time is over was not measured at all, rather than in part.
            for number, context in enumerate(passes if step.name in wanted else ()):
                if found.seconds > _MOST_S:
                    found.is_complete = False
                    break
                progress(f"Measuring {step.name}, {SIZES[number]} examples")
                _measure(step, context, found, is_warm=number > 0)
    found.device = next((each.device for each in found.made if each.model is not None), "cpu")
    return found


def _context(study: Study, root: Path) -> Context:
    warehouse = Warehouse(root, create=True)
    return Context(study, warehouse, Zoo(study, warehouse))


def _measure(step: Step, context: Context, found: Probed, is_warm: bool) -> None:
    """Make all partitions of a step; unless all that it uses is loaded, the first one that makes something is not counted."""
    history = History(context.warehouse.root)
    known = len(history.of_this_machine())
    for key in partitions(context.study, step):
        began = time.monotonic()
        try:
            run(step, context, key)
        except Exception as error:  # whatever it is, the run itself will tell; this only measures
            found.failed.setdefault(step.name, _line(error))
        made = history.of_this_machine()
        new, known = made[: len(made) - known], len(made)
        if is_warm:
            found.made += new
        is_warm |= bool(new)
        found.seconds += time.monotonic() - began


def _line(error: Exception) -> str:
    text = str(error) if isinstance(error, XlwhError) else f"{type(error).__name__}: {error}"
    return text.splitlines()[0] if text else type(error).__name__


def _with_upstream(steps: Iterable[Step]) -> set[str]:
    left, found = [step.name for step in steps], set[str]()
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [read.step for read in STEPS[name].reads]
    return found


def representatives(planner: Imagined, plans: Mapping[Step, StepPlan]) -> list[str]:
    """One of each kind of the models that something is to be made of, with those that they are made from."""
    wanted = dict.fromkeys(
        str(key.model) for plan in plans.values() for key in plan.made if key.model is not None
    )
    kinds: dict[tuple[object, ...], str] = {}
    for model in wanted:
        kinds.setdefault(tuple(_kind(planner, model)), model)
    found: dict[str, None] = {}
    for model in kinds.values():
        chain = [model]
        while (base := planner.study.models[chain[-1]].base) is not None:
            chain.append(base)
        found.update(dict.fromkeys(reversed(chain)))
    return list(found)


def _kind(planner: Imagined, model: str) -> Iterator[object]:
    pin, source = planner.pin(model), of_same_weights(planner.study, model)[-1]
    yield from (pin.model_type, pin.task, parameters(pin.folder), planner.study.models[model].dtype)
    # What is made of a model follows from being made here, too.
    spec = planner.study.models[source]
    yield from (spec.finetune is None, spec.scratch is None)


def cut(planner: Imagined, models: list[str], size: int, batches: int) -> Study:
    """The study with only these models, about `size` examples, and two languages beside those trained on."""
    study = planner.study
    recipes = [recipe for model in models if (recipe := _made_by(planner, model)) is not None]
    named = [*study.languages[:LANGUAGES], *(each for recipe in recipes for each in recipe.languages)]
    languages = list(dict.fromkeys(named))
    said = study.said()
    trained = {
        name for recipe in recipes for name in (recipe.dataset, recipe.dev_dataset) if name is not None
    }
    trained |= {str(s.dataset) for m in models if (s := study.models[m].scratch) is not None and s.dataset}
    batch = max((recipe.batch_size for recipe in recipes), default=0)
    for name, dataset in said["datasets"].items():
        offered = study.dataset_languages(name)
        dataset["languages"] = [each for each in offered if each in languages] or list(offered[:1])
        dataset["max_examples"] = _least(
            batches * batch if name in trained else 2 * size, dataset["max_examples"]
        )
        if dataset["skip_examples"] is not None:
            # The part that is trained on and the rest are still two parts.
            dataset["skip_examples"] = min(dataset["skip_examples"], batches * batch or size)
    known = list(dict.fromkeys([*languages, *(e for d in said["datasets"].values() for e in d["languages"])]))
    said["languages"] = languages
    said["models"] = {name: _model(planner, name, models, known) for name in models}
    said["attribution"]["max_examples"] = _least(size, said["attribution"]["max_examples"])
    if (probes := said["attribution"]["probes"]) is not None:
        probes["max_examples"] = min(probes["max_examples"], max(1, size // 4))
        _keep(said["attribution"], "probes", models)
    for section in ("consistency", "concepts", "faithfulness", "heads"):
        _keep(said, section, models)
    if (faithfulness := said["faithfulness"]) is not None:
        faithfulness["max_examples"] = _least(size, faithfulness["max_examples"])
    if (heads := said["heads"]) is not None:
        heads |= {name: _least(size, heads[name]) for name in ("max_examples", "max_evaluated")}
        for sampler in heads["samplers"].values():
            most = {"max_rows": _ROWS * size, "round_permutations": 2 * size}
            sampler |= {name: _least(value, sampler[name]) for name, value in most.items()}
            sampler["first_permutation"] = 0
    if (concepts := said["concepts"]) is not None:
        concepts |= {"min_count": 1, "clusters": min(concepts["clusters"], 2 * size)}
        alone = concepts["monolingual"]
        concepts["monolingual"] = [each for each in alone if each in known] or None if alone else None
        concepts["mixed"] = [group for group in concepts["mixed"] if set(group) <= set(known)]
    _lexica(said, known)
    return Study.model_validate(said)


def _least(size: int, said: int | None) -> int:
    """Never more than the study has: then the measurement would take longer than the work."""
    return size if said is None else min(size, said)


def _made_by(planner: Imagined, model: str) -> Finetune | None:
    """How a model is still to be trained; None where it is there, or is no such model."""
    recipe = planner.study.models[model].finetune
    return recipe if recipe is not None and _folder(planner, model) is None else None


def _folder(planner: Imagined, model: str) -> Path | None:
    """Where a model that is made here lies; None where it is still to be made."""
    folder = planner.pin(model).folder
    return folder if folder.is_relative_to(planner.warehouse.root / "models") else None


def _model(planner: Imagined, name: str, models: list[str], languages: list[str]) -> dict[str, Any]:
    said = planner.study.models[name].model_dump()
    made_here = said["finetune"] is not None or said["scratch"] is not None
    if made_here and (folder := _folder(planner, name)) is not None:
        said |= {"finetune": None, "scratch": None, "path": str(folder)}
    if said["finetune"] is not None:
        said["finetune"] |= {"epochs": 1, "evaluations_per_epoch": 1}
        if (dev := said["finetune"]["dev_languages"]) is not None:
            said["finetune"]["dev_languages"] = [each for each in dev if each in languages] or None
    if said["scratch"] is not None:
        said["scratch"]["languages"] = [each for each in said["scratch"]["languages"] if each in languages]
    if said["counterpart_of"] not in models:
        said["counterpart_of"] = None
    for field_ in ("languages", "source_languages"):
        if said[field_] is not None:
            said[field_] = [each for each in said[field_] if each in languages] or None
    return said


def _keep(said: dict[str, Any], section: str, models: list[str]) -> None:
    """Keep the chosen models of those that a section names; without any the section goes."""
    settings = said[section]
    if settings is None or settings["models"] is None:
        return
    settings["models"] = [each for each in settings["models"] if each in models]
    if not settings["models"]:
        said[section] = None
        if section == "concepts":
            said["concept_alignment"] = None


def _lexica(said: dict[str, Any], languages: list[str]) -> None:
    kept = {}
    for name, lexicon in said["lexica"].items():
        lexicon["pairs"] = [pair for pair in lexicon["pairs"] if set(pair) <= set(languages)]
        lexicon["files"] = [
            file for file in lexicon["files"] if {file["source"], file["target"]} <= set(languages)
        ]
        if lexicon["pairs"] or lexicon["files"]:
            kept[name] = lexicon
    said["lexica"] = kept
    if (settings := said["concept_alignment"]) is not None:
        if settings["lexica"] is not None:
            settings["lexica"] = [each for each in settings["lexica"] if each in kept]
        if not kept or settings["lexica"] == []:
            said["concept_alignment"] = None
