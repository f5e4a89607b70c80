"""Whether everything is there that a run needs from outside, found before any work: files, models, packages, code, SQL.

What planning finds out (a folder that is not there, a package that is not installed, rows of another format) is taken
from the plans, see `imagined`. What only making would find is looked for here, section by section of the study. A check
says which fields of the study it stands for, and a test enumerates all fields, so that none that names something
outside goes unchecked. Only the beginnings of files are read, and only what the chosen partitions need is looked at.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from xlwh.attribution.methods import file_of
from xlwh.concepts.alignment_external import PLACEHOLDERS
from xlwh.concepts.labels import read as read_labels
from xlwh.consistency.vectors import require_vectors
from xlwh.corpora import check as check_readers
from xlwh.corpora.dictionaries import require_dictionary
from xlwh.errors import AbsentFileError, ModelError, SourceError, StoreError, StudyError, XlwhError
from xlwh.models.adapters import config_of
from xlwh.models.families import family_of
from xlwh.models.labels import LABELLED, classes
from xlwh.models.pins import architecture_of, require_loadable, shapes, task_of
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Step, of_same_weights
from xlwh.study import OwnMethod, Study
from xlwh.study.lines import line_of
from xlwh.upkeep.on_hub import OnHub

if TYPE_CHECKING:
    from xlwh.upkeep.imagined import StepPlan

P = ParamSpec("P")
R = TypeVar("R")

Place = tuple[str, ...]
"""Where in a study file something is named: keys of tables and fields."""


@dataclass(frozen=True)
class Fault:
    """Something that is missing or wrong, and where the study names it."""

    place: Place | None
    """None of what no study says, such as a damaged file of the warehouse."""
    text: str
    """What is wrong, and what to do."""
    absent: str | None = None
    """Path of the file that is not there, where that is what is wrong."""
    otherwise: tuple[str, ...] = ()
    """What says the same of others that share it."""


@dataclass
class Looked:
    """What a preflight found."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no fault but good to know, such as what will be downloaded."""


@dataclass(frozen=True)
class Need:
    """What the chosen partitions need of a study."""

    study: Study
    plans: Mapping[Step, StepPlan]
    looked: Looked
    hub: OnHub

    def keys(self, *steps: str) -> list[Key]:
        """Partitions of some steps that a run would make, or would try to."""
        found = [self.plans[STEPS[name]] for name in steps if STEPS[name] in self.plans]
        return [key for plan in found for key in (*plan.made, *plan.waiting, *plan.faults)]

    def models(self) -> list[str]:
        """Models whose files are opened: those of the partitions, and what they are made from."""
        running = [step.name for step in STEPS.values() if "model" in step.dimensions]
        found: dict[str, None] = {}
        for key in self.keys(*running):
            for each in of_same_weights(self.study, str(key.model)):
                base: str | None = each
                while base is not None and base not in found:
                    found[base] = None
                    base = self.study.models[base].base
        return list(found)

    def try_(self, place: Place, check: Callable[P, object], *given: P.args, **named: P.kwargs) -> None:
        """Run a check; what it raises is a fault."""
        try:
            check(*given, **named)
        except (XlwhError, OSError) as error:
            self.looked.faults.append(Fault(place, str(error), _absent(error)))


_FEW = 3
"""Files that are named where there are many."""

Check = Callable[[Need], None]
CHECKS: dict[Check, tuple[str, ...]] = {}
"""Check -> the fields of the study that it looks after, with `*` for keys."""

PLANNED = (
    *("data_root", "datasets.*.path", "datasets.*.hub", "datasets.*.revision", "datasets.*.split"),
    *("datasets.*.languages", "datasets.*.options", "models.*.finetune.dev_dataset", "models.*.finetune.dataset"),
    *("models.*.scratch.dataset", "lexica.*.datasets"),
    *("lexica.*.pairs", "concepts.algorithm", "attribution.methods.deeplift", "attribution.methods.gradient_shap"),
    *("concepts.labels", "spaces.*.files", "spaces.*.dictionaries", "lexica.*.files.*.path"),
)  # fmt: skip
"""Fields that the plans look after: planning opens what they name."""


def covers(*fields: str) -> Callable[[Check], Check]:
    """Register a check for some fields."""

    def register(check: Check) -> Check:
        CHECKS[check] = fields
        return check

    return register


