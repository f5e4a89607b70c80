"""Checkpoints of models that are made here: folders beside the tables, which the rows of `models` name.

A checkpoint that is used, copied or committed again is first held against what is known of it (`damages`): the digests in
the manifest, and the hash of the weights in the row of its model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.digests import FileMemo, HashCache, sha256
from xlwh.errors import StoreError
from xlwh.jsons import parsed, typed
from xlwh.store.artefacts import PLACES, Artefact, ArtefactFile, Name, faults, on_disk
from xlwh.store.files import files_in
from xlwh.store.integrity import require_undamaged
from xlwh.store.objects import at_hand, behind
from xlwh.store.parquet import UnreadableError, decoded, metadata_of
from xlwh.store.slots import Entry, Slot

CHECKPOINT = "xlwh.checkpoint"
"""Metadata of a file of `models`: name of its checkpoint's folder."""
CHECKPOINT_FILES = "xlwh.checkpoint_files"
"""Metadata of a file of `models`: all files of its checkpoint, as JSON: path in the folder -> [bytes, SHA-256]."""
DIGITS = 16
"""Hex digits of a training's digest that its folder is named by."""
NAME = re.compile(f"[0-9a-f]{{{DIGITS}}}")
"""Name of a checkpoint's folder."""
_DIGEST = re.compile("[0-9a-f]{64}")
MADE_HERE = ("finetuned", "scratch")
"""Kinds of models that have a checkpoint in a warehouse, and whose `source` is a key of the study."""
_WHOLE = "model.safetensors"
"""The one file of weights, where they are not in several."""
_ROWS = FileMemo[Mapping[str, Any]](10_000)
"""What the rows of models say."""


def checkpoint_folder(root: Path, model: str, digest: str) -> Path:
    """Where the checkpoint of a training lies: `models/<model>/<first digits of the digest>`."""
    return root / PLACES["model"] / model / digest[:DIGITS]


def checkpoint_of(root: Path, row: Entry) -> Path | None:
    """The folder that a current row of `models` names; None where the row's file is gone.

    Files without that metadata were written under the training's own digest. StoreError where the file is damaged, or
    names something else than a checkpoint.
    """
    file = at_hand(root, row.file)
    if not file.is_file():
        return None
    require_undamaged(root, row)
    try:
        return checkpoint_folder(root, row.slot.keys[0], name_in(file, row.fingerprint))
    except StoreError as error:
        raise StoreError(f"{row.file} of {row.slot} is damaged: {error}. Run: xlwh repair") from None


def bring(root: Path, known: Artefact | None) -> None:
    """Have the files of a checkpoint in its folder, where an object store has them."""
    if known is not None and (objects := behind(root)) is not None:
        with suppress(FileNotFoundError):
            for file in known.files:
                objects.bring(file.file, file.digest)


def name_in(file: Path, fingerprint: str) -> str:
    """The checkpoint that a file of `models` names; StoreError with the reason where it cannot be one."""
    metadata = metadata_of(file)
    if metadata is None:
        raise UnreadableError("its metadata cannot be read")
    name = metadata.get(CHECKPOINT, fingerprint[:DIGITS])
    if NAME.fullmatch(name) is None:
        raise StoreError(f"it names the checkpoint {name[:80]!a}, not {DIGITS} hexadecimal digits")
    return name


def files_text(artefact: Artefact) -> str:
    """What the file of a row says of the files of its checkpoint."""
    folder = f"{PLACES['model']}/{artefact.name}/{artefact.fingerprint}/"
    found = {file.file.removeprefix(folder): [file.size_bytes, file.digest] for file in artefact.files}
    return json.dumps(found, sort_keys=True)


