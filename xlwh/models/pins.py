"""What a model is, exactly: content hashes of its files, and what is refused before anything is loaded.

Reads configuration and bytes only: torch and transformers are never imported here.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xlwh.errors import ModelError

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
TASKS = {
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
    "ForConditionalGeneration": "translation",
    "ForQuestionAnsweringSimple": "question_answering",
}
"""End of an architecture's name -> task of its head."""
Kind = Literal["hub", "path", "finetuned", "scratch"]
"""Where a model comes from."""
TOKENIZATION = "2"
"""How texts become sub-tokens with their characters and words (xlwh.models.tokenize): raised when that changes."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Pin:
    """The identity of one model of the study. Equal hashes mean equal results."""

    key: str
    kind: Kind
    source: str
    revision: str | None
    model_type: str
    architecture: str | None
    """Class that the checkpoint was saved from, such as `BertForSequenceClassification`."""
    weight_hash: str
    """SHA-256 over the bytes of the safetensors files in order of their names (of one file: its own)."""
    tokenizer_hash: str
    """SHA-256 over the names and bytes of the tokenizer's files."""
    config_hash: str
    """SHA-256 over config.json."""
    folder: Path

    @property
    def identity(self) -> tuple[str, ...]:
        """What a fingerprint of anything computed with the model must include: its contents, and how it is given texts."""
        return self.weight_hash, *self.token_identity

    @property
    def token_identity(self) -> tuple[str, ...]:
        """What a fingerprint of its sub-tokens alone must include."""
        return self.tokenizer_hash, self.config_hash, f"tokenization {TOKENIZATION}"

    @property
    def task(self) -> str | None:
        """Task of its head, as in `models.task`; None without one (a bare encoder, a language model).

        Every text-to-text head is one of `translation`, the one such task here.
        """
        name = self.architecture or ""
        return next((task for suffix, task in TASKS.items() if name.endswith(suffix)), None)

    @property
    def provenance(self) -> dict[str, str]:
        """What files computed with the model say of it in their metadata."""
        named = {
            "xlwh.model_source": self.source,
            "xlwh.model_revision": self.revision,
            "xlwh.weight_hash": self.weight_hash,
            "xlwh.tokenizer_hash": self.tokenizer_hash,
        }
        return {name: value for name, value in named.items() if value is not None}


class HashCache:
    """SHA-256 of files, remembered by path, size and modification time in a small SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def digest(self, files: list[Path], named: bool = False) -> str:
        """SHA-256 over the files' bytes, one after the other; `named` puts each file's name before its bytes."""
        # The stat of the resolved file: snapshots of the hub cache are links into its blobs.
        stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        key = hashlib.sha256(json.dumps([named, stats]).encode()).hexdigest()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            connection.execute("create table if not exists digests (key text primary key, sha256 text)")
            row = connection.execute("select sha256 from digests where key = ?", (key,)).fetchone()
        if row is not None:
            return str(row[0])
        digest = _sha256(files, named)
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            connection.execute("insert or replace into digests values (?, ?)", (key, digest))
        return digest


def _sha256(files: list[Path], named: bool) -> str:
    total = hashlib.sha256()
    for file in files:
        if named:
            total.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def pin_folder(
    key: str,
    kind: Kind,
    source: str,
    revision: str | None,
    folder: Path,
    cache: HashCache,
) -> Pin:
    """Check the files of a checkpoint and take its hashes; ModelError where it may not be loaded."""
    config = _read_config(key, folder)
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not tokenizer:
        raise ModelError(f"Model `{key}`: {folder} holds no tokenizer files (tokenizer.json and the like).")
    _refuse_remote_code(key, folder, config)
    return Pin(
        key=key,
        kind=kind,
        source=source,
        revision=revision,
        model_type=str(config.get("model_type")),
        architecture=next(iter(config.get("architectures") or ()), None),
        weight_hash=cache.digest(weight_files(key, folder)),
        tokenizer_hash=cache.digest(tokenizer, named=True),
        config_hash=cache.digest([folder / "config.json"]),
        folder=folder,
    )


def weight_files(key: str, folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint in order of their names; ModelError where there are none."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        names = sorted(set(_read_json(key, index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise ModelError(
                f"Model `{key}`: {index} names weights that are missing: {', '.join(missing) or 'all'}."
            )
        return [folder / name for name in names]
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    found = f"only pickle files ({', '.join(pickles)}), which can run code when opened" if pickles else "none"
    raise ModelError(
        f"Model `{key}`: no safetensors weights in {folder}: {found}. Use a revision that has "
        "model.safetensors, or convert the checkpoint once where you trust it with "
        "`model.save_pretrained(folder)` and name that folder as `path`."
    )


def _read_config(key: str, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelError(f"Model `{key}`: no folder {folder}.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"Model `{key}`: {folder} holds no config.json.")
    return _read_json(key, folder / "config.json")


def _read_json(key: str, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"Model `{key}`: {file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"Model `{key}`: {file} is not a JSON object.")
    return content


def _refuse_remote_code(key: str, folder: Path, config: dict[str, Any]) -> None:
    sources = {"config.json": config}
    if (folder / "tokenizer_config.json").is_file():
        sources["tokenizer_config.json"] = _read_json(key, folder / "tokenizer_config.json")
    for name, content in sources.items():
        for entry in ("auto_map", "custom_code"):
            if content.get(entry):
                raise ModelError(
                    f"Model `{key}`: {folder / name} has `{entry}`: the checkpoint brings its own code, "
                    "which is never run. Use a checkpoint of an architecture that transformers has."
                )