def look(study: Study, plans: Mapping[Step, StepPlan], hub: OnHub | None = None) -> Looked:
    """Every fault of what the planned partitions need, each once, in the order of the study's sections."""
    looked = Looked()
    need = Need(study, plans, looked, hub or OnHub())
    for check in CHECKS:
        check(need)
    said = [text for fault in looked.faults for text in (fault.text, *fault.otherwise)]
    known = {line for text in said for line in text.splitlines()}
    # Every plan that opens a file misses it; the check has told it, with the line that names it.
    absent = {fault.absent for fault in looked.faults} - {None}
    for step, plan in plans.items():
        for key, error in plan.faults.items():
            if _absent(error) in absent:
                continue
            for line in str(error).splitlines():
                if line not in known:
                    known.add(line)
                    place = None if isinstance(error, StoreError) else _place_of(line, study, step, key)
                    looked.faults.append(Fault(place, line))
    if looked.faults:
        _tell_what_can_be_fetched(study, looked)
    return looked


def _tell_what_can_be_fetched(study: Study, looked: Looked) -> None:
    """Of files that are not there, those that a registry knows: nothing of the study has to be changed for them."""
    from xlwh.sources.needs import file_needs
    from xlwh.sources.registry import registry_of

    try:
        needs = file_needs(study, registry_of(study.folder))
    except SourceError as error:
        looked.notes.append(str(error))
        return
    except XlwhError:
        return  # that one is among the faults
    names = [str(need.relative) for need in needs if need.address is not None and not need.is_there]
    if names:
        shown = ", ".join(names[:_FEW]) + f" and {len(names) - _FEW} more" * (len(names) > _FEW)
        looked.notes.append(f"Can be fetched: {shown}. Run: xlwh fetch")


def _absent(error: Exception) -> str | None:
    return error.path if isinstance(error, AbsentFileError) else None


def told(faults: Iterable[Fault], study_file: Path) -> list[str]:
    """A text per fault, with the file and the line that names what is missing; in the order of lines."""
    text = study_file.read_text(encoding="utf-8")
    placed = [(0 if fault.place is None else line_of(text, fault.place), fault.text) for fault in faults]
    return [
        f"{study_file}, line {number}: {told}" if number else told
        for number, told in sorted(placed, key=lambda each: each[0])
    ]


def _place_of(text: str, study: Study, step: Step, key: Key) -> Place:
    """The place in the study that an error speaks of: one that it names, else that of the partition."""
    sections = "|".join(Study.model_fields)
    if match := re.search(rf"(?<![\w/.])({sections})\.([\w*+-]+(?:\.[\w*+-]+)*)", text):
        return (match[1], *match[2].split("."))
    if match := re.search(r"(?:[Mm]odel|[Dd]ataset) `([\w.+-]+)`", text):
        for section in ("models", "datasets"):
            if match[1] in getattr(study, section):
                return section, match[1]
    if key.dataset is not None:
        return "datasets", key.dataset
    if key.model is not None and step.name == "models":
        return "models", key.model
    return (_SECTIONS.get(step.group, "name"),)


_SECTIONS = {
    "attribution": "attribution",
    "faithfulness": "faithfulness",
    "heads": "heads",
    "concepts": "concepts",
    "consistency": "consistency",
}
"""Group of steps -> the section of the study that asks for them."""


@covers("datasets.*.reader", "datasets.*.options")
def _readers(need: Need) -> None:
    try:
        check_readers(need.study)
    except StudyError as error:
        for line in str(error).splitlines():
            need.looked.faults.append(Fault(_place_of(line, need.study, STEPS["examples"], Key()), line))


@covers("models.*.path", "models.*.adapter", "models.*.labels", "models.*.hub", "models.*.revision", "models.*.finetune.base", "models.*.weights_of",
        "models.*.scratch.tokenizer_of")  # fmt: skip
