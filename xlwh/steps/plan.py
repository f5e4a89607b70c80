"""Which steps there are, which partitions a study gives each of them, and which partitions of others one reads.

This is the one list that the command line and Dagster both work from: Dagster's partitions and mappings are
derived from it, and so is the order in which partitions are made. It imports no step, so it is cheap to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

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
            _same("head_importance"),
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


def step_of(table: str) -> Step:
    """The step that writes a table; KeyError where none does."""
    return next(step for step in STEPS.values() if table in step.tables)


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
    if dimension == "model":
        return tuple(models_in_order(study))
    return study.all_languages() if dimension == "language" else tuple(study.datasets)


def partitions(study: Study, step: Step) -> list[Key]:
    """All partitions of a step, in the order in which to make them (model by model, so each is loaded once)."""
    keys = [Key()]
    for dimension in step.dimensions:
        keys = [_with(key, dimension, value) for key in keys for value in values(study, dimension)]
    return keys


def in_order(study: Study, step: Step, keys: set[Key]) -> list[Key]:
    """Some partitions of a step, in the order in which to make them."""
    return [key for key in partitions(study, step) if key in keys]


def upstream(study: Study, step: Step, key: Key, needed: bool = False) -> Iterator[tuple[Step, Key]]:
    """The partitions of other steps that a partition reads; `needed`: only those that it does not go on without."""
    for read in step.reads:
        if needed and read.partly:
            continue
        source = STEPS[read.step]
        for candidate in partitions(study, source):
            same = all(
                getattr(candidate, dimension) == getattr(key, dimension)
                for dimension in source.dimensions
                if dimension in step.dimensions and dimension not in read.across
            )
            if source is step:
                same = candidate.model == study.models[str(key.model)].base
            elif source.name == "models" and "model" not in read.across:
                same = candidate.model in of_same_weights(study, str(key.model))
            elif "dataset" in source.dimensions and (key.model is not None or step.name == "lexicon"):
                same = same and candidate.dataset in _datasets(study, step, key)
                if read.of_rest:
                    same = same and study.datasets[str(candidate.dataset)].skip_examples is not None
            if same:
                yield source, candidate


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


def _with(key: Key, dimension: str, value: str) -> Key:
    if dimension == "model":
        return replace(key, model=value)
    return replace(key, language=value) if dimension == "language" else replace(key, dataset=value)
