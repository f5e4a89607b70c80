"""Checkpoints whose files are damaged in every way: each is refused with its file's name, or loads as it is."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from xlwh.demo.grammar import DATA
from xlwh.errors import XlwhError
from xlwh.models import Zoo
from xlwh.store import Warehouse
from xlwh.study import Study

MODEL = DATA.parent / "model"
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
VALUES = ("x", -1, 0, 10**12, 10**30, 1e308, None, [], {}, [[]], True, "\ud800", "\0")
CASES = 100


def _written(change: Callable[[object], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        content = change(json.loads(file.read_text(encoding="utf-8")))
        file.write_text(json.dumps(content), encoding="utf-8")

    return damage


def _as_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(change(file.read_bytes())) and None


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _without(key: str) -> Callable[[Path], None]:
    return _written(lambda content: {name: value for name, value in content.items() if name != key})


def _with(key: str, value: object) -> Callable[[Path], None]:
    return _written(lambda content: content | {key: value})


def _header(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
        return struct.pack("<Q", len(header)) + header + data[8 + length :]

    return changed


def _first(change: dict) -> Callable[[dict], dict]:
    def changed(header: dict) -> dict:
        name = next(name for name in header if name != "__metadata__")
        return header | {name: header[name] | change}

    return changed


WHOLE = {
    "empty": _as_bytes(lambda data: b""),
    "half": _as_bytes(lambda data: data[: len(data) // 2]),
    "zeros": _as_bytes(lambda data: b"\0" * 100),
    "not UTF-8": _as_bytes(lambda data: b"\xff\xfe" + data),
    "a folder": _folder,
}
JSON = {
    "a list": _written(lambda content: [content]),
    "a text": _written(lambda content: "x"),
    "a number": _written(lambda content: 10**40),
    "null": _written(lambda content: None),
    "deep": _as_bytes(lambda data: b"[" * 200_000),
    "deep within": _as_bytes(lambda data: b'{"model_type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}
WEIGHTS = {
    "a header of absurd length": _as_bytes(lambda data: struct.pack("<Q", 2**63) + data[8:]),
    "a header longer than the file": _as_bytes(lambda data: struct.pack("<Q", 10**9) + data[8:]),
    "a header of no length": _as_bytes(lambda data: struct.pack("<Q", 0) + data[8:]),
    "a header that is a list": _as_bytes(_header(lambda header: [header])),
    "a header of other values": _as_bytes(_header(lambda header: dict.fromkeys(header, 3))),
    "a deep header": _as_bytes(lambda data: struct.pack("<Q", 10**5) + b"[" * 10**5),
    "offsets beyond": _as_bytes(_header(_first({"data_offsets": [0, 10**15]}))),
    "offsets that are texts": _as_bytes(_header(_first({"data_offsets": ["a", "b"]}))),
    "another type": _as_bytes(_header(_first({"dtype": "Q7"}))),
    "an absurd shape": _as_bytes(_header(_first({"shape": [10**12, 10**12]}))),
    "a negative shape": _as_bytes(_header(_first({"shape": [-1, 4]}))),
    "no tensors": _as_bytes(_header(lambda header: {})),
}


def cases() -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Name -> the file that is damaged, and how."""
    found: dict[str, tuple[str, Callable[[Path], None]]] = {}
    for name, damage in (WHOLE | WEIGHTS).items():
        found[f"model.safetensors: {name}"] = "model.safetensors", damage
    for file in FILES:
        for name, damage in (WHOLE | JSON).items():
            found[f"{file}: {name}"] = file, damage
    content = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    for key in ("model_type", "architectures", "hidden_size", "vocab_size", "num_hidden_layers"):
        found[f"config.json: no {key}"] = "config.json", _without(key)
        found[f"config.json: {key} = 10**12"] = "config.json", _with(key, 10**12)
    draw = random.Random(5)
    while len(found) < CASES:
        key, value = draw.choice(sorted(content)), draw.choice(VALUES)
        found[f"config.json: {key} = {value!r}"] = "config.json", _with(key, value)
    return found


@pytest.mark.parametrize(
    "name",
    [
        name if number % 5 == 0 else pytest.param(name, marks=pytest.mark.slow)
        for number, name in enumerate(cases())
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name_or_loads_as_it_is(name, tmp_path):
    file, damage = cases()[name]
    folder = tmp_path / "checkpoint"
    shutil.copytree(MODEL, folder)
    for copied in folder.rglob("*"):
        copied.chmod(0o755 if copied.is_dir() else 0o644)
    damage(folder / file)
    models = {"m": {"path": str(folder)}}
    study = Study.model_validate(
        {"name": "s", "languages": ["en"], "folder": tmp_path, "datasets": {}, "models": models}
    )
    zoo = Zoo(study, Warehouse(tmp_path / "warehouse", create=True), device="cpu")
    refusal = None
    try:
        zoo.pin("m")
        zoo.load("m")
    except XlwhError as error:
        refusal = str(error)
    if refusal is None:
        assert file == "tokenizer_config.json" or " = " in name or " no " in name, "it was damaged, and loads"
    else:
        assert "`m`" in refusal
        assert str(folder) in refusal
        assert len(refusal) < 1500
