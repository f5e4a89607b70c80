"""Results of metrics and SQL of one's own, as they are taken from another warehouse: only names that are free here."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from xlwh.errors import SqlError
from xlwh.store import metrics
from xlwh.store.artefacts import PLACES, Artefact, ArtefactFile
from xlwh.store.copies import Copies
from xlwh.store.files import make_folder, path_beside, publish
from xlwh.store.foreign import Foreign, Refused, RefusedError, check_places
from xlwh.store.identity import printable
from xlwh.store.parquet import UnreadableError, decoded
from xlwh.store.steady import unsteady
from xlwh.store.views import load, with_shipped

_LONGEST = 1_000_000
"""Bytes of SQL, and of what is said of metrics, that are read at most."""
_TRIED = "tried"
"""Folder, beside the copies, of a warehouse that has what is here and what is to come."""


class Own:
    """What is to come: found, copied and tried out together with what is here when this is made."""

    def __init__(self, root: Path, there: Foreign, copies: Copies) -> None:
        self.artefacts: list[Artefact] = []
        self.refused: list[Refused] = []
        self._root, self._there, self._copies = root, there, copies
        self._copied: dict[Path, Path] = {}
        """Copy -> its place here."""
        self._metrics: dict[str, Mapping[str, str]] = {}
        self._copy_each()
        if self.artefacts:
            self._try_out()

    def place(self) -> None:
        """Put everything in its place, where the next commit is to have it."""
        for copy, place in self._copied.items():
            make_folder(place.parent)
            # As they are written here: results never change, and SQL goes with the study.
            publish(copy, place, final=place.suffix == ".parquet")
        if self._metrics:
            metrics.write_current(self._root, metrics.current(self._root) | self._metrics)

    def _copy_each(self) -> None:
        try:
            said = self._said_of_metrics()
            wanted = [*self._of_metrics(said), *self._of_sql()]
        except RefusedError as error:
            self.refused.append(Refused("metrics and SQL of one's own", str(error)))
            return
        for artefact in wanted:
            try:
                self._copy(artefact)
            except RefusedError as error:
                self.refused.append(Refused(f"{artefact.kind} {artefact.name}", str(error)))
            else:
                if artefact.kind == "metric":
                    self._metrics[artefact.name] = said[artefact.name]

    def _said_of_metrics(self) -> dict[str, dict[str, str]]:
        """What the other warehouse says of its results, by name."""
        file = f"{metrics.FOLDER}/{metrics.CURRENT}"
        size = self._files(metrics.FOLDER).get(file)
        if size is None:
            return {}
        copy = path_beside(self._copies.folder / metrics.CURRENT)
        try:
            if size > _LONGEST:
                raise ValueError(size)
            self._there.copy(file, copy, size)
            found = json.loads(copy.read_bytes())
        except (ValueError, RecursionError):
            raise RefusedError(f"{file} cannot be read") from None
        finally:
            copy.unlink(missing_ok=True)
        if not isinstance(found, dict) or not all(map(metrics.is_told, found.values())):
            raise RefusedError(f"{file} says something else than xlwh writes")
        return found

    def _files(self, folder: str) -> dict[str, int]:
        """Files of a folder there -> bytes; none where there is no such folder."""
        if not (self._there.root / folder).exists():
            return {}
        return dict(self._there.files_in(folder))

    def _of_metrics(self, said: Mapping[str, Mapping[str, str]]) -> Iterator[Artefact]:
        here, sizes = metrics.current(self._root), self._files(metrics.FOLDER) if said else {}
        for name, metric in said.items():
            if name in here or self._there.refuses("metric", name):
                continue
            file = f"{metrics.FOLDER}/{metric['file']}"
            known = self._there.artefacts.get(("metric", name))
            named = re.fullmatch(rf"{re.escape(name)}-([0-9a-f]{{16}})\.parquet", metric["file"])
            if not re.fullmatch("[a-z][a-z0-9_]*", name) or named is None or file not in sizes:
                self.refused.append(
                    Refused(f"metric {printable(name)}", "its file is gone, or cannot be its own")
                )
            elif known is not None and known.files[0].file == file:
                yield known
            else:
                # An earlier version noted no digest but the one in the file's name.
                yield Artefact("metric", name, named[1], (ArtefactFile(file, sizes[file], ""),))

    def _of_sql(self) -> Iterator[Artefact]:
        folder = PLACES["sql"]
        for file, size in self._files(folder).items():
            name = file.removeprefix(f"{folder}/").removesuffix(".sql")
            if (self._root / file).exists() or not file.endswith(".sql") or "/" in name:
                continue
            if self._there.refuses("sql", name):
                continue
            if size > _LONGEST:
                self.refused.append(Refused(f"sql {printable(name)}", f"its file has {size:,} bytes"))
                continue
            known = self._there.artefacts.get(("sql", name))
            yield known or Artefact("sql", name, "", (ArtefactFile(file, size, ""),))

    def _copy(self, artefact: Artefact) -> None:
        (file,) = artefact.files
        copy, digest = self._copies.fetch(
            self._there, file.file, file.size_bytes, file.digest or None, file.file
        )
        found = Artefact(
            artefact.kind, artefact.name, digest, (ArtefactFile(file.file, file.size_bytes, digest),)
        )
        check_places(found)
        if artefact.kind == "sql":
            _require_steady(copy)
        if artefact.kind == "metric":
            try:
                decoded(lambda: pl.read_parquet(copy, hive_partitioning=False, glob=False))
            except UnreadableError as error:
                raise RefusedError(f"its file cannot be read: {printable(error)}") from None
        self._copied[copy] = self._root / file.file
        self.artefacts.append(found)

    def _try_out(self) -> None:
        """Make the views of what is here and of what is to come over empty tables; all that is to come is refused if one fails."""
        from xlwh.store.catalogue import try_out

        tried = self._copies.folder / _TRIED
        shutil.rmtree(tried, ignore_errors=True)
        places = {place.relative_to(self._root): copy for copy, place in self._copied.items()}
        for folder in (PLACES["sql"], metrics.FOLDER):
            (tried / folder).mkdir(parents=True)
            for file in filter(Path.is_file, (self._root / folder).glob("*.*")):
                places.setdefault(file.relative_to(self._root), file)
        for place, file in places.items():
            shutil.copyfile(file, tried / place)
        metrics.write_current(tried, metrics.current(self._root) | self._metrics)
        try:
            definitions = load(with_shipped(tried / PLACES["sql"]), metrics.views(tried))
            try_out(definitions.needed_for([each.name for each in self.artefacts]), tried)
        except SqlError as error:
            reason = printable(str(error).replace(str(tried), str(self._there.root)), 500)
            self.refused += [Refused(f"{each.kind} {each.name}", reason) for each in self.artefacts]
            self.artefacts, self._copied, self._metrics = [], {}, {}
        finally:
            shutil.rmtree(tried)


def _require_steady(file: Path) -> None:
    """RefusedError for SQL that reads anything but stored tables: it is somebody else's, and trying it out would do so."""
    try:
        found = unsteady(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise RefusedError("it is no text") from None
    if found:
        raise RefusedError(f"`{min(found)}` depends on more than the stored tables. Have the study bring it")
