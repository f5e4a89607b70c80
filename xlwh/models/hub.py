"""Checkpoints of the Hugging Face hub: from its cache, or fetched into it."""

from __future__ import annotations

from pathlib import Path

from xlwh.errors import ModelError

FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


def snapshot(key: str, repository: str, revision: str) -> Path:
    """Folder of one commit of a hub model. Downloads only what is missing, and nothing when offline.

    Weights in other formats, code and sub-folders (ONNX exports and the like) are never fetched.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        # Another program may have cached a part of it only, the tokenizer say.
        if constants.HF_HUB_OFFLINE or any(folder.glob("*.safetensors")):
            return folder
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            raise ModelError(
                f"Model `{key}`: {repository} at {revision} is not in the hub cache {constants.HF_HUB_CACHE}, "
                f"and HF_HUB_OFFLINE is set. With a network: hf download {repository} --revision {revision}"
            ) from None
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), ignore_patterns=["*/*"]
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"Model `{key}`: {repository} at {revision} cannot be fetched: {error}") from None
