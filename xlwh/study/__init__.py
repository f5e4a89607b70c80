"""The study: one frozen, validated description of what to compute, read from `study.toml`.

Only configuration lives here. Nothing is opened or downloaded; relative paths are resolved against the
folder of the file. An unusable file raises `StudyError` naming the key, the line and what is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from xlwh.errors import StudyError
from xlwh.place import data_override
from xlwh.study.attribution import (
    AttentionWeights,
    Attribution,
    DeepLift,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    Lig,
    Methods,
    Occlusion,
    OwnMethod,
    Probes,
    RandomAttribution,
    ScaledAttention,
)
from xlwh.study.base import Key, Part, Revision
from xlwh.study.concepts import Concepts
from xlwh.study.consistency import Consistency, Space
from xlwh.study.data import Dataset
from xlwh.study.faithfulness import Faithfulness
from xlwh.study.generation import Generation, Scratch
from xlwh.study.heads import Heads, Sampler
from xlwh.study.lexicon import Aligner, ConceptAlignment, Lexicon, LexiconFile
from xlwh.study.lines import explain, line_of
from xlwh.study.models import Finetune, Inputs, Model, Randomization, Tokenization
from xlwh.texts import parsed_toml

__all__ = [
    "Aligner",
    "AttentionWeights",
    "Attribution",
    "ConceptAlignment",
    "Concepts",
    "Consistency",
    "Dataset",
    "DeepLift",
    "Faithfulness",
    "Finetune",
    "Generation",
    "GradientShap",
    "Heads",
    "InputXGradient",
    "Inputs",
    "IntegratedGradients",
    "Key",
    "Lexicon",
    "LexiconFile",
    "Lig",
    "Methods",
    "Model",
    "Occlusion",
    "OwnMethod",
    "Part",
    "Probes",
    "RandomAttribution",
    "Randomization",
    "Revision",
    "Sampler",
    "ScaledAttention",
    "Scratch",
    "Space",
    "Study",
    "Tokenization",
    "load",
]


class Study(Part):
    """Everything that a `study.toml` says, with paths resolved."""

    name: Key
    languages: tuple[Key, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0)
    data_root: Path = Field(
        Path("."),
        description="Folder of the data, relative to the study file; XLWH_DATA_ROOT overrides it, and so does XLWH_MIRROR.",
    )
    datasets: Mapping[Key, Dataset]
    models: Mapping[Key, Model] = Field(default_factory=dict)
    spaces: Mapping[Key, Space] = Field(default_factory=dict)
    attribution: Attribution = Field(default_factory=Attribution)
    consistency: Consistency | None = None
    concepts: Concepts | None = None
    lexica: Mapping[Key, Lexicon] = Field(default_factory=dict)
    concept_alignment: ConceptAlignment | None = None
    faithfulness: Faithfulness | None = None
    heads: Heads | None = None
    folder: Path = Field(description="Folder of the study file; set by `load`.")

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        for key, model in self.models.items():
            at = f"models.{key}"
            for name in model.datasets:
                _known(name, self.datasets, f"{at}.datasets", "dataset")
            if model.finetune is not None:
                _known(model.finetune.base, self.models, f"{at}.finetune.base", "model")
                _known(model.finetune.dataset, self.datasets, f"{at}.finetune.dataset", "dataset")
                if model.finetune.dev_dataset is not None:
                    _known(model.finetune.dev_dataset, self.datasets, f"{at}.finetune.dev_dataset", "dataset")
                for language in model.finetune.dev_languages or ():
                    _known(
                        language,
                        self.dataset_languages(str(model.finetune.dev_dataset)),
                        f"{at}.finetune.dev_languages",
                        "language",
                    )
                for language in model.finetune.languages:
                    _known(
                        language,
                        self.dataset_languages(model.finetune.dataset),
                        f"{at}.finetune.languages",
                        "language",
                    )
            if model.scratch is not None:
                self._scratch_possible(at, model.scratch)
            if model.weights_of is not None:
                _known(model.weights_of, self.models, f"{at}.weights_of", "model")
            self._no_cycle(key)
            for language in model.languages or ():
                _known(language, self.all_languages(), f"{at}.languages", "language")
            for language in model.source_languages or ():
                _known(language, model.languages or self.languages, f"{at}.source_languages", "language")
            for method in model.attribution_methods or ():
                _known(method, self.attribution_methods(), f"{at}.attribution_methods", "attribution method")
            if model.counterpart_of is not None:
                self._counterpart(key, model.counterpart_of)
        if self.attribution.probes is not None:
            for method in self.attribution.probes.methods or ():
                _known(method, self.attribution_methods(), "attribution.probes.methods", "attribution method")
            for name in self.attribution.probes.models or ():
                _known(name, self.models, "attribution.probes.models", "model")
            for name in self.attribution.probes.datasets or ():
                _known(name, self.datasets, "attribution.probes.datasets", "dataset")
        if self.consistency is not None:
            self._consistency_possible(self.consistency)
        if self.concepts is not None:
            self._concepts_possible(self.concepts)
        self._lexica_possible()
        if self.faithfulness is not None:
            self._faithfulness_possible(self.faithfulness)
        if self.heads is not None:
            self._heads_possible(self.heads)
        return self

    def _consistency_possible(self, consistency: Consistency) -> None:
        _known(consistency.space, self.spaces, "consistency.space", "space")
        for model in consistency.models or ():
            _known(model, self.models, "consistency.models", "model")
        for dataset in consistency.datasets or ():
            _known(dataset, self.datasets, "consistency.datasets", "dataset")
        for method in consistency.methods:
            _known(method, self.attribution_methods(), "consistency.methods", "attribution method")
        if consistency.unit == "token" and self.spaces[consistency.space].kind == "vec":
            raise ValueError(
                f"consistency.unit: the space `{consistency.space}` holds vectors of words, from .vec files; "
                "`token` needs a space of kind `input_embeddings`"
            )

    def _lexica_possible(self) -> None:
        for key, lexicon in self.lexica.items():
            for dataset in lexicon.datasets:
                _known(dataset, self.datasets, f"lexica.{key}.datasets", "dataset")
            for language in dict.fromkeys(name for pair in lexicon.directions() for name in pair):
                _known(language, self.all_languages(), f"lexica.{key}", "language")
        if self.concept_alignment is not None:
            if self.concepts is None:
                raise ValueError(
                    "concept_alignment: there are no concepts to align; add a [concepts] section"
                )
            for name in self.concept_alignment.lexica or ():
                _known(name, self.lexica, "concept_alignment.lexica", "lexicon")

    def _concepts_possible(self, concepts: Concepts) -> None:
        for dataset in concepts.datasets:
            _known(dataset, self.datasets, "concepts.datasets", "dataset")
        for model in concepts.models or ():
            _known(model, self.models, "concepts.models", "model")
        for language in concepts.needed_languages(self.languages):
            _known(language, self.all_languages(), "concepts.monolingual and concepts.mixed", "language")

    def _faithfulness_possible(self, faithfulness: Faithfulness) -> None:
        for method in faithfulness.methods or ():
            _known(method, self.attribution_methods(), "faithfulness.methods", "attribution method")
        for model in faithfulness.models or ():
            _known(model, self.models, "faithfulness.models", "model")
        for dataset in faithfulness.datasets or ():
            _known(dataset, self.datasets, "faithfulness.datasets", "dataset")
        if not isinstance(faithfulness.keep_query, bool):
            for dataset in faithfulness.keep_query:
                _known(dataset, self.datasets, "faithfulness.keep_query", "dataset")
        attributed, asked = self.attribution.max_examples, faithfulness.max_examples
        if attributed is not None and asked is not None and asked > attributed:
            raise ValueError(
                f"faithfulness.max_examples: only attribution.max_examples = {attributed} are attributed"
            )

    def _heads_possible(self, heads: Heads) -> None:
        for valued, evaluated in heads.datasets.items():
            _known(valued, self.datasets, "heads.datasets", "dataset")
            _known(evaluated, self.datasets, f"heads.datasets.{valued}", "dataset")
            if valued == evaluated and heads.max_examples is None:
                raise ValueError(
                    f"heads.datasets.{valued}: masks are evaluated on the examples that heads were not valued on; "
                    "set heads.max_examples, so that some are left"
                )
        for model in heads.models or ():
            _known(model, self.models, "heads.models", "model")
        for language in heads.zero_shot_from:
            _known(language, self.all_languages(), "heads.zero_shot_from", "language")

    def _scratch_possible(self, at: str, scratch: Scratch) -> None:
        if scratch.tokenizer_of is not None:
            _known(scratch.tokenizer_of, self.models, f"{at}.scratch.tokenizer_of", "model")
        if scratch.dataset is not None:
            _known(scratch.dataset, self.datasets, f"{at}.scratch.dataset", "dataset")
            for language in scratch.languages:
                _known(
                    language, self.dataset_languages(scratch.dataset), f"{at}.scratch.languages", "language"
                )

    def _counterpart(self, key: str, of: str) -> None:
        at = f"models.{key}.counterpart_of"
        _known(of, self.models, at, "model")
        if of == key:
            raise ValueError(f"{at}: a model is not its own counterpart")
        if self.models[of].counterpart_of is not None:
            raise ValueError(f"{at}: `{of}` is itself the counterpart of `{self.models[of].counterpart_of}`")
        if not self._evaluated(key) & self._evaluated(of):
            raise ValueError(
                f"{at}: `{key}` and `{of}` have no dataset in a common language that both are evaluated on"
            )

    def _evaluated(self, key: str) -> set[tuple[str, str]]:
        """(dataset, language) pairs that a model is evaluated on."""
        return {
            (dataset, language)
            for language in self.all_languages()
            for dataset in self.evaluations(key, language)
        }

    def _no_cycle(self, key: str) -> None:
        seen, base = [key], self.models[key].base
        while base is not None:
            if base in seen:
                made = self.models[key]
                where = "scratch.tokenizer_of" if made.weights_of is None else "weights_of"
                where = where if made.finetune is None else "finetune.base"
                raise ValueError(f"models.{key}.{where}: {' -> '.join([*seen, base])} is a cycle")
            seen.append(base)
            base = self.models[base].base if base in self.models else None

    def dataset_languages(self, dataset: str) -> tuple[str, ...]:
        """Languages in which a dataset is read."""
        return self.datasets[dataset].languages or self.languages

    def all_languages(self) -> tuple[str, ...]:
        """The study's languages and any that only a dataset names, in order of first mention."""
        found = dict.fromkeys(self.languages)
        for dataset in self.datasets:
            found.update(dict.fromkeys(self.dataset_languages(dataset)))
        return tuple(found)

    def evaluations(self, model: str, language: str) -> Iterator[str]:
        """Datasets that `model` is evaluated on in `language`."""
        chosen = self.models[model].languages
        if chosen is not None and language not in chosen:
            return
        for dataset in self.models[model].datasets:
            if language in self.dataset_languages(dataset):
                yield dataset

    def source_languages(self, model: str) -> tuple[str, ...]:
        """Languages whose predictions are the reference of this model's consistency."""
        chosen = self.models[model].source_languages
        if chosen is not None:
            return chosen
        recipe, offered = self.models[model].finetune, self.models[model].languages
        elsewhere = self.models[model].finetuned_languages or self.languages[:1]
        languages = recipe.languages if recipe is not None else elsewhere
        if offered is None:
            return languages
        return tuple(language for language in languages if language in offered) or offered[:1]

    def attribution_methods(self, model: str | None = None) -> tuple[str, ...]:
        """Attribution methods that are computed at all, or those that are used on a model."""
        computed = tuple(name for name, settings in self.attribution.methods if settings is not None)
        chosen = None if model is None else self.models[model].attribution_methods
        return computed if chosen is None else tuple(name for name in computed if name in chosen)

    def tests_faithfulness(self, model: str, dataset: str) -> bool:
        """Whether the faithfulness of a model's attributions on a dataset is measured."""
        settings = self.faithfulness
        return (
            settings is not None
            and (settings.models is None or model in settings.models)
            and (settings.datasets is None or dataset in settings.datasets)
        )

    def said(self) -> dict[str, Any]:
        """What `model_validate` makes the same study from, to be changed before that."""
        said: dict[str, Any] = self.model_dump()
        # What is on by default is switched off by `false`.
        said["attribution"]["methods"] = self.attribution.methods.model_dump(exclude_none=True) | {
            name: False
            for name, field in type(self.attribution.methods).model_fields.items()
            if field.default_factory is not None and getattr(self.attribution.methods, name) is None
        }
        return said

    @property
    def sql_folder(self) -> Path:
        """Where the study's own views are, one `.sql` file each; there need not be any."""
        return self.folder / "sql"

    def data_path(self, relative: str) -> Path:
        """A path of the data, under XLWH_DATA_ROOT, the data of XLWH_MIRROR, or the study's data_root."""
        return (data_override() or self.folder / self.data_root) / relative


