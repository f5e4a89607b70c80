"""What a study needs from outside, read off the study: commits of the hub, and files below its data root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xlwh.corpora.request import FileOptions, Request
from xlwh.errors import CorpusError, StudyError
from xlwh.place import Kind
from xlwh.sources.registry import Address, Registry
from xlwh.study import Study


@dataclass
class HubNeed:
    """One commit of a repository, for all models or datasets of the study that it serves."""

    kind: Kind
    repository: str
    revision: str
    places: list[str] = field(default_factory=list)
    """Keys of the study: models.base, datasets.nli."""
    requests: list[Request] = field(default_factory=list)
    """Of a dataset: what is read of it."""


@dataclass
class FileNeed:
    """One file below the data root, or outside of it."""

    path: Path
    relative: str | None
    """Below the data root; None for a path outside of it, which no registry and no mirror knows."""
    places: list[str] = field(default_factory=list)
    address: Address | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is something at the path."""
        return self.path.exists()


def hub_needs(study: Study) -> list[HubNeed]:
    """Commits of the hub, each once, models first."""
    found: dict[tuple[str, str, str], HubNeed] = {}
    for key, model in study.models.items():
        if model.hub is not None and model.revision is not None:
            _need(found, "model", model.hub, model.revision).places.append(f"models.{key}")
    for key, dataset in study.datasets.items():
        if dataset.hub is not None and dataset.revision is not None:
            need = _need(found, "dataset", dataset.hub, dataset.revision)
            need.places.append(f"datasets.{key}")
            need.requests += _requests(study, key)
    return list(found.values())


def _need(found: dict[tuple[str, str, str], HubNeed], kind: Kind, hub: str, revision: str) -> HubNeed:
    return found.setdefault((kind, hub, revision), HubNeed(kind, hub, revision))


def _requests(study: Study, key: str) -> Iterator[Request]:
    """What is read of a dataset; the side that translations are from has no rows of its own."""
    from xlwh.corpora.registry import inapplicable, request_of

    for language in study.dataset_languages(key):
        if not inapplicable(study, key, language):
            yield request_of(study, key, language)


def file_needs(study: Study, registry: Registry) -> list[FileNeed]:
    """Files of datasets, spaces and lexica: those that are there, and those that are not, with their addresses."""
    root = study.data_path(".").resolve()
    found: dict[Path, FileNeed] = {}
    for place, path in _named(study, registry, root):
        path = Path(path)
        if path not in found:
            below = path.is_relative_to(root)
            relative = path.relative_to(root).as_posix() if below else None
            address = None if relative is None else registry.find(relative)
            found[path] = FileNeed(path, relative, [], address)
        if place not in found[path].places:
            found[path].places.append(place)
    return list(found.values())


def _named(study: Study, registry: Registry, root: Path) -> Iterator[tuple[str, Path]]:
    for key, dataset in study.datasets.items():
        if dataset.path is not None:
            for request in _requests(study, key):
                for path in _of_dataset(request, registry, root):
                    yield f"datasets.{key}", path
    if study.consistency is not None:
        name = study.consistency.space
        space = study.spaces[name]
        for language, file in (space.files if space.kind == "vec" else space.dictionaries).items():
            what = "files" if space.kind == "vec" else "dictionaries"
            yield f"spaces.{name}.{what}.{language}", _absolute(study, file)
    for name, lexicon in study.lexica.items():
        for each in lexicon.files:
            yield f"lexica.{name}.files", _absolute(study, each.path)


def _absolute(study: Study, relative: str) -> Path:
    return _clean(study.data_path(relative))


def _clean(path: Path) -> Path:
    """A path without `..`, its links as they are: a linked file lies where the study names it."""
    return path.parent.resolve() / path.name


def _of_dataset(request: Request, registry: Registry, root: Path) -> list[Path]:
    """The files that a dataset is read from: those that its reader finds, else those that a registry can bring."""
    from xlwh.corpora.registry import reader_named

    try:
        documents = reader_named(request.dataset.reader, request.key).locate(request)
        return list(dict.fromkeys(_clean(document.path) for document in documents))
    except StudyError:
        raise
    except CorpusError:
        return _lacking(request, registry, root)


def _lacking(request: Request, registry: Registry, root: Path) -> list[Path]:
    from xlwh.corpora.registry import reader_named

    given = request.dataset.options
    known = {
        name: given[name] for name in ("file", "names", "splits", "member") if given.get(name) is not None
    }
    options = FileOptions.model_validate(known)
    found = [
        path
        for fill in reader_named(request.dataset.reader, request.key).fills(request)
        for path in _named_by(request, options, fill, registry, root)
    ]
    return list(dict.fromkeys(found))


def _named_by(
    request: Request, options: FileOptions, fill: Mapping[str, str], registry: Registry, root: Path
) -> list[Path]:
    from xlwh.corpora.files import filled

    place = _clean(request.root / filled(request, options, request.pattern, fill))
    if options.file is not None and not set("*?[") & set(options.file):
        file = place / filled(request, options, options.file, fill)
        if _address(file, root, registry) is not None:
            return [file]
    if _address(place, root, registry) is not None or not place.is_relative_to(root):
        return [place]
    values = {
        "language": options.names.get(request.language, request.language),
        "split": options.splits.get(request.split, request.split),
    }
    offered = registry.below(place.relative_to(root).as_posix(), values)
    return [root / address.path for address in offered] or [place]


def _address(path: Path, root: Path, registry: Registry) -> Address | None:
    return registry.find(path.relative_to(root).as_posix()) if path.is_relative_to(root) else None
