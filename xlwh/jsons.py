"""JSON that may be damaged: what cannot be read is an error of ours that names the file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlwh.errors import XlwhError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def parsed(text: str) -> Any:
    """A JSON text; `ValueError` where it is none, also where it is nested too deeply for Python."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def typed(kind: Any, value: Any) -> Any:
    """A JSON value as a `kind` (a dataclass, a model of pydantic, or any other type); `ValueError` where it is none.

    Nothing is converted but whole numbers to floats.
    """
    return _adapter(kind).validate_json(json.dumps(value), strict=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def read(path: Path, kind: type[XlwhError], what: str = "", then: str = "") -> Any:
    """The JSON value that a file holds; an error of `kind` names the file, `what` it is of, and what to do `then`."""
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise kind(f"{what}{path} cannot be read: {error}. {then}".rstrip()) from None


def read_object(path: Path, kind: type[XlwhError], what: str = "", then: str = "") -> dict[str, Any]:
    """The JSON object that a file holds; errors as those of `read`."""
    content = read(path, kind, what, then)
    if not isinstance(content, dict):
        raise kind(f"{what}{path} is not a JSON object. {then}".rstrip())
    return content
