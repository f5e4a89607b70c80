"""Finding the files of a dataset: plain, packed (gzip, bzip2, xz), or members of archives (zip, tar and packed tar).

An archive is treated as a folder whose files are its members, wherever it is found: as the dataset's `path`, or as
the file that a pattern names. Nothing is unpacked to disk. Members are never merged: where more than one could be
meant, they are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from xlwh.corpora import content
from xlwh.digests import FileMemo, sha256
from xlwh.errors import CorpusError, StudyError

if TYPE_CHECKING:
    from xlwh.corpora.request import FileOptions, Request

_SHOWN = 20
_PATTERNS_SHOWN = 5
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_WORDS = re.compile(r"[a-z]+")
_SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "devel": "dev", "development": "dev", "validation": "dev",
    "valid": "dev", "val": "dev", "test": "test", "testing": "test", "devtest": "devtest", "extra": "extra",
}  # fmt: skip
"""Words of file names and of columns that name a split, and the split they name."""

_CODES = frozenset(
    re.findall(
        r"\w+",
        "af ar bg bn ca cs da de el en es et eu fa fi fr gl gu ha he hi hr hu id ig ja jv ka kk ko lt lv ml mr ms my nl no "
        "pl pt ro ru sk sl sr sv sw ta te th tl tr uk ur vi yo zh",
    )
)
"""Codes of languages that corpora name files by; of a file that only seems to name one, the member has to be named."""

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=[-.]|$)")

_MEMBER_PATTERNS = ("{split}", "{split}.*")
"""Members of an archive that are tried after a reader's own patterns, which are for folders."""


@dataclass(frozen=True)
class Document:
    """One file to read."""

    path: Path
    """The file on disk."""
    name: str
    """Relative to the data root; a member of an archive comes after the archive's name."""
    inside: tuple[str, ...] = ()
    """Member of the archive at `path`; the member of a member where archives lie in archives."""
    for_language: bool = False
    """The language is part of its path, so that no other language of the dataset reads it."""
    lines: int | None = None
    """Lines from its beginning that are read, of text; default: all."""

    def read(self) -> bytes:
        """The unpacked bytes; `CorpusError` where the file cannot be read, is damaged, or stands in for the data."""
        return content.read(self.path, self.inside, self.lines)

    def sha256(self) -> str:
        """Hash of the file on disk: the whole archive for a member of one."""
        try:
            return _HASHES.get(self.path, lambda: sha256([self.path]))
        except OSError as error:
            raise CorpusError(f"{self.path}: cannot be read: {error}") from None


# Two members of one archive, or two languages of one file, are hashed once; to list a packed tar is to unpack it.
_HASHES = FileMemo[str](64)
_MEMBERS = FileMemo[tuple[str, ...] | None](256)


