"""Checkpoints of the Hugging Face hub: from its cache, or fetched into it."""

from __future__ import annotations

from pathlib import Path

from xlwh.errors import ModelError
from xlwh.models.pins import NEVER_READ, lacking_weights, tokenizer_files

UNWANTED = (*(pattern for pattern in NEVER_READ if pattern != "*.safetensors"), "*.py", ".*", "*/*")
"""What is never fetched: weights in other formats, code, pages, pictures and sub-folders (ONNX exports and the like)."""
_PATIENCE_S = 10.0


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
        return Path(snapshot_download(repository, revision=revision, ignore_patterns=list(UNWANTED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        part = f" (of it, {', '.join(lacking)} missing in the cache)" if lacking else ""
        raise ModelError(
            f"Model `{key}`: {repository} at {revision}{part} cannot be fetched: {error}"
        ) from None


def cached(key: str, repository: str, revision: str) -> tuple[Path | None, list[str]]:
    """Folder of one commit of a hub model in the cache, and what it lacks; None where it has to be fetched first.

    ModelError where it is not there, or not all of it, and nothing may be fetched (HF_HUB_OFFLINE).
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    by_hand = f"hf download {repository} --revision {revision}"
    lacking: list[str] = []
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        lacking = missing_files(folder)
        if not lacking:
            return folder, []
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            raise ModelError(
                f"Model `{key}`: {repository} at {revision} is not in the hub cache {constants.HF_HUB_CACHE}, "
                f"and HF_HUB_OFFLINE is set. With a network: {by_hand}"
            ) from None
    if constants.HF_HUB_OFFLINE:
        # Without weights at all, or with those of another format, what is there says more when it is pinned.
        if any(name.endswith(".safetensors") for name in lacking):
            raise ModelError(
                f"Model `{key}`: the hub cache {constants.HF_HUB_CACHE} has only a part of {repository} at "
                f"{revision}: {', '.join(lacking)} missing, as after an interrupted download, and HF_HUB_OFFLINE is "
                f"set. With a network: {by_hand}"
            )
        return folder, lacking
    return None, lacking


def configuration(key: str, repository: str, revision: str) -> Path:
    """The config.json alone of a commit of a hub model, fetched where it is not in the cache; ModelError where it cannot be."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "config.json", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"Model `{key}`: {repository} at {revision} cannot be fetched: {error}") from None


def size_on_hub(key: str, repository: str, revision: str) -> int:
    """Bytes that fetching a commit of a hub model takes at most; ModelError where the hub does not give it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_PATIENCE_S)
    # Whatever the client for HTTP raises where there is no network.
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        raise ModelError(f"Model `{key}`: {repository} at {revision} cannot be had: {error}") from None
    files = (file for file in info.siblings or () if file.rfilename.endswith((".safetensors", ".json")))
    return sum(file.size or 0 for file in files)


def missing_files(folder: Path) -> list[str]:
    """What a snapshot visibly lacks of a checkpoint: config.json, weights or some of their shards, a tokenizer."""
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    weights = lacking_weights(folder)
    if not weights and not any(file.is_file() for file in folder.glob("*.safetensors")):
        weights = ["weights (*.safetensors)"]
    lacking += weights
    return lacking if tokenizer_files(folder) else [*lacking, "the tokenizer's files"]
