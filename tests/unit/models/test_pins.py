"""Identity of a checkpoint, and what is refused before it is opened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlwh import digests
from xlwh.digests import HashCache, sha256
from xlwh.errors import ModelError
from xlwh.models import pins
from xlwh.models.pins import Pin, pin_folder, weight_files

Checkpoint = Callable[..., Path]


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))


def pin(folder: Path) -> Pin:
    return pin_folder("m", "path", "model", None, folder, HashCache(folder.parent / "cache" / "h.sqlite"))


def edit(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(content))


def test_one_weight_file_has_its_own_sha256(folder: Path) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    found = pin(folder)
    assert found.weight_hash == digest
    assert (found.model_type, found.task) == ("bert", "sequence_classification")
    assert set(found.identity) == {found.weight_hash, *found.token_identity}
    assert {found.tokenizer_hash, found.config_hash, f"tokenization {pins.TOKENIZATION}"} == {
        *found.token_identity
    }
    assert "xlwh.model_revision" not in found.provenance
    assert found.provenance["xlwh.weight_hash"] == digest


def test_shards_are_hashed_in_order_of_their_names(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "b.safetensors").write_bytes(b"second")
    (folder / "a.safetensors").write_bytes(b"first")
    (folder / "other.safetensors").write_bytes(b"not named")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}))
    assert [file.name for file in weight_files("m", folder)] == ["a.safetensors", "b.safetensors"]
    assert pin(folder).weight_hash == hashlib.sha256(b"firstsecond").hexdigest()
    (folder / "a.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names weights that are missing: a\.safetensors"):
        pin(folder)


def test_files_are_hashed_once_and_again_when_they_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 0)
    first = pin(folder)
    with monkeypatch.context() as patch:
        patch.setattr(digests, "sha256", lambda *_: pytest.fail("hashed again"))
        assert pin(folder) == first
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[::-1])
    os.utime(weights, ns=(1, 1))
    second = pin(folder)
    assert second.weight_hash != first.weight_hash
    assert second.tokenizer_hash == first.tokenizer_hash


def test_the_tokenizer_hash_covers_names_and_bytes(folder: Path) -> None:
    first = pin(folder).tokenizer_hash
    (folder / "vocab.txt").write_text("the\n")
    second = pin(folder).tokenizer_hash
    (folder / "vocab.txt").rename(folder / "merges.txt")
    assert len({first, second, pin(folder).tokenizer_hash}) == 3


def test_pickle_checkpoints_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"`m`.*only pickle files \(pytorch_model\.bin\)"):
        pin(folder)


def test_no_weights_at_all_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no safetensors weights in .*model: none"):
        pin(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("entry", ["auto_map", "custom_code", "custom_pipelines", "custom_generate"])
def test_remote_code_is_refused(folder: Path, file: str, entry: str) -> None:
    (folder / file).touch()
    (folder / file).write_text((folder / file).read_text() or "{}")
    edit(folder / file, **{entry: {"AutoModel": "modeling_evil.EvilModel"}})
    with pytest.raises(ModelError, match=rf"{file} has `{entry}`: the checkpoint brings its own code"):
        pin(folder)


def test_what_other_libraries_write_beside_a_model_may_be_a_list_and_is_looked_into(folder: Path) -> None:
    before = pin(folder).identity
    (folder / "data_config.json").write_text(
        '[{"name": "stackexchange.jsonl.gz", "lines": 10009, "weight": 1}]'
    )
    assert pin(folder).identity != before
    (folder / "data_config.json").write_text('[{"auto_map": {"AutoModel": "modeling_evil.EvilModel"}}]')
    with pytest.raises(
        ModelError, match=r"data_config\.json has `0\.auto_map`: the checkpoint brings its own code"
    ):
        pin(folder)


def test_missing_and_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        pin(tmp_path / "nowhere")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        pin(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json is not a JSON object"):
        pin(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        pin(folder)


def test_a_checkpoint_without_a_tokenizer_is_refused(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="holds no tokenizer files"):
        pin(folder)


@pytest.mark.parametrize(
    "value",
    [
        "kernels-community/flash-attn",
        "org/repo@main:function",
        "paged|sdpa",
        "my_kernel",
        {"decoder": "org/kernel"},
    ],
)
@pytest.mark.parametrize(
    "entry", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_attention_that_names_code_is_refused(folder: Path, entry: str, value: Any, nested: bool) -> None:
    edit(
        folder / "config.json", **({"text_config": {"deep": [{entry: value}]}} if nested else {entry: value})
    )
    with pytest.raises(
        ModelError, match=rf"`m`: .*config\.json has `(text_config\.deep\.0\.)?{entry}` = .*never run"
    ):
        pin(folder)


def test_attention_of_transformers_own_is_no_fault(folder: Path) -> None:
    edit(folder / "config.json", _attn_implementation="flash_attention_2", attn_implementation=None)
    assert pin(folder).task == "sequence_classification"


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("quantization_config", {"quant_method": "gptq"}),
        ("transformers_weights", "other.safetensors"),
        ("fusion_config", {"patch_embeddings": True}),
        ("kernel_config", {"RMSNorm": "org/kernel"}),
        ("use_kernels", True),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_other_weights_than_those_of_the_files_are_refused(
    folder: Path, entry: str, value: Any, nested: bool
) -> None:
    edit(folder / "config.json", **({"decoder": {entry: value}} if nested else {entry: value}))
    with pytest.raises(ModelError, match=rf"config\.json has `(decoder\.)?{entry}`"):
        pin(folder)


def test_code_for_generation_is_refused(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    with pytest.raises(ModelError, match="custom_generate is the checkpoint's own code"):
        pin(folder)


def test_a_label_may_be_called_like_an_entry(folder: Path) -> None:
    edit(folder / "config.json", label2id={"auto_map": 1, "use_kernels": 2, "c": 0})
    assert pin(folder).model_type == "bert"


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "pytorch_adapter.bin"]
)
@pytest.mark.parametrize("installed", [False, True])
def test_adapters_are_refused_by_name_whether_peft_is_installed_or_not(
    folder: Path, name: str, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers.integrations.peft
    import transformers.models.auto.auto_factory as factory

    for module in (transformers.integrations.peft, factory):
        monkeypatch.setattr(module, "is_peft_available", lambda: installed)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(
        ModelError, match=rf"`m`: .* holds an adapter \({name}\)\. Adapters are not supported"
    ):
        pin(folder)


READ = (
    *(
        "bpe.codes",
        "vocab.bpe",
        "sentencepiece.bpe.model",
        "spiece.model",
        "source.spm",
        "target.spm",
        "dict.txt",
    ),
    *(
        "tokenizer.model",
        "tokenizer.model.v3",
        "tekken.json",
        "tiktoken.model",
        "merges.txt",
        "vocab.txt",
        "vocab.json",
    ),
    *(
        "added_tokens.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "chat_template.json",
        "entity_vocab.json",
    ),
    *("tokenizer.4.0.json", "generation_config.json", "preprocessor_config.json", "prophetnet.tokenizer"),
    *(
        "chat_templates/rag.jinja",
        "something_else",
        "sentence_bert_config.json",
        "letters.vocab",
        "emoji.json",
    ),
)
NOT_READ = (
    "README.md",
    "LICENSE",
    "picture.png",
    "pytorch_model.bin",
    "flax_model.msgpack",
    "training.json",
    ".gitattributes",
)


@pytest.mark.parametrize("name", READ)
def test_every_file_that_loading_may_read_is_in_the_identity(folder: Path, name: str) -> None:
    before = pin(folder).identity
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    added = pin(folder).identity
    file.write_text("{ }")
    changed = pin(folder).identity
    assert len({before, added, changed}) == 3
    assert before[0] == added[0] == changed[0]
    file.unlink()
    assert pin(folder).identity == before


@pytest.mark.parametrize("name", NOT_READ)
def test_what_loading_never_opens_is_not(folder: Path, name: str) -> None:
    before = pin(folder).identity
    (folder / name).write_text("{}")
    assert pin(folder).identity == before


def test_the_rule_covers_the_files_of_every_tokenizer_of_transformers() -> None:
    import transformers.models.auto.tokenization_auto as auto
    from transformers import PreTrainedTokenizerBase

    names = {name for _, name in auto.TOKENIZER_MAPPING_NAMES.items() if name is not None}
    wanted: set[str] = set()
    for name in [*sorted(names)[::5], "XLMTokenizer", "PhobertTokenizer", "BertweetTokenizer", "T5Tokenizer"]:
        found = auto.tokenizer_class_from_name(name)
        if isinstance(found, type) and issubclass(found, PreTrainedTokenizerBase):
            wanted |= {file for file in (found.vocab_files_names or {}).values() if isinstance(file, str)}
    assert {"bpe.codes", "merges.txt", "tokenizer.json", "vocab.txt"} <= wanted
    assert not {file for file in wanted if pins._matches(file, pins.NEVER_READ)}


def test_files_that_the_tokenizer_names_are_in_the_identity_wherever_they_are(
    folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "elsewhere.txt"
    outside.write_text("a")
    (folder / "README.txt").write_text("a")
    edit(
        folder / "tokenizer_config.json",
        merges_file=str(outside),
        vocab_file="README.txt",
        none_file="/not/there",
    )
    first = pin(folder).tokenizer_hash
    outside.write_text("b")
    second = pin(folder).tokenizer_hash
    (folder / "README.txt").write_text("b")
    assert len({first, second, pin(folder).tokenizer_hash}) == 3


def test_the_same_bytes_under_another_date_are_the_same_model(folder: Path) -> None:
    first = pin(folder)
    for file in folder.iterdir():
        os.utime(file, ns=(12345, 67890))
    assert pin(folder).identity == first.identity
    copy = Path(shutil.copytree(folder, folder.parent / "copy"))
    assert pin(copy).identity == first.identity


@pytest.mark.parametrize("in_place", [True, False])
def test_other_bytes_of_the_same_size_and_date_are_another_model(
    folder: Path, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the digest of the former bytes is remembered."""
    monkeypatch.setattr(digests, "SETTLED_S", 0.05)
    for name, place in (("model.safetensors", 0), ("tokenizer.json", 1), ("config.json", 2)):
        file = folder / name
        time.sleep(0.1)
        pin(folder)
        first, state = pin(folder).identity, file.stat()
        content = bytearray(file.read_bytes())
        content[-2:] = (
            content[-2:][::-1] if name == "model.safetensors" else b" }" if content[-2:] != b" }" else b"\n}"
        )
        if in_place:
            file.write_bytes(content)
        else:
            (folder.parent / "new").write_bytes(content)
            (folder.parent / "new").rename(file)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
        second = pin(folder).identity
        assert [a != b for a, b in zip(first[:3], second[:3], strict=True)] == [i == place for i in range(3)]


