"""What was loaded is what the files hold: every tensor with its own values, or left out by a named rule."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import WITHOUT_CLASSIFIER
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.loading import TRAINABLE

Checkpoint = Callable[..., Path]
ZooOf = Callable[..., Zoo]
FILE = "model.safetensors"


@pytest.fixture
def copy_of(checkpoint: Checkpoint, tmp_path: Path) -> Callable[..., Path]:
    """copy_of(model_type, head): a checkpoint that a test may change, as path `model`."""

    def build(model_type: str, head: str = "ForSequenceClassification") -> Path:
        return Path(shutil.copytree(checkpoint(model_type, head), tmp_path / "model"))

    return build


@pytest.fixture
def refused(zoo_of: ZooOf) -> Callable[[str], None]:
    """refused(pattern): the changed checkpoint can neither be evaluated nor trained, for the same reason."""

    def check(pattern: str) -> None:
        zoo = zoo_of(m={"path": "model"}, twin={"weights_of": "m", "randomization": {}})
        for load in (
            lambda: zoo.load("m"),
            lambda: zoo.load("twin"),
            lambda: zoo.load_base("m", 3, ("a", "b", "c"), 0),
        ):
            with pytest.raises(ModelError, match=pattern):
                load()

    return check


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / FILE)
    change(weights)
    save_file(weights, folder / FILE, metadata={"format": "pt"})


EDITS: dict[str, dict[str, list[Any]]] = {
    "bert": {
        "max_position_embeddings": [63, 512],
        "vocab_size": [100, 9999],
        "type_vocab_size": [1, 3],
        "num_hidden_layers": [1, 3],
        "hidden_size": [32],
        "intermediate_size": [16, 64],
    },
    "xlm-roberta": {
        "max_position_embeddings": [64, 514],
        "vocab_size": [100, 9999],
        "type_vocab_size": [2],
        "num_hidden_layers": [1, 3],
        "hidden_size": [32],
        "intermediate_size": [16],
    },
    "xlm": {"max_position_embeddings": [32, 128], "n_layers": [1, 3], "emb_dim": [32], "n_langs": [3]},
    "mt5": {
        "vocab_size": [100, 9999],
        "d_model": [32],
        "d_kv": [8],
        "d_ff": [16],
        "num_layers": [1, 3],
        "num_decoder_layers": [2],
        "num_heads": [2],
        "relative_attention_num_buckets": [16],
    },
    "qwen3": {
        "vocab_size": [100, 9999],
        "hidden_size": [32],
        "num_hidden_layers": [1, 3],
        "num_key_value_heads": [1, 4],
        "head_dim": [4],
        "intermediate_size": [16],
    },
}
"""Entries of a configuration that say how many numbers there are, with values that are not those of the weights."""


@pytest.mark.parametrize(
    ("model_type", "entry", "value"),
    [
        (kind, entry, value)
        for kind, edits in EDITS.items()
        for entry, values in edits.items()
        for value in values
    ],
)
def test_a_configuration_that_does_not_fit_its_weights_is_refused(
    model_type: str, entry: str, value: int, copy_of: Callable[..., Path], refused: Callable[[str], None]
) -> None:
    folder = copy_of(model_type)
    old = json.loads((folder / "config.json").read_text()).get(entry)
    assert old != value
    extra = {"layer_types": None} if entry == "num_hidden_layers" else {}
    configure(folder, **{entry: value}, **extra)
    shape = r"\[\d+(, \d+)?\]"
    refused(
        rf"does not fit the weights.*{shape} \(config\.json makes it {shape}\)"
        rf"|would be random numbers: .*{shape}|would be left out: .*{shape}"
        rf"|has `{entry}` = {value}, and no weight beside it is larger than \d+"
    )


@pytest.mark.parametrize("head", ["ForMaskedLM", ""])
def test_a_base_whose_tables_do_not_fit_is_not_drawn_anew(
    head: str, copy_of: Callable[..., Path], refused: Callable[[str], None]
) -> None:
    folder = copy_of("xlm-roberta", head)
    configure(folder, max_position_embeddings=514)
    refused(r"position_embeddings\.weight \[66, 24\] \(config\.json makes it \[514, 24\]\)")


def test_weights_that_the_class_does_not_take_are_refused(
    copy_of: Callable[..., Path], refused: Callable[[str], None], zoo_of: ZooOf
) -> None:
    folder = copy_of("bert")
    whole = (folder / FILE).read_bytes()
    body = "bert.encoder.layer.0.attention.self."
    for name, advice in {
        f"{body}distance_embedding.weight": "relative positions",
        f"{body}query.lora_A.default.weight": "an adapter's that was not merged",
        f"{body}query.base_layer.weight": "an adapter's that was not merged",
        "classifier.modules_to_save.default.weight": "an adapter's that was not merged",
        "bert.encoder.layer.0.attention.self.query.weight_scale": "Is config.json",
        "bert.embeddings.extra.weight": "Is config.json",
    }.items():
        (folder / FILE).write_bytes(whole)
        rewrite(folder, lambda weights, name=name: weights.update({name: torch.randn(4, 6)}))
        refused(rf"1 weights in .* would be left out: {name} \[4, 6\].*{advice}")


def test_relative_positions_without_their_tables_are_refused_too(
    copy_of: Callable[..., Path], refused: Callable[[str], None]
) -> None:
    configure(copy_of("bert"), position_embedding_type="relative_key")
    refused("`position_embedding_type` = `relative_key`: relative positions")


@pytest.mark.parametrize(
    ("model_type", "buffers"),
    [
        ("bert", {"bert.embeddings.position_ids": torch.arange(64)[None]}),
        ("xlm-roberta", {"roberta.embeddings.position_ids": torch.arange(66)[None]}),
        ("xlm", {"transformer.position_ids": torch.arange(64)[None]}),
        ("bert", {"cls.seq_relationship.weight": torch.zeros(2, 24)}),
        (
            "mt5",
            {
                "transformer.decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.zeros(
                    32, 4
                )
            },
        ),
    ],
)
def test_what_older_files_also_hold_is_left_out(
    model_type: str, buffers: dict[str, torch.Tensor], copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    rewrite(copy_of(model_type), lambda weights: weights.update(buffers))
    zoo = zoo_of(m={"path": "model"})
    assert zoo.load("m").labels is not None
    assert zoo.load_base("m", 2, ("a", "b"), 0).labels == ("a", "b")


def test_buffers_that_say_something_else_are_refused(
    copy_of: Callable[..., Path], refused: Callable[[str], None]
) -> None:
    folder = copy_of("bert")
    rewrite(
        folder,
        lambda weights: weights.update({"bert.embeddings.position_ids": torch.arange(64).flip(0)[None]}),
    )
    refused(r"would be left out: bert\.embeddings\.position_ids")


def test_rotary_frequencies_are_those_of_the_configuration(
    copy_of: Callable[..., Path], refused: Callable[[str], None], zoo_of: ZooOf
) -> None:
    folder = copy_of("llama")
    frequencies = zoo_of(m={"path": "model"}).load("m").model.model.rotary_emb.inv_freq.clone()
    names = [f"model.layers.{layer}.self_attn.rotary_emb.inv_freq" for layer in range(2)]
    rewrite(folder, lambda weights: weights.update({name: frequencies.bfloat16() for name in names}))
    assert zoo_of(m={"path": "model"}).load("m").labels is not None
    configure(folder, rope_theta=500.0, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    refused(r"would be left out: model\.layers\.0\.self_attn\.rotary_emb\.inv_freq")


def _masks(length: int) -> dict[str, torch.Tensor]:
    return {
        "bias": torch.ones(1, 1, length, length).tril(),
        "masked_bias": torch.tensor(-1e9),
    }


@pytest.mark.parametrize(
    ("model_type", "head", "layer"),
    [
        ("gpt2", "ForSequenceClassification", "transformer.h.0.attn."),
        ("gpt2", "", "h.1.attn."),
        ("gpt_neox", "ForSequenceClassification", "gpt_neox.layers.0.attention."),
    ],
)
def test_masks_of_older_files_are_left_out_where_they_are_masks(
    model_type: str, head: str, layer: str, copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    folder = copy_of(model_type, head)
    rewrite(folder, lambda weights: weights.update({layer + n: value for n, value in _masks(64).items()}))
    zoo_of(m={"path": "model"}).load("m")
    rewrite(folder, lambda weights: weights.update({layer + "bias": torch.ones(1, 1, 64, 64)}))
    with pytest.raises(ModelError, match=r"would be left out: .*\.bias \[1, 1, 64, 64\]"):
        zoo_of(m={"path": "model"}).load("m")


def test_sinusoids_of_older_files_are_those_of_the_configuration(
    copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    folder = copy_of("m2m_100", "ForConditionalGeneration")
    own = zoo_of(m={"path": "model"}).load("m").model.model.encoder.embed_positions.weights.clone()
    names = [f"model.{stack}.embed_positions.weights" for stack in ("encoder", "decoder")]
    rewrite(folder, lambda weights: weights.update({name: own[:50].clone() for name in names}))
    zoo_of(m={"path": "model"}).load("m")
    rewrite(folder, lambda weights: weights.update({names[0]: own[:50] * 1.1}))
    with pytest.raises(ModelError, match=r"would be left out: model\.encoder\.embed_positions\.weights"):
        zoo_of(m={"path": "model"}).load("m")


def test_positions_that_no_model_reads_are_left_out(copy_of: Callable[..., Path], zoo_of: ZooOf) -> None:
    folder = copy_of("deberta-v2")
    table = {"deberta.embeddings.position_embeddings.weight": torch.ones(64, 24)}
    rewrite(folder, lambda weights: weights.update(table))
    zoo_of(m={"path": "model"}).load("m")


PRETRAINED: dict[str, tuple[str, ...]] = {
    "ForMaskedLM": (
        *("electra", "ernie", "rembert", "albert", "distilbert", "deberta-v2", "xlm-roberta-xl"),
        *("mpnet", "modernbert", "eurobert"),
    ),
    "ForCausalLM": (
        "gemma",
        "gemma2",
        "gemma3_text",
        "phi3",
        "smollm3",
        "cohere",
        "gpt2",
        "gpt_neox",
        "bloom",
    ),
    "ForConditionalGeneration": ("umt5", "mbart", "m2m_100"),
}


@pytest.mark.parametrize(
    ("head", "model_type"), [(head, name) for head, names in PRETRAINED.items() for name in names]
)
def test_language_models_are_bases_of_classifiers_and_bare_bodies(
    head: str, model_type: str, copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    """Their heads are left out, and nothing else: every other tensor is where it belongs."""
    folder = copy_of(model_type, head)
    if model_type not in WITHOUT_CLASSIFIER:
        trained = zoo_of(m={"path": "model"}).load_base("m", 3, ("a", "b", "c"), 0)
        assert type(trained.model).__name__.endswith("ForSequenceClassification")
    configure(folder, architectures=[type(AutoModel.from_pretrained(folder)).__name__])
    assert zoo_of(m={"path": "model"}).load("m").task is None


def test_older_names_are_read(copy_of: Callable[..., Path], zoo_of: ZooOf) -> None:
    folder = copy_of("bert")
    first = zoo_of(m={"path": "model"}).load("m").model

    def rename(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            if "LayerNorm" in name:
                old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                    "LayerNorm.bias", "LayerNorm.beta"
                )
                weights[old] = weights.pop(name)

    rewrite(folder, rename)
    again = zoo_of(m={"path": "model"}).load("m").model
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("qwen2", "ForCausalLM"),
        ("mt5", "ForConditionalGeneration"),
        ("bert", "ForMaskedLM"),
        ("xlm", "ForMaskedLM"),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_tied_or_not_the_head_is_the_files(
    model_type: str, head: str, tied: bool, copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    folder = copy_of(model_type, head)
    stored = load_file(folder / FILE)
    configure(folder, tie_word_embeddings=tied)
    try:
        loaded = zoo_of(m={"path": "model"}).load("m").model
    except ModelError as error:
        assert "would be random numbers" in str(error) or "are not those in" in str(error)  # noqa: PT017
        return
    own = loaded.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in stored.items())
    places = {own[name].data_ptr() for name in stored}
    assert all(tensor.data_ptr() in places for tensor in own.values())


def test_a_head_of_other_values_than_a_tied_one_is_refused(
    copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    """Both the embedding and another output matrix are in the files, and the configuration ties them."""
    folder = copy_of("qwen2", "ForCausalLM")
    configure(folder, tie_word_embeddings=True)
    rewrite(
        folder,
        lambda weights: weights.update(
            {"lm_head.weight": weights["model.embed_tokens.weight"].flip(0).contiguous()}
        ),
    )
    try:
        loaded = zoo_of(m={"path": "model"}).load("m").model
    except ModelError as error:
        assert "lm_head.weight" in str(error)  # noqa: PT017
    else:
        assert torch.equal(loaded.lm_head.weight, load_file(folder / FILE)["lm_head.weight"])


@pytest.mark.parametrize("missing", ["cls.predictions.transform.dense.weight", "cls.predictions.bias"])
def test_a_language_model_without_its_head_is_refused(
    missing: str, copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    folder = copy_of("bert", "ForMaskedLM")
    names = (missing, missing.replace("predictions.bias", "predictions.decoder.bias"))
    rewrite(folder, lambda weights: [weights.pop(name) for name in list(weights) if name in names])
    with pytest.raises(ModelError, match=r"would be random numbers: cls\.predictions"):
        zoo_of(m={"path": "model"}).load("m")
    assert zoo_of(m={"path": "model"}).load_base("m", 2, ("a", "b"), 0).labels == ("a", "b")


def test_a_classifier_is_not_dropped_because_no_architecture_is_named(
    copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    configure(copy_of("bert"), architectures=None)
    with pytest.raises(ModelError, match=r"have no place in BertModel.*classifier\.(bias|weight)"):
        zoo_of(m={"path": "model"}).load("m")


def test_numbers_of_another_kind_are_refused(
    copy_of: Callable[..., Path], refused: Callable[[str], None]
) -> None:
    name = "bert.encoder.layer.0.output.dense.weight"
    rewrite(copy_of("bert"), lambda weights: weights.update({name: (weights[name] * 100).to(torch.int8)}))
    refused(rf"are not those in .*: {name}")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("model_type", ["bert", "mt5", "qwen3"])
def test_half_precision_is_compared_as_it_is_run(
    model_type: str, dtype: str, copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    copy_of(model_type)
    assert zoo_of(m={"path": "model", "dtype": dtype}).load("m").labels is not None


@pytest.mark.parametrize("head", list(TRAINABLE))
@pytest.mark.parametrize(
    ("model_type", "saved"),
    [
        ("bert", "ForMaskedLM"),
        ("bert", "ForTokenClassification"),
        ("xlm-roberta", "ForQuestionAnswering"),
        ("xlm", ""),
        ("mt5", "ForConditionalGeneration"),
        ("t5", "ForSequenceClassification"),
        ("qwen3", "ForCausalLM"),
    ],
)
def test_under_a_new_head_the_body_is_the_files(
    head: str, model_type: str, saved: str, copy_of: Callable[..., Path], zoo_of: ZooOf
) -> None:
    if head == "translation" and model_type not in ("mt5", "t5"):
        pytest.skip("no text-to-text model")
    folder = copy_of(model_type, saved)
    labels = () if head in ("question_answering", "translation") else ("a", "b", "c", "d", "e")
    try:
        model = zoo_of(m={"path": "model"}).load_base("m", len(labels), labels, 0, head).model
    except ModelError as error:
        # Its class has another prefix than the files: nothing is drawn in place of the body.
        assert (model_type, head) == ("qwen3", "question_answering"), str(error)  # noqa: PT017
        assert "would be random numbers" in str(error)  # noqa: PT017
        return
    own, prefix = model.state_dict(), model.base_model_prefix
    kept = 0
    for name, tensor in load_file(folder / FILE).items():
        bare = name.removeprefix(f"{prefix}.")
        place = next((x for x in (name, f"{prefix}.{bare}", bare) if x in own), None)
        if place is not None and own[place].shape == tensor.shape:
            assert torch.equal(own[place], tensor), name
            kept += 1
    assert kept >= 10


def test_a_file_that_changes_while_it_is_loaded_is_noticed(
    copy_of: Callable[..., Path], zoo_of: ZooOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlwh.models import loading

    folder, real = copy_of("bert"), loading.load_checkpoint

    def slow(*arguments: Any) -> Any:
        found = real(*arguments)
        rewrite(folder, lambda weights: weights["classifier.bias"].add_(1))
        return found

    monkeypatch.setattr(loading, "load_checkpoint", slow)
    with pytest.raises(ModelError, match="changed while it was being loaded"):
        zoo_of(m={"path": "model"}).load("m")
