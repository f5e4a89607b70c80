"""Addresses of files that are not on the hub: where a path below the data root is fetched from, and under which licence.

`registry.toml` beside this module is the registry that ships; a study may bring its own, `sources.toml` beside it, whose
entries come first. Entries have one form:

    [[source]]
    path = "vectors/{language}.vec"                 # below the data root; {names} of your own match one part of a name
    url = "https://example.org/{language}.vec"      # with the same names
    licence = "CC BY-SA 4.0"
    about = "..."                                   # optional: what it is, and whose
    [source.rename.language]                        # optional: how the address writes a value
    zh = "zh-CN"
    [source.files."vectors/de.vec"]                 # optional: what is known of single files
    bytes = 123
    sha256 = "..."
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from xlwh.errors import SourceError
from xlwh.texts import parsed_toml

SHIPPED = Path(__file__).with_name("registry.toml")
OWN = "sources.toml"
_NAME = re.compile(r"\{(\w+)\}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Known(_Part):
    """What is known of one file beforehand."""

    bytes: int | None = Field(None, ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class Source(_Part):
    """One entry of a registry."""

    path: str
    url: str
    licence: str
    about: str = ""
    rename: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    files: Mapping[str, Known] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        for text in (self.path, self.url):
            if wrong := [name for name in _NAME.findall(text) if not name.isidentifier()]:
                raise ValueError(
                    f"`{{{wrong[0]}}}` in `{text}` is no name: letters, digits and _, not a digit first"
                )
            if set("{}") & set(_NAME.sub("", text)):
                raise ValueError(f"`{text}` has a brace that belongs to no name such as {{language}}")
        names = set(_NAME.findall(self.path))
        if strange := (set(_NAME.findall(self.url)) | set(self.rename)) - names:
            raise ValueError(f"`{', '.join(sorted(strange))}` is no name in the path `{self.path}`")
        if self.path.startswith("/") or ".." in Path(self.path).parts:
            raise ValueError(f"`{self.path}` is not below the data root")
        if other := [name for name in self.files if self.match(name) is None]:
            raise ValueError(f"the file `{other[0]}` is none of `{self.path}`")
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"the address `{self.url}` has to begin with https:// or http:// and a host")
        return self

    def match(self, path: str) -> dict[str, str] | None:
        """The values of the names in a path; None where the path is none of this entry."""
        return _matched(self.path, path)

    def address(self, values: Mapping[str, str]) -> str:
        """Where a file with these values lies; what means something else in an address is escaped."""
        renamed = {name: self.rename.get(name, {}).get(value, value) for name, value in values.items()}
        return _NAME.sub(lambda match: quote(renamed[match[1]]), self.url)


@dataclass(frozen=True)
class Address:
    """Where one file below the data root is fetched from."""

    path: str
    """Below the data root."""
    url: str
    licence: str
    known: Known


class Registry:
    """Entries in the order in which they are asked."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)

    def find(self, path: str) -> Address | None:
        """The address of a path below the data root, by the first entry that it fits; None where none does."""
        for source in self.sources:
            values = source.match(path)
            if values is not None:
                return Address(path, source.address(values), source.licence, source.files.get(path, Known()))
        return None

    def below(self, folder: str, values: Mapping[str, str]) -> list[Address]:
        """Files below a folder whose path is given by these values alone, such as a language and a split."""
        prefix = f"{folder.strip('/')}/" if folder.strip("/.") else ""
        found: dict[str, Address] = {}
        for source in self.sources:
            names = _NAME.findall(source.path)
            if names and set(names) <= set(values):
                path = _NAME.sub(lambda match: values[match[1]], source.path)
                address = self.find(path) if path.startswith(prefix) else None
                if address is not None:
                    found[path] = address
        return list(found.values())


def registry_of(folder: Path) -> Registry:
    """The shipped registry, after the one that a study brings; `SourceError` names the file and the entry."""
    own = folder / OWN
    return Registry([*(_read(own) if own.exists() or own.is_symlink() else ()), *_shipped()])


@cache
def _shipped() -> tuple[Source, ...]:
    return _read(SHIPPED)


def _read(file: Path) -> tuple[Source, ...]:
    try:
        content = parsed_toml(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SourceError(f"The registry {file} cannot be read: {error}") from None
    entries = content.get("source", [])
    if strange := set(content) - {"source"}:
        raise SourceError(
            f"The registry {file}: unknown key `{min(strange)}`; it holds entries `[[source]]` alone."
        )
    if not isinstance(entries, list):
        raise SourceError(
            f"The registry {file}: write `[[source]]`, one for each entry, in place of `source`."
        )
    found = []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(Source.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise SourceError(
                f"The registry {file}, entry {number} of `[[source]]`{f', `{where}`' * bool(where)}: {message}"
            ) from None
    return tuple(found)


def _matched(pattern: str, path: str) -> dict[str, str] | None:
    if {"", ".", ".."} & set(path.split("/")):
        # Filled in, a value may lead out of the data root.
        return None
    return None if (match := _compiled(pattern).fullmatch(path)) is None else match.groupdict()


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts, seen, end = [], set[str](), 0
    for match in _NAME.finditer(pattern):
        parts.append(re.escape(pattern[end : match.start()]))
        name, end = match[1], match.end()
        # A name that occurs again is the same value.
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
        seen.add(name)
    return re.compile("".join(parts) + re.escape(pattern[end:]))
