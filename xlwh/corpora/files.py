"""Finding the files of a dataset, and their bytes: plain, gzip, or a member of a zip archive.

A zip archive is treated as a folder whose files are its members. Nothing is unpacked to disk.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.errors import CorpusError, StudyError

if TYPE_CHECKING:
    from xlwh.corpora.base import FileOptions, Request

_SHOWN = 20
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Document:
    """One file to read."""

    path: Path
    """The file on disk."""
    name: str
    """Relative to the data root; a member of an archive comes after the archive's name."""
    member: str | None = None
    """Name inside the zip archive at `path`."""
    for_language: bool = False
    """The language is part of its path, so that no other language of the dataset reads it."""

    def read(self) -> bytes:
        """The unpacked bytes; `CorpusError` where the file cannot be read or is damaged."""
        try:
            if self.member is None:
                data = self.path.read_bytes()
            else:
                with zipfile.ZipFile(self.path) as archive:
                    data = archive.read(self.member)
            if data[:2] == b"\x1f\x8b" or (self.member or self.path.name).endswith(".gz"):
                data = gzip.decompress(data)
        # RuntimeError: the archive is encrypted; NotImplementedError: a compression that Python lacks.
        except (OSError, EOFError, KeyError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
            raise CorpusError(f"{self.path}: cannot be read: {error or type(error).__name__}") from None
        return data

    def sha256(self) -> str:
        """Hash of the file on disk: the whole archive for a member of one."""
        try:
            status = self.path.stat()
            return _sha256(self.path, status.st_mtime_ns, status.st_size)
        except OSError as error:
            raise CorpusError(f"{self.path}: cannot be read: {error}") from None


@lru_cache(maxsize=64)
def _sha256(path: Path, modified: int, size: int) -> str:
    # Two files of one archive, or two languages of one file, are hashed once. Time and size are only there
    # so that a changed file is a different entry.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(
    request: Request, options: FileOptions, patterns: Sequence[str], fill: Mapping[str, str] | None = None
) -> Document:
    """The one file of the request; `CorpusError` names the path, what exists there and the key to change.

    `patterns` are tried in order, each also with .gz and .zip behind, unless the option `file` is given.
    `fill` holds further placeholders than {split} and {language}.
    """
    document = search(request, options, patterns, fill)
    if document is not None:
        return document
    place = base_path(request, options, fill)
    wanted = [options.file] if options.file else list(patterns)
    names = " or ".join(f"`{filled(request, options, pattern, fill)}`" for pattern in wanted)
    raise CorpusError(
        f"Dataset `{request.key}`: no file {names} for language `{request.language}` in {place}. "
        f"{_listing(place)} Change `datasets.{request.key}.path` or `datasets.{request.key}.options.file`."
    )


def search(
    request: Request, options: FileOptions, patterns: Sequence[str], fill: Mapping[str, str] | None = None
) -> Document | None:
    """As `find`, but None where no file matches."""
    place = base_path(request, options, fill)
    here = "{language}" in str(request.path)
    if place.is_file() and place.suffix != ".zip":
        if options.file:
            raise StudyError(
                f"`datasets.{request.key}.options.file`: `path` is a file already: {place}; drop one of the two"
            )
        return Document(place, shown_name(request, place), for_language=here)
    for pattern in [options.file] if options.file else patterns:
        name = filled(request, options, pattern, fill)
        found = _matches(place, name, request.key)
        if len(found) > 1:
            shown = ", ".join(str(path) for path, _ in found[:5])
            raise CorpusError(
                f"Dataset `{request.key}`: {len(found)} files match `{name}` in {place}: {shown}. "
                f"Set `datasets.{request.key}.options.file` to match one."
            )
        if found:
            path, member = found[0]
            return Document(
                path, shown_name(request, path, member), member, for_language=here or "{language}" in pattern
            )
    if place.suffix == ".zip" and not options.file:
        members = zip_members(place)
        if len(members) == 1:
            return Document(place, shown_name(request, place, members[0]), members[0], for_language=here)
    return None


def search_all(request: Request, options: FileOptions, patterns: Sequence[str]) -> list[Document]:
    """All files of the first pattern that matches any, in order of their names."""
    place = base_path(request, options)
    if place.is_file():
        document = search(request, options, patterns)
        return [document] if document else []
    for pattern in [options.file] if options.file else patterns:
        found = _matches(place, filled(request, options, pattern), request.key)
        if found:
            own = "{language}" in pattern or "{language}" in str(request.path)
            return [Document(path, shown_name(request, path, member), member, own) for path, member in found]
    return []


