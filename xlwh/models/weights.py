"""Whether a loaded model has the weights of its files: each tensor with its own values, or left out by a rule.

transformers reports keys that are missing, mismatched and unexpected, but first takes out of its lists what a class says
may be ignored, and draws what it does not find at random. So its report is judged, and the files are read once more:
every tensor in them must be in the model, bit for bit in the model's number format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xlwh.errors import ModelError
from xlwh.models.families import family_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

LANGUAGE_MODEL_HEADS = (
    r"cls\.(predictions|seq_relationship)\..+",
    r"lm_head(\.(dense|layer_norm|decoder))?\.(weight|bias)",
    r"pred_layer\.proj\.(weight|bias)",
    r"(vocab_transform|vocab_layer_norm|vocab_projector)\.(weight|bias)",  # DistilBERT
    r"(generator_predictions|discriminator_predictions|generator_lm_head)\..+",  # ELECTRA
    r"(lm_predictions|mask_predictions)\..+",  # DeBERTa
    r"predictions\.(bias|(dense|decoder|LayerNorm)\..+)|sop_classifier\..+",  # ALBERT
    r"(head\.(dense|norm)|decoder)\.(weight|bias)",  # ModernBERT
    r"embed_out\.weight",  # GPT-NeoX
    r"final_logits_bias",  # mBART
)
"""Heads of language models, and what these are trained with beside: a checkpoint used as a bare body leaves them out."""
HEADS = (
    *LANGUAGE_MODEL_HEADS,
    r"(classifier|classification_head)(\.(dense|out_proj))?\.(weight|bias)",
    r"(qa_outputs|score|pre_classifier|dense)\.(weight|bias)",
    r"qa_outputs\.(start_logits|end_logits|answer_class)\..+",
    r"sequence_summary\.summary\.(weight|bias)",
)
"""Names of the weights of heads, in full: what a new head replaces, and what a bare encoder does not have."""
NEXT_SENTENCE = (r"cls\.seq_relationship\.(weight|bias)",)
"""BERT's second head, which its language model has no place for."""
POOLER = (r"(.+\.)?pooler(\.dense)?\.(weight|bias)",)
"""The pooler of an encoder: read by classifiers of whole texts only, so others have none, or one that nothing reads."""
DECODER = (r"(transformer\.)?decoder\..+",)
"""What a tagger on a text-to-text model's encoder leaves out."""
UNUSED = (r"(transformer\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)
"""A table in old T5 files that no T5 has ever read."""
POSITION_IDS = re.compile(r"(.+\.)?position_ids")
"""A buffer of older files: the numbers from 0."""
FREQUENCIES = re.compile(r"(.+\.)?rotary_emb\.inv_freq")
"""A buffer of older files: the rotary frequencies, which follow from the configuration."""
CAUSAL_MASK = re.compile(r"(.+\.)?(attn|attention)\.(bias|masked_bias)")
"""Buffers of older files: which tokens a token of GPT-2 or GPT-NeoX sees, and the score of the others."""
SINUSOIDS = re.compile(r"(.+\.)?embed_positions\.weights")
"""A buffer of older files: position vectors that follow from the configuration."""
ABSOLUTE = re.compile(r"(.+\.)?embeddings\.position_embeddings\.weight")
"""A table that DeBERTa's files have, and that its models without absolute positions never read."""
RENAMED = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))
"""Names of older files, and what they are called now."""
NAMED = 6
"""Names that an error lists."""


@dataclass
class _Comparison:
    """What became of the tensors of the files, as `name [shape]`, and which names of the model they fill."""

    filled: set[str] = field(default_factory=set)
    reshaped: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def refuse_other_weights(
    key: str, model: PreTrainedModel, files: Sequence[Path], report: Mapping[str, Any], new_head: bool
) -> None:
    """ModelError unless every weight of a loaded model is of its files, and every tensor of the files in the model.

    report: what `from_pretrained(output_loading_info=True)` returned. new_head: whether the model is to be trained under
    a head of its own: then the head's weights may be new, and those of the former head left out. Beside that, a pooler
    that nothing reads may be either, and buffers of older files that say the same as the model are left out.
    """
    faults = [str(message) for message in report.get("error_msgs") or ()]
    if faults:
        raise ModelError(f"Model `{key}`: its weights cannot be taken as they are: {_listed(faults)}")
    own = model.state_dict()
    head = {name for name in own if new_head and _matches(name, HEADS)}
    found = _compare(key, model, own, files, head, new_head)
    kind, folder = type(model).__name__, files[0].parent
    if found.reshaped:
        raise ModelError(
            f"Model `{key}`: config.json does not fit the weights: {len(found.reshaped)} weights of {kind} have "
            f"another shape in {folder}: {_listed(found.reshaped)}. Restore the config.json that was saved with them."
        )
    # Where a weight is tied, the files have it under one of its names.
    places = {own[name].data_ptr() for name in found.filled}
    drawn = {name for name, tensor in own.items() if tensor.data_ptr() not in places or not tensor.numel()}
    drawn |= set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}
    free = head | {name for name in own if _matches(name, POOLER) and (new_head or model.base_model is model)}
    missing = sorted(drawn - free - {name for name in own if not own[name].numel()})
    if missing:
        listed = [f"{name} {list(own[name].shape)}" if name in own else name for name in missing]
        raise ModelError(
            f"Model `{key}`: {len(missing)} weights of {kind} are not in {folder}, and would be random numbers: "
            f"{_listed(listed)}. Is config.json that of these weights?"
        )
    if found.stray:
        raise ModelError(
            f"Model `{key}`: {len(found.stray)} weights in {folder} have no place in {kind}, and would be left out: "
            f"{_listed(found.stray)}. {_advice(found.stray)}"
        )
    if found.other:
        raise ModelError(
            f"Model `{key}`: {len(found.other)} weights of {kind} are not those in {folder}: {_listed(found.other)}. "
            "Is config.json (`tie_word_embeddings`, say) that of these weights?"
        )