def _known(name: str, known: Any, where: str, what: str) -> None:
    if name not in known:
        raise ValueError(
            f"{where}: no {what} `{name}` in this study; there are: {', '.join(sorted(known)) or 'none'}"
        )


def load(path: Path | str) -> Study:
    """Read and validate a study file; `StudyError` names the key and the line."""
    path = Path(path)
    if path.is_dir():
        path = path / "study.toml"
    try:
        # Some editors put a byte order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise StudyError(f"No study file {path}. Make one with: xlwh init") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"Study file {path} cannot be read: {error}") from None
    try:
        raw = parsed_toml(text)
    except ValueError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    for place, number in _numbers(raw, ()):
        if abs(number) > _LARGEST:
            raise StudyError(
                f"{path}, line {line_of(text, place)}: `{'.'.join(place)}` = {str(number)[:40]}: no setting is that large"
            )
    if "folder" in raw:
        raise StudyError(f"{path}, line {line_of(text, ('folder',))}: unknown key `folder`")
    try:
        return Study.model_validate({**raw, "folder": path.resolve().parent})
    except ValidationError as error:
        raise StudyError(explain(Study, path, text, error)) from None


_LARGEST = 2**53
"""Of a whole number in a study."""


def _numbers(content: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Whole numbers in nested tables and arrays, with their places."""
    if isinstance(content, int):
        yield place, content
    elif isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _numbers(value, (*place, str(key)))
