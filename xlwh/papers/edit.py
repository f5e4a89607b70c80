"""Changes of a study's text that keep its comments: what a size changes, and several studies in one.

A study's text is taken as blocks: a table's header with the comment right above it, its keys, and what stands between
them and the next block. tomlkit edits the keys; the result is read again and has to hold what was asked for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlwh.errors import StudyError, XlwhError

Place = tuple[str, ...]

_BY_DEFAULT = ("lig", "random")
"""Attribution methods that a study computes unless it says otherwise."""

REMOVE = "remove"
"""Key of a size's file: dotted keys of the tables that are left out."""

_HEADER = re.compile(r"\[([\w-]+(?:\.[\w-]+)*)\]\s*(?:#.*)?$")


@dataclass
class Block:
    """A table as it is written: `head` ends with its header, `tail` belongs to no key."""

    place: Place
    head: str
    body: str
    tail: str

    @property
    def keys(self) -> dict[str, Any]:
        return tomllib.loads(self.body)

    def __str__(self) -> str:
        return self.head + self.body + self.tail


def blocks(text: str) -> list[Block]:
    """A text cut into its tables; the first block is what stands before any header."""
    lines = text.splitlines(keepends=True)
    starts = [0, *(number for number, line in enumerate(lines) if _HEADER.match(line))]
    found = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        header = _HEADER.match(lines[start]) if start or _HEADER.match(lines[0]) else None
        end = len(lines) if following is None else following
        # The comment right above a header is the next block's.
        while following is not None and end > start + 1 and lines[end - 1].startswith("#"):
            end -= 1
        above = start
        while header is not None and above and lines[above - 1].startswith("#"):
            above -= 1
        first = start + 1 if header is not None else start
        if header is None:
            while first < end and (not lines[first].strip() or lines[first].startswith("#")):
                first += 1
        last = max(end, first)
        while last > first and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
            last -= 1
        found.append(
            Block(
                () if header is None else tuple(header[1].split(".")),
                "".join(lines[above:first]),
                "".join(lines[first:last]),
                "".join(lines[last:end]),
            )
        )
    return found


def merged(
    full: Mapping[str, Any], changes: Mapping[str, Any], file: str, strict: bool = True
) -> dict[str, Any]:
    """`full` with the changes of a size: tables are merged, every other value replaces.

    Raises:
        StudyError: where a change is of a table, or a removal of a key, that `full` lacks (`strict`).
    """
    result = _merge(full, {key: value for key, value in changes.items() if key != REMOVE}, (), file, strict)
    if not strict:
        named = [*full.get(REMOVE, ()), *changes.get(REMOVE, ())]
        return {**result, REMOVE: named} if named else result
    for name in changes.get(REMOVE, ()):
        table, place = result, name.split(".")
        for part in place[:-1]:
            table = table.get(part, {})
        if place[-1] not in table:
            raise StudyError(f"{file}: `remove` names `{name}`, which the full study lacks.")
        del table[place[-1]]
    return result


def _merge(
    full: Mapping[str, Any], changes: Mapping[str, Any], at: Place, file: str, strict: bool
) -> dict[str, Any]:
    result = {
        key: _merge(value, {}, at, file, strict) if isinstance(value, dict) else value
        for key, value in full.items()
    }
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(full.get(key), dict):
            result[key] = _merge(full[key], value, (*at, key), file, strict)
        elif strict and isinstance(value, dict) and key not in full:
            raise StudyError(f"{file}: `{'.'.join((*at, key))}` is no table of the full study.")
        else:
            result[key] = value
    return result


