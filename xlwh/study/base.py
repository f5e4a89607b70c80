"""What the parts of a study share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from xlwh.tables import KEY_PATTERN


def _commit(revision: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", revision) is None:
        raise ValueError(
            "no 40-character commit. `xlwh pin` writes the commit of a branch, a tag or a pull request"
        )
    return revision


Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
Revision = Annotated[str, AfterValidator(_commit)]


CUT = "cut"
"""Annotation of settings that decide how work is cut, and nothing that is stored."""

BatchTokens = Annotated[int | None, CUT]
"""Padded sub-tokens of a batch; None: what fits the device."""


class Part(BaseModel):
    """A table of the study file: frozen, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
