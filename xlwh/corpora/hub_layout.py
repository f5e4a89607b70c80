"""How a dataset lies in its repository on the hub: which files are a configuration's split, and what its classes are called.

Both are said by the front matter of README.md (`configs` with `data_files`; `dataset_info` with `features`), as the
library `datasets` writes and reads it. Without `configs` files are told by their names. Only names are looked at, so the
same rule says what is fetched and what is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xlwh.corpora.files import filled, require_shards
from xlwh.corpora.records import SUFFIXES
from xlwh.corpora.request import Request, TableOptions
from xlwh.errors import CorpusError

CARD = "README.md"
_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---", re.DOTALL)
_SHOWN = 20
STEMS = (
    "{language}/{split}-*",
    "{language}/{split}",
    "data/{split}-*",
    "data/{split}",
    "{split}-{language}",
    "{split}-*",
    "{split}",
)
"""Names of files of a split, below the folder of the dataset or of its configuration, in the order they are looked for."""
_CONVERTED = ("{split}/*.parquet", "default/{split}/*.parquet")
"""Of the hub's own conversion to Parquet (refs/convert/parquet), below the folder of a configuration or beside it."""


@dataclass(frozen=True)
class Layout:
    """The files of a commit by name, and the front matter of its card."""

    names: tuple[str, ...]
    card: Mapping[str, Any]


@lru_cache(maxsize=64)
def card_of(text: str, where: str) -> Mapping[str, Any]:
    """The front matter of a card, its values as text; empty where it has none. CorpusError where it is not YAML."""
    import yaml

    match = _FRONT.match(text.removeprefix("\ufeff"))
    if match is None:
        return {}
    try:
        # As text: else the configuration of Norwegian, `no`, is the value false.
        content = yaml.load(match[1], Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.YAMLError as error:
        raise CorpusError(f"{where}: its front matter is not YAML: {error}") from None
    return content if isinstance(content, dict) else {}


def card_in(folder: Path) -> Mapping[str, Any]:
    """The front matter of the card in a snapshot's folder; empty where there is no card. CorpusError as of `card_of`."""
    file = folder / CARD
    if not file.is_file():
        return {}
    return card_of(file.read_text(encoding="utf-8", errors="replace"), str(file))


def data_files(
    layout: Layout, request: Request, options: TableOptions, config: str | None
) -> tuple[str, ...]:
    """Names of the files of a configuration's split, sorted; CorpusError says what there is instead.

    `config` is the name of the configuration, filled in; None: the only one, or the one that the card calls the default.
    """
    found = _data_files(layout, request, options, config)
    if options.file is None or set("*?[") & set(options.file):
        at = f"datasets.{request.key}"
        then = f"The commit lacks them: pin another one, or name the one file that is meant, `{at}.options.file`."
        require_shards(request.key, found, then)
    return found


def _data_files(
    layout: Layout, request: Request, options: TableOptions, config: str | None
) -> tuple[str, ...]:
    at, split = f"datasets.{request.key}", options.splits.get(request.split, request.split)
    if options.file is not None:
        pattern = filled(request, options, options.file)
        found = _matching(layout.names, [pattern])
        if not found:
            raise CorpusError(
                f"{_shown(request)}: no file `{pattern}`, which `{at}.options.file` names. {_listed(layout.names)} "
                f"Change `{at}.options.file`."
            )
        return found
    configs = {str(each.get("config_name", "default")): each for each in _dicts(layout.card.get("configs"))}
    if not configs:
        return _by_name(layout, request, options, config or "", split)
    chosen = _chosen(configs, request, config)
    said = configs[chosen].get("data_files")
    if said is None:
        folder = str(configs[chosen].get("data_dir") or "")
        return _by_name(layout, request, options, folder, split)
    splits = _patterns(said)
    if split not in splits:
        raise CorpusError(
            f"{_shown(request)}: configuration `{chosen}` has no split `{split}`; there are: {', '.join(splits)}. "
            f"Change `{at}.split` or `{at}.options.splits`."
        )
    folder = str(configs[chosen].get("data_dir") or "").strip("/")
    patterns = [f"{folder}/{each}" if folder else each for each in splits[split]]
    found = _matching(layout.names, patterns)
    if not found:
        raise CorpusError(
            f"{_shown(request)}: its card names {', '.join(patterns)} for `{chosen}`, `{split}`, and there is no such "
            f"file. {_listed(layout.names)} Name the files: `{at}.options.file`."
        )
    return found


def features(card: Mapping[str, Any], config: str | None) -> dict[str, Any]:
    """Classes that a card gives names to, by column, as `datasets` serialises them; the rest is left out."""
    infos = _dicts(card.get("dataset_info"))
    named = [info for info in infos if config is None or info.get("config_name", "default") == config]
    chosen = named if len(named) == 1 else (infos if len(infos) == 1 and config is None else [])
    return {
        str(entry.get("name")): _feature(entry) for info in chosen for entry in _dicts(info.get("features"))
    }


def _feature(entry: Mapping[str, Any]) -> dict[str, Any]:
    for holder in ("sequence", "list"):
        inner = entry.get(holder)
        if inner is not None:
            return {
                "_type": "List",
                "feature": _feature(inner if isinstance(inner, dict) else {"dtype": inner}),
            }
    dtype = entry.get("dtype")
    classes = dtype.get("class_label") if isinstance(dtype, dict) else entry.get("class_label")
    names = classes.get("names") if isinstance(classes, dict) else None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=lambda key: (len(key), key))]
    if isinstance(names, list):
        return {"_type": "ClassLabel", "names": [str(name) for name in names]}
    return {"_type": "Value"}


