"""Hidden states of chosen layers in one forward pass, which ends as soon as the last of them is known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from xlwh.errors import ModelError
from xlwh.models.families import HiddenSite, Stack, family_of
from xlwh.models.hooks import on_call

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel

Place = tuple[Stack, int]
"""A stack and the number of a hidden state in it: 0 what enters its first layer, L what leaves its last one."""


def places(
    model: nn.Module, layers: Sequence[int] | None = None, stacks: Collection[Stack] | None = None
) -> tuple[Place, ...]:
    """The chosen hidden states in the order of the forward pass; None chooses all.

    Negative numbers count from the last layer of each stack (-1 is the last hidden state). ModelError for a layer
    or a stack that the model does not have.
    """
    sites = family_of(model).hidden_sites(model)
    found = list(dict.fromkeys(site.stack for site in sites))
    for stack in stacks or ():
        if stack not in found:
            raise ModelError(f"{type(model).__name__} has no {stack}; it has: {', '.join(found)}.")
    chosen: list[Place] = []
    for stack in found if stacks is None else [stack for stack in found if stack in stacks]:
        count = sum(site.stack == stack for site in sites)
        wanted = range(count) if layers is None else layers
        for layer in wanted:
            if not -count <= layer < count:
                raise ModelError(
                    f"{type(model).__name__} has no layer {layer} in its {stack}: 0 (embeddings) to {count - 1}."
                )
        chosen += [(stack, layer) for layer in sorted({layer % count for layer in wanted})]
    return tuple(chosen)


def hidden_states(
    loaded: LoadedModel,
    inputs: Mapping[str, Tensor],
    layers: Sequence[int] | None = None,
    stacks: Collection[Stack] | None = None,
) -> dict[Place, Tensor]:
    """Hidden states `[rows, length, width]` of the chosen layers, in the order of the forward pass.

    `inputs` are the keyword arguments of the forward pass (`Batch.inputs`). Equal to transformers'
    `output_hidden_states=True`, but no layer beyond the last one chosen is computed, nor a head. Gradients flow
    where the caller has them enabled. In an encoder-decoder, `length` is that of each stack's own input.
    """
    return states_at(loaded, inputs, places(loaded.model, layers, stacks))


def states_at(
    loaded: LoadedModel, inputs: Mapping[str, Tensor], chosen: Collection[Place]
) -> dict[Place, Tensor]:
    """The same for hidden states that are named one by one, as stacks of different depths need it."""
    states: dict[Place, Tensor] = {}
    if not chosen:
        return states
    with _recording(loaded.model, chosen, inputs["attention_mask"], states):
        try:
            loaded.model(**inputs)
        except _Complete:
            return states
    missing = ", ".join(f"{stack} {layer}" for stack, layer in chosen if (stack, layer) not in states)
    raise ModelError(
        f"The forward pass of model `{loaded.key}` did not come by the hidden states: {missing}."
    )


class _Complete(Exception):  # noqa: N818 (no error)
    """Ends a forward pass whose remainder nobody needs."""


@contextmanager
def _recording(
    model: nn.Module, chosen: Collection[Place], mask: Tensor, states: dict[Place, Tensor]
) -> Iterator[None]:
    with ExitStack() as hooks:
        for site in family_of(model).hidden_sites(model):
            if (site.stack, site.layer) in chosen:
                hook = _hook(site, mask, states, len(chosen))
                hooks.enter_context(on_call(model, site.module, site.call, site.at, hook))
        yield


def _hook(site: HiddenSite, mask: Tensor, states: dict[Place, Tensor], total: int) -> Any:
    def hook(_: nn.Module, arguments: tuple[Any, ...], *output: Any) -> None:
        found = output[0] if site.at == "output" else arguments
        state: Tensor = found[0] if isinstance(found, tuple) else found
        if site.zero_padding:
            state = state * mask[..., None].to(state.dtype)
        states[site.stack, site.layer] = state
        if len(states) == total:
            raise _Complete

    return hook
