"""Where on this machine things from outside lie: the hub's cache and the data root, or both in one mirror."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from xlwh.errors import SourceError

Kind = Literal["model", "dataset"]
MIRROR = "XLWH_MIRROR"
"""Variable that names a mirror, a folder that `xlwh fetch --to` wrote."""
HUB, DATA = "hub", "data"
"""Its two parts."""
INDEX = "mirror.json"
"""Its list of files, by which it is known."""


def mirror() -> Path | None:
    """The folder of the mirror that is read in place of the hub's cache and the data root; None where none is set.

    `SourceError` where the variable names something else than a mirror.
    """
    named = os.environ.get(MIRROR)
    if not named:
        return None
    if "://" in named:
        raise SourceError(
            f"{MIRROR} is `{named}`, and has to be a folder. Copy from an object store with: xlwh fetch --from {named}"
        )
    if not (Path(named) / INDEX).is_file():
        raise SourceError(
            f"{MIRROR} is `{named}`, and there is no mirror: no {INDEX} in it. Correct or unset {MIRROR}; without it, and where there "
            f"is a network, a mirror is written by: xlwh fetch --to {named}"
        )
    return Path(named)


def data_override() -> Path | None:
    """The data root that the environment names: XLWH_DATA_ROOT, or the data of XLWH_MIRROR."""
    if named := os.environ.get("XLWH_DATA_ROOT"):
        return Path(named)
    folder = mirror()
    return None if folder is None else folder / DATA


def hub_cache() -> Path:
    """The hub's cache: that of XLWH_MIRROR, or the client's own (HF_HUB_CACHE, HF_HOME)."""
    folder = mirror()
    if folder is not None:
        return folder.resolve() / HUB
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repository_folder(kind: Kind, repository: str) -> Path:
    """Folder of a repository in the hub's cache."""
    from huggingface_hub.file_download import repo_folder_name

    return hub_cache() / repo_folder_name(repo_id=repository, repo_type=kind)


def snapshot_folder(kind: Kind, repository: str, revision: str) -> Path:
    """Folder of one commit of a repository in the hub's cache; it need not exist."""
    return repository_folder(kind, repository) / "snapshots" / revision


def listing(kind: Kind, repository: str, revision: str) -> dict[str, int] | None:
    """Files of a commit and their bytes, as the hub listed them when it was fetched; None where that is not known.

    Names of all files, whichever of them were fetched: what is not there is missing, not absent from the repository.
    `SourceError` as of `require_inside`.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(repository, repo_type=kind, revision=revision, cache_dir=hub_cache())
    except CachedRepoTreeNotFoundError:
        return None
    require_inside((file.path for file in files), f"{kind} {repository} at {revision}")
    return {file.path: file.size for file in files}


def require_inside(names: Iterable[str], what: str) -> None:
    """`SourceError` where a list of files, which a hub or a mirror gave, names one outside of its own folder."""
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SourceError(
                f"{what}: its list of files names `{name}`, which lies outside of its folder. Nothing is read or written there; "
                f"whoever made the list, in {hub_cache()} or on the hub, is not to be trusted."
            )
