"""Which steps there are, which partitions a study gives each of them, and which partitions of others one reads.

This is the one list that the command line and Dagster both work from: Dagster's partitions and mappings are
derived from it, and so is the order in which partitions are made. It imports no step, so it is cheap to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any
from weakref import ref

from xlwh.errors import StoreError
from xlwh.steps.base import Key, StepResult
from xlwh.study import Study


@dataclass(frozen=True)
class Reads:
    """An input of a step: partitions with the same model and language, unless a dimension is read `across`."""

    step: str
    across: tuple[str, ...] = ()
    """Dimensions in which all partitions are read, such as every language of the same model."""
    partly: bool = False
    """Whether the step goes on without those that are not there."""
    of_rest: bool = False
    """Whether only datasets are read that are the rest of a corpus (`skip_examples`)."""


@dataclass(frozen=True)
class Step:
    """One step module: `xlwh.steps.<group>.<name>`, the tables it writes, and what one partition of it is."""

    name: str
    tables: tuple[str, ...]
    dimensions: tuple[str, ...]
    group: str
    reads: tuple[Reads, ...] = ()
    runs_model: bool = False
    """Whether it computes with a model, and so should have the accelerator to itself."""

    @property
    def module(self) -> str:
        """Name of the module that defines it."""
        return f"xlwh.steps.{self.group}.{self.name}"


@dataclass(frozen=True)
class Outcome:
    """What became of one partition: a result, or the error that it ended with."""

    step: Step
    key: Key
    result: StepResult | None
    error: Exception | None = None
    blocked: bool = False
    """Whether it was not even tried, because a partition that it reads has failed."""

    @property
    def written(self) -> bool:
        """Whether something new was stored."""
        return self.result is not None and self.result.status == "written"


_CORPUS = ("dataset", "language")
_RUN = ("model", "language")
_LANGUAGES = ("language",)


def _step(
    name: str, group: str, dimensions: tuple[str, ...], *reads: Reads | tuple[Reads, ...], **more: Any
) -> Step:
    """A step that writes the table of its own name, unless `tables` names others."""
    flat = tuple(one for each in reads for one in (each if isinstance(each, tuple) else (each,)))
    return Step(name, more.pop("tables", (name,)), dimensions, group, flat, **more)


def _same(*steps: str) -> tuple[Reads, ...]:
    return tuple(map(Reads, steps))


def _all_languages(*steps: str) -> tuple[Reads, ...]:
    return tuple(Reads(step, _LANGUAGES) for step in steps)


_EVALUATED = (*_same("examples", "models"), Reads("parallelism", of_rest=True))
"""What is read wherever a model meets the datasets that it is evaluated on."""
_COMPARED = _same("models", "parallelism")

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        # Neighbours of the same dimensions run together: the fewer changes, the fewer runs.
        _step("published_results", "corpora", ()),
        _step("examples", "corpora", _CORPUS, tables=("examples", "rejected_rows")),
        _step("parallelism", "corpora", ("dataset",), Reads("examples", _LANGUAGES, partly=True)),
        _step("lexicon", "concepts", _LANGUAGES, _all_languages("examples"), _same("parallelism")),
        _step("models", "models", ("model",), _same("examples", "models"), runs_model=True),
        _step("tokens", "models", _RUN, _EVALUATED),
        _step(
            "predictions",
            "models",
            _RUN,
            _EVALUATED,
            tables=("predictions", "answer_spans", "translations"),
            runs_model=True,
        ),
        _step("token_predictions", "models", _RUN, _EVALUATED, runs_model=True),
        _step("translation_statistics", "models", _RUN, _EVALUATED, _same("predictions")),
        _step(
            "attributions",
            "attribution",
            _RUN,
            _EVALUATED,
            _same("token_predictions", "parallelism"),
            _all_languages("predictions"),
            tables=("attribution_runs", "token_attributions"),
            runs_model=True,
        ),
        # A space of .vec files holds the words of every model, so that it can be shared by them.
        _step("word_vectors", "consistency", _RUN, _EVALUATED, Reads("tokens", ("model",))),
        _step(
            "ccta_pairs",
            "consistency",
            _RUN,
            _COMPARED,
            _all_languages("examples", "tokens", "predictions", "attributions", "word_vectors"),
        ),
        _step(
            "perturbations",
            "faithfulness",
            _RUN,
            _EVALUATED,
            _same("predictions", "attributions"),
            runs_model=True,
        ),
        _step(
            "attribution_probes",
            "attribution",
            _RUN,
            _EVALUATED,
            _same("predictions", "token_predictions", "attributions"),
            runs_model=True,
        ),
        _step("head_samples", "heads", _RUN, _EVALUATED, runs_model=True),
        _step("head_importance", "heads", _RUN, _EVALUATED, runs_model=True),
        # Which examples are short is asked in all languages.
        _step("attention_maps", "heads", _RUN, _COMPARED, _all_languages("examples"), runs_model=True),
        # Masks of every language are tried on each.
        _step(
            "pruning_evaluations",
            "heads",
            _RUN,
            _EVALUATED,
            _all_languages("head_importance"),
            _all_languages("head_samples"),
            tables=("pruning_masks", "pruning_evaluations", "pruning_tests"),
            runs_model=True,
        ),
        # Translations lie in the partition of the language that they are into, their source texts too.
        _step(
            "activations",
            "concepts",
            _RUN,
            _same("models"),
            _all_languages("examples"),
            tables=("activations", "sentence_vectors"),
            runs_model=True,
        ),
        _step("representation_similarities", "concepts", ("model",), _COMPARED, _same("activations")),
        _step(
            "concepts",
            "concepts",
            ("model",),
            _same("activations", "models"),
            tables=("clusterings", "concepts", "concept_members"),
        ),
        _step("concept_kinds", "concepts", ("model",), _same("concepts", "examples", "models")),
        _step("concept_labels", "concepts", ("model",), _same("concepts", "models")),
        _step(
            "concept_matches",
            "concepts",
            ("model",),
            _same("concepts", "lexicon", "models"),
            tables=("concept_pairings", "concept_matches"),
        ),
        _step("concept_languages", "concepts", ("model",), _same("concepts", "models")),
    )
}
"""Every step by name, each after those that it reads."""


_BY_TABLE = {table: step for step in STEPS.values() for table in step.tables}


def step_of(table: str) -> Step:
    """The step that writes a table; KeyError where none does."""
    return _BY_TABLE[table]


def command(table: str, key: Key) -> str:
    """The command that makes a partition of a table."""
    options = (("model", key.model), ("dataset", key.dataset), ("language", key.language))
    return f"xlwh materialize {step_of(table).name}" + "".join(f" --{k} {v}" for k, v in options if v)


def tables_behind(names: Iterable[str]) -> list[str]:
    """All tables of these tables or steps and of the steps that they are made from, each after those that it is made from.

    StoreError for a name that is neither.
    """
    found, left = set[str](), list[Step]()
    for name in names:
        if name not in STEPS and name not in _BY_TABLE:
            raise StoreError(f"There is no table `{name}`. Tables: {', '.join(_BY_TABLE)}.")
        left.append(STEPS[name] if name in STEPS else step_of(name))
    while left:
        step = left.pop()
        if step.name not in found:
            found.add(step.name)
            left += (STEPS[read.step] for read in step.reads)
    return [table for step in STEPS.values() if step.name in found for table in step.tables]


def models_in_order(study: Study) -> list[str]:
    """The study's models, a base before the models that are fine-tuned from it."""
    ordered: dict[str, None] = {}

    def add(key: str) -> None:
        base = study.models[key].base
        if base is not None:
            add(base)
        ordered[key] = None

    for key in study.models:
        add(key)
    return list(ordered)


