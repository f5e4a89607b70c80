"""Adapters of peft's on tiny bases: the same outputs as peft's own forward pass, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.predict import predict
from xlwh.models.tokenize import encode
from xlwh.selftest.checks import self_test
from xlwh.selftest.texts import built_in
from xlwh.study import Model

peft = pytest.importorskip("peft", reason="peft is not installed (pip install 'xlwh[adapters]')")

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

PAIRS = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come", "他说，我回来了。"),
    ("cat", "on"),
]
LABELS = ["contradiction", "entailment", "neutral"]
AUTO = {
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "SEQ_2_SEQ_LM": transformers.AutoModelForSeq2SeqLM,
}


def make_adapter(base: Path, folder: Path, task: str = "SEQ_CLS", seed: int = 1, **options: Any) -> Path:
    """A LoRA adapter with random matrices on both sides, as after training, saved by peft."""
    torch.manual_seed(seed)
    options = {"r": 3, "lora_alpha": 5, "target_modules": "all-linear"} | options
    model = AUTO[task].from_pretrained(base, **({} if task == "SEQ_2_SEQ_LM" else {"num_labels": 3}))
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type=task, **options))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(folder)
    return folder


def by_peft(base: Path, adapter: Path, task: str = "SEQ_CLS") -> Any:
    """The model as peft runs it: unmerged."""
    model = AUTO[task].from_pretrained(base, **({} if task == "SEQ_2_SEQ_LM" else {"num_labels": 3}))
    return peft.PeftModel.from_pretrained(model, adapter).eval()


@pytest.mark.parametrize(
    ("model_type", "head", "options"),
    [
        ("bert", "ForSequenceClassification", {}),
        ("xlm-roberta", "ForMaskedLM", {"use_rslora": True}),
        ("qwen3", "ForCausalLM", {"target_modules": ["q_proj", "v_proj"]}),
        ("gpt2", "ForCausalLM", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
        (
            "t5",
            "ForConditionalGeneration",
            {"target_modules": ["q", "v"], "use_dora": True, "modules_to_save": ["classification_head"]},
        ),
    ],
)
def test_a_base_with_an_adapter_predicts_what_peft_does(
    model_type: str,
    head: str,
    options: dict[str, Any],
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    tmp_path: Path,
) -> None:
    base = checkpoint(model_type, head)
    adapter = make_adapter(base, tmp_path / "adapter", **options)
    zoo = zoo_of(m={"path": str(base), "adapter": str(adapter), "labels": LABELS}, alone={"path": str(base)})
    loaded = zoo.load("m")
    assert loaded.labels == tuple(LABELS)
    assert loaded.task == "sequence_classification"
    assert type(loaded.model).__name__.endswith("ForSequenceClassification")
    encoded = encode(loaded, frame(PAIRS))
    theirs = by_peft(base, adapter)
    theirs.config.pad_token_id = loaded.tokenizer.pad_token_id
    found = predict(loaded, encoded)
    unadapted = by_peft(base, make_adapter(base, tmp_path / "other", seed=2, **options))
    unadapted.config.pad_token_id = loaded.tokenizer.pad_token_id
    for row in range(len(encoded)):
        ids = torch.from_numpy(encoded.input_ids[encoded.row(row)].astype(np.int64))[None]
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if encoded.token_type_ids is not None and model_type == "bert":
            types = encoded.token_type_ids[encoded.row(row)].astype(np.int64)
            given["token_type_ids"] = torch.from_numpy(types)[None]
        with torch.inference_mode():
            expected, other = theirs(**given).logits[0].numpy(), unadapted(**given).logits[0].numpy()
        np.testing.assert_allclose(found[row], expected, atol=1e-4, rtol=1e-4)
        assert np.abs(found[row] - other).max() > 1e-2
    assert not [r for r in self_test(loaded, built_in(True)) if r.status == "failed"]
    pin, bare = zoo.pin("m"), zoo.pin("alone")
    assert pin.weight_hash != bare.weight_hash
    assert pin.token_identity == bare.token_identity
    assert pin.source == f"{base} + adapter"


def test_both_are_pinned(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], tmp_path: Path) -> None:
    """Other bytes of the base, of the adapter, or of its configuration are another model."""
    base = shutil.copytree(checkpoint("bert"), tmp_path / "base")
    adapter = make_adapter(base, tmp_path / "adapter")
    model = {"path": str(base), "adapter": str(adapter)}
    hashes = [zoo_of(m=model).pin("m").weight_hash]
    for file, change in (
        (base / "model.safetensors", 1.5),
        (adapter / "adapter_model.safetensors", 1.5),
        (adapter / "adapter_config.json", None),
    ):
        if change is None:
            content = json.loads(file.read_text())
            file.write_text(json.dumps(content | {"lora_alpha": 7}))
        else:
            save_file({k: v * change for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
        hashes.append(zoo_of(m=model).pin("m").weight_hash)
    assert len(set(hashes)) == 4


def test_taggers_and_writers_have_adapters_too(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    tmp_path: Path,
) -> None:
    base = checkpoint("bert", "ForMaskedLM")
    adapter = make_adapter(base, tmp_path / "tagger", "TOKEN_CLS", target_modules=["query", "value"])
    loaded = zoo_of(m={"path": str(base), "adapter": str(adapter), "labels": ["B", "I", "O"]}).load("m")
    assert loaded.task == "token_classification"
    inputs = {"input_ids": torch.tensor([[2, 7, 8, 9, 3]])}
    with torch.inference_mode():
        expected = by_peft(base, adapter, "TOKEN_CLS")(**inputs).logits
        torch.testing.assert_close(loaded.model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    base = checkpoint("mt5", "ForConditionalGeneration")
    adapter = make_adapter(base, tmp_path / "writer", "SEQ_2_SEQ_LM", target_modules=["q", "wo"])
    loaded = zoo_of(m={"path": str(base), "adapter": str(adapter)}).load("m")
    assert loaded.task == "translation"
    inputs |= {"decoder_input_ids": torch.tensor([[0, 7, 8]])}
    with torch.inference_mode():
        expected = by_peft(base, adapter, "SEQ_2_SEQ_LM")(**inputs).logits
        torch.testing.assert_close(loaded.model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)


def _config(**entries: Any) -> Callable[[Path], None]:
    def change(adapter: Path) -> None:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))

    return change


def _weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def apply(adapter: Path) -> None:
        file = adapter / "adapter_model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return apply


def _without(part: str) -> Callable[[Path], None]:
    return _weights(lambda found: {name: value for name, value in found.items() if part not in name})


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another method": (_config(peft_type="IA3"), "Adapters of type LORA are merged"),
    "a changed base": (_config(init_lora_weights="pissa"), "changes the base's weights"),
    "pickles": (
        lambda folder: (folder / "adapter_model.safetensors").unlink(),
        "Pickled adapters are not read",
    ),
    "no adapter": (lambda folder: (folder / "adapter_config.json").unlink(), "is no adapter of peft's"),
    "no head": (_without("classifier"), "'base_model.model.classifier.weight'"),
    "a matrix less": (_without("layer.1.attention.self.query.lora_B"), "does not fit its base"),
    "a matrix more": (
        _weights(lambda found: found | {"base_model.model.bert.extra.lora_A.weight": torch.ones(3, 24)}),
        "left out: base_model.model.bert.extra",
    ),
    "a pooler that was drawn": (lambda folder: None, "bert.pooler.dense.bias.* would be random numbers"),
    "another rank": (_config(r=4), "does not fit its base"),
    "half a file": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{"),
        "cannot be read|does not fit",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_merged_exactly_is_refused(
    fault: str, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], tmp_path: Path
) -> None:
    base = checkpoint("bert", "ForMaskedLM" if "drawn" in fault else "")
    adapter = make_adapter(base, tmp_path / "adapter")
    change, message = FAULTS[fault]
    change(adapter)
    with pytest.raises(ModelError, match=message):
        zoo_of(m={"path": str(base), "adapter": str(adapter), "labels": LABELS}).load("m")


def test_without_peft_it_is_said_what_to_install(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = checkpoint("bert")
    adapter = make_adapter(base, tmp_path / "adapter")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install 'xlwh\[adapters\]'"):
        zoo_of(m={"path": str(base), "adapter": str(adapter)}).load("m")


def test_an_adapter_needs_a_base_and_is_none_for_fine_tuning(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="give its base as one of `hub` or `path`"):
        Model.model_validate({"adapter": "folder", "weights_of": "m"})
    base = checkpoint("bert")
    adapter = make_adapter(base, tmp_path / "adapter")
    zoo = zoo_of(m={"path": str(base), "adapter": str(adapter)})
    with pytest.raises(ModelError, match="has an adapter, and cannot be fine-tuned further"):
        zoo.load_base("m", 3, ("a", "b", "c"), 0)
