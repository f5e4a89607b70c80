"""Models and the recipes that they are fine-tuned by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from xlwh.study.base import Key, Part, Revision
from xlwh.study.generation import Generation, Scratch


class Finetune(Part):
    """A fine-tuning recipe: base + dataset + languages + seed.

    Defaults are the settings customary for XNLI and PAWS-X with encoders of base size (XTREME): AdamW, 2e-5,
    batch 32, linear warm-up and decay, 128 sub-tokens. XTREME differs for tagging (10 epochs) and for question
    answering (2 epochs, 3e-5, 384 sub-tokens).
    """

    base: Key = Field(description="Key of another model of this study.")
    dataset: Key = Field(description="Key of the dataset to train on.")
    languages: tuple[Key, ...] = Field(min_length=1, description="Source languages, jointly.")
    dev_dataset: Key | None = Field(
        None,
        description="Dataset whose score picks the best checkpoint; default: a held-out part of `dataset`.",
    )
    dev_languages: tuple[Key, ...] | None = Field(
        None,
        min_length=1,
        description="Languages of `dev_dataset` whose examples, taken together, pick the best checkpoint; default: those "
        "trained on, as far as it has them.",
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

    @model_validator(mode="after")
    def _of_a_dataset(self) -> Finetune:
        if self.dev_languages is not None and self.dev_dataset is None:
            raise ValueError("`dev_languages` are those of a `dev_dataset`: name that too")
        return self


class Inputs(Part):
    """How examples become inputs of a task that does not take a whole text at once: the same in training and later."""

    tagged_piece: Literal["first", "last"] = Field(
        "first", description="Token classification: the sub-token of a word that carries its tag."
    )
    doc_stride: int = Field(
        128,
        ge=1,
        description="Question answering: sub-tokens that neighbouring windows over a long context share.",
    )
    max_question: int = Field(
        64, ge=1, description="Question answering: sub-tokens of the question that are kept; more are cut."
    )
    max_answer: int = Field(
        30, ge=1, description="Question answering: longest predicted answer in sub-tokens."
    )
    empty_windows: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Question answering: share of the windows without the answer that are trained on.",
    )

    def changed(self) -> dict[str, Any]:
        """The settings that are not the default: an option that is added later makes nothing stale."""
        return {
            name: getattr(self, name)
            for name, field in Inputs.model_fields.items()
            if getattr(self, name) != field.default
        }


class Tokenization(Part):
    """Texts cut into other sub-tokens than the tokenizer would, to see what depends on that alone."""

    sampling: float = Field(
        gt=0,
        le=1,
        description="Rate of Unigram sampling, BPE-dropout or MaxMatch-Dropout, by kind of tokenizer.",
    )
    alpha: float = Field(
        0.2, ge=0, description="Unigram: smoothing of the distribution that pieces are drawn from."
    )
    seed: int = Field(0, ge=0)


class Randomization(Part):
    """Shuffled weights, to see whether attributions notice."""

    parts: Literal["head", "all"] = Field("all", description="Parameters that are shuffled.")
    seed: int = Field(0, ge=0)


class Model(Inputs):
    """One model: a hub id with a revision, a local folder, a fine-tune recipe, one with random weights, or the weights
    of another model of the study under other options.
    """

    hub: str | None = Field(None, description="Model id on the Hugging Face hub.")
    revision: Revision | None = Field(None, description="40-character commit of the hub model.")
    path: str | None = Field(None, description="Local folder, relative to the study file.")
    adapter: str | None = Field(
        None,
        description="Folder of a LoRA adapter that peft saved, relative to the study file, merged into `path` or `hub`.",
    )
    finetune: Finetune | None = Field(None, description="Train it here from another model of the study.")
    scratch: Scratch | None = Field(None, description="Make it here with random weights, to be fine-tuned.")
    weights_of: Key | None = Field(None, description="Key of the model of this study whose weights it has.")
    tokenization: Tokenization | None = Field(
        None, description="Cut texts in another way when the model is evaluated."
    )
    randomization: Randomization | None = Field(
        None, description="Shuffle the weights: a twin to check attributions against."
    )
    datasets: tuple[Key, ...] = Field((), description="Datasets it is evaluated on.")
    labels: tuple[str, ...] | None = Field(
        None, description="Class labels in the order of the logits; default: the checkpoint's id2label."
    )
    source_languages: tuple[Key, ...] | None = Field(
        None,
        description="Source languages of its consistency; default: the ones it was fine-tuned on, else the study's first language.",
    )
    finetuned_languages: tuple[Key, ...] | None = Field(
        None,
        min_length=1,
        description="Languages that it was fine-tuned on elsewhere; without it, it counts as not fine-tuned.",
    )
    languages: tuple[Key, ...] | None = Field(
        None, min_length=1, description="Languages it is evaluated in; default: those of its datasets."
    )
    counterpart_of: Key | None = Field(
        None,
        description="Key of the multilingual model that this one is the (monolingual) counterpart of.",
    )
    attribution_methods: tuple[Key, ...] | None = Field(
        None,
        description="Attribution methods that are used on it; default: all that the study computes, [] none.",
    )
    published_as: str | None = Field(None, description="Name of this model in the papers' tables.")
    generation: Generation = Field(default_factory=Generation)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    max_length: int = Field(
        256, ge=8, description="Longest input in sub-tokens; longer ones are cut and counted."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        sources = (self.hub, self.path, self.finetune, self.scratch, self.weights_of)
        if sum(x is not None for x in sources) != 1:
            raise ValueError("give exactly one of `hub`, `path`, `finetune`, `scratch` and `weights_of`")
        if self.randomization is not None and self.weights_of is None:
            raise ValueError(
                "`randomization` is for a twin: give it to a model with `weights_of` another one"
            )
        if self.tokenization is not None and (self.finetune or self.scratch) is not None:
            raise ValueError(
                "`tokenization` is for a model that stands: give it to one with `weights_of` this one"
            )
        if self.adapter is not None and self.hub is None and self.path is None:
            raise ValueError("`adapter` is merged into a checkpoint: give its base as one of `hub` or `path`")
        if self.finetuned_languages is not None and self.hub is None and self.path is None:
            raise ValueError(
                "`finetuned_languages` is for a checkpoint made elsewhere: one of `hub` or `path`"
            )
        if self.hub is not None and self.revision is None:
            raise ValueError("a hub model needs `revision`, a 40-character commit. Run: xlwh pin")
        return self

    @property
    def base(self) -> str | None:
        """Key of the model that this one is made from: fine-tuned from it, or with its weights or its tokenizer."""
        if self.finetune is not None:
            return self.finetune.base
        if self.weights_of is not None:
            return self.weights_of
        return None if self.scratch is None else self.scratch.tokenizer_of

    @property
    def training_datasets(self) -> frozenset[str]:
        """Datasets that its weights or its tokenizer are made from."""
        named: tuple[str | None, ...] = ()
        if self.finetune is not None:
            named = (self.finetune.dataset, self.finetune.dev_dataset)
        elif self.scratch is not None:
            named = (self.scratch.dataset,)
        return frozenset(name for name in named if name is not None)