def of_same_weights(study: Study, model: str) -> list[str]:
    """A model, the model whose weights it has, and so on to the one that has its own."""
    found = [model]
    while (of := study.models[found[-1]].weights_of) is not None:
        found.append(of)
    return found


def values(study: Study, dimension: str) -> tuple[str, ...]:
    """What a dimension ranges over: `model`, `language` or `dataset`."""
    return tuple(positions(study, dimension))


_POSITIONS: dict[int, tuple[ref[Study], Mapping[str, Mapping[str, int]]]] = {}
"""Identity of a study, which is frozen -> its values; for as long as it lives."""


def positions(study: Study, dimension: str) -> Mapping[str, int]:
    """The same in its order, each with its place there."""
    known = _POSITIONS.get(id(study))
    if known is None or known[0]() is not study:
        ranges = {
            "model": models_in_order(study),
            "language": study.all_languages(),
            "dataset": tuple(study.datasets),
        }
        found = {name: {value: at for at, value in enumerate(listed)} for name, listed in ranges.items()}
        number = id(study)
        known = ref(study, lambda gone: _forget(number, gone)), found
        _POSITIONS[number] = known
    return known[1][dimension]


def _forget(number: int, gone: ref[Study]) -> None:
    # Another study may have taken the place of the one that is gone.
    if number in _POSITIONS and _POSITIONS[number][0] is gone:
        del _POSITIONS[number]


def partitions(study: Study, step: Step) -> list[Key]:
    """All partitions of a step, in the order in which to make them (model by model, so each is loaded once)."""
    return list(_keys(step, [positions(study, dimension) for dimension in step.dimensions]))


def _keys(step: Step, ranges: Iterable[Iterable[str]]) -> Iterator[Key]:
    """The partitions of a step with values of these ranges, which are in the order of its dimensions."""
    return (Key(**dict(zip(step.dimensions, each, strict=True))) for each in product(*ranges))


