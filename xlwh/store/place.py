"""Where the manifest of a warehouse is: in it, or in the database that its `manifest.toml` names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.errors import StoreError
from xlwh.store.files import PLACE, write_whole
from xlwh.store.objects import behind
from xlwh.store.roots import source_of
from xlwh.texts import parsed_toml

if TYPE_CHECKING:
    from xlwh.store.postgres import Address

_HEAD = """\
# Where the manifest of this warehouse is. Written by `xlwh manifest`; the host may be changed here when the server moves.
# No password: PGPASSWORD, ~/.pgpass or a service file has it.
"""


@dataclass(frozen=True)
class Place:
    """A manifest that is in a database."""

    address: Address
    identity: str
    """Of the manifest: another one in that schema is refused."""


def is_embedded(root: Path) -> bool:
    """Whether the manifest of a warehouse is in the warehouse itself, or is to be."""
    return not os.path.lexists(root / PLACE)


def read_place(root: Path) -> Place:
    """What a warehouse says of its manifest. `StoreError` for a file that cannot be read."""
    from xlwh.store.postgres import Address

    source = source_of(root)
    path, where = (root / PLACE, "") if source is None else (f"{source}/{PLACE}", f" --warehouse {source}")
    mend = (
        f"Correct it, or write it again: xlwh manifest postgresql://USER@HOST/DATABASE --schema SCHEMA{where}"
    )
    try:
        found = parsed_toml((root / PLACE).read_text(encoding="utf-8"))
        url, schema, identity = found["url"], found["schema"], found["identity"]
        if not all(isinstance(each, str) for each in (url, schema, identity)):
            raise ValueError("its values are no texts")
    except KeyError as error:
        raise StoreError(f"{path} has no `{error.args[0]}`. {mend}") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}. {mend}") from None
    try:
        return Place(Address(url, schema), identity)
    except StoreError as error:
        raise StoreError(f"{path} names no manifest: {error} {mend}") from None


def write_place(root: Path, place: Place) -> None:
    """Note where the manifest of a warehouse is."""
    values = {"url": place.address.url, "schema": place.address.schema, "identity": place.identity}
    lines = (f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    content = (_HEAD + "".join(lines)).encode()
    if (objects := behind(root)) is not None:
        # For every machine that has but the URL.
        objects.bucket.put(PLACE, content)
    write_whole(root / PLACE, content)