def _checkpoints(need: Need) -> None:
    same: dict[tuple[object, ...], list[str]] = {}
    for key in need.models():
        model = need.study.models[key]
        if model.path is not None:
            same.setdefault(((need.study.folder / model.path).resolve(),), []).append(key)
        elif model.hub is not None and model.revision is not None:
            same.setdefault((model.hub, model.revision), []).append(key)
    for key in need.models():
        if (adapter := need.study.models[key].adapter) is not None:
            _of_same(
                need, [key], "adapter", partial(_adapter, folder=(need.study.folder / adapter).resolve())
            )
    folders = dict[str, Path | None]()
    for keys in same.values():
        field = "hub" if need.study.models[keys[0]].path is None else "path"
        folder = _of_same(need, keys, field, partial(_checkpoint, need))
        folders |= dict.fromkeys(keys, folder)
    heads: dict[tuple[Path, tuple[str, ...] | None], list[str]] = {}
    for key in dict.fromkeys(
        str(k.model) for k in need.keys(*(s.name for s in STEPS.values() if s.runs_model))
    ):
        own = need.study.models[key]
        source = own.weights_of or key
        given = need.study.models[source].labels if own.labels is None else own.labels
        if (found := folders.get(source)) is not None and need.study.models[source].adapter is None:
            heads.setdefault((found, given), []).append(key)
    for (folder, given), keys in heads.items():
        _of_same(need, keys, "labels", partial(_named_classes, folder=folder, given=given))


def _of_same(need: Need, models: Sequence[str], named: str, check: Callable[[str], R]) -> R | None:
    """Check the first of some models that share what is looked at; a fault is told once, of all of them."""
    first = models[0]
    try:
        return check(first)
    except (XlwhError, OSError) as error:
        texts = tuple(str(error).replace(f"Model `{first}`", f"Model `{key}`") for key in models)
        every = ", ".join(f"`{key}`" for key in models)
        text = texts[0] if len(models) == 1 else texts[0].replace(f"Model `{first}`", f"Models {every}")
        need.looked.faults.append(Fault(("models", first, named), text, _absent(error), texts))
        return None


def _named_classes(key: str, *, folder: Path, given: tuple[str, ...] | None) -> None:
    config = require_loadable(key, folder)
    if task_of(architecture_of(key, folder, config)) in LABELLED:
        classes(key, config, folder / "config.json", given)


def _adapter(key: str, *, folder: Path) -> None:
    config_of(key, folder)
    if importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"Model `{key}`: its adapter needs the package peft. Install it with: pip install 'xlwh[adapters]'"
        )


def _checkpoint(need: Need, key: str) -> Path | None:
    """The folder of a model's checkpoint, which can be loaded as far as can be seen; None where it is to be fetched."""
    path = need.study.models[key].path
    if path is None:
        return _on_hub(need, key)
    folder = (need.study.folder / path).resolve()
    _loadable(key, folder)
    return folder


def _loadable(key: str, folder: Path) -> None:
    config = require_loadable(key, folder)
    try:
        family_of(str(config.get("model_type")))
    except ModelError as error:
        raise ModelError(f"Model `{key}`: {error}") from None
    shapes(key, folder)


def _on_hub(need: Need, key: str) -> Path | None:
    from xlwh.models.hub import cached, loaded

    model = need.study.models[key]
    assert model.hub is not None
    assert model.revision is not None
    folder, lacking = cached(key, model.hub, model.revision)
    if folder is not None:
        _loadable(key, folder)
        return folder
    if lacking:
        what = f"what the cache lacks of it ({', '.join(lacking)})"
    else:
        found = need.hub.describe(key, model.hub, model.revision)
        what = f"{found.size(loaded(found.names)) / 1e6:,.0f} MB"
    need.looked.notes.append(
        f"Model `{key}`: {model.hub} is not fetched yet, {what}. Run: xlwh fetch; else it is downloaded when it is loaded."
    )
    return None


@covers("attribution.methods.*.function")
def _own_methods(need: Need) -> None:
    if not need.keys("attributions", "attribution_probes"):
        return
    for name, method in need.study.attribution.methods:
        if isinstance(method, OwnMethod):
            place = ("attribution", "methods", name, "function")
            need.try_(place, _defines, method.function, need.study.folder)


