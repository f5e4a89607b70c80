"""Pruned models: a mask as JSON, and a transformers model without the removed heads.

In encoders of BERT's layout the heads' parameters are taken out, so the model is smaller and faster; what is left
computes the same as with closed gates, for a closed gate leaves nothing of a head but its place. transformers cannot
say in a configuration that layers have different numbers of heads, so `load_pruned` reads such a folder. In other
families the heads stay, and gates are closed for good.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlwh.errors import ModelError
from xlwh.heads.players import Player
from xlwh.jsons import parsed
from xlwh.models.families import family_of
from xlwh.models.families.base import base_model
from xlwh.models.pins import refuse_foreign
from xlwh.store.files import write_whole

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel

MASK_FILE = "pruned_heads.json"


def mask_json(removed: Iterable[Player], **about: str) -> str:
    """Removed heads, layer by layer, with whatever else the reader should know (model, language, ranking)."""
    layers: dict[str, list[int]] = {}
    for player in sorted(removed):
        if player.unit != "head":
            raise ModelError(f"A mask as JSON holds heads, not {player.unit} {player.layer}.")
        layers.setdefault(str(player.layer), []).append(player.head)
    return json.dumps({**about, "removed_heads": layers}, indent=1)


def read_mask(text: str) -> tuple[Player, ...]:
    """The removed heads of `mask_json`; ModelError where the text is no mask."""
    try:
        layers = parsed(text)["removed_heads"]
        return tuple(Player("head", int(layer), int(head)) for layer in layers for head in layers[layer])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"This is no mask of heads: {error}") from None


def without_heads(model: nn.Module, removed: Iterable[Player]) -> nn.Module:
    """A copy of the model without these heads: taken out of BERT's layout, gated for good elsewhere.

    ModelError for a head that the model has not.
    """
    pruned = copy.deepcopy(model)
    family = family_of(pruned)
    sites = family.attention_sites(pruned)
    gone: dict[int, list[int]] = {}
    for player in removed:
        if (
            player.unit != "head"
            or player.layer >= len(sites)
            or player.head >= sites[player.layer].num_heads
        ):
            raise ModelError(f"{type(model).__name__} has no {player}.")
        gone.setdefault(player.layer, []).append(player.head)
    for layer, heads in gone.items():
        site = sites[layer]
        if site.call.of > 1:
            raise ModelError(
                f"{type(model).__name__} has one set of weights for several layers: a head cannot be taken out of one of "
                "them. Gates do it (`xlwh.models.gates.gated`)."
            )
        if family.bert_layout:
            _take_out(
                base_model(pruned).encoder.layer[layer].attention, heads, site.num_heads, site.head_size
            )
        else:
            site.output.weight.data = site.without(site.output.weight, heads)
    return pruned


def save_pruned(loaded: LoadedModel, removed: Iterable[Player], folder: Path, **about: str) -> nn.Module:
    """Write the pruned model, its tokenizer and its mask to a folder that `load_pruned` reads; returns the model."""
    from safetensors.torch import save_file

    heads = tuple(removed)
    pruned = without_heads(loaded.model, heads)
    folder.mkdir(parents=True, exist_ok=True)
    # The mask comes last, and goes first: a folder without one holds no pruned model.
    (folder / MASK_FILE).unlink(missing_ok=True)
    loaded.config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    # Tied weights are stored once under each name: a copy keeps safetensors from refusing shared memory.
    state = {name: value.contiguous().clone() for name, value in pruned.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    write_whole(folder / MASK_FILE, mask_json(heads, **about).encode("utf-8"))
    return pruned


def load_pruned(folder: Path) -> nn.Module:
    """The model that `save_pruned` wrote, in evaluation mode.

    ModelError where the folder holds none, or where its weights are not all those of its mask and configuration.
    """
    import transformers
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / MASK_FILE).is_file():
        raise ModelError(f"{folder} holds no pruned model: there is no {MASK_FILE}.")
    removed = read_mask((folder / MASK_FILE).read_text(encoding="utf-8"))
    refuse_foreign(str(folder), folder)
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        (name,) = config.architectures
        made = getattr(transformers, name)(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}/config.json is not usable: {error}") from None
    pruned = without_heads(made, removed)
    try:
        weights = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}/model.safetensors cannot be read: {error}") from None
    own = pruned.state_dict()
    wrong = [
        f"{key} {_shape(weights, key)} (mask and configuration make it {_shape(own, key)})"
        for key in sorted(own.keys() | weights.keys())
        if _shape(own, key) != _shape(weights, key)
    ]
    if wrong:
        raise ModelError(
            f"{folder}: {len(wrong)} weights do not fit {MASK_FILE} and config.json: {'; '.join(wrong[:5])}"
        )
    pruned.load_state_dict(weights)
    return pruned.eval()


def _shape(weights: Mapping[str, Tensor], key: str) -> list[int] | None:
    return list(weights[key].shape) if key in weights else None


def _take_out(attention: Any, heads: list[int], num_heads: int, head_size: int) -> None:
    """Shrink one layer's projections to the heads that stay."""
    stay = [head for head in range(num_heads) if head not in heads]
    columns = torch.tensor(
        [head * head_size + i for head in stay for i in range(head_size)], dtype=torch.long
    )
    inner = attention.self
    for name in ("query", "key", "value"):
        _keep(getattr(inner, name), columns, rows=True)
    _keep(attention.output.dense, columns, rows=False)
    inner.num_attention_heads = len(stay)
    inner.all_head_size = len(stay) * head_size
    if not stay:
        attention.self = _NoHeads(inner)


def _keep(linear: nn.Linear, index: Tensor, rows: bool) -> None:
    index = index.to(linear.weight.device)
    weight = linear.weight.data.index_select(0 if rows else 1, index)
    linear.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    if rows:
        linear.bias = nn.Parameter(linear.bias.data[index], requires_grad=linear.bias.requires_grad)
        linear.out_features = len(index)
    else:
        linear.in_features = len(index)


class _NoHeads(nn.Module):
    """A layer's attention when no head is left: nothing, so that the projection adds its bias alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        # Empty parameters under their old names, so that a state dict fits.
        for name in ("query", "key", "value"):
            self.add_module(name, getattr(inner, name))

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return hidden.new_zeros(*hidden.shape[:-1], 0), None
