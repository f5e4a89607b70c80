"""Datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from xlwh.study.base import Key, Part, Revision


class Dataset(Part):
    """Where a corpus comes from and which reader understands it."""

    reader: str = Field(description="Name of a reader, see `xlwh readers`.")
    path: str | None = Field(None, description="File or folder, relative to the study's data_root.")
    hub: str | None = Field(None, description="Dataset id on the Hugging Face hub.")
    revision: Revision | None = Field(None, description="40-character commit of the hub dataset.")
    split: str = Field("dev", description="Part to read: train, dev or test.")
    languages: tuple[Key, ...] | None = Field(None, description="Languages to read; default: the study's.")
    max_examples: int | None = Field(
        None, ge=1, description="Keep this many examples, the same ids in every language."
    )
    skip_examples: int | None = Field(
        None,
        ge=1,
        description="Leave out the examples that `max_examples` of this number keeps, and copies of them: to train on one "
        "part of a corpus and evaluate on the rest.",
    )
    max_rejected: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Largest share of rows that may be refused; a file with more is taken to be of another format.",
    )
    aligned: Literal["checked", "unchecked"] = Field(
        "checked",
        description="Whether languages that are joined by row or id have to be translations of one another; `unchecked` "
        "lets pass what the table `parallelism` finds to differ.",
    )
    options: Mapping[str, Any] = Field(
        default_factory=dict, description="What the reader needs beyond the path."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of `path` and `hub`")
        if self.hub is not None and self.revision is None:
            raise ValueError("a hub dataset needs `revision`, a 40-character commit. Run: xlwh pin")
        return self
