"""Bringing what a study needs: what is there already, what has to come, and from where.

`Fetching.look` says it of every need without fetching more than cards and lists of files; `Fetching.bring` fetches one.
What goes wrong with one need is an error of that need alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from xlwh.corpora.hub import needed
from xlwh.corpora.hub_layout import CARD, Layout, card_in
from xlwh.digests import sha256
from xlwh.errors import SourceError, UnreachableError, XlwhError
from xlwh.models.hub import has_safetensors, loaded, missing_files
from xlwh.place import DATA, HUB, hub_cache, listing, repository_folder, snapshot_folder
from xlwh.sources import hub
from xlwh.sources.download import download, offered
from xlwh.sources.lock import NAME as LOCK
from xlwh.sources.lock import Lock, Locked
from xlwh.sources.mirror import Mirror
from xlwh.sources.needs import FileNeed, HubNeed, file_needs, hub_needs
from xlwh.sources.registry import registry_of
from xlwh.study import Study

_SPARE = 1 << 28
"""Bytes that stay free."""

T = TypeVar("T")


@dataclass
class Item:
    """One need, and what became of it."""

    what: str
    """Keys of the study."""
    source: str
    """Where it comes from."""
    need: HubNeed | FileNeed
    bytes: int | None = None
    """Of what is needed; None where nobody says."""
    lacking: int | None = None
    """Bytes that still have to come."""
    licence: str = ""
    """As its card or the registry states it; empty where neither could be read."""
    state: str = "to fetch"
    """there, to fetch, fetched, or failed."""
    names: tuple[str, ...] = ()
    """Of a repository: the files that are needed."""
    lacks: tuple[str, ...] = ()
    """Of these, those that are not there, or not whole."""
    error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it is still to be fetched."""
        return self.state == "to fetch"


