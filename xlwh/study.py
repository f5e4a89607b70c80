"""The study: one frozen, validated description of what to compute, read from `study.toml`.

Only configuration lives here. Nothing is opened or downloaded; relative paths are resolved against the
folder of the file. An unusable file raises `StudyError` naming the key, the line and what is accepted.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from xlwh.errors import StudyError
from xlwh.tables import KEY_PATTERN

Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(_Part):
    """Where a corpus comes from and which reader understands it."""

    reader: str = Field(description="Name of a reader, see `xlwh readers`.")
    path: str | None = Field(None, description="File or folder, relative to the study's data_root.")
    hub: str | None = Field(None, description="Dataset id on the Hugging Face hub.")
    revision: Revision | None = Field(None, description="40-character commit of the hub dataset.")
    split: str = Field("dev", description="Part to read: train, dev or test.")
    languages: tuple[Key, ...] | None = Field(None, description="Languages to read; default: the study's.")
    max_examples: int | None = Field(
        None, ge=1, description="Keep this many examples, the same ids in every language."
    )
    options: Mapping[str, Any] = Field(
        default_factory=dict, description="What the reader needs beyond the path."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of `path` and `hub`")
        if self.hub is not None and self.revision is None:
            raise ValueError("a hub dataset needs `revision`, a 40-character commit")
        return self


class Finetune(_Part):
    """A fine-tuning recipe: base + dataset + languages + seed.

    Defaults are the settings customary for XNLI and PAWS-X with encoders of base size (XTREME): AdamW, 2e-5,
    batch 32, linear warm-up and decay, 128 sub-tokens.
    """

    base: Key = Field(description="Key of another model of this study.")
    dataset: Key = Field(description="Key of the dataset to train on.")
    languages: tuple[Key, ...] = Field(min_length=1, description="Source languages, jointly.")
    dev_dataset: Key | None = Field(
        None,
        description="Dataset whose score picks the best checkpoint; default: a held-out part of `dataset`.",
    )
    dev_fraction: float = Field(
        0.05, gt=0, lt=0.5, description="Held-out share when there is no dev_dataset."
    )
    seed: int = Field(0, ge=0)
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_ratio: float = Field(0.06, ge=0, lt=1)
    max_length: int = Field(128, ge=8)
    max_grad_norm: float = Field(1.0, gt=0)
    evaluations_per_epoch: int = Field(
        2, ge=1, description="Times per epoch that the dev score is taken and a checkpoint written."
    )
    patience: int = Field(
        4, ge=1, description="Evaluations without a better dev score before stopping early."
    )
    autocast: Literal["none", "bfloat16"] = Field(
        "none", description="Mixed precision of the training passes."
    )


class Model(_Part):
    """One model: a hub id with a revision, a local folder, or a fine-tune recipe."""

    hub: str | None = Field(None, description="Model id on the Hugging Face hub.")
    revision: Revision | None = Field(None, description="40-character commit of the hub model.")
    path: str | None = Field(None, description="Local folder, relative to the study file.")
    finetune: Finetune | None = Field(None, description="Train it here from another model of the study.")
    datasets: tuple[Key, ...] = Field((), description="Datasets it is evaluated on.")
    labels: tuple[str, ...] | None = Field(
        None, description="Class labels in the order of the logits; default: the checkpoint's id2label."
    )
    source_languages: tuple[Key, ...] | None = Field(
        None,
        description="Source languages of its consistency; default: the ones it was fine-tuned on, else the study's first language.",
    )
    published_as: str | None = Field(None, description="Name of this model in the papers' tables.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    max_length: int = Field(
        256, ge=8, description="Longest input in sub-tokens; longer ones are cut and counted."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if sum(x is not None for x in (self.hub, self.path, self.finetune)) != 1:
            raise ValueError("give exactly one of `hub`, `path` and `finetune`")
        if self.hub is not None and self.revision is None:
            raise ValueError("a hub model needs `revision`, a 40-character commit")
        return self


class Lig(_Part):
    """Layer integrated gradients along the path from a PAD baseline."""

    quadrature: Literal["adaptive", "fixed"] = Field(
        "adaptive", description="Adaptive panels, or `fixed` Gauss-Legendre (the papers' variant)."
    )
    tolerance: float = Field(
        0.01, gt=0, description="Completeness error allowed, relative to |F(x) - F(baseline)|."
    )
    steps: int = Field(50, ge=1, description="Nodes of the fixed quadrature.")
    max_rows: int = Field(
        3200, ge=16, description="Gradient rows after which an example is flagged unconverged."
    )


class RandomAttribution(_Part):
    """Mean of seeded uniform draws: the floor that every method has to beat."""

    draws: int = Field(10, ge=1)


class Methods(_Part):
    lig: Lig | None = Field(default_factory=Lig)
    random: RandomAttribution | None = Field(default_factory=RandomAttribution)


class Attribution(_Part):
    """What is attributed, and how."""

    max_examples: int | None = Field(
        None, ge=1, description="Examples per dataset, the same ids in every language; default: all."
    )
    target: Literal["source_prediction", "own_prediction", "gold"] = Field(
        "source_prediction", description="Class that is explained on both sides of a pair."
    )
    methods: Methods = Field(default_factory=Methods)
    batch_tokens: int = Field(
        2048, ge=64, description="Sub-tokens per model call: the memory bound of attribution."
    )


class Space(_Part):
    """A context-free space shared by the languages, in which similarities are taken."""

    kind: Literal["vec", "input_embeddings"]
    files: Mapping[Key, str] = Field(
        default_factory=dict, description="vec: language -> .vec or .vec.gz file under data_root."
    )
    pivot: Key | None = Field(
        None, description="input_embeddings: the language that the others are rotated onto."
    )
    dictionaries: Mapping[Key, str] = Field(
        default_factory=dict,
        description="input_embeddings: language -> dictionary file under data_root, pivot word first.",
    )
    reversed_dictionaries: tuple[Key, ...] = Field(
        (), description="Languages whose dictionary lists the foreign word first (hunalign form)."
    )

    @model_validator(mode="after")
    def _complete(self) -> Space:
        if self.kind == "vec" and not self.files:
            raise ValueError("a `vec` space needs `files`, one per language")
        if self.kind == "input_embeddings" and self.pivot is None:
            raise ValueError(
                "an `input_embeddings` space needs `pivot`, the language the others are rotated onto"
            )
        return self


class Consistency(_Part):
    """How the consistency of token attributions (CCTA) is measured."""

    space: Key = Field(description="Key of one of the study's spaces.")
    methods: tuple[str, ...] = Field(("lig",), min_length=1, description="Attribution methods to compare.")
    unit: Literal["word", "token"] = "word"
    normalizations: tuple[Literal["abs", "relu", "min_max", "softmax"], ...] = Field(("abs",), min_length=1)
    draws: int = Field(20, ge=1, description="Draws of the shuffled null.")


class Study(_Part):
    """Everything that a `study.toml` says, with paths resolved."""

    name: Key
    languages: tuple[Key, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0)
    data_root: Path = Field(
        Path("."), description="Folder of the data, relative to the study file; XLWH_DATA_ROOT overrides it."
    )
    datasets: Mapping[Key, Dataset]
    models: Mapping[Key, Model] = Field(default_factory=dict)
    spaces: Mapping[Key, Space] = Field(default_factory=dict)
    attribution: Attribution = Field(default_factory=Attribution)
    consistency: Consistency | None = None
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
                for language in model.finetune.languages:
                    _known(
                        language,
                        self.dataset_languages(model.finetune.dataset),
                        f"{at}.finetune.languages",
                        "language",
                    )
                self._no_cycle(key)
            for language in model.source_languages or ():
                _known(language, self.languages, f"{at}.source_languages", "language")
        if self.consistency is not None:
            self._consistency_possible(self.consistency)
        return self

    def _consistency_possible(self, consistency: Consistency) -> None:
        _known(consistency.space, self.spaces, "consistency.space", "space")
        computed = [name for name, settings in self.attribution.methods if settings is not None]
        for method in consistency.methods:
            _known(method, computed, "consistency.methods", "attribution method")
        if consistency.unit == "token" and self.spaces[consistency.space].kind == "vec":
            raise ValueError(
                f"consistency.unit: the space `{consistency.space}` holds vectors of words, from .vec files; "
                "`token` needs a space of kind `input_embeddings`"
            )

    def _no_cycle(self, key: str) -> None:
        seen = [key]
        recipe = self.models[key].finetune
        while recipe is not None:
            if recipe.base in seen:
                raise ValueError(
                    f"models.{key}.finetune.base: {' -> '.join([*seen, recipe.base])} is a cycle"
                )
            seen.append(recipe.base)
            base = self.models.get(recipe.base)
            recipe = base.finetune if base is not None else None

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
        for dataset in self.models[model].datasets:
            if language in self.dataset_languages(dataset):
                yield dataset

    def source_languages(self, model: str) -> tuple[str, ...]:
        """Languages whose predictions are the reference of this model's consistency."""
        chosen = self.models[model].source_languages
        if chosen is not None:
            return chosen
        recipe = self.models[model].finetune
        return recipe.languages if recipe is not None else self.languages[:1]

    def data_path(self, relative: str) -> Path:
        """A path of the data, under XLWH_DATA_ROOT or the study's data_root."""
        override = os.environ.get("XLWH_DATA_ROOT")
        return (Path(override) if override else self.folder / self.data_root) / relative


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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"No study file {path}. Make one with: xlwh init") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"Study file {path} cannot be read: {error}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    if "folder" in raw:
        raise StudyError(f"{path}, line {_line_of(text, ('folder',))}: unknown key `folder`")
    try:
        return Study.model_validate({**raw, "folder": path.resolve().parent})
    except ValidationError as error:
        raise StudyError(_explain(path, text, error)) from None