def _compare(
    key: str,
    model: PreTrainedModel,
    own: Mapping[str, Tensor],
    files: Sequence[Path],
    head: set[str],
    new_head: bool,
) -> _Comparison:
    found = _Comparison()
    for name, tensor in _tensors(key, files):
        shape = list(tensor.shape)
        place = _place(name, own, model.base_model_prefix)
        if place is None:
            if not _may_be_left_out(name, tensor, model, new_head):
                found.stray.append(f"{name} {shape}")
        elif tensor.shape != own[place].shape:
            if place not in head:
                found.reshaped.append(f"{name} {shape} (config.json makes it {list(own[place].shape)})")
        else:
            found.filled.add(place)
            if not _equal(tensor, own[place]):
                found.other.append(f"{name} {shape}")
    return found


def _place(name: str, own: Mapping[str, Tensor], prefix: str) -> str | None:
    """Name in the model of a tensor of the files: bodies are saved with and without their head's prefix."""
    for pattern, present in RENAMED:
        name = re.sub(pattern, present, name)
    candidates = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
    return next((candidate for candidate in candidates if candidate in own), None)


def _may_be_left_out(name: str, tensor: Tensor, model: PreTrainedModel, new_head: bool) -> bool:
    if _matches(name, (*UNUSED, *POOLER, *NEXT_SENTENCE)):
        return True
    if POSITION_IDS.fullmatch(name):
        return torch.equal(tensor.flatten().long(), torch.arange(tensor.numel()))
    if FREQUENCIES.fullmatch(name):
        return _same_frequencies(tensor, model)
    if CAUSAL_MASK.fullmatch(name):
        return _is_causal_mask(tensor)
    if SINUSOIDS.fullmatch(name):
        return _same_sinusoids(name, tensor, model)
    if ABSOLUTE.fullmatch(name) and getattr(model.config, "position_biased_input", True) is False:
        return True
    if new_head and _matches(name, HEADS):
        return True
    if new_head and family_of(model).decoder_input is not None and _matches(name, DECODER):
        return not any(_matches(other, DECODER) for other in model.state_dict())
    return model.base_model is model and _matches(name, LANGUAGE_MODEL_HEADS)


def _same_frequencies(tensor: Tensor, model: PreTrainedModel) -> bool:
    buffers = [buffer.float().cpu() for name, buffer in model.named_buffers() if FREQUENCIES.fullmatch(name)]
    # Older files have them in half precision too.
    return bool(buffers) and all(
        buffer.shape == tensor.shape and torch.allclose(buffer, tensor.float(), rtol=1e-2, atol=1e-6)
        for buffer in buffers
    )


def _is_causal_mask(tensor: Tensor) -> bool:
    if not tensor.dim() or tensor.numel() == 1:
        return float(tensor) <= -1e4
    square = tensor.flatten(0, -3)
    return len(square) == 1 and torch.equal(square[0].bool(), torch.ones_like(square[0]).tril().bool())


def _same_sinusoids(name: str, tensor: Tensor, model: PreTrainedModel) -> bool:
    buffers = {own: buffer for own, buffer in model.named_buffers() if SINUSOIDS.fullmatch(own)}
    place = _place(name, buffers, model.base_model_prefix)
    if place is None or buffers[place].shape[1:] != tensor.shape[1:]:
        return False
    rows = min(len(tensor), len(buffers[place]))
    return torch.allclose(buffers[place][:rows].float().cpu(), tensor[:rows].float(), rtol=1e-2, atol=1e-3)


def _equal(tensor: Tensor, own: Tensor) -> bool:
    if own.is_floating_point() and not tensor.is_floating_point():
        return False  # packed or quantised numbers
    return torch.equal(tensor.to(own.dtype), own.cpu())


def _tensors(key: str, files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    yield name, opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"Model `{key}`: {file} cannot be read: {error}") from None


def _advice(stray: list[str]) -> str:
    text = " ".join(stray)
    if "lora_" in text or "modules_to_save" in text or "base_layer" in text:
        return "They are an adapter's that was not merged: merge it with `merge_and_unload` and save the model again."
    if "distance_embedding" in text:
        return "They are relative positions, which transformers 5 no longer computes: the model would be another one."
    return "Is config.json that of these weights?"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _listed(names: list[str]) -> str:
    return "; ".join(names[:NAMED]) + (f"; and {len(names) - NAMED} more" if len(names) > NAMED else "")