class Fetching:
    """One study's needs. `source` is a mirror to take them from, in place of the network.

    `verifies`: what is there is compared by its digest; what the hub has otherwise is removed, unless it `keeps` it.
    """

    def __init__(
        self, study: Study, source: Mirror | None = None, verifies: bool = False, keeps: bool = False
    ) -> None:
        if source is not None and source.is_empty:
            raise SourceError(
                f"There is no mirror at {source.url}. Write one where there is a network: xlwh fetch --to"
            )
        self._study, self._source, self._verifies, self._keeps = study, source, verifies, keeps
        self._root = study.data_path(".").resolve()
        self._lock = Lock(self._root)
        self._registry = registry_of(study.folder)
        self._unreachable: dict[hub.Purpose, UnreachableError] = {}

    def look(self, progress: Callable[[str], None] = lambda text: None) -> list[Item]:
        """Every need with its state, size and licence; what is wrong with one is its error."""
        items = []
        for need in hub_needs(self._study):
            shown = f"{need.kind} {need.repository}@{need.revision[:12]}"
            progress(shown)
            items.append(self._try(Item(", ".join(need.places), shown, need), self._look_at_hub))
        for file in file_needs(self._study, self._registry):
            shown = file.address.url if file.address is not None else str(file.path)
            item = Item(", ".join(file.places), shown, file)
            progress(file.relative or str(file.path))
            items.append(self._try(item, self._look_at_file))
        return items

    def require_space(self, items: Sequence[Item]) -> None:
        """`SourceError` where the disks cannot take what is still to come."""
        wanted: dict[int, tuple[Path, int]] = {}
        for item in items:
            if item.is_open and item.lacking:
                place = _standing(hub_cache() if isinstance(item.need, HubNeed) else self._root)
                device = os.stat(place).st_dev
                wanted[device] = (place, wanted.get(device, (place, 0))[1] + item.lacking)
        for place, size in wanted.values():
            free = shutil.disk_usage(place).free
            if size + _SPARE > free:
                raise SourceError(
                    f"{size / 1e9:.2f} GB are to come to {place}, and {free / 1e9:.2f} GB are free there. Make room, or name "
                    "other places: HF_HUB_CACHE for the hub's cache, the study's data_root (or XLWH_DATA_ROOT) for data."
                )

    def bring(self, item: Item) -> None:
        """Fetch what an item lacks; its state and error say how that ended."""
        if item.is_open:
            self._try(item, self._bring)

    def put(self, item: Item, target: Mirror) -> int:
        """Copy what is needed of an item into a mirror; the bytes that were copied. `SourceError` where that fails."""
        return sum(target.put(local, name) for local, name in self._files(item))

    def put_lock(self, target: Mirror) -> None:
        """Copy the digests of the data beside it."""
        if (self._root / LOCK).is_file():
            target.put(self._root / LOCK, f"{DATA}/{LOCK}")

    def _ask(self, purpose: hub.Purpose, call: Callable[[], T]) -> T:
        """What the hub says; where it could not be reached for an earlier need, it is not asked again."""
        if purpose in self._unreachable:
            raise self._unreachable[purpose]
        try:
            return call()
        except UnreachableError as error:
            self._unreachable[purpose] = error
            raise

    @staticmethod
    def _try(item: Item, act: Callable[[Item], None]) -> Item:
        try:
            act(item)
        except (XlwhError, OSError) as error:
            item.state, item.error = "failed", str(error)
        return item

    # Repositories of the hub.

    def _look_at_hub(self, item: Item) -> None:
        need = item.need
        assert isinstance(need, HubNeed)
        listed = listing(need.kind, need.repository, need.revision)
        folder = snapshot_folder(need.kind, need.repository, need.revision)
        is_whole = need.kind == "model" and folder.is_dir() and not missing_files(folder)
        if listed is None and is_whole and not self._verifies:
            # Another program has cached it, and nobody lists what else there may be.
            item.names = tuple(loaded(file.name for file in folder.iterdir() if file.is_file()))
            item.bytes = sum((folder / name).stat().st_size for name in item.names)
            item.state, item.licence = "there", _licence(folder)
            return
        if listed is None or (need.kind == "dataset" and not _has(folder, CARD, listed)):
            listed = self._listed(item, need, hub.VERIFY if is_whole else hub.FETCH)
        item.names = _wanted(need, listed, folder)
        item.bytes = sum(listed[name] for name in item.names)
        item.lacks = tuple(
            name for name in item.names if not _has(folder, name, listed) or self._differs(need, folder, name)
        )
        item.lacking = sum(listed[name] for name in item.lacks)
        item.licence = item.licence or _licence(folder)
        if not item.lacks:
            item.state = "there"
            if self._verifies and self._source is None:
                verify = partial(hub.verify, need.kind, need.repository, need.revision, folder)
                self._ask(hub.VERIFY, partial(verify, removes=not self._keeps))
        elif self._source is None and not item.licence:
            described = partial(hub.describe, need.kind, need.repository, need.revision)
            item.licence = self._ask(hub.FETCH, described).licence

    def _differs(self, need: HubNeed, folder: Path, name: str) -> bool:
        """Whether a file is to be compared with the mirror's, and is another one; the hub's digests are asked for at once."""
        if self._source is None or not self._verifies:
            return False
        place = repository_folder(need.kind, need.repository).name
        return self._source.differs(folder / name, f"{HUB}/{place}/snapshots/{need.revision}/{name}")

    def _listed(self, item: Item, need: HubNeed, purpose: hub.Purpose) -> dict[str, int]:
        """The files of a commit that was not fetched yet, with its card, which is fetched to know what is needed."""
        kind, repository, revision = need.kind, need.repository, need.revision
        if self._source is not None:
            self._take_listing(self._source, need)
        else:
            described = self._ask(purpose, partial(hub.describe, kind, repository, revision, purpose))
            item.licence = described.licence
            if described.is_renamed:
                item.notes.append(
                    f"{kind} {repository} is called {described.id} today. It is still found by its old name; write "
                    f'`hub = "{described.id}"` into the study ({", ".join(need.places)}).'
                )
            card = [CARD] if kind == "dataset" and CARD in described.names else []
            if not card:
                return {file.path: file.size for file in described.files}
            bring = partial(hub.bring, kind, repository, revision, card, purpose, removes=not self._keeps)
            self._ask(purpose, bring)
        listed = listing(kind, repository, revision)
        if listed is None:
            raise SourceError(
                f"{kind} {repository} at {revision}: the list of its files cannot be kept in {hub_cache()}."
            )
        return listed

    def _take_listing(self, source: Mirror, need: HubNeed) -> None:
        folder = repository_folder(need.kind, need.repository)
        tree = f"trees/{need.revision}.json"
        source.get(f"{HUB}/{folder.name}/{tree}", folder / tree)
        card = f"snapshots/{need.revision}/{CARD}"
        if source.has(f"{HUB}/{folder.name}/{card}"):
            source.get(f"{HUB}/{folder.name}/{card}", folder / card)

    def _bring(self, item: Item) -> None:
        need = item.need
        if isinstance(need, FileNeed):
            self._bring_file(item, need)
        else:
            self._bring_commit(item, need)
        item.state, item.lacking = "fetched", 0

    def _bring_commit(self, item: Item, need: HubNeed) -> None:
        folder = repository_folder(need.kind, need.repository)
        place = f"snapshots/{need.revision}"
        for name in item.lacks:
            hub.drop(folder / place / name)
        if self._source is None:
            bring = partial(hub.bring, need.kind, need.repository, need.revision, item.names)
            self._ask(hub.FETCH, bring)
            return
        for name in item.lacks:
            self._source.get(f"{HUB}/{folder.name}/{place}/{name}", folder / place / name)

    # Files below the data root.

    def _look_at_file(self, item: Item) -> None:
        need = item.need
        assert isinstance(need, FileNeed)
        locked = None if need.relative is None else self._lock.get(need.relative)
        if need.address is not None:
            item.licence = need.address.licence
        if need.is_there:
            item.state, item.bytes = "there", need.path.stat().st_size if need.path.is_file() else None
            self._require_same(need, locked)
            return
        if self._source is not None:
            name = f"{DATA}/{need.relative}"
            if need.relative is None or not self._source.has(name):
                raise SourceError(
                    f"{need.path} is not there, and the mirror {self._source.url} has no {name}."
                )
            item.source = f"{self._source.url}/{name}"
            item.bytes = item.lacking = self._source.bytes(name)
            return
        if need.address is None:
            raise SourceError(
                f"{need.path} is not there, and no registry knows where it comes from. Put it there, or add its address to "
                f"a `sources.toml` beside the study."
            )
        size, expected = need.address.known.bytes, _expected(need, locked)
        item.bytes = item.lacking = offered(need.address, expected).bytes if size is None else size

    def _require_same(self, need: FileNeed, locked: Locked | None) -> None:
        """Refuse a file that is another one than what was fetched, or than what the registry says."""
        expected = _expected(need, locked)
        if expected is None or not need.path.is_file():
            return
        if locked is not None and need.path.stat().st_size != locked.bytes:
            digest = f"{need.path.stat().st_size} bytes in place of {locked.bytes}"
        elif locked is None or self._verifies:
            found = sha256([need.path])
            if found == expected:
                return
            digest = f"SHA-256 {found} in place of {expected}"
        else:
            return
        raise SourceError(
            f"{need.path} is another file than the one that was fetched, or that the registry knows: {digest}. Remove it, and "
            f"run xlwh fetch again; if it is right as it is, remove its line from {self._root / LOCK}, or name it differently."
        )

    def _bring_file(self, item: Item, need: FileNeed) -> None:
        assert need.relative is not None
        if self._source is not None:
            self._source.get(f"{DATA}/{need.relative}", need.path)
            url, size, digest = item.source, need.path.stat().st_size, sha256([need.path])
            if need.address is not None:
                url = need.address.url
        else:
            assert need.address is not None
            brought = download(need.address, need.path, _expected(need, self._lock.get(need.relative)))
            url, size, digest = need.address.url, brought.bytes, brought.sha256
            if brought.note:
                item.notes.append(brought.note)
        self._lock.add(need.relative, Locked(url, size, digest))

    # Mirrors.

    def _files(self, item: Item) -> Iterator[tuple[Path, str]]:
        """Files of an item on this machine, and their names in a mirror."""
        need = item.need
        if isinstance(need, FileNeed):
            if need.relative is None:
                raise SourceError(
                    f"{need.path} lies outside of the data root {self._root}, so it cannot be in a mirror. Move it there."
                )
            if need.path.is_file():
                yield need.path, f"{DATA}/{need.relative}"
            return
        folder = repository_folder(need.kind, need.repository)
        tree = f"trees/{need.revision}.json"
        if not (folder / tree).is_file():
            hub.keep_list(need.kind, need.repository, need.revision)
        names = [f"snapshots/{need.revision}/{name}" for name in item.names]
        for name in [tree, *names]:
            yield folder / name, f"{HUB}/{folder.name}/{name}"


