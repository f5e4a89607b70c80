"""Adapters: a folder that peft saved, and the base that it was trained on, as one model.

`pinned` is cheap and imports no torch. `merged` adds the adapter's matrices to the weights of the loaded base, once, in
float32: from then on it is a model like any other. peft does it (extra `adapters`).
"""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlwh.digests import HashCache
from xlwh.errors import ModelError
from xlwh.jsons import read_object
from xlwh.models.pins import Pin

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter that are read."""
HEADS = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
    "CAUSAL_LM": "ForCausalLM",
    "SEQ_2_SEQ_LM": "ForConditionalGeneration",
}
"""peft's `task_type` -> end of the name of the class that the adapter was trained in; others leave the base's own."""
_HEAD = re.compile(r"(For[A-Z]\w*|LMHeadModel|WithLMHeadModel|EncoderModel|Model)$")
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""`init_lora_weights` that leave the base as it was when the adapter was begun."""


def config_of(key: str, folder: Path) -> dict[str, Any]:
    """What an adapter's configuration says; ModelError where it is none that can be merged exactly."""
    if not folder.is_dir():
        raise ModelError(f"Model `{key}`: no folder {folder}, which `adapter` names.")
    if not (folder / CONFIG).is_file():
        raise ModelError(f"Model `{key}`: {folder} holds no {CONFIG}: it is no adapter of peft's.")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"Model `{key}`: {folder} holds no {WEIGHTS}. Pickled adapters are not read: save it again with "
            "`save_pretrained(folder, safe_serialization=True)` where you trust it."
        )
    config = read_object(folder / CONFIG, ModelError, f"Model `{key}`: ")
    where = f"Model `{key}`: {folder / CONFIG}"
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"{where} has `peft_type` = `{config.get('peft_type')}`. Adapters of type LORA are merged; others are not "
            "supported. Merge it with peft and name the merged folder as `path`, if peft can."
        )
    start = config.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise ModelError(
            f"{where} has `init_lora_weights` = `{start}`, which changes the base's weights where the adapter begins. Save it "
            "as a plain one (peft: `path_initial_model_for_weight_conversion` of `save_pretrained`)."
        )
    for entry in ("trainable_token_indices", "megatron_config", "layer_replication"):
        if config.get(entry):
            raise ModelError(f"{where} has `{entry}`, which is not supported.")
    return config


def pinned(pin: Pin, folder: Path, cache: HashCache) -> Pin:
    """The identity of a base with an adapter; ModelError where there is no adapter that can be merged."""
    config = config_of(pin.key, folder)
    head, architecture = HEADS.get(str(config.get("task_type"))), pin.architecture
    if head is not None:
        if architecture is None:
            raise ModelError(
                f"Model `{pin.key}`: config.json in {pin.folder} names no class in `architectures`, which the adapter is for."
            )
        architecture = _HEAD.sub("", architecture) + head
    own = cache.digest([folder / WEIGHTS, folder / CONFIG], named=True)
    return replace(
        pin,
        source=f"{pin.source} + {folder.name}",
        architecture=architecture,
        weight_hash=hashlib.sha256(f"{pin.weight_hash} adapter {own}".encode()).hexdigest(),
        adapter=folder,
    )


def num_outputs(key: str, folder: Path) -> int | None:
    """Outputs of the head that an adapter brings along; None where it brings none."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as opened:
            names = [name for name in opened.keys() if re.search(_OUTPUT, name)]  # noqa: SIM118 - no mapping
            tensors = [opened.get_tensor(name) for name in names]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Model `{key}`: {folder / WEIGHTS} cannot be read: {error}") from None
    outputs = {len(tensor) for tensor in tensors if isinstance(tensor, torch.Tensor)}
    return outputs.pop() if len(outputs) == 1 else None


_OUTPUT = r"\.(classifier|classifier\.out_proj|classification_head\.out_proj|score|qa_outputs)\.weight$"
"""Ends of the names of the matrices that leave a head."""


def merged(pin: Pin, base: PreTrainedModel, drawn: frozenset[str]) -> PreTrainedModel:
    """The base with its adapter's matrices added, in the base's number format.

    `drawn` are the names of weights of the base that are random numbers: the adapter has to bring each of them.
    ModelError where peft is not installed, where the adapter does not fit, or not all of it is taken.
    """
    folder = pin.adapter
    assert folder is not None
    where = f"Model `{pin.key}`: the adapter in {folder}"
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError as error:
        raise ModelError(f"{where} needs the package peft (pip install 'xlwh[adapters]'): {error}") from None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(folder / WEIGHTS)
        with warnings.catch_warnings():
            # What they say of the weights is found below, and refused.
            warnings.simplefilter("ignore")
            adapted: Any = PeftModel.from_pretrained(base, folder, is_trainable=False, local_files_only=True)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{where} does not fit its base {pin.folder}: {reason}") from None
    taken = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    lost = sorted(name for name in stored if name not in taken)
    absent = sorted(name for name in taken if name not in stored)
    other = sorted(
        n for n in stored if n in taken and not bool((stored[n].to(taken[n].dtype) == taken[n]).all())
    )
    if lost or absent or other:
        raise ModelError(
            f"{where} does not fit its base {pin.folder}: "
            + "; ".join(
                f"{what}: {', '.join(names[:4])}"
                for what, names in (("left out", lost), ("missing", absent), ("other numbers", other))
                if names
            )
        )
    brought = {name.removeprefix("base_model.model.") for name in stored}
    random = sorted(name for name in drawn if name not in brought)
    if random:
        raise ModelError(
            f"{where} brings no head: {', '.join(random[:4])} would be random numbers. Train it with the head in "
            "`modules_to_save`, which peft does for the task types SEQ_CLS and TOKEN_CLS."
        )
    whole: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return whole