def members(path: Path, inside: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Data files of an archive; None where the file is none."""

    def listed() -> tuple[str, ...] | None:
        names = content.members(path, inside)
        return None if names is None else tuple(names)

    try:
        return _MEMBERS.get(path, listed, inside)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error}") from None


def split_named(name: str) -> str:
    """The split that a word names, as train, dev or test; empty where it names none."""
    return _SPLITS.get(name.lower(), "")


def _splits_of(path: str) -> set[str]:
    """Splits that a file's name, without its folders, names."""
    return {found for word in _WORDS.findall(path.rsplit("/", 1)[-1].lower()) if (found := split_named(word))}


def _languages_of(path: str) -> set[str]:
    """Languages that a file's name, without its folders, names by a code of two letters, as in dev-de.tsv and xnli.de.txt."""
    stem = path.rsplit("/", 1)[-1].lower().split(".")
    words = {word for part in (stem[:-1] or stem) for word in re.split(r"[^a-z]+", part)}
    return words & _CODES


def find(
    request: Request, options: FileOptions, patterns: Sequence[str], fill: Mapping[str, str] | None = None
) -> Document:
    """The one file of the request; `CorpusError` names the path, what exists there and the key to change.

    `patterns` are tried in order, each also packed and archived, unless the option `file` is given.
    `fill` holds further placeholders than {split} and {language}.
    """
    document = search(request, options, patterns, fill)
    if document is not None:
        return document
    place = base_path(request, options, fill)
    archive, wanted = _archive(request, options, place, patterns, fill)
    looked = [f"`{filled(request, options, pattern, fill)}`" for pattern in wanted]
    names = " or ".join(looked[:_PATTERNS_SHOWN])
    if len(looked) > _PATTERNS_SHOWN:
        names += f" or {len(looked) - _PATTERNS_SHOWN} other names"
    if archive is not None:
        raise CorpusError(
            f"Dataset `{request.key}`: {archive} is an archive in which no single member is the one of language "
            f"`{request.language}`, split `{request.split}` (looked for: {names}). {_listing(archive)} Name the member: "
            f'`datasets.{request.key}.options.member = "..."`; {{language}} and {{split}} are filled in.'
        )
    hints = [content.absent(place / filled(request, options, pattern, fill)) for pattern in wanted]
    hint = next((f"{hint} " for hint in hints if hint), "")
    raise CorpusError(
        f"Dataset `{request.key}`: no file {names} for language `{request.language}` in {place}. "
        f"{hint}{_listing(place)} Change `datasets.{request.key}.path` or `datasets.{request.key}.options.file`."
    )


def search(
    request: Request, options: FileOptions, patterns: Sequence[str], fill: Mapping[str, str] | None = None
) -> Document | None:
    """As `find`, but None where no file matches."""
    place = base_path(request, options, fill)
    here = "{language}" in request.pattern
    if place.is_file():
        if members(place) is None:
            if options.file or options.member:
                name = "file" if options.file else "member"
                raise StudyError(
                    f"`datasets.{request.key}.options.{name}`: `path` is a file already, and no archive: {place}; "
                    "drop one of the two"
                )
            return Document(place, shown_name(request, place), for_language=here)
        return _inside(request, options, place, (), patterns, fill, here)
    for pattern in [options.file] if options.file else patterns:
        found = _files(place, filled(request, options, pattern, fill), request.key)
        own = here or "{language}" in pattern
        if len(found) > 1:
            raise _several(
                request, filled(request, options, pattern, fill), place, [str(p) for p in found], "file"
            )
        if found and members(found[0]) is None:
            if options.member:
                raise StudyError(
                    f"`datasets.{request.key}.options.member`: {found[0]} is no archive; drop the option"
                )
            return Document(found[0], shown_name(request, found[0]), for_language=own)
        if found:
            # `file` named the archive, so it does not name the member.
            inner = options.model_copy(update={"file": None})
            return _inside(request, inner, found[0], (), patterns, fill, own)
    return None


def _inside(
    request: Request,
    options: FileOptions,
    archive: Path,
    inside: tuple[str, ...],
    patterns: Sequence[str],
    fill: Mapping[str, str] | None,
    own: bool,
) -> Document | None:
    """The one member of an archive; None where none is the one meant."""
    names = members(archive, inside) or ()
    chosen = options.file or options.member
    if (
        options.file
        and options.member
        and (nested := _matching(names, filled(request, options, options.file, fill)))
    ):
        # An archive in the archive: `file` names it, `member` the file in it.
        if len(nested) == 1 and members(archive, (*inside, nested[0])) is not None:
            inner = options.model_copy(update={"file": None})
            own = own or "{language}" in options.file
            return _inside(request, inner, archive, (*inside, nested[0]), patterns, fill, own)
        raise StudyError(
            f"`datasets.{request.key}.options`: in an archive, `file` names the member; drop `member`"
        )
    for pattern in [chosen] if chosen else (*patterns, *_MEMBER_PATTERNS):
        name = filled(request, options, pattern, fill)
        found = _matching(names, name)
        if len(found) > 1:
            raise _several(request, name, archive, found, "member")
        if found:
            return _document(request, options, archive, (*inside, found[0]), patterns, fill, own, pattern)
    data = content.data_files(names)
    if chosen or len(data) != 1:
        return None
    wanted = _split_asked(request, options)
    if wanted and _splits_of(data[0]) - {wanted}:
        return None
    asked = {request.language, options.names.get(request.language, request.language).lower()}
    if (named := _languages_of(data[0])) and not named & asked:
        return None
    return _document(request, options, archive, (*inside, data[0]), patterns, fill, own, "")


def _document(
    request: Request,
    options: FileOptions,
    archive: Path,
    inside: tuple[str, ...],
    patterns: Sequence[str],
    fill: Mapping[str, str] | None,
    own: bool,
    pattern: str,
) -> Document | None:
    own = own or "{language}" in pattern
    if members(archive, inside) is not None:
        inner = options.model_copy(update={"file": None, "member": None})
        return _inside(request, inner, archive, inside, patterns, fill, own)
    return Document(archive, shown_name(request, archive, inside), inside, own)


def _archive(
    request: Request,
    options: FileOptions,
    place: Path,
    patterns: Sequence[str],
    fill: Mapping[str, str] | None,
) -> tuple[Path | None, list[str]]:
    """The archive in which a member was looked for, if it was, and what was looked for."""
    if place.is_file():
        chosen = options.file or options.member
        return place, [chosen] if chosen else [*patterns, *_MEMBER_PATTERNS]
    wanted = [options.file] if options.file else list(patterns)
    for pattern in wanted:
        for path in _files(place, filled(request, options, pattern, fill), request.key):
            if members(path) is not None:
                return path, [options.member] if options.member else [*patterns, *_MEMBER_PATTERNS]
    return None, wanted


def _several(request: Request, name: str, place: Path, found: Sequence[str], option: str) -> CorpusError:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return CorpusError(
        f"Dataset `{request.key}`: {len(found)} files match `{name}` in {place}: {', '.join(found[:_SHOWN])}{more}. "
        f"Set `datasets.{request.key}.options.{option}` to match one."
    )


def _split_asked(request: Request, options: FileOptions) -> str:
    return split_named(options.splits.get(request.split, request.split)) or split_named(request.split)


def search_all(
    request: Request, options: FileOptions, patterns: Sequence[str], one_split: bool = True
) -> list[Document]:
    """All files of the first pattern that matches any, in order of their names, such as the shards of one split.

    `CorpusError` where their names say that they are of different splits, unless names say nothing of them.
    """
    place = base_path(request, options)
    archived = place.is_file() and members(place) is not None
    if place.is_file() and not archived:
        document = search(request, options, patterns)
        return [document] if document else []
    for pattern in [options.file] if options.file else patterns:
        own = "{language}" in pattern or "{language}" in request.pattern
        name = filled(request, options, pattern)
        found: list[tuple[Path, tuple[str, ...]]] = []
        if archived:
            found = [(place, (member,)) for member in _matching(members(place) or (), name)]
        else:
            for path in _files(place, name, request.key):
                inside = members(path)
                if inside is None:
                    found.append((path, ()))
                elif len(data := content.data_files(inside)) == 1:
                    found.append((path, (data[0],)))
                else:
                    raise CorpusError(
                        f"{path}: holds {len(inside)} data files ({', '.join(inside[:5])}); name the archive as "
                        f"`datasets.{request.key}.path` and its members as option `file`."
                    )
        documents = [Document(path, shown_name(request, path, inside), inside, own) for path, inside in found]
        splits = set().union(*(_splits_of(document.name) for document in documents))
        if one_split and len(documents) > 1 and len(splits) > 1:
            raise CorpusError(
                f"Dataset `{request.key}`: `{name}` matches files of different splits "
                f"({', '.join(document.name for document in documents[:5])}), which are never merged. "
                f"Put {{split}} into `datasets.{request.key}.options.file`."
            )
        languages = set().union(*(_languages_of(document.name) for document in documents))
        if (
            len(documents) > 1
            and len(languages) > 1
            and not all(_languages_of(document.name) == languages for document in documents)
        ):
            raise CorpusError(
                f"Dataset `{request.key}`: `{name}` matches files of different languages "
                f"({', '.join(document.name for document in documents[:5])}), which are never merged. "
                f"Put {{language}} into `datasets.{request.key}.options.file`."
            )
        if documents:
            require_shards(request.key, [document.name for document in documents])
            return documents
    return []


def require_shards(key: str, names: Sequence[str], then: str = "Fetch them.") -> None:
    """Refuse a set of shards (`-00000-of-00003`) of which some are not there; `then` says what to do about it."""
    found: dict[tuple[str, int], set[int]] = {}
    for name in names:
        if match := _SHARD.search(name):
            found.setdefault((name[: match.start()], int(match[2])), set()).add(int(match[1]))
    for (stem, count), numbers in found.items():
        if missing := sorted(set(range(count)) - numbers):
            shown = ", ".join(f"{number:05d}" for number in missing[:5])
            raise CorpusError(
                f"Dataset `{key}`: of the {count} files {stem}-...-of-{count:05d}, {len(missing)} are not there: "
                f"{shown}. {then}"
            )


def base_path(request: Request, options: FileOptions, fill: Mapping[str, str] | None = None) -> Path:
    """`dataset.path` with its placeholders filled in; `CorpusError` where it does not exist."""
    if request.path is None:
        raise StudyError(
            f"`datasets.{request.key}`: reader `{request.dataset.reader}` needs `path`; "
            "a dataset of the hub is read by the reader `hub`"
        )
    place = request.root / filled(request, options, request.pattern, fill)
    if not place.exists():
        hint = content.absent(place)
        parent = next((p for p in place.parents if p.is_dir()), Path("."))
        raise CorpusError(
            f"Dataset `{request.key}`: {place} does not exist. {hint}{' ' * bool(hint)}{_listing(parent)} "
            f"Change `datasets.{request.key}.path`, or the study's `data_root`."
        )
    return place


def require_own_file(request: Request, document: Document, table: bool = False) -> None:
    """Refuse to read one file as several languages where nothing inside it tells them apart.

    `table`: a column of it might, if the study named that.
    """
    by_column = f"choose rows by a column (`datasets.{request.key}.options.where`), " if table else ""
    if not document.for_language and len(request.languages) > 1:
        raise CorpusError(
            f"Dataset `{request.key}`: {document.name} would be read as each of "
            f"{', '.join(request.languages)}. Put {{language}} into `datasets.{request.key}.path` or "
            f"`datasets.{request.key}.options.file`, {by_column}or name one language in `datasets.{request.key}.languages`."
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


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    """Members that a pattern names, at any depth: archives often wrap everything in one folder. Also packed ones.

    Of several, one that is the pattern to the letter, from the archive's root, is the one meant.
    """
    for candidate in _candidates(pattern):
        if candidate in names:
            return [candidate]
        found = [name for name in names if PurePosixPath(name).match(candidate)]
        if found:
            return found
    return []


def _candidates(pattern: str) -> tuple[str, ...]:
    return (pattern, *(pattern + suffix for suffix in (*content.PACKINGS, *content.ARCHIVES)))


def _files(folder: Path, pattern: str, key: str) -> list[Path]:
    """Files below a folder that a filled-in pattern names, plain, packed or archived."""
    for candidate in _candidates(pattern):
        found = list(_globbed(folder, candidate, key))
        if found:
            return found
    return []


def _globbed(folder: Path, pattern: str, key: str) -> Iterator[Path]:
    if Path(pattern).is_absolute():
        raise StudyError(f"`datasets.{key}.options.file`: `{pattern}` is absolute; it is relative to `path`")
    if not set("*?[") & set(pattern):
        yield from (p for p in [folder / pattern] if p.is_file())
        return
    try:
        yield from sorted(p for p in folder.glob(pattern) if p.is_file())
    except ValueError as error:
        raise StudyError(f"`datasets.{key}.options.file`: `{pattern}`: {error}") from None


def shown_name(request: Request, path: Path, inside: tuple[str, ...] = ()) -> str:
    """How rows name their file: relative to the data root where it is below it."""
    shown = path.relative_to(request.root) if path.is_relative_to(request.root) else path
    name = "/".join((shown.as_posix(), *inside))
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _listing(place: Path) -> str:
    """What exists at a place, for an error message."""
    if place.is_file():
        inside = members(place)
        names = [place.name] if inside is None else list(inside)
    else:
        try:
            names = sorted(p.name + ("/" if p.is_dir() else "") for p in place.iterdir())
        except OSError as error:
            return f"{place} cannot be listed: {error}."
    if not names:
        return f"{place} is empty."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{place} has: {', '.join(names[:_SHOWN])}{more}."
