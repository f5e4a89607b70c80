"""Token attributions: methods and what they explain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from xlwh.study.base import BatchTokens, Key, Part


class Lig(Part):
    """Layer integrated gradients along the path from a PAD baseline.

    Where a model has no gradient there (word vectors are normalised at once, and that of PAD is zero), from the mask
    token's vector or the mean of all word vectors; each run's parameters say which.
    """

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


class FixedLig(Lig):
    """The same by a fixed quadrature by default, so that a study can have both."""

    quadrature: Literal["adaptive", "fixed"] = Field(
        "fixed", description="Fixed Gauss-Legendre (the papers' variant), or `adaptive` panels."
    )


class RandomAttribution(Part):
    """Mean of seeded uniform draws: the floor that every method has to beat."""

    draws: int = Field(10, ge=1)


class IntegratedGradients(Lig):
    """Integrated gradients from another baseline than PAD."""

    baseline: Literal["default", "zero", "mask", "pad", "mean"] = Field(
        "default",
        description="What all but the special tokens are at the start of the path. `default`: the first of zero, mask, pad "
        "and the mean of all word vectors at which the model has a gradient (not zero where word vectors are normalised "
        "at once, as in T5, Llama and Qwen); each run's parameters say which.",
    )


class IntegratedGradientsMask(IntegratedGradients):
    """The same from the mask token by default, so that a study can have both."""

    baseline: Literal["default", "zero", "mask", "pad", "mean"] = "mask"


class InputXGradient(Part):
    """Word vector times gradient, position by position."""

    reduction: Literal["signed", "l2"] = Field(
        "signed", description="Over embedding dimensions: the sum, or the L2 norm of the products."
    )


class AttentionWeights(Part):
    """Last layer, the row that the classifier reads, mean over heads."""


class ScaledAttention(Part):
    """The same, times the mean over heads of its gradient."""


class ReleasedScaledAttention(Part):
    """What the released code of arXiv 2403.12809 calls scaled attention: nearly attention squared. Its `attention` is ours."""


class ReleasedInputXGradient(Part):
    """The released code's gradients: those of the word embedding's weight times the word vector, absolute."""


class ReleasedIntegratedGradients(Part):
    """The released code's integrated gradients: 11 such gradients, the embeddings scaled after their LayerNorm."""


class DeepLift(Part):
    """captum's DeepLift; on transformers its rules cover little, see the run's parameters."""

    baseline: Literal["zero", "mask", "pad"] = "pad"


class GradientShap(Part):
    """captum's GradientShap, seeded by the example."""

    samples: int = Field(20, ge=1, description="Gradient rows per example.")
    noise: float = Field(0.0, ge=0, description="Standard deviation of the noise added to word vectors.")


class Occlusion(Part):
    """Logit lost when one token is replaced."""

    replace_by: Literal["mask", "pad"] = "mask"


class OwnMethod(Part):
    """A method of the user: a function in a module beside the study file or on Python's path.

    Whatever else stands in its table are parameters of its own, passed on as attributes.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    function: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = Field(
        description="`module:function` with the signature of xlwh.attribution.base.Method."
    )


class Methods(Part):
    """Methods by name; any other name is one of the user's own. `false` instead of a table leaves one out."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[Key, OwnMethod] = Field(init=False)

    lig: Lig | None = Field(default_factory=Lig)
    lig_fixed: FixedLig | None = None
    integrated_gradients: IntegratedGradients | None = None
    integrated_gradients_mask: IntegratedGradientsMask | None = None
    input_x_gradient: InputXGradient | None = None
    attention: AttentionWeights | None = None
    scaled_attention: ScaledAttention | None = None
    deeplift: DeepLift | None = None
    gradient_shap: GradientShap | None = None
    occlusion: Occlusion | None = None
    released_scaled_attention: ReleasedScaledAttention | None = None
    released_input_x_gradient: ReleasedInputXGradient | None = None
    released_integrated_gradients: ReleasedIntegratedGradients | None = None
    random: RandomAttribution | None = Field(default_factory=RandomAttribution)

    @field_validator("lig", "random", mode="before")
    @classmethod
    def _left_out(cls, value: Any) -> Any:
        # TOML has no null.
        return None if value is False else value


class Probes(Part):
    """Checks of attributions, for a few examples: infidelity and sensitivity (Yeh et al. 2019)."""

    models: tuple[Key, ...] | None = Field(
        None, description="Models whose attributions are checked; default: every one."
    )
    datasets: tuple[Key, ...] | None = Field(
        None, description="Datasets on which they are; default: all that are attributed."
    )
    methods: tuple[Key, ...] | None = Field(
        None, description="Attribution methods to check; default: all that the study computes."
    )
    max_examples: int = Field(20, ge=1, description="Examples per dataset and language.")
    draws: int = Field(10, ge=1, description="Sets of removed tokens, and noises, per example.")
    radius: float = Field(
        0.1,
        ge=0,
        description="Half-width of the noise, relative to the root mean square of the example's word vectors; "
        "0: no sensitivity, which attributes anew for every draw.",
    )


class Attribution(Part):
    """What is attributed, and how."""

    max_examples: int | None = Field(
        None, ge=1, description="Examples per dataset, the same ids in every language; default: all."
    )
    target: Literal["source_prediction", "own_prediction", "gold"] = Field(
        "source_prediction",
        description="Class that is explained on both sides of a pair. Of tags and answers it is the language's own "
        "prediction, or for tags the gold one.",
    )
    words_per_example: int | None = Field(
        1,
        ge=1,
        description="Words of a sentence whose tags are explained, or sub-tokens of a translation; drawn by seed.",
    )
    methods: Methods = Field(default_factory=Methods)
    probes: Probes | None = Field(None, description="Also check how attributions agree with the model.")
    batch_tokens: BatchTokens = Field(
        None,
        ge=64,
        description="Padded sub-tokens per model call; default: 2,048 on a CPU, on a GPU what fits its free memory.",
    )