def _chosen(configs: Mapping[str, Mapping[str, Any]], request: Request, config: str | None) -> str:
    at = f"datasets.{request.key}.options"
    if config is not None:
        if config not in configs:
            raise CorpusError(
                f"{_shown(request)}: no configuration `{config}`; there are: {_few(configs)}. Change `{at}.config` or "
                f"`{at}.names`."
            )
        return config
    default = [name for name, each in configs.items() if each.get("default") == "true" or len(configs) == 1]
    default = default or [name for name in configs if name == "default"]
    if len(default) != 1:
        raise CorpusError(
            f"{_shown(request)}: has {len(configs)} configurations: {_few(configs)}. Name one: `{at}.config`; "
            "{language} is filled in."
        )
    return default[0]


def _patterns(said: Any) -> dict[str, list[str]]:
    """Split -> patterns, of every form that a card may have: a pattern, a list of them, entries of splits, a mapping."""
    if isinstance(said, dict):
        return {str(split): _texts(patterns) for split, patterns in said.items()}
    entries = _dicts(said)
    if not entries:
        return {"train": _texts(said)}
    return {str(entry.get("split", "train")): _texts(entry.get("path")) for entry in entries}


def _by_name(
    layout: Layout, request: Request, options: TableOptions, folder: str, split: str
) -> tuple[str, ...]:
    """Files of a split by their names, below a folder of the repository."""
    at, prefix = f"datasets.{request.key}", f"{folder.strip('/')}/" if folder.strip("/") else ""
    names = [name.removeprefix(prefix) for name in layout.names if name.startswith(prefix)]
    if not names:
        raise CorpusError(
            f"{_shown(request)}: no configuration and no folder `{folder}`. {_listed(layout.names)} Change "
            f"`{at}.options.config` or `{at}.options.names`."
        )
    for stem in (*(stem + suffix for stem in STEMS for suffix in SUFFIXES), *_CONVERTED):
        if found := _matching(names, [filled(request, options, stem)]):
            return tuple(prefix + name for name in found)
    script = f"{request.dataset.hub}".rsplit("/", 1)[-1] + ".py"
    made = (
        f" Its rows are made by a script, `{script}`, which is never run: pin the hub's conversion to Parquet, "
        f'`revision = "refs/convert/parquet"`, with: xlwh pin.'
        if script in layout.names
        else ""
    )
    raise CorpusError(
        f"{_shown(request)}: no files of split `{split}`. {_listed(names)}{made} Set `{at}.options.file`, for example "
        "`data/{split}-*.parquet`."
    )


def _matching(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    accepted = [_translated(pattern.removeprefix("./")) for pattern in patterns]
    return tuple(sorted(name for name in names if any(each.fullmatch(name) for each in accepted)))


@lru_cache(maxsize=512)
def _translated(pattern: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(pattern))


def _dicts(value: Any) -> list[dict[str, Any]]:
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, dict)]


def _texts(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value]) if each is not None]


def _shown(request: Request) -> str:
    return f"Dataset `{request.key}`: {request.dataset.hub}@{request.dataset.revision}"


def _few(names: Mapping[str, object] | Sequence[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _listed(names: Sequence[str]) -> str:
    return f"It has: {_few(list(names))}."
