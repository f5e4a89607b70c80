"""Put on a hub of this machine all that the study of a paper names."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hub_server import Files, HubServer

from papers import files
from papers.checkpoints import checkpoint
from papers.datasets import LAYOUTS, repository

_COMMIT = re.compile("[0-9a-f]{40}")
TWELVE = {"layers": 12, "heads": 12, "size": 24}
"""The depth and the heads of the base sizes, where figures show each of them."""


def stand_in(hub: HubServer, study: Path, shapes: Mapping[str, Mapping[str, int]] | None = None) -> None:
    """Serve the models, datasets and files of a study; write `sources.toml` beside it, with their addresses here.

    `shapes`: hub id of a model -> layers, heads and size of its stand-in.
    """
    said = tomllib.loads(study.read_text(encoding="utf-8"))
    _models(hub, said, shapes or {})
    _datasets(hub, said)
    _files(hub, said, study.parent)


def _models(hub: HubServer, said: Mapping[str, Any], shapes: Mapping[str, Mapping[str, int]]) -> None:
    commits: dict[str, set[str | None]] = {}
    for model in said["models"].values():
        if "hub" in model:
            commits.setdefault(model["hub"], set()).add(model.get("revision"))
    with tempfile.TemporaryDirectory() as folder:
        for name, revisions in commits.items():
            made = checkpoint(name, Path(folder) / name, **shapes.get(name, {}))
            _serve(hub, "model", name, made, revisions)


def _datasets(hub: HubServer, said: Mapping[str, Any]) -> None:
    commits: dict[str, set[str | None]] = {}
    wanted: dict[str, dict[tuple[str, str, str], int]] = {}
    for dataset in said["datasets"].values():
        if "hub" not in dataset:
            continue
        name, layout = dataset["hub"], LAYOUTS[dataset["hub"]]
        commits.setdefault(name, set()).add(dataset.get("revision"))
        options = dataset.get("options", {})
        split = options.get("splits", {"dev": "validation"}).get(dataset["split"], dataset["split"])
        for language in dataset.get("languages", said["languages"]):
            written = options.get("names", {}).get(language, language)
            config = layout.config or options["config"].format(language=written)
            key = (config, split, layout.language or language)
            rows = wanted.setdefault(name, {})
            # Where only some classes are read, twice as many rows.
            rows[key] = max(rows.get(key, 0), _rows(dataset) * (2 if "where" in options else 1))
    for name, rows in wanted.items():
        content = repository(name, rows)
        _serve(hub, "dataset", name, content, commits[name])


def _serve(hub: HubServer, kind: str, name: str, content: Files, revisions: set[str | None]) -> None:
    """Under each commit that a study names, each other revision (`refs/pr/1`), and on the main branch."""
    add = hub.add_model if kind == "model" else hub.add_dataset
    for revision in sorted(revisions, key=str):
        if revision is None or _COMMIT.fullmatch(revision):
            add(name, content, commit=revision)
        else:
            add(name, {"README.md": "Without weights.\n"})
            hub.add_ref(kind, name, revision, content)


def _rows(dataset: Mapping[str, Any]) -> int:
    return int(dataset["max_examples"]) + int(dataset.get("skip_examples", 0)) + 4


def _files(hub: HubServer, said: Mapping[str, Any], folder: Path) -> None:
    entries = []
    for path, data in _content(said):
        address = hub.add_file(f"/files/{path}", data)
        entries.append(f'[[source]]\npath = "{path}"\nurl = "{address}"\nlicence = "made up"\n')
    (folder / "sources.toml").write_text("\n".join(entries), encoding="utf-8")


def _content(said: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for space in said.get("spaces", {}).values():
        for language, path in space.get("files", {}).items():
            yield path, files.vectors(language)
    archives: dict[str, list[Mapping[str, Any]]] = {}
    for dataset in said["datasets"].values():
        if "path" in dataset:
            archives.setdefault(dataset["path"], []).append(dataset)
    for path, datasets in archives.items():
        most = max(map(_rows, datasets))
        if path.startswith("eraser/"):
            yield path, files.multirc(most)
        elif path.startswith("ted/"):
            name = datasets[0]["options"]["file"].removesuffix(".{side}")
            yield path, files.moses(name, (datasets[0]["options"]["source"], "en"), most)
        else:
            tests: dict[str, str] = {}
            for place, dataset in enumerate(datasets):
                name = dataset["options"]["file"].removesuffix(".{side}.xml")
                tests |= files.iwslt(name, (dataset["options"]["source"], "en"), most, 200 + 10 * place)
            if path.endswith(".zip"):
                yield path, files.zipped(tests, Path(path).stem)
            else:
                for name, text in tests.items():
                    yield f"{path}/{name}", text.encode()
