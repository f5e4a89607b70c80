"""Which steps there are, which partitions a study gives each of them, and which partitions of others one reads.

This is the one list that the command line and Dagster both work from: Dagster's partitions and mappings are
derived from it, and so is the order in which partitions are made. It imports no step, so it is cheap to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xlwh.steps.base import Key, StepResult
from xlwh.study import Study


@dataclass(frozen=True)
class Reads:
    """An input of a step: partitions with the same model and language, unless a dimension is read `across`."""

    step: str
    across: tuple[str, ...] = ()
    """Dimensions in which all partitions are read, such as every language of the same model."""


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

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        # Neighbours of the same dimensions run together: the fewer changes, the fewer runs.
        Step("published_results", ("published_results",), (), "corpora"),
        Step("examples", ("examples", "rejected_rows"), _CORPUS, "corpora"),
        Step("parallelism", ("parallelism",), ("dataset",), "corpora", (Reads("examples", _LANGUAGES),)),
        Step(
            "lexicon",
            ("lexicon",),
            _LANGUAGES,
            "concepts",
            (Reads("examples", _LANGUAGES), Reads("parallelism")),
        ),
        Step("models", ("models",), ("model",), "models", (Reads("examples"), Reads("models")), True),
        Step(
            "tokens", ("tokens",), _RUN, "models", (Reads("examples"), Reads("models"), Reads("parallelism"))
        ),
        Step(
            "predictions",
            ("predictions", "answer_spans", "translations"),
            _RUN,
            "models",
            (Reads("examples"), Reads("models"), Reads("parallelism")),
            True,
        ),
        Step(
            "token_predictions",
            ("token_predictions",),
            _RUN,
            "models",
            (Reads("examples"), Reads("models"), Reads("parallelism")),
            True,
        ),
        Step(
            "translation_statistics",
            ("translation_statistics",),
            _RUN,
            "models",
            (Reads("examples"), Reads("predictions"), Reads("models"), Reads("parallelism")),
        ),
        Step(
            "attributions",
            ("attribution_runs", "token_attributions"),
            _RUN,
            "attribution",
            (
                Reads("examples"),
                Reads("predictions", _LANGUAGES),
                Reads("token_predictions"),
                Reads("models"),
                Reads("parallelism"),
            ),
            True,
        ),
        Step(
            "word_vectors",
            ("word_vectors",),
            _RUN,
            "consistency",
            # A space of .vec files holds the words of every model, so that it can be shared by them.
            (
                Reads("examples"),
                Reads("tokens", ("model",)),
                Reads("models"),
                Reads("parallelism"),
            ),
        ),
        Step(
            "ccta_pairs",
            ("ccta_pairs",),
            _RUN,
            "consistency",
            (
                Reads("examples", _LANGUAGES),
                Reads("tokens", _LANGUAGES),
                Reads("predictions", _LANGUAGES),
                Reads("attributions", _LANGUAGES),
                Reads("word_vectors", _LANGUAGES),
                Reads("models"),
                Reads("parallelism"),
            ),
        ),
        Step(
            "perturbations",
            ("perturbations",),
            _RUN,
            "faithfulness",
            (
                Reads("examples"),
                Reads("predictions"),
                Reads("attributions"),
                Reads("models"),
                Reads("parallelism"),
            ),
            True,
        ),
        Step(
            "attribution_probes",
            ("attribution_probes",),
            _RUN,
            "attribution",
            (
                Reads("examples"),
                Reads("predictions"),
                Reads("token_predictions"),
                Reads("attributions"),
                Reads("models"),
                Reads("parallelism"),
            ),
            True,
        ),
        Step(
            "head_samples",
            ("head_samples",),
            _RUN,
            "heads",
            (Reads("examples"), Reads("models"), Reads("parallelism")),
            True,
        ),
        Step(
            "head_importance",
            ("head_importance",),
            _RUN,
            "heads",
            (Reads("examples"), Reads("models"), Reads("parallelism")),
            True,
        ),
        Step(
            "attention_maps",
            ("attention_maps",),
            _RUN,
            "heads",
            # Which examples are short is asked in all languages.
            (Reads("examples", _LANGUAGES), Reads("models"), Reads("parallelism")),
            True,
        ),
        Step(
            "pruning_evaluations",
            ("pruning_masks", "pruning_evaluations", "pruning_tests"),
            _RUN,
            "heads",
            (
                Reads("examples"),
                Reads("models"),
                # Masks of every language are tried on each.
                Reads("head_samples", _LANGUAGES),
                Reads("head_importance"),
                Reads("parallelism"),
            ),
            True,
        ),
        Step(
            "activations",
            ("activations", "sentence_vectors"),
            _RUN,
            "concepts",
            # Translations lie in the partition of the language that they are into, their source texts too.
            (Reads("examples", _LANGUAGES), Reads("models")),
            True,
        ),
        Step(
            "representation_similarities",
            ("representation_similarities",),
            ("model",),
            "concepts",
            (Reads("activations"), Reads("models"), Reads("parallelism")),
        ),
        Step(
            "concepts",
            ("clusterings", "concepts", "concept_members"),
            ("model",),
            "concepts",
            (Reads("activations"), Reads("models")),
        ),
        Step(
            "concept_kinds",
            ("concept_kinds",),
            ("model",),
            "concepts",
            (Reads("concepts"), Reads("examples"), Reads("models")),
        ),
        Step(
            "concept_labels",
            ("concept_labels",),
            ("model",),
            "concepts",
            (Reads("concepts"), Reads("models")),
        ),
        Step(
            "concept_matches",
            ("concept_pairings", "concept_matches"),
            ("model",),
            "concepts",
            (Reads("concepts"), Reads("lexicon"), Reads("models")),
        ),
        Step(
            "concept_languages",
            ("concept_languages",),
            ("model",),
            "concepts",
            (Reads("concepts"), Reads("models")),
        ),
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


def upstream(study: Study, step: Step, key: Key) -> Iterator[tuple[Step, Key]]:
    """The partitions of other steps that a partition reads."""
    for read in step.reads:
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
