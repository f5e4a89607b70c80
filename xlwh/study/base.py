"""What the parts of a study share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from xlwh.tables import KEY_PATTERN

Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


CUT = "cut"
"""Annotation of settings that decide how work is cut, and nothing that is stored."""

BatchTokens = Annotated[int, CUT]


class Part(BaseModel):
    """A table of the study file: frozen, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