def _expected(need: FileNeed, locked: Locked | None) -> str | None:
    """The SHA-256 that a file has to have: the registry's, else that of the first fetch; None where there is none."""
    known = None if need.address is None else need.address.known.sha256
    return known or (None if locked is None else locked.sha256)


def _wanted(need: HubNeed, listed: dict[str, int], folder: Path) -> tuple[str, ...]:
    """Of a repository's files those that the study needs."""
    if need.kind == "model":
        names = loaded(listed)
        if not has_safetensors(names):
            raise SourceError(
                f"model {need.repository} at {need.revision} has no safetensors, and no other weights are loaded. `xlwh pin` looks "
                "for a commit that has them."
            )
        return tuple(names)
    layout = Layout(tuple(listed), card_in(folder))
    found = dict.fromkeys([CARD] if CARD in listed else [])
    for request in need.requests:
        found.update(dict.fromkeys(needed(layout, request)))
    return tuple(found)


def _has(folder: Path, name: str, listed: dict[str, int]) -> bool:
    """Whether a file is there, whole; a file that the repository has not is not missing."""
    file = folder / name
    return name not in listed or (file.is_file() and file.stat().st_size == listed[name])


def _licence(folder: Path) -> str:
    said = card_in(folder).get("license")
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said or "")


def _standing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())