def _defines(function: str, folder: Path) -> None:
    """Refuse a method whose module cannot be parsed or has no such name; nothing of it is run."""
    file, name = file_of(function, folder), function.partition(":")[2]
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        raise StudyError(f"The method `{function}`: {file} is no Python module: {error}") from None
    for module in _imported(tree):
        if not _is_there(module):
            text = f"The method `{function}`: {file} imports `{module}`, which is not installed."
            raise StudyError(f"{text} Install it where xlwh is.")
    if name not in set(_names(tree)):
        raise StudyError(f"The method `{function}`: {file} has no `{name}`.")


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules without which this one cannot be loaded: what it may do without stands in a `try`, `if` or function."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _is_there(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@covers("spaces.*.files", "spaces.*.dictionaries", "spaces.*.reversed_dictionaries")
def _spaces(need: Need) -> None:
    study, keys = need.study, need.keys("word_vectors")
    if study.consistency is None or not keys:
        return
    name = study.consistency.space
    space, languages = study.spaces[name], {key.language for key in keys}
    for language, file in space.files.items():
        if space.kind == "vec" and language in languages:
            place = ("spaces", name, "files", language)
            need.try_(place, require_vectors, study.data_path(file))
    if space.kind == "vec":
        return
    for language, file in space.dictionaries.items():
        place = ("spaces", name, "dictionaries", language)
        need.try_(place, require_dictionary, study.data_path(file))
    for language in space.reversed_dictionaries:
        if language not in space.dictionaries:
            there = ", ".join(space.dictionaries) or "none"
            text = (
                f"`spaces.{name}.reversed_dictionaries`: `{language}` has no dictionary; there are: {there}."
            )
            need.looked.faults.append(Fault(("spaces", name, "reversed_dictionaries"), text))


@covers("lexica.*.files.*.path")
def _lexica(need: Need) -> None:
    languages = {key.language for key in need.keys("lexicon")}
    for name, lexicon in need.study.lexica.items():
        for number, file in enumerate(lexicon.files):
            if file.target in languages:
                place = ("lexica", name, "files", str(number), "path")
                need.try_(place, require_dictionary, need.study.data_path(file.path))


@covers("lexica.*.aligner.command")
def _aligners(need: Need) -> None:
    languages = {key.language for key in need.keys("lexicon")}
    for name, lexicon in need.study.lexica.items():
        command = lexicon.aligner.command
        if command is None or not languages & {target for _, target in lexicon.pairs}:
            continue
        place = ("lexica", name, "aligner", "command")
        need.try_(place, _runnable, command)


def _runnable(command: str) -> None:
    try:
        parts = shlex.split(command)
        [part.format(**dict.fromkeys(PLACEHOLDERS, "")) for part in parts]
    except (ValueError, KeyError, IndexError) as error:
        raise StudyError(
            f"The aligner `{command}` is no command with {{input}}, {{forward}} and {{reverse}}: {error}"
        ) from None
    if not parts or shutil.which(parts[0]) is None:
        raise StudyError(
            f"The aligner `{command}`: there is no program `{parts[0] if parts else ''}` on the path."
        )
    if lacking := [name for name in PLACEHOLDERS if f"{{{name}}}" not in command]:
        raise StudyError(f"The aligner `{command}` lacks {', '.join(f'{{{name}}}' for name in lacking)}.")


@covers("concepts.labels")
def _labels(need: Need) -> None:
    concepts = need.study.concepts
    if concepts is None or concepts.labels is None or not need.keys("concept_labels"):
        return
    path = need.study.folder / concepts.labels
    need.try_(("concepts", "labels"), _readable_labels, path)


def _readable_labels(path: Path) -> None:
    if not path.is_file():
        raise AbsentFileError(f"No file {path}, which `concepts.labels` in the study names.", path)
    read_labels(path)


@covers("models.*.published_as")
def _published(need: Need) -> None:
    named = {key: model.published_as for key, model in need.study.models.items() if model.published_as}
    if not named or not need.keys("models"):
        return
    from xlwh.published import load

    known = {_plain(name): name for name in load()["model"].unique().sort().to_list()}
    for key, name in named.items():
        if _plain(str(name)) not in known:
            text = (
                f"Model `{key}`: `published_as` is `{name}`, which is in none of the papers' tables; there are: "
                f"{', '.join(known.values())}."
            )
            need.looked.faults.append(Fault(("models", key, "published_as"), text))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@covers("folder")
def _own_sql(need: Need) -> None:
    """The study's own views, and metrics of installed packages."""
    from xlwh.store import metrics

    folder = need.study.sql_folder
    if folder.is_dir() and any(folder.glob("*.sql")):
        need.try_(("name",), _views_can_be_made, folder)
    for name, entry in metrics.registered().items():
        if importlib.util.find_spec(entry.module.partition(".")[0]) is None:
            text = f"Metric `{name}` ({entry.value}): there is no module `{entry.module}`. Install its package again."
            need.looked.faults.append(Fault(("name",), text))


def _views_can_be_made(folder: Path) -> None:
    from xlwh.store.catalogue import try_out
    from xlwh.store.views import load, with_shipped

    try_out(load(with_shipped(folder)))