def base_path(request: Request, options: FileOptions, fill: Mapping[str, str] | None = None) -> Path:
    """`dataset.path` with its placeholders filled in; `CorpusError` where it does not exist."""
    if request.path is None:
        raise StudyError(
            f"`datasets.{request.key}`: reader `{request.dataset.reader}` needs `path`; "
            "a dataset of the hub is read by the reader `hub`"
        )
    place = Path(filled(request, options, str(request.path), fill))
    if not place.exists():
        parent = next((p for p in place.parents if p.is_dir()), Path("."))
        raise CorpusError(
            f"Dataset `{request.key}`: {place} does not exist. {_listing(parent)} "
            f"Change `datasets.{request.key}.path`, or the study's `data_root`."
        )
    return place


def require_own_file(request: Request, document: Document) -> None:
    """Refuse to read one file as several languages where nothing inside it tells them apart."""
    if not document.for_language and len(request.languages) > 1:
        raise CorpusError(
            f"Dataset `{request.key}`: {document.name} would be read as each of "
            f"{', '.join(request.languages)}. Put {{language}} into `datasets.{request.key}.path` or "
            f"`datasets.{request.key}.options.file`, or name one language in `datasets.{request.key}.languages`."
        )


def filled(
    request: Request, options: FileOptions, pattern: str, fill: Mapping[str, str] | None = None
) -> str:
    """A pattern with {split}, {language} and the reader's own placeholders filled in."""
    values = {
        "split": options.splits.get(request.split, request.split),
        "language": options.names.get(request.language, request.language),
        **(fill or {}),
    }

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            accepted = ", ".join(f"{{{name}}}" for name in values)
            raise StudyError(
                f"`datasets.{request.key}`: no placeholder {match.group(0)} in `{pattern}`; accepted: {accepted}"
            )
        return values[match.group(1)]

    return _PLACEHOLDER.sub(value, pattern)


def zip_members(path: Path) -> list[str]:
    """Data files of an archive: no folders, and nothing whose name starts with `_` or a dot."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CorpusError(f"{path}: not a readable zip archive: {error}") from None
    return sorted(name for name in names if not any(part.startswith(("_", ".")) for part in name.split("/")))


def _matches(place: Path, name: str, key: str) -> list[tuple[Path, str | None]]:
    """Files below a folder, or members of an archive, that a filled-in pattern names."""
    for candidate in (name, f"{name}.gz", f"{name}.zip"):
        if place.suffix == ".zip" and place.is_file():
            inside = [m for m in zip_members(place) if _is_member(m, candidate)]
            if inside:
                return [(place, member) for member in inside]
            continue
        found: list[tuple[Path, str | None]] = []
        for path in _files(place, candidate, key):
            found.extend(_opened(path))
        if found:
            return found
    return []


def _is_member(member: str, pattern: str) -> bool:
    # Archives often wrap everything in one folder: a bare file name matches at any depth.
    return fnmatch.fnmatchcase(member, pattern) or (
        "/" not in pattern and fnmatch.fnmatchcase(member.rsplit("/", 1)[-1], pattern)
    )


def _files(folder: Path, pattern: str, key: str) -> Iterator[Path]:
    if Path(pattern).is_absolute():
        raise StudyError(f"`datasets.{key}.options.file`: `{pattern}` is absolute; it is relative to `path`")
    if not set("*?[") & set(pattern):
        yield from (p for p in [folder / pattern] if p.is_file())
        return
    try:
        yield from sorted(p for p in folder.glob(pattern) if p.is_file())
    except ValueError as error:
        raise StudyError(f"`datasets.{key}.options.file`: `{pattern}`: {error}") from None


def _opened(path: Path) -> list[tuple[Path, str | None]]:
    if path.suffix != ".zip":
        return [(path, None)]
    members = zip_members(path)
    if len(members) != 1:
        raise CorpusError(
            f"{path}: holds {len(members)} data files ({', '.join(members[:5])}); name the archive as "
            "`path` and the member as option `file`."
        )
    return [(path, members[0])]


def shown_name(request: Request, path: Path, member: str | None = None) -> str:
    """How rows name their file: relative to the data root where it is below it."""
    shown = path.relative_to(request.root) if path.is_relative_to(request.root) else path
    name = shown.as_posix() if member is None else f"{shown.as_posix()}/{member}"
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _listing(place: Path) -> str:
    """What exists at a place, for an error message."""
    if place.is_file():
        names = zip_members(place) if place.suffix == ".zip" else [place.name]
    else:
        try:
            names = sorted(p.name + ("/" if p.is_dir() else "") for p in place.iterdir())
        except OSError as error:
            return f"{place} cannot be listed: {error}."
    if not names:
        return f"{place} is empty."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{place} has: {', '.join(names[:_SHOWN])}{more}."
