"""Loading models of a study: sources, refusals, what is kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import xlwh.models.zoo as zoo_module
from xlwh.errors import MissingDataError, ModelError
from xlwh.models import Zoo
from xlwh.models.sizes import Size
from xlwh.models.zoo import KEEP
from xlwh.store import Slot, Warehouse, schema
from xlwh.store.checkpoints import CHECKPOINT

REVISION = "0123456789abcdef0123456789abcdef01234567"
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Checkpoint = Callable[..., Path]
ZooOf = Callable[..., Zoo]


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_family_loads_frozen_from_a_folder_and_from_an_offline_cache(
    model_type: str,
    checkpoint: Checkpoint,
    zoo_of: ZooOf,
    hub_cache: Callable[[Path, str], Path],
) -> None:
    source = checkpoint(model_type)
    snapshot = hub_cache(source, "org/name")
    zoo = zoo_of(local={"path": str(source)}, hub={"hub": "org/name", "revision": REVISION})
    local, hub = zoo.load("local"), zoo.load("hub")
    assert hub.pin.folder == snapshot
    assert (hub.pin.kind, hub.pin.source, hub.pin.revision) == ("hub", "org/name", REVISION)
    assert hub.pin.identity == local.pin.identity
    for loaded in (local, hub):
        assert loaded.labels == ("entailment", "neutral", "contradiction")
        assert loaded.task == "sequence_classification"
        assert loaded.config.model_type == model_type
        assert not loaded.model.training
        assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
        assert loaded.model.dtype == torch.float32
        assert loaded.config._attn_implementation == ("eager" if model_type == "xlm" else "sdpa")
    for ours, theirs in zip(local.model.parameters(), hub.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_mini_x11_loads_with_its_language_model_head(shared: Path, zoo_of: ZooOf) -> None:
    loaded = zoo_of(mini={"path": str(shared / "models" / "mini-x11")}).load("mini")
    assert type(loaded.model).__name__ == "BertForMaskedLM"
    assert (loaded.labels, loaded.task, loaded.max_length) == (None, None, 256)
    assert loaded.model.dtype == torch.float32


def test_a_bare_encoder_loads_without_labels(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    loaded = zoo_of(bare={"path": str(checkpoint("bert", ""))}).load("bare")
    assert (loaded.labels, loaded.task) == (None, None)


def test_the_last_few_models_are_kept(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    path = str(checkpoint("bert"))
    keys = [f"m{i}" for i in range(KEEP + 1)]
    zoo = zoo_of(**{key: {"path": path} for key in keys})
    first = zoo.load("m0")
    for key in keys[1:-1]:
        zoo.load(key)
    assert zoo.load("m0") is first
    zoo.load(keys[-1])
    assert zoo.load("m0") is first
    for key in keys[1:]:
        zoo.load(key)
    assert zoo.load("m0") is not first


def test_a_changed_checkpoint_is_loaded_again(folder: Path, zoo_of: ZooOf) -> None:
    zoo = zoo_of(m={"path": "model"})
    first = zoo.load("m")
    rewrite_weights(folder, lambda weights: weights["classifier.bias"].zero_())
    second = zoo.load("m")
    assert second is not first
    assert not second.model.classifier.bias.any()


def test_pins_and_paths_need_no_torch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    script = f"""
import sys
from xlwh.models import Zoo
from xlwh.store import Warehouse
from xlwh.study import Study
study = Study.model_validate({{"name": "t", "languages": ["en"], "datasets": {{}}, "folder": "/",
    "models": {{"m": {{"path": {str(checkpoint("bert"))!r}}}}}}})
