"""Checkpoints of the Hugging Face hub: from its cache, or fetched into it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xlwh.errors import ModelError
from xlwh.models.pins import NEVER_READ, lacking_weights, tokenizer_files
from xlwh.place import hub_cache, listing, mirror, snapshot_folder

UNWANTED = (*(pattern for pattern in NEVER_READ if pattern != "*.safetensors"), "*.py", ".*", "*/*")
"""What is never fetched: weights in other formats, code, pages, pictures and sub-folders (ONNX exports and the like)."""


def snapshot(key: str, repository: str, revision: str) -> Path:
    """Folder of one commit of a hub model. Downloads only what is missing, and nothing when offline.

    What another program has cached in part, or a download that was interrupted, is completed. ModelError where it
    cannot be, with what is missing.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder, lacking = cached(key, repository, revision)
    if folder is not None:
        return folder
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, ignore_patterns=list(UNWANTED), cache_dir=hub_cache()
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        part = f" (of it, {', '.join(lacking)} missing in the cache)" if lacking else ""
        raise ModelError(
            f"Model `{key}`: {repository} at {revision}{part} cannot be fetched: {error}"
        ) from None


def cached(key: str, repository: str, revision: str) -> tuple[Path | None, list[str]]:
    """Folder of one commit of a hub model in the cache, and what it lacks; None where it has to be fetched first.

    ModelError where it is not there, or not all of it, and nothing may be fetched (HF_HUB_OFFLINE, XLWH_MIRROR).
    """
    from huggingface_hub import constants

    folder = snapshot_folder("model", repository, revision)
    is_offline = constants.HF_HUB_OFFLINE or mirror() is not None
    lacking = lacking_files(repository, revision) if folder.is_dir() else []
    if folder.is_dir() and not lacking:
        return folder, []
    if not is_offline:
        return None, lacking
    by_hand = f"with a network: xlwh fetch, or: hf download {repository} --revision {revision}"
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "XLWH_MIRROR is set"
    if not folder.is_dir():
        raise ModelError(
            f"Model `{key}`: {repository} at {revision} is not in the hub cache {hub_cache()}, and {why}. Run, {by_hand}"
        )
    # Without weights at all, or with those of another format, what is there says more when it is pinned.
    if any(name.endswith(".safetensors") for name in lacking) or listing("model", repository, revision):
        raise ModelError(
            f"Model `{key}`: the hub cache {hub_cache()} has only a part of {repository} at {revision}: "
            f"{', '.join(lacking)} missing, as after an interrupted download, and {why}. Run, {by_hand}"
        )
    return folder, lacking


def lacking_files(repository: str, revision: str) -> list[str]:
    """What the cached snapshot of a model lacks of what is loaded: by the hub's own list, where that is known."""
    folder, listed = snapshot_folder("model", repository, revision), listing("model", repository, revision)
    lacking = missing_files(folder)
    wanted = loaded(listed or ())
    return list(dict.fromkeys([*lacking, *(name for name in wanted if not (folder / name).is_file())]))


def loaded(names: Iterable[str]) -> list[str]:
    """Of a repository's files those that loading may read."""
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    return list(filter_repo_objects(names, ignore_patterns=list(UNWANTED)))


def has_safetensors(names: Iterable[str]) -> bool:
    """Whether there are weights that can be loaded among a repository's files."""
    return any(name.endswith(".safetensors") for name in loaded(names))


def missing_files(folder: Path) -> list[str]:
    """What a snapshot visibly lacks of a checkpoint: config.json, weights or some of their shards, a tokenizer."""
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    weights = lacking_weights(folder)
    if not weights and not any(file.is_file() for file in folder.glob("*.safetensors")):
        weights = ["weights (*.safetensors)"]
    lacking += weights
    return lacking if tokenizer_files(folder) else [*lacking, "the tokenizer's files"]
