"""Where a warehouse is: a folder, or the URL of one in an object store with the folder that this machine has for it.

In the object store lie the files that never change: those of tables, checkpoints, results of metrics, SQL of the study's
own. Everything else is in the folder: unfinished work, locks, the catalogue, kept rows, and copies of files from the store
(see `xlwh.store.objects`). So whatever works on a folder works on a URL. The manifest is in PostgreSQL then, and the
object `manifest.toml` says where.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from xlwh.errors import StoreError
from xlwh.texts import parsed_toml

SCHEMES = ("s3", "gs", "az")
"""Of the URLs of object stores."""
LOCAL = "XLWH_LOCAL"
"""Variable that names the folder of this machine in which warehouses of object stores have theirs."""
SOURCE = "objects.toml"
"""The file in such a folder that says of which URL it is."""


def is_url(where: Path | str) -> bool:
    """Whether something names a place by a URL, also as it reads once it was taken for a path (`s3:/bucket/name`)."""
    return _split(str(where)) is not None


def _split(text: str) -> tuple[str, str] | None:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", text, re.DOTALL)
    return None if found is None else (found[1].lower(), found[2])


def url_of(where: Path | str) -> str:
    """A URL of a warehouse as we write it. `StoreError` for one that is none of an object store that we know."""
    found = _split(str(where))
    scheme, rest = found or ("", str(where))
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise StoreError(
            f"A warehouse cannot be at {scheme}://{rest}: it is a folder, or in an object store by a URL with {known}. "
            f"A folder of that name: ./{scheme}:/{rest}"
        )
    parts = rest.rstrip("/").split("/")
    odd = next((mark for mark in "?#\\@\0\n\r" if mark in rest), None)
    if odd or not all(parts) or not {".", ".."}.isdisjoint(parts):
        has = "" if odd is None else f" It has a `{odd if odd.isprintable() else repr(odd)[1:-1]}`."
        raise StoreError(
            f"{scheme}://{' '.join(rest.split())} is no URL of a warehouse: it is to be {scheme}://BUCKET/NAME, without credentials or "
            f"settings, which the environment has.{has}"
        )
    return f"{scheme}://{'/'.join(parts)}"


def how_to_make(root: Path) -> str:
    """What to run where there is no warehouse yet."""
    url = source_of(root)
    if url is None:
        return "Run: `xlwh materialize` or `xlwh demo`."
    return f"Run: xlwh manifest postgresql://USER@HOST/DATABASE --warehouse {url}"


def name_of(root: Path) -> str:
    """How users call the warehouse that has this folder: by its path, or its URL."""
    return source_of(root) or str(root)


def folder_of(url: str) -> Path:
    """The folder that this machine has, or will have, for the warehouse at a URL."""
    named = os.environ.get(LOCAL)
    place = (
        Path(named)
        if named
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xlwh" / "warehouses"
    )
    name = re.sub("[^a-z0-9]+", "-", url.partition("://")[2].lower()).strip("-")[:40]
    return place.resolve() / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def source_of(root: Path) -> str | None:
    """The URL that a folder is of; None for a warehouse that is the folder itself. `StoreError` where it cannot be read."""
    path = root / SOURCE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from None
    try:
        url = parsed_toml(text)["url"]
        if not isinstance(url, str):
            raise TypeError("`url` is no text")
        return url_of(url)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} does not say of which URL it is: {error}. Delete it.") from None