def in_order(study: Study, step: Step, keys: Iterable[Key]) -> list[Key]:
    """Some partitions of a step, in the order in which to make them; what is no partition of it is left out."""
    places = {
        key: tuple(positions(study, each).get(str(getattr(key, each)), -1) for each in step.dimensions)
        for key in keys
    }
    return sorted((key for key, place in places.items() if -1 not in place), key=places.__getitem__)


def upstream(
    study: Study, step: Step, key: Key, needed: bool = False, same_cell: bool = False
) -> Iterator[tuple[Step, Key]]:
    """The partitions of other steps that a partition reads.

    `needed`: only those that it does not go on without; `same_cell`: only those that have a model, dataset or language in
    common with it, and none that differs.
    """
    for read in step.reads:
        source = STEPS[read.step]
        apart = all(getattr(key, dimension) is None for dimension in source.dimensions)
        if (needed and read.partly) or (same_cell and apart):
            continue
        ranges = (_range(study, step, read, key, dimension, same_cell) for dimension in source.dimensions)
        for other in _keys(source, ranges):
            yield source, other


def _range(study: Study, step: Step, read: Reads, key: Key, dimension: str, same_cell: bool) -> Iterable[str]:
    """The values of a dimension that a partition reads a source in."""
    own = getattr(key, dimension)
    if dimension == "model" and (of := _models(study, step, read, key)) is not None:
        return [model for model in of if model == own or not same_cell]
    is_own = dimension in shared(step, read) or (same_cell and own is not None)
    found: Iterable[str] = (own,) if is_own else positions(study, dimension)
    if dimension == "dataset" and (wanted := _wanted(study, step, read, key)) is not None:
        return [dataset for dataset in found if dataset in wanted]
    return found


@cache
def shared(step: Step, read: Reads) -> tuple[str, ...]:
    """The dimensions in which an input is read of the partition's own value only."""
    return tuple(
        dimension
        for dimension in STEPS[read.step].dimensions
        if dimension in step.dimensions and dimension not in read.across
    )


def _models(study: Study, step: Step, read: Reads, key: Key) -> list[str] | None:
    """The models whose rows of `models` are read, bases first; None for what is read of other steps."""
    if read.step == step.name:
        base = study.models[str(key.model)].base
        return [] if base is None else [base]
    return of_same_weights(study, str(key.model))[::-1] if read.step == "models" else None


def _wanted(study: Study, step: Step, read: Reads, key: Key) -> set[str] | None:
    """The datasets that a partition reads an input of; None where it is every one that fits."""
    if key.model is None and step.name != "lexicon":
        return None
    found = _datasets(study, step, key)
    if read.of_rest:
        return {dataset for dataset in found if study.datasets[dataset].skip_examples is not None}
    return found


class Marked:
    """Some partitions, and who reads one of them: asked by sets, since all edges together are far more than partitions."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._found: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], set[str]]] = {}
        """Step and some of its dimensions -> values of those -> datasets of the partitions that are marked."""

    def add(self, step: Step, key: Key) -> None:
        """Mark a partition."""
        for dimensions in _ASKED[step.name]:
            place = tuple(getattr(key, dimension) for dimension in dimensions)
            self._found.setdefault((step.name, dimensions), {}).setdefault(place, set()).add(str(key.dataset))

    def is_read_by(self, step: Step, key: Key) -> bool:
        """Whether a partition reads one that is marked: one of its `upstream`."""
        return bool(self._found) and any(self._reads(step, read, key) for read in step.reads)

    def _reads(self, step: Step, read: Reads, key: Key) -> bool:
        source = STEPS[read.step]
        if source.dimensions == ("model",) and (of := _models(self._study, step, read, key)) is not None:
            marked = self._found.get((source.name, source.dimensions), {})
            return any((model,) in marked for model in of)
        dimensions = shared(step, read)
        marked = self._found.get((source.name, dimensions), {})
        datasets = marked.get(tuple(getattr(key, dimension) for dimension in dimensions))
        if datasets is None:
            return False
        wanted = _wanted(self._study, step, read, key) if "dataset" in source.dimensions else None
        return wanted is None or not wanted.isdisjoint(datasets)


_ASKED = {
    source.name: {
        source.dimensions,
        *(shared(step, read) for step in STEPS.values() for read in step.reads if read.step == source.name),
    }
    for source in STEPS.values()
}
"""Step -> the groups of its dimensions by which its partitions are read."""


def _datasets(study: Study, step: Step, key: Key) -> set[str]:
    """Datasets that a model's partition reads: for the model itself those it is trained on, else evaluated on.

    A lexicon reads those that are aligned into its language.
    """
    if step.name == "lexicon":
        lexica = study.lexica.values()
        into = [
            lexicon for lexicon in lexica if key.language in {target for _, target in lexicon.directions()}
        ]
        return {dataset for lexicon in into for dataset in lexicon.datasets}
    model = study.models[str(key.model)]
    if step.group == "concepts":
        return set(study.concepts.datasets) if study.concepts is not None else set()
    return set(model.training_datasets if step.name == "models" else model.datasets)
