"""Checkpoints of the hub's cache: what was cached in part is completed, or what is missing is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hub_server import HubServer
from huggingface_hub import constants

from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.hub import UNWANTED, missing_files, snapshot

REVISION = "0123456789abcdef0123456789abcdef01234567"
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
INDEX = "model.safetensors.index.json"
Layout = Callable[[Path, str], Path]


@pytest.fixture
def sharded(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint in three shards."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "sharded"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {shard: names[i::3] for i, shard in enumerate(SHARDS)}
    for shard, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / shard, metadata={"format": "pt"})
    weight_map = {name: shard for shard, part in parts.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.fixture
def network(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that has `sharded` with files beside it that are never loaded; its cache is that of `hub_cache`."""
    with HubServer() as hub:
        offered = {file.name: file.read_bytes() for file in sharded.iterdir()}
        other = {"README.md": b"read", "pytorch_model.bin": b"no", "onnx/model.onnx": b"no"}
        hub.add_model("org/name", offered | other, commit=REVISION)
        hub.use(monkeypatch, tmp_path)
        yield hub


PARTS = [
    [SHARDS[1]],
    [SHARDS[0], SHARDS[2]],
    [INDEX],
    [INDEX, SHARDS[2]],
    ["config.json"],
    ["tokenizer.json", "tokenizer_config.json"],
]


@pytest.mark.parametrize("absent", PARTS, ids=", ".join)
def test_an_interrupted_download_is_completed(
    absent: list[str],
    sharded: Path,
    hub_cache: Layout,
    network: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    zoo_of: Callable[..., Zoo],
) -> None:
    folder = hub_cache(sharded, "org/name")
    for name in absent:
        (folder / name).resolve().unlink()  # the link stays, as after a lost blob
    assert snapshot("m", "org/name", REVISION) == folder
    assert missing_files(folder) == []
    asked = len(network.requests)
    assert asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot("m", "org/name", REVISION) == folder
    assert len(network.requests) == asked
    assert not (folder / "README.md").exists()
    zoo = zoo_of(hub={"hub": "org/name", "revision": REVISION}, local={"path": str(sharded)})
    assert zoo.load("hub").pin.identity == zoo.load("local").pin.identity


@pytest.mark.parametrize("absent", PARTS[:4], ids=", ".join)
def test_offline_the_missing_shards_are_named(
    absent: list[str], sharded: Path, hub_cache: Layout, zoo_of: Callable[..., Zoo]
) -> None:
    folder = hub_cache(sharded, "org/name")
    for name in absent:
        (folder / name).unlink()
    with pytest.raises(ModelError, match="missing") as raised:
        zoo_of(m={"hub": "org/name", "revision": REVISION}).load("m")
    for name in absent:
        assert name in str(raised.value)
    assert all(name not in str(raised.value).replace(INDEX, "") for name in SHARDS if name not in absent)


def test_what_cannot_be_completed_says_what_is_missing(
    sharded: Path, hub_cache: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub_cache(sharded, "org/name")
    (folder / SHARDS[2]).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    real = huggingface_hub.snapshot_download

    def download(*arguments: Any, local_files_only: bool = False, **options: Any) -> str:
        if not local_files_only:
            raise OSError("no route to host")
        return str(real(*arguments, local_files_only=True, **options))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        ModelError, match=rf"of it, {SHARDS[2]} missing in the cache\) cannot be fetched: no route"
    ):
        snapshot("m", "org/name", REVISION)


@pytest.mark.usefixtures("network")
def test_what_was_fetched_is_all_that_is_needed_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot("m", "org/name", REVISION)
    assert {"README.md", "pytorch_model.bin", "onnx"}.isdisjoint(file.name for file in folder.iterdir())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # The client itself lists what it left out, and calls the snapshot incomplete for it.
    assert snapshot("m", "org/name", REVISION) == folder
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"only a part .* tokenizer_config.json missing.* xlwh fetch"):
        snapshot("m", "org/name", REVISION)


def test_every_file_that_loading_may_read_is_fetched() -> None:
    offered = [
        *(
            *SHARDS,
            INDEX,
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "bpe.codes",
            "vocab.bpe",
        ),
        *("source.spm", "tokenizer.model.v3", "dict.txt", "spiece.model", "chat_template.jinja"),
    ]
    other = [
        "README.md",
        "modeling_evil.py",
        "pytorch_model.bin",
        "onnx/model.onnx",
        ".gitattributes",
        "a.png",
    ]
    found = huggingface_hub.utils.filter_repo_objects([*offered, *other], ignore_patterns=list(UNWANTED))
    assert sorted(found) == sorted(offered)