def _explain(path: Path, text: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        location = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        named = re.match(r"([\w.+-]+): ", message) if not location else None
        if named:
            location = tuple(named.group(1).split("."))
            message = message[named.end() :]
        if item["type"] == "extra_forbidden":
            accepted = _fields_at(location[:-1])
            message = "unknown key" + (f"; accepted here: {', '.join(accepted)}" if accepted else "")
        elif item["type"] == "missing":
            message = "missing"
        number = _line_of(text, location)
        lines.append(f"{path}, line {number}: `{'.'.join(location)}`: {message}")
    return "\n".join(lines)


def _fields_at(location: tuple[str, ...]) -> list[str]:
    """Names of the keys accepted at a place of the file."""
    node: Any = Study
    for part in location:
        if isinstance(node, type) and issubclass(node, BaseModel):
            node = node.model_fields[part].annotation if part in node.model_fields else None
        while hasattr(node, "__args__"):
            models = [
                a
                for a in node.__args__
                if (isinstance(a, type) and issubclass(a, BaseModel)) or hasattr(a, "__args__")
            ]
            if not models:
                break
            mapping = getattr(node, "__origin__", None)
            node = models[-1]
            if mapping is not None and "Mapping" in str(mapping):
                break
    if isinstance(node, type) and issubclass(node, BaseModel):
        return [name for name in node.model_fields if name != "folder"]
    return []


def _line_of(text: str, location: tuple[str, ...]) -> int:
    """Line (from 1) of the deepest part of `location` that the file spells out; 1 where none is."""
    best, depth = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        assignment = re.match(r"\s*([\w.\"'+-]+)\s*=", line)
        if header:
            table = _dotted(header.group(1))
            here = table
        elif assignment:
            here = table + _dotted(assignment.group(1))
        else:
            continue
        shared = 0
        while shared < min(len(here), len(location)) and here[shared] == location[shared]:
            shared += 1
        if shared == len(here) and shared > depth:
            best, depth = number, shared
    return best


def _dotted(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', name))