def test_a_file_that_was_just_written_is_not_remembered(folder: Path) -> None:
    """It could be written again within the same tick of the kernel's clock."""
    cache = folder.parent / "cache" / "h.sqlite"
    pin(folder)
    assert not cache.exists()


def test_what_is_remembered_is_read_once_and_a_change_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xlwh.digests.SETTLED_S", 0.0)
    opened, genuine = [], sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(arguments)
        return genuine(*arguments, **options)

    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    known = [HashCache(tmp_path / "h.sqlite").digest([file]) for file in files]
    monkeypatch.setattr(sqlite3, "connect", connect)
    cache, other = HashCache(tmp_path / "h.sqlite"), HashCache(tmp_path / "h.sqlite")
    assert [cache.digest([file]) for file in files * 3] == known * 3
    assert len(opened) == 1
    files[1].write_text("B")
    assert other.digest([files[1]]) == cache.digest([files[1]]) == sha256([files[1]]) != known[1]
    assert [cache.digest([file]) for file in files] == [known[0], sha256([files[1]]), known[2]]


def test_bytes_cannot_move_from_one_file_to_the_next(tmp_path: Path) -> None:
    cache = HashCache(tmp_path / "h.sqlite")
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, contents in ((one, (b"x", b"y")), (two, (b"x" + b"b\x001\x00y", b""))):
        folder.mkdir()
        for name, content in zip("ab", contents, strict=True):
            (folder / name).write_bytes(content)
    assert cache.digest([one / "a", one / "b"], named=True) != cache.digest(
        [two / "a", two / "b"], named=True
    )


@pytest.mark.parametrize("with_index", [True, False])
def test_a_part_of_the_shards_names_the_others(folder: Path, with_index: bool) -> None:
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    (folder / "model.safetensors").rename(folder / names[1])
    if with_index:
        weight_map = {f"x{i}": name for i, name in enumerate(names)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match=rf"missing.*: .*{names[0]}, {names[2]}"):
        pin(folder)


def test_an_index_of_files_elsewhere_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../model.safetensors"}}')
    with pytest.raises(ModelError, match="names files outside its folder"):
        pin(folder)


def test_weights_under_another_name_are_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    with pytest.raises(ModelError, match=r"\(model\.fp16\.safetensors\): model\.safetensors is missing"):
        pin(folder)
