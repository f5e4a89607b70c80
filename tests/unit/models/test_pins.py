"""Identity of a checkpoint, and what is refused before it is opened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlwh.errors import ModelError
from xlwh.models import pins
from xlwh.models.pins import HashCache, Pin, pin_folder, weight_files

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
    first = pin(folder)
    with monkeypatch.context() as patch:
        patch.setattr(pins, "_sha256", lambda *_: pytest.fail("hashed again"))
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


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("entry", ["auto_map", "custom_code"])
def test_remote_code_is_refused(folder: Path, file: str, entry: str) -> None:
    edit(folder / file, **{entry: {"AutoModel": "modeling_evil.EvilModel"}})
    with pytest.raises(ModelError, match=rf"{file} has `{entry}`: the checkpoint brings its own code"):
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