def joinable(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study with what it leaves to defaults that would say something else beside other studies.

    Its models name the attribution methods that it computes.
    """
    methods = study.get("attribution", {}).get("methods", {})
    by_default = [name for name in _BY_DEFAULT if name not in methods]
    used = [*by_default, *(name for name, said in methods.items() if said is not False)]
    models = {
        name: {**model, "attribution_methods": used}
        if "datasets" in model and "attribution_methods" not in model
        else model
        for name, model in study.get("models", {}).items()
    }
    left = {name: said for name, said in methods.items() if said is not False}
    attribution = {"attribution": {**study["attribution"], "methods": left}} if methods else {}
    return {**study, "models": models, **attribution}


def joined(studies: Mapping[str, Mapping[str, Any]], settled: Mapping[str, Any]) -> dict[str, Any]:
    """Several studies in one: tables that they share have to agree, but for lists, which are joined.

    What `settled` says comes before all of them.

    Raises:
        StudyError: where studies differ and `settled` does not say what holds.
    """
    result = _join(studies, settled, ())
    for name in settled.get(REMOVE, ()):
        table, place = result, name.split(".")
        for part in place[:-1]:
            table = table.get(part, {})
        table.pop(place[-1], None)
    return result


def _join(studies: Mapping[str, Mapping[str, Any]], settled: Mapping[str, Any], at: Place) -> dict[str, Any]:
    result: dict[str, Any] = {}
    keys = dict.fromkeys(key for study in studies.values() for key in study)
    keys.update(dict.fromkeys(key for key in settled if key != REMOVE))
    for key in keys:
        given = {name: study[key] for name, study in studies.items() if key in study}
        said = settled.get(key)
        if any(isinstance(value, dict) for value in given.values()) and (
            said is None or isinstance(said, dict)
        ):
            result[key] = _join(given, said or {}, (*at, key))
        elif said is not None:
            result[key] = said
        else:
            result[key] = _agreed(given, tuple(studies), (*at, key))
    return result


def _agreed(given: Mapping[str, Any], studies: Sequence[str], place: Place) -> Any:
    values = list(given.values())
    if len(given) == len(studies) and all(value == values[0] for value in values):
        return values[0]
    if len(given) == len(studies) and all(isinstance(value, list) for value in values):
        return [
            item for n, value in enumerate(values) for item in value if not any(item in v for v in values[:n])
        ]
    said = "; ".join(f"{name}: {given.get(name, 'not set')}" for name in studies)
    raise StudyError(f"`{'.'.join(place)}` differs between the papers ({said}); say in all.toml what holds.")


def joined_text(header: str, texts: Sequence[str]) -> str:
    """The tables of several texts in one, those of one section together; of a table that several have, the first."""
    found: dict[Place, Block] = {}
    for text in texts:
        for block in blocks(text):
            found.setdefault(block.place, block)
    top = found.pop(())
    sections: dict[str, list[Block]] = {}
    for block in found.values():
        sections.setdefault(block.place[0], []).append(block)
    ordered = [block for section in sections.values() for block in section]
    text = header + top.body + "".join(f"\n{block.head}{block.body}" for block in ordered)
    return re.sub(r"\n{3,}", "\n\n", text)


def edited(text: str, wanted: Mapping[str, Any], notes: Mapping[Place, str], label: str | None = None) -> str:
    """`text` changed so that it holds `wanted`, with its comments.

    Behind each changed line stands the note of its key and, where there is a `label`, the value that the text had.

    Raises:
        XlwhError: where the text cannot be brought to hold `wanted`.
    """
    kept: list[Block] = []
    found = blocks(text)
    places = {block.place for block in found}
    for block in found:
        table = _table(wanted, block.place)
        if table is None:
            # What introduces the next part of the file stays.
            if kept and block.tail.strip():
                kept[-1].tail += block.tail.lstrip("\n")
            continue
        inner = {
            place[len(block.place)] for place in places if place[: len(block.place)] == block.place != place
        }
        values = {key: value for key, value in table.items() if key not in inner}
        block.body = _edited_keys(block, values, notes, label)
        kept.append(block)
    result = "".join(map(str, kept))
    if tomllib.loads(result) != wanted:
        raise XlwhError("The text of a paper's study cannot be brought to hold what its sizes say.")
    return result


def _edited_keys(
    block: Block, wanted: Mapping[str, Any], notes: Mapping[Place, str], label: str | None
) -> str:
    import tomlkit

    body, had = tomlkit.parse(block.body), block.keys
    for key in had.keys() - wanted.keys():
        del body[key]
    for key, value in wanted.items():
        if key in had and had[key] == value:
            continue
        was = _comment(body, key) if key in had else ""
        full = None if label is None else f"{label}: {_written(had[key]) if key in had else 'not set'}"
        said = [part for part in (full, notes.get((*block.place, key), was)) if part]
        item = tomlkit.item(_inline(value))
        if said:
            item.comment("; ".join(said))
            item.trivia.comment_ws = "  "
        body[key] = item
    return str(body.as_string())


def _inline(value: Any) -> Any:
    """A table as one line; other values as they are."""
    import tomlkit

    if not isinstance(value, dict):
        return value
    table = tomlkit.inline_table()
    for key, inner in value.items():
        table[key] = _inline(inner)
    return table


def _written(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    import tomlkit

    return str(tomlkit.item(_inline(value)).as_string())


def _table(settings: Mapping[str, Any], place: Place) -> Mapping[str, Any] | None:
    for part in place:
        inner = settings.get(part)
        if not isinstance(inner, dict):
            return None
        settings = inner
    return settings


def head(text: str) -> str:
    """The comment that a text begins with."""
    return blocks(text)[0].head


def comments(text: str) -> dict[Place, str]:
    """The comment behind each key of a text."""
    return dict(_comments(text))


def _comments(text: str) -> Iterator[tuple[Place, str]]:
    import tomlkit

    for block in blocks(text):
        keys = tomlkit.parse(block.body)
        for key in keys:
            if said := _comment(keys, key):
                yield (*block.place, key), said


def _comment(table: Any, key: str) -> str:
    """What stands behind a key of a tomlkit table."""
    # `table[key]` is no item where the value is true or false.
    return str(table.item(key).trivia.comment).lstrip("# ").strip()
