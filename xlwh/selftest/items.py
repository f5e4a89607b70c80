"""The items of the self-test, and which capability is refused where one fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

VERSION = "3"
"""Raise it when an item is added, judged otherwise, or what it tries works otherwise: every model is then tested again."""

Status = Literal["passed", "failed", "not_applicable"]

Capability = Literal[
    "tokens",
    "predictions",
    "attributions",
    "integrated_gradients",
    "lig",
    "attention_weights",
    "attention_rows",
    "perturbations",
    "activations",
    "heads",
]
"""What a model can be used for, each refused by itself."""

CAPABILITIES: dict[Capability, tuple[Capability, ...]] = {
    "tokens": (),
    "predictions": ("tokens",),
    "attributions": ("predictions",),
    "integrated_gradients": ("attributions",),
    "lig": ("integrated_gradients",),
    "attention_weights": ("tokens",),
    "attention_rows": ("attention_weights", "attributions"),
    "perturbations": ("predictions",),
    "activations": ("tokens",),
    "heads": ("predictions",),
}
"""Each capability, and those that it needs in turn: where one is refused, so is what is built on it."""

_METHODS: dict[str, Capability] = {
    "random": "predictions",
    "lig": "lig",
    "lig_fixed": "lig",
    "integrated_gradients": "integrated_gradients",
    "integrated_gradients_mask": "integrated_gradients",
    "attention": "attention_rows",
    "scaled_attention": "attention_rows",
    "released_scaled_attention": "attention_rows",
}


_LABELS: dict[Capability, str] = {"lig": "attributions by lig"}


@dataclass(frozen=True)
class Item:
    """One thing that is tried."""

    name: str
    capability: Capability
    """Refused where the item fails; `completeness` may refuse `lig` alone."""
    claim: str
    """What holds where it passes."""


ITEMS: tuple[Item, ...] = (
    Item(
        "token_ids",
        "tokens",
        "Token ids and token types of an example are those of the checkpoint's own tokenizer for the whole text.",
    ),
    Item(
        "own_forward",
        "predictions",
        "The outputs for one example are those of transformers' own forward pass on its token ids.",
    ),
    Item("batched", "predictions", "Examples in one batch give the outputs that each gives alone."),
    Item("padded_left", "predictions", "So do they with padding on the left."),
    Item("padded_right", "predictions", "So do they with padding on the right."),
    Item(
        "word_vectors",
        "attributions",
        "Word vectors replaced by themselves change no output; zero vectors change it.",
    ),
    Item(
        "completeness",
        "integrated_gradients",
        "Layer integrated gradients of two examples add up to the change of the output.",
    ),
    Item(
        "attention_weights",
        "attention_weights",
        "Attention weights sum to 1 over the tokens, none falls on padding, and computing them changes no output.",
    ),
    Item(
        "read_position",
        "attention_rows",
        "The classifier reads one position of the last hidden state, the same one in a batch as alone.",
    ),
    Item(
        "p_full",
        "perturbations",
        "Perturbations that change nothing give the probability of `predictions`, hard and soft.",
    ),
    Item(
        "hidden_states",
        "activations",
        "Hidden states of every layer are those that the model itself returns, in a batch as alone.",
    ),
    Item(
        "gates",
        "heads",
        "Closing the gates of half of the heads equals zeroing their columns of the output projections.",
    ),
    Item(
        "head_engine",
        "heads",
        "The evaluation of coalitions gives the outputs of full forward passes with the same gates.",
    ),
)
"""Every item, in the order in which they are tried."""


@dataclass(frozen=True)
class Result:
    """What became of one item on one model."""

    item: str
    capability: Capability
    status: Status
    deviation: float | None
    """Largest deviation, relative to the largest value compared (of probabilities: absolute); None where nothing was
    measured, or what was is not finite."""
    tolerance: float | None
    detail: str

    def row(self) -> dict[str, Any]:
        """As it is stored in `models.self_test`."""
        return asdict(self)


def capability_of(method: str) -> Capability:
    """What an attribution method needs of a model."""
    return _METHODS.get(method, "attributions")


def needed(capability: Capability) -> tuple[Capability, ...]:
    """A capability and all that it is built on, the innermost first."""
    found: dict[Capability, None] = {}
    for inner in CAPABILITIES[capability]:
        found.update(dict.fromkeys(needed(inner)))
    return (*found, capability)


def refusal(model: str, results: Sequence[Result], capability: Capability) -> str | None:
    """Why a model may not be used for something: the failed items by name; None where it may."""
    guarding = needed(capability)
    failed = [result for result in results if result.status == "failed" and result.capability in guarding]
    if not failed:
        return None
    reasons = "; ".join(
        f"self-test item `{result.item}` failed"
        + (
            ""
            if result.deviation is None or result.tolerance is None
            else f" (deviation {result.deviation:.2g}, tolerance {result.tolerance:.2g})"
        )
        + f": {result.detail}"
        for result in failed
    )
    return (
        f"Model `{model}`: {_LABELS.get(capability, capability.replace('_', ' '))} are refused: {reasons} "
        "See `models.self_test`, and docs/selftest.md on what to do."
    )


def summary(results: Sequence[Result]) -> dict[str, object]:
    """How many items passed, and each that failed with what it refuses."""
    found: dict[str, object] = {"passed": sum(result.status == "passed" for result in results)}
    failed = [f"{r.item} ({r.capability} refused): {r.detail}" for r in results if r.status == "failed"]
    return found | ({"failed": failed} if failed else {})


def self_tested(results: Sequence[Result], with_: str) -> dict[str, Any]:
    """The columns of `models` about the self-test: `with_` are the versions that it was run with."""
    return {"self_test": [result.row() for result in results], "self_tested_with": with_}
