"""Attention weights, which only the eager implementation computes as such.

Under sdpa, transformers answers `output_attentions=True` with empty tuples and no error; here the model is
switched to eager for the pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlwh.errors import ModelError
from xlwh.models.families import AttentionSite

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel


@dataclass(frozen=True)
class Attended:
    """A forward pass with its attention weights."""

    output: Any
    """What the model returned: `output.logits` and the like."""
    weights: dict[int, Tensor]
    """Site (index into `Family.attention_sites`) -> `[rows, heads, queries, keys]`, each row summing to 1."""

    def gradients(self, values: Tensor) -> dict[int, Tensor]:
        """Gradients of the sum of `values` (one output per row, of this pass) to the weights, in their shape."""
        sites = list(self.weights)
        found = torch.autograd.grad(values.sum(), [self.weights[site] for site in sites], retain_graph=True)
        return dict(zip(sites, found, strict=True))


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Switch a model to eager attention inside; as before afterwards."""
    switchable: Any = model
    before = switchable.config._attn_implementation
    if before == "eager":
        yield
        return
    switchable.set_attn_implementation("eager")
    try:
        yield
    finally:
        switchable.set_attn_implementation(before)


def attentions(
    loaded: LoadedModel, inputs: Mapping[str, Tensor], sites: Sequence[int] | None = None
) -> Attended:
    """A forward pass with the attention weights of the chosen sites (None: all; negative: from the last one).

    `inputs` are the keyword arguments of the forward pass (`Batch.inputs`). For gradients call it with gradients
    enabled; a model whose weights are frozen has them only from its word vectors on (`input_gradients`).
    ModelError for a site that does not exist.
    """
    known = loaded.family.attention_sites(loaded.model)
    wanted = range(len(known)) if sites is None else sites
    for site in wanted:
        if not -len(known) <= site < len(known):
            raise ModelError(f"Model `{loaded.key}` has no attention site {site}: 0 to {len(known) - 1}.")
    with eager_attention(loaded.model):
        output = loaded.model(**inputs, output_attentions=True)
    chosen = sorted({site % len(known) for site in wanted})
    return Attended(output, {site: _weights(loaded, output, known[site]) for site in chosen})


def last_reading_site(loaded: LoadedModel) -> int:
    """The last site of the attention by which the classifier's position reads the input's tokens."""
    sites = loaded.family.attention_sites(loaded.model)
    kinds = {site.kind for site in sites}
    # A tagger on a T5 encoder has no decoder: its own positions read the input.
    kind = loaded.family.reading_attention if loaded.family.reading_attention in kinds else "encoder"
    return max(index for index, site in enumerate(sites) if site.kind == kind)


def rows_at(weights: Tensor, position: Tensor) -> Tensor:
    """Attention of one position of each row, `[rows]`, to every input token: `[rows, heads, keys]`.

    The position that a classifier reads is found by `xlwh.models.reading`.
    """
    rows = torch.arange(len(position), device=position.device)
    return weights[rows, :, position]


@contextmanager
def input_gradients(loaded: LoadedModel) -> Iterator[None]:
    """Inside, word vectors require gradients, so that everything computed from them has some.

    Models are loaded with frozen weights: without this nothing in a forward pass has a gradient.
    """

    def require(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.requires_grad_(True) if output.is_leaf else output

    handle = loaded.family.word_embedding(loaded.model).register_forward_hook(require)
    try:
        yield
    finally:
        handle.remove()


def _weights(loaded: LoadedModel, output: Any, site: AttentionSite) -> Tensor:
    try:
        return loaded.family.attention_weights(output, site)
    except (AttributeError, IndexError, TypeError):
        raise ModelError(
            f"Model `{loaded.key}` returned no weights of its {site.kind} attention in layer {site.layer}."
        ) from None
