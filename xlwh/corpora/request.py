"""What a reader is asked for, and the options that a dataset gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xlwh.errors import StudyError
from xlwh.study import Dataset


class Options(BaseModel):
    """Base of every reader's options: unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileOptions(Options):
    """How the files of a dataset are named; every reader of files accepts these."""

    file: str | None = Field(
        None,
        min_length=1,
        description="File below `path`; {split} and {language} are filled in, * matches anything.",
    )
    names: Mapping[str, str] = Field(
        default_factory=dict, description="Language code -> how the file names write it."
    )
    splits: Mapping[str, str] = Field(
        default_factory=dict, description="Split of the study -> how the file names write it."
    )
    member: str | None = Field(
        None,
        min_length=1,
        description="Member of the archive that `path` or `file` names; {split} and {language} are filled in. "
        "Default: by the names that the reader knows.",
    )


Value = str | int | float | bool


class TableOptions(FileOptions):
    """For readers of tables and records: which rows are read."""

    where: Mapping[str, Value | Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Rows to read: column -> its value, or a list of values; {split} and {language} are filled in. "
        "Default: all rows, which is refused where a column shows other languages or splits.",
    )


CLUSTER = (
    "Column whose values tell which examples are not independent, such as a document; default: pairs with the same first "
    "text, and questions on the same paragraph."
)
"""Description of the option `cluster`, of readers that know columns by their names."""

O = TypeVar("O", bound=Options)  # noqa: E741 - the one letter that says options


@dataclass(frozen=True)
class Request:
    """What a reader is asked for: one dataset, split and language."""

    key: str
    dataset: Dataset
    path: Path | None
    """`dataset.path` under the data root, placeholders not yet filled in; None for a dataset of the hub."""
    root: Path
    language: str
    languages: tuple[str, ...]
    """All languages of the dataset."""

    @property
    def pattern(self) -> str:
        """`path` with its placeholders: below `root` where it lies there, whose own name has none."""
        path = self.path or Path()
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    @property
    def split(self) -> str:
        return self.dataset.split

    def options(self, model: type[O]) -> O:
        """The dataset's options, validated; `StudyError` names the key and what is accepted."""
        try:
            return model.model_validate(dict(self.dataset.options))
        except ValidationError as error:
            lines = []
            for item in error.errors():
                name = ".".join(str(part) for part in item["loc"])
                where = f"datasets.{self.key}.options" + (f".{name}" if name else "")
                if item["type"] == "extra_forbidden":
                    accepted = ", ".join(model.model_fields) or "none"
                    lines.append(
                        f"`{where}`: reader `{self.dataset.reader}` has no such option; accepted: {accepted}"
                    )
                else:
                    lines.append(f"`{where}`: {item['msg'].removeprefix('Value error, ')}")
            raise StudyError("\n".join(lines)) from None