def said_in(file: Path, model: str, name: str) -> Artefact | None:
    """The checkpoint `name` as a file of `models` has it, with all digests; None where it was written without them.

    StoreError with the reason where that cannot be one.
    """
    text = (metadata_of(file) or {}).get(CHECKPOINT_FILES)
    if text is None:
        return None
    try:
        found = typed(dict[str, tuple[int, str]], parsed(text))
    except ValueError:
        raise StoreError("what it says of the files of its checkpoint cannot be read") from None
    for path, (size_bytes, digest) in found.items():
        if size_bytes < 0 or not _DIGEST.fullmatch(digest) or {"", ".", ".."} & set(path.split("/")):
            raise StoreError(f"it says {path[:80]!a} of {size_bytes} bytes is a file of its checkpoint")
    folder = f"{PLACES['model']}/{model}/{name}"
    files = (ArtefactFile(f"{folder}/{path}", *each) for path, each in found.items())
    return Artefact("model", model, name, tuple(sorted(files)))


def row_in(file: Path) -> Mapping[str, Any]:
    """Of the model that a file of `models` is of, `kind`, `weight_hash` and `weights_of`, None for what the row has not.

    UnreadableError where it cannot be read.
    """
    return _ROWS.get(file, partial(_row_in, file))


def has_checkpoint(file: Path) -> bool:
    """Whether the model that a file of `models` is of has a checkpoint of its own in a warehouse, and not the weights of another."""
    row = row_in(file)
    return row["kind"] in MADE_HERE and (row["weights_of"] is None or CHECKPOINT in (metadata_of(file) or {}))


def _row_in(file: Path) -> Mapping[str, Any]:
    # Files of an earlier contract have fewer columns.
    rows = decoded(lambda: pl.read_parquet(file, hive_partitioning=False, glob=False))
    found: dict[str, Any] = next(rows.iter_rows(named=True), {})
    return {column: found.get(column) for column in ("kind", "weight_hash", "weights_of")}


def checkpoint(root: Path, model: str, folder: Path, hashes: HashCache) -> Artefact:
    """The artefact that a finished checkpoint is."""
    return on_disk(root, "model", model, [path for path, _ in files_in(folder)], hashes, folder.name)


def damages(
    root: Path,
    artefact: Artefact,
    row: Mapping[str, Any],
    read: Callable[[Sequence[Path]], str] = sha256,
) -> dict[str, str]:
    """Files of a checkpoint that are not as the manifest says (`artefact`), or the row of its model, and how they differ.

    `read` gives the SHA-256 of files, one after the other.
    """
    return {file.file: how for file, (_, how) in faults(root, artefact, True, read)} or other_weights(
        root, artefact, row, read
    )


def other_weights(
    root: Path,
    artefact: Artefact,
    row: Mapping[str, Any],
    read: Callable[[Sequence[Path]], str] = sha256,
) -> dict[str, str]:
    """Files of weights, where the checkpoint has other ones than the row of its model says."""
    weights = weights_of(artefact)
    if weights and read([root / file.file for file in weights]) == row["weight_hash"]:
        return {}
    named = [file.file for file in weights] or [
        f"{PLACES['model']}/{artefact.name}/{artefact.fingerprint}/{_WHOLE}"
    ]
    return dict.fromkeys(named, "its checkpoint has other weights than its row says")


def weights_of(artefact: Artefact) -> list[ArtefactFile]:
    """The files of a checkpoint that hold its weights, in the order in which they are hashed."""
    folder = f"{PLACES['model']}/{artefact.name}/{artefact.fingerprint}"
    found = {
        file.file.removeprefix(f"{folder}/"): file
        for file in artefact.files
        if re.fullmatch(rf"{re.escape(folder)}/[^/]+\.safetensors", file.file)
    }
    return [found[_WHOLE]] if _WHOLE in found else [found[name] for name in sorted(found)]


def require_undamaged_checkpoint(
    root: Path, row: Entry, artefact: Artefact, read: Callable[[Sequence[Path]], str] = sha256
) -> None:
    """StoreError where the checkpoint of a current row of `models` has other bytes than were committed with it."""
    for file, how in damages(root, artefact, row_in(at_hand(root, row.file)), read).items():
        raise StoreError(f"{file} of model `{artefact.name}` is damaged: {how}. Run: xlwh repair")


def resting(slots: Iterable[Slot]) -> set[Name]:
    """Artefacts that are part of what these slots hold: they come and go with them."""
    return {("model", slot.keys[0]) for slot in slots if slot.table == "models"}