print(Zoo(study, Warehouse({str(tmp_path / "made")!r}, create=True)).pin("m").weight_hash)
assert not {{"torch", "transformers", "huggingface_hub"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 64


def test_labels_of_the_study_replace_the_checkpoints(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    path = str(checkpoint("bert"))
    zoo = zoo_of(good={"path": path, "labels": ["a", "b", "c"]}, bad={"path": path, "labels": ["a", "b"]})
    assert zoo.load("good").labels == ("a", "b", "c")
    with pytest.raises(ModelError, match=r"`bad`: the study gives 2 labels \(a, b\).*has 3 classes"):
        zoo.load("bad")


def test_max_length_is_the_studys_or_what_the_model_can(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    roberta, t5 = str(checkpoint("roberta")), str(checkpoint("t5"))
    zoo = zoo_of(
        short={"path": roberta, "max_length": 16},
        long={"path": roberta, "max_length": 999},
        free={"path": t5, "max_length": 999},
    )
    # 66 positions, of which the first two are the padding's.
    assert [zoo.load(key).max_length for key in ("short", "long", "free")] == [16, 64, 999]


def test_no_part_of_a_model_keeps_a_cache(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("mt5", "ForConditionalGeneration"))}).load("m")
    ids = torch.tensor([[5, 6, 1]])
    output = loaded.model(input_ids=ids, decoder_input_ids=ids)
    assert output.past_key_values is None
    configs = [getattr(module, "config", None) for module in loaded.model.modules()]
    assert {config.use_cache for config in configs if config is not None} == {False}


def test_half_precision_and_eager_attention_are_explicit(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert")), "dtype": "bfloat16", "attention": "eager"}).load("m")
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.config._attn_implementation == "eager"


def test_models_that_are_not_there_yet_name_the_command(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    zoo = zoo_of(
        base={"path": str(checkpoint("bert"))},
        tuned={"finetune": {"base": "base", "dataset": "nli", "languages": ["en"]}},
    )
    zoo._warehouse.current = lambda slot: None
    with pytest.raises(MissingDataError, match=r"xlwh materialize models --model tuned"):
        zoo.pin("tuned")
    with pytest.raises(ModelError, match="No model `other` in this study; there are: base, tuned"):
        zoo.pin("other")


def test_the_current_fine_tuned_checkpoint_is_found(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    zoo = zoo_of(
        base={"path": str(checkpoint("bert"))},
        tuned={"finetune": {"base": "base", "dataset": "nli", "languages": ["en"]}},
    )
    root, slot = zoo._warehouse.root, Slot("models", ("tuned",))
    zoo._warehouse = warehouse = Warehouse(root, create=True)
    values = dict.fromkeys(schema("models")) | {
        "model": "tuned", "kind": "finetuned", "source": "base", "family": "bert", "tokenizer_hash": "0" * 64,
        "weight_hash": zoo.pin("base").weight_hash, "num_layers": 1, "num_heads": 1, "hidden_size": 1, "vocab_size": 1,
        "num_parameters": 1, "dtype": "float32",
    }  # fmt: skip
    row = {slot: pl.DataFrame([values], schema=schema("models"))}
    warehouse.write(row, "cd" * 16, {CHECKPOINT: "ab" * 8})
    with pytest.raises(MissingDataError):
        zoo.pin("tuned")
    shutil.copytree(checkpoint("bert"), root / "models" / "tuned" / ("ab" * 8))
    pin = zoo.pin("tuned")
    assert (pin.kind, pin.source) == ("finetuned", "base")
    assert zoo.load("tuned").pin == pin
    # Rows of earlier versions were written under the training's own digest.
    warehouse.write(row, "cd" * 16)
    with pytest.raises(MissingDataError):
        zoo.pin("tuned")
    [entry] = warehouse.write(row, "ab" * 16)
    assert zoo.pin("tuned") == pin
    (root / entry.file).unlink()
    with pytest.raises(MissingDataError):
        zoo.pin("tuned")


def test_a_hub_model_that_is_not_cached_names_the_command(
    zoo_of: ZooOf, hub_cache: Callable[[Path, str], Path]
) -> None:
    zoo = zoo_of(m={"hub": "org/absent", "revision": REVISION})
    with pytest.raises(ModelError, match=rf"org/absent at {REVISION}.*hf download org/absent --revision"):
        zoo.pin("m")


def test_a_hub_model_without_revision_is_refused(zoo_of: ZooOf) -> None:
    zoo = zoo_of(m={"hub": "org/name", "revision": REVISION})
    bare = zoo._study.models["m"].model_copy(update={"revision": None})
    zoo._study = zoo._study.model_copy(update={"models": {"m": bare}})
    with pytest.raises(ModelError, match="`m`: a hub model needs `hub` and `revision`"):
        zoo.pin("m")


def test_an_unknown_architecture_is_refused(folder: Path, zoo_of: ZooOf) -> None:
    edit(folder / "config.json", model_type="funnel", architectures=["FunnelModel"])
    with pytest.raises(ModelError, match=r"Architecture `funnel` has no adapter\. There are: albert, bert, "):
        zoo_of(m={"path": "model"}).load("m")


def test_a_vocabulary_larger_than_the_embedding_is_refused(folder: Path, zoo_of: ZooOf) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["extra"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"token ids up to {rows}, the word embedding has {rows} rows"):
        zoo_of(m={"path": "model"}).load("m")


def test_a_missing_padding_token_is_refused(checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf) -> None:
    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "model"))
    content = json.loads((folder / "tokenizer_config.json").read_text())
    del content["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="the tokenizer has no padding token"):
        zoo_of(m={"path": "model"}).load("m")


def test_another_models_tokenizer_is_refused(checkpoint: Checkpoint, folder: Path, zoo_of: ZooOf) -> None:
    for file in checkpoint("xlm-roberta").glob("tokenizer*"):
        shutil.copy(file, folder)
    with pytest.raises(ModelError, match=r"the tokenizer in .* does not match"):
        zoo_of(m={"path": "model"}).load("m")


def test_a_damaged_tokenizer_is_refused(folder: Path, zoo_of: ZooOf) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the tokenizer in .* cannot be read"):
        zoo_of(m={"path": "model"}).load("m")


def test_a_sentencepiece_file_that_cannot_be_read_says_what_is_needed(
    checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(checkpoint("t5"), tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"not a model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ModelError, match="matching versions of sentencepiece and protobuf"):
        zoo_of(m={"path": "model"}).load("m")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, zoo_of: ZooOf, value: float) -> None:
    rewrite_weights(folder, lambda weights: weights["classifier.weight"][0].fill_(value))
    with pytest.raises(ModelError, match=r"weight `classifier\.weight` holds NaN or infinite values"):
        zoo_of(m={"path": "model"}).load("m")


def test_incomplete_checkpoints_are_refused(folder: Path, zoo_of: ZooOf) -> None:
    rewrite_weights(folder, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(ModelError, match=r"1 weights of .* are not in .*layer\.1\.output\.dense"):
        zoo_of(m={"path": "model"}).load("m")
    with pytest.raises(ModelError, match=r"1 weights of .* are not in .*layer\.1\.output\.dense"):
        zoo_of(m={"path": "model"}).load_base("m", 2, ("a", "b"), 0)


def test_truncated_weights_are_refused(folder: Path, zoo_of: ZooOf) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="a part of a download or copy"):
        zoo_of(m={"path": "model"}).load("m")


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("bert", ""),
        ("bert", "ForMaskedLM"),
        ("xlm-roberta", "ForMaskedLM"),
        ("xlm", "ForMaskedLM"),
        ("mt5", ""),
        ("mt5", "ForConditionalGeneration"),
        ("qwen2", "ForCausalLM"),
    ],
)
def test_a_base_gets_a_head_drawn_from_the_seed(
    model_type: str, head: str, checkpoint: Checkpoint, zoo_of: ZooOf
) -> None:
    zoo = zoo_of(m={"path": str(checkpoint(model_type, head))})
    state = torch.random.get_rng_state()
    first, again, other = (zoo.load_base("m", 2, ("no", "yes"), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.model.training
    assert all(parameter.requires_grad for parameter in first.model.parameters())
    assert first.labels == ("no", "yes")
    assert first.config.id2label == {0: "no", 1: "yes"}
    assert (first.config.num_labels, first.task) == (2, "sequence_classification")
    pairs = list(zip(first.model.named_parameters(), other.model.parameters(), strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True)
    )
    differ = {name for (name, ours), theirs in pairs if not torch.equal(ours, theirs)}
    assert differ
    body = first.model.base_model_prefix
    assert all(not name.startswith(f"{body}.") or "pooler" in name for name in differ)


def test_a_base_with_another_head_gets_a_new_one(checkpoint: Checkpoint, zoo_of: ZooOf) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load_base("m", 5, tuple("abcde"), 0)
    assert loaded.model.classifier.weight.shape[0] == 5
    with pytest.raises(ModelError, match=r"`m`: 2 classes but 1 labels \(a\)"):
        zoo_of(m={"path": str(checkpoint("bert"))}).load_base("m", 2, ("a",), 0)


WRONG: tuple[Any, ...] = (None, "x", -1, [1, 2], {"a": 1}, 3.5)
"""Values that most entries of a configuration cannot have."""


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "mt5", "qwen3"])
def test_whatever_a_configuration_says_it_is_read_or_refused_by_name(
    model_type: str, checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf
) -> None:
    folder = Path(shutil.copytree(checkpoint(model_type), tmp_path / "model"))
    whole = json.loads((folder / "config.json").read_text())
    entries = [*whole, "use_return_dict", "is_decoder", "rope_parameters", "layer_types", "head_dim"]
    for place, entry in enumerate(dict.fromkeys(entries)):
        value = WRONG[place % len(WRONG)]
        (folder / "config.json").write_text(json.dumps(whole | {entry: value}))
        refused = ""
        try:
            zoo_of(m={"path": "model"}).load("m")
        except ModelError as error:  # any other error fails the test
            refused = str(error)
        assert not refused or refused.startswith("Model `m`"), (entry, value)
        assert "\n" not in refused, (entry, value)


def test_roberta_needs_to_know_its_padding(checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf) -> None:
    folder = Path(shutil.copytree(checkpoint("xlm-roberta"), tmp_path / "model"))
    edit(folder / "config.json", pad_token_id=None)
    with pytest.raises(ModelError, match=r"`m`: .*not usable: `pad_token_id` is missing"):
        zoo_of(m={"path": "model"}).load("m")


@pytest.mark.parametrize(
    ("model_type", "entry"),
    [
        (model_type, entry)
        for model_type in ("bert", "roberta", "xlm-roberta")
        for entry in ("is_decoder", "add_cross_attention")
    ]
    + [("xlm", "causal")],
)
def test_an_encoder_that_sees_earlier_tokens_only_is_refused(
    model_type: str, entry: str, checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf
) -> None:
    folder = Path(shutil.copytree(checkpoint(model_type), tmp_path / "model"))
    edit(folder / "config.json", **{entry: True})
    zoo = zoo_of(m={"path": "model"}, twin={"weights_of": "m", "randomization": {}})
    for load in (
        lambda: zoo.load("m"),
        lambda: zoo.load("twin"),
        lambda: zoo.load_base("m", 3, ("a", "b", "c"), 0),
    ):
        with pytest.raises(ModelError, match=f"`{entry}` = `True`"):
            load()


@pytest.mark.parametrize("model_type", ["bert", "xlm", "mt5", "qwen3"])
def test_how_outputs_are_returned_changes_nothing(
    model_type: str, checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf
) -> None:
    from xlwh.selftest.checks import self_test
    from xlwh.selftest.texts import built_in

    folder = Path(shutil.copytree(checkpoint(model_type), tmp_path / "model"))
    edit(folder / "config.json", return_dict=False)
    loaded = zoo_of(m={"path": "model"}).load("m")
    assert not [result for result in self_test(loaded, built_in(True)) if result.status == "failed"]


@pytest.mark.parametrize("probability", [0.0, 0.01])
def test_a_tokenizer_that_draws_is_refused(
    probability: float, closing_checkpoint: Checkpoint, tmp_path: Path, zoo_of: ZooOf
) -> None:
    folder = Path(shutil.copytree(closing_checkpoint("llama"), tmp_path / "model"))
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["dropout"] = probability
    file.write_text(json.dumps(content))
    zoo = zoo_of(m={"path": "model"})
    if not probability:
        zoo.load("m")
        return
    for load in (lambda: zoo.load("m"), lambda: zoo.load_base("m", 3, ("a", "b", "c"), 0)):
        with pytest.raises(ModelError, match="draws other sub-tokens for the same text each time"):
            load()


def test_a_tokenizer_that_samples_is_refused(folder: Path, zoo_of: ZooOf) -> None:
    edit(folder / "tokenizer_config.json", sp_model_kwargs={"enable_sampling": True, "alpha": 0.1})
    with pytest.raises(ModelError, match="`enable_sampling` to false"):
        zoo_of(m={"path": "model"}).load("m")


def test_the_size_of_a_model_is_read_once(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every partition asks for it, of a model that many are made from too."""
    made = {"base": "bert", "dataset": "nli", "languages": ["en"]}
    zoo = zoo_of(bert={"path": str(checkpoint("bert"))}, first={"finetune": made}, second={"finetune": made})
    folders = []
    real = zoo_module.of_folder

    def of_folder(folder: Path) -> Size:
        folders.append(folder)
        return real(folder)

    monkeypatch.setattr(zoo_module, "of_folder", of_folder)
    assert zoo.size("bert") == zoo.size("first") == zoo.size("second") is not None
    assert len(folders) == 1
