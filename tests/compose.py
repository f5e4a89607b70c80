"""The compose file as a test reads it: variables put in, and what a container path is in a folder of the test's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}")


class UnsetError(Exception):
    """A variable that has to be set is not."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """A value with its variables put in, by the rules of the specification that the file uses: `:-` and `:?`."""
    if isinstance(value, dict):
        return {name: interpolated(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def put(found: re.Match[str]) -> str:
        name, how, other = found.groups()
        if variables.get(name):
            return variables[name]
        if how == ":?":
            raise UnsetError(f"{name}: {other}")
        return other or ""

    # `$$` is a dollar sign.
    return "$".join(_VARIABLE.sub(put, part) for part in value.split("$$"))


def services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of the file, by name."""
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    made: dict[str, dict[str, Any]] = interpolated(found["services"], variables)
    for service in made.values():
        # A variable without a value is passed on where it is set.
        named = {
            name: variables.get(name) if value is None else value
            for name, value in service.get("environment", {}).items()
        }
        if named:
            service["environment"] = {name: value for name, value in named.items() if value is not None}
    return made


def moved(value: Any, paths: Mapping[str, str]) -> Any:
    """A value with paths of the container where they begin a word, replaced by folders of the test's."""
    if isinstance(value, dict):
        return {name: moved(each, paths) for name, each in value.items()}
    if isinstance(value, list):
        return [moved(each, paths) for each in value]
    if not isinstance(value, str):
        return value
    for path, other in paths.items():
        value = re.sub(rf"(?<![\w/.]){re.escape(path)}(?=/|$|\s)", other, value)
    return value
