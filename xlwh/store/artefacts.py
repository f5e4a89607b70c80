"""Artefacts: files beside the tables that rows or views rest on, and what the manifest knows of them.

They are checkpoints of models that are made here, results of registered metrics, and the study's own SQL. An artefact is
put and dropped in the same commits as the files of tables, and has its files' sizes and digests like these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from xlwh.digests import HashCache, sha256
from xlwh.store.damage import Damage, damage
from xlwh.store.database import Connection

Kind = Literal["model", "metric", "sql"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PLACES: dict[Kind, str] = {"model": "models", "metric": "metrics", "sql": "sql"}
"""Kind -> the folder of a warehouse in which all its files lie."""

Name = tuple[Kind, str]
"""What one current artefact is addressed by."""


@dataclass(frozen=True, order=True, slots=True)
class ArtefactFile:
    """One of the files that an artefact consists of."""

    file: str
    """Path relative to the warehouse, with forward slashes."""
    size_bytes: int
    digest: str
    """SHA-256 of the file, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One version of an artefact, as the manifest has it."""

    kind: Kind
    name: str
    """Key of the model, name of the metric or of the view."""
    fingerprint: str
    """Hexadecimal digits: of a model, how its folder is named; of others, the digest of their file."""
    files: tuple[ArtefactFile, ...]
    """In the order of their paths."""

    @property
    def address(self) -> Name:
        """Kind and name."""
        return self.kind, self.name

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    def is_whole(self, root: Path) -> bool:
        """Whether all files are there in the sizes that the manifest says."""
        return not any(faults(root, self, deep=False))


def on_disk(
    root: Path,
    kind: Kind,
    name: str,
    paths: Iterable[Path],
    hashes: HashCache,
    fingerprint: str | None = None,
) -> Artefact:
    """What is to be said of an artefact whose files lie there; `fingerprint`: by default the digest of its one file."""
    files = tuple(
        ArtefactFile(path.relative_to(root).as_posix(), path.stat().st_size, hashes.digest([path]))
        for path in sorted(paths)
    )
    return Artefact(kind, name, files[0].digest if fingerprint is None else fingerprint, files)


def sql_artefact(file: str, content: bytes) -> Artefact:
    """What is to be said of a file of the study's own SQL, by its name and bytes."""
    digest = hashlib.sha256(content).hexdigest()
    stored = ArtefactFile(f"{PLACES['sql']}/{file}", len(content), digest)
    return Artefact("sql", file.removesuffix(".sql"), digest, (stored,))


def own_files(artefacts: Iterable[Artefact]) -> list[tuple[str, int, str]]:
    """(path, bytes, digest) of the files that belong to no row: results of metrics, and SQL."""
    own = (each for each in artefacts if each.kind != "model")
    return [(file.file, file.size_bytes, file.digest) for each in own for file in each.files]


def faults(
    root: Path, artefact: Artefact, deep: bool, read: Callable[[Sequence[Path]], str] = sha256
) -> Iterator[tuple[ArtefactFile, Damage]]:
    """Each file of an artefact that is not as the manifest says, and how; `deep` reads them, by `read`."""
    for file in artefact.files:
        if (found := damage(root, file.file, file.size_bytes, file.digest, deep, read)) is not None:
            yield file, found


TABLES = (
    """create table if not exists artefacts (
    kind text not null,
    name text not null,
    fingerprint text not null,
    file text not null,
    size_bytes integer not null,
    digest text not null,
    valid_from integer not null references commits (number),
    valid_to integer references commits (number),
    removed integer not null default 0
)""",
    "create unique index if not exists one_artefact on artefacts (kind, name, file) where valid_to is null",
    "create index if not exists artefact_files on artefacts (file)",
)
_SELECT = "select kind, name, fingerprint, file, size_bytes, digest from artefacts"
_Row = tuple[Kind, str, str, str, int, str]


def replace(connection: Connection, number: int, put: Sequence[Artefact], gone: Collection[Name]) -> None:
    """Within a commit: make these artefacts current, and those of `gone` no more."""
    connection.executemany(
        "update artefacts set valid_to = ? where kind = ? and name = ? and valid_to is null",
        [(number, *name) for name in {*gone, *(artefact.address for artefact in put)}],
    )
    connection.executemany(
        "insert into artefacts (kind, name, fingerprint, file, size_bytes, digest, valid_from) "
        "values (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                artefact.kind,
                artefact.name,
                artefact.fingerprint,
                file.file,
                file.size_bytes,
                file.digest,
                number,
            )
            for artefact in put
            for file in artefact.files
        ],
    )


def at(connection: Connection, commit: int) -> dict[Name, Artefact]:
    """The artefacts that are (or were) current at a commit."""
    if not _exists(connection):
        return {}
    rows = connection.execute(
        f"{_SELECT} where valid_from <= ? and (valid_to is null or valid_to > ?) order by kind, name, file",
        (commit, commit),
    )
    return {artefact.address: artefact for artefact in _grouped(rows)}


def last(connection: Connection, name: Name, fingerprint: str) -> Artefact | None:
    """A version of an artefact as the last commit that put it had it; None where none did."""
    if not _exists(connection):
        return None
    rows = connection.execute(
        f"{_SELECT} where kind = ? and name = ? and fingerprint = ? and valid_from = (select max(valid_from) "
        "from artefacts where kind = ? and name = ? and fingerprint = ?) order by file",
        (*name, fingerprint) * 2,
    )
    return next(_grouped(rows), None)


def states(connection: Connection) -> list[tuple[str, str, int | None, int]]:
    """(file, digest, commit by which it stopped being current, whether it was removed) of every file, by its last commit."""
    if not _exists(connection):
        return []
    rows = connection.execute("select file, digest, valid_to, removed from artefacts order by valid_from")
    found: list[tuple[str, str, int | None, int]] = rows.fetchall()
    return found


def forget(connection: Connection, files: Sequence[str]) -> None:
    """Mark files that are not current as removed from disk."""
    if _exists(connection):
        connection.executemany(
            "update artefacts set removed = 1 where file = ? and valid_to is not null",
            [(file,) for file in files],
        )


def _exists(connection: Connection) -> bool:
    return bool(connection.columns("artefacts"))


def _grouped(rows: Iterable[_Row]) -> Iterator[Artefact]:
    found: dict[tuple[Kind, str, str], list[ArtefactFile]] = {}
    for kind, name, fingerprint, file, size_bytes, digest in rows:
        texts = (name, fingerprint, file, digest)
        if kind not in PLACES or type(size_bytes) is not int or not all(type(each) is str for each in texts):
            raise ValueError(f"{kind!r} {texts}: {size_bytes!r}")
        found.setdefault((kind, name, fingerprint), []).append(ArtefactFile(file, size_bytes, digest))
    for (kind, name, fingerprint), files in found.items():
        yield Artefact(kind, name, fingerprint, tuple(files))
