"""Moving the manifest of a warehouse to a database, to another one, and back into the warehouse, with all its history.

Nobody else commits meanwhile: who waits to do so is refused afterwards. A move that is stopped has changed nothing, or is
finished by the same command.
"""

from __future__ import annotations

import os
from pathlib import Path

from xlwh.errors import StoreError
from xlwh.store import journal
from xlwh.store.files import MANIFEST, PLACE, make_folder, path_beside, publish, sync
from xlwh.store.journal import History, Journal
from xlwh.store.locks import FileLock
from xlwh.store.manifest import Scope
from xlwh.store.manifest_file import ManifestFile, has_manifest, introduce, mark_moved
from xlwh.store.manifest_postgres import create, everything, first_values, identity_of, take_out
from xlwh.store.manifest_rebuilt import set_aside, write_file
from xlwh.store.objects import Objects, behind
from xlwh.store.place import Place, is_embedded, read_place, write_place
from xlwh.store.postgres import Address, Database
from xlwh.store.roots import name_of, source_of

_Manifest = tuple[dict[str, str], History, Scope | None]
"""What it says of itself, its history, whose scope it has."""


def to_postgres(root: Path, address: Address) -> str:
    """Have the manifest of a warehouse in a schema of a database; what was done, in words.

    A warehouse that does not exist yet is made. `StoreError` where the schema holds the manifest of another one.
    """
    database = Database(address)
    make_folder(root)
    with FileLock((root / MANIFEST).with_suffix(".lock"), f"The manifest of {root}"):
        known = identity_of(database)
        mark = Journal(root / journal.NAME).mark()
        if not is_embedded(root) and (found := _readable(root)) is not None:
            if found.address == address:
                return f"The manifest of {name_of(root)} is in {address} already."
            return _between(root, Database(found.address), database)
        objects = behind(root)
        if known is not None and (
            _names_files_of(objects, database)
            if objects is not None
            else not os.path.lexists(root / MANIFEST) and mark is not None and known == mark.identity
        ):
            write_place(root, Place(address, known))
            return f"The manifest of {name_of(root)} is the one in {address} again."
        if objects is None:
            if not is_embedded(root):
                read_place(root)  # says what is wrong with it
            if has_manifest(root):
                return _out_of_file(root, database)
        values = first_values(database)
        left = _left_there(root)
        if left:
            # Before that is recovered `gc` would remove it as what no commit names.
            values["rebuilt_at"] = values["began_at"]
        _create(root, database, (values, History(values["identity"], values["began_at"]), None))
        write_place(root, Place(address, values["identity"]))
        made = f"The warehouse {name_of(root)} is made, with its manifest in {address}."
        return f"{made} Files of one are there already ({left}): run xlwh recover" if left else made


def _names_files_of(objects: Objects, database: Database) -> bool:
    """Whether a manifest is that of a warehouse in an object store: no two have files of the same names."""
    with database.reading() as connection:
        files = connection.execute(
            "select file from versions where valid_to is null order by valid_from desc limit 100"
        ).fetchall()
    return any(objects.bucket.size_of(file) is not None for (file,) in files)


def _left_there(root: Path) -> str | None:
    """A file of a table that is in the object store of a warehouse."""
    objects = behind(root)
    return None if objects is None else next((each.key for each in objects.bucket.listing("tables")), None)


def _readable(root: Path) -> Place | None:
    try:
        return read_place(root)
    except StoreError:
        return None


def _create(root: Path, database: Database, manifest: _Manifest) -> None:
    values, known, scope = manifest

    def replaces(identity: str | None) -> None:
        if identity not in (None, values["identity"]):
            raise StoreError(
                f"{database.address} holds the manifest of another warehouse than {name_of(root)}. Name another one: --schema NAME"
            )

    create(database, values, known, scope, replaces)


def _out_of_file(root: Path, database: Database) -> str:
    file = ManifestFile(root / MANIFEST)
    file.examine()
    with file.open() as connection:
        connection.execute("begin immediate")
        introduce(connection, file.journal)
        manifest = everything(connection)
        _create(root, database, manifest)
        write_place(root, Place(database.address, manifest[0]["identity"]))
        # From here on the other one counts. Who waits to commit to this one sees the mark.
        mark_moved(connection)
        connection.execute("commit")
    name = _free_name(root)
    set_aside(root, name)
    return (
        f"The manifest of {name_of(root)}, to commit {manifest[1].last}, is in {database.address} now. The former one is kept as "
        f"{name}.sqlite; delete it when nothing is missed."
    )


def _between(root: Path, before: Database, after: Database) -> str:
    def keep(manifest: _Manifest) -> None:
        _create(root, after, manifest)
        write_place(root, Place(after.address, manifest[0]["identity"]))

    _, known, _ = take_out(before, keep)
    return f"The manifest of {name_of(root)}, to commit {known.last}, is in {after.address} now."


def to_sqlite(root: Path) -> str:
    """Have the manifest of a warehouse in the warehouse itself; what was done, in words."""
    path = root / MANIFEST
    if (url := source_of(root)) is not None:
        raise StoreError(
            f"The manifest of {url} can be in PostgreSQL only: a SQLite file serves one machine."
        )
    if is_embedded(root):
        if not has_manifest(root):
            raise StoreError(f"There is no warehouse at {root}. Run: `xlwh materialize` or `xlwh demo`.")
        return f"The manifest of {root} is {path} already."
    with FileLock(path.with_suffix(".lock"), f"The manifest of {root}"):
        place = read_place(root)
        unfinished = path_beside(path)
        try:
            _, known, _ = take_out(Database(place.address), lambda found: write_file(unfinished, *found))
            publish(unfinished, path)
            (root / PLACE).unlink()
            sync(root)
        finally:
            unfinished.unlink(missing_ok=True)
    return f"The manifest of {name_of(root)}, to commit {known.last}, is {path} now."


def _free_name(root: Path) -> str:
    number = 1
    while any(root.glob(f"manifest-moved-{number}.*")):
        number += 1
    return f"manifest-moved-{number}"
