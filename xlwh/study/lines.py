"""From pydantic's errors to messages that name the key and the line of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError


def explain(root: type[BaseModel], path: Path, text: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        location = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        named = re.match(r"([\w.+-]+): ", message) if not location else None
        if named:
            location = tuple(named.group(1).split("."))
            message = message[named.end() :]
        if item["type"] == "extra_forbidden":
            accepted = _fields_at(root, location[:-1])
            message = "unknown key" + (f"; accepted here: {', '.join(accepted)}" if accepted else "")
        elif item["type"] == "missing":
            message = "missing"
        number = line_of(text, location)
        lines.append(f"{path}, line {number}: `{'.'.join(location)}`: {message}")
    return "\n".join(lines)


def _fields_at(root: type[BaseModel], location: tuple[str, ...]) -> list[str]:
    """Names of the keys accepted at a place of the file."""
    node: Any = root
    for part in location:
        if isinstance(node, type) and issubclass(node, BaseModel):
            node = node.model_fields[part].annotation if part in node.model_fields else None
        else:
            # A table of parts by name: `part` is one of the names, and the part's own keys come next.
            node = get_args(node)[-1] if get_args(node) else None
        node = _unwrapped(node)
    if isinstance(node, type) and issubclass(node, BaseModel):
        return [name for name in node.model_fields if name != "folder"]
    return []


def _unwrapped(annotation: Any) -> Any:
    """What an annotation is when it is not None: a part, or a mapping of parts; None where it is neither."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Mapping:
        return annotation
    return next((found for found in map(_unwrapped, get_args(annotation)) if found is not None), None)


def line_of(text: str, location: tuple[str, ...]) -> int:
    """Line (from 1) of the deepest part of `location` that the file spells out; 1 where none is."""
    best, depth = 1, 0
    table: tuple[str, ...] = ()
    arrays: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        header = re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]+", line)
        assignment = re.match(r"\s*([\w.\"'+-]+)\s*=", line)
        if header:
            table = _dotted(header.group(2))
            if header.group(1) == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, str(arrays[table]))
            elif array := next((name for name in arrays if table[: len(name)] == name), None):
                # A table inside the last one of an array.
                table = (*array, str(arrays[array]), *table[len(array) :])
            here = table
        elif assignment:
            here = table + _dotted(assignment.group(1))
        else:
            continue
        shared = 0
        while shared < min(len(here), len(location)) and here[shared] == location[shared]:
            shared += 1
        if shared == len(here) and shared > depth:
            best, depth = number, shared
    return best


def _dotted(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', name))
