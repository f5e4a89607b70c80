"""Reading files made in a test, or the real ones, with every result checked against the contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from xlwh import corpora
from xlwh.study import Study
from xlwh.tables import Examples, RejectedRows

Read = Callable[..., corpora.Reading]


def study_of(root: Path, languages: Sequence[str], seed: int = 0, **dataset: Any) -> Study:
    return Study.model_validate(
        {
            "name": "t",
            "languages": languages,
            "seed": seed,
            "data_root": root,
            "datasets": {"d": dataset},
            "folder": root,
        }
    )


def checked(reading: corpora.Reading) -> corpora.Reading:
    Examples.validate(reading.examples)
    RejectedRows.validate(reading.rejected)
    assert reading.records == reading.examples.height + reading.rejected.height + reading.left_out
    for frame, contract in ((reading.examples, Examples), (reading.rejected, RejectedRows)):
        assert not frame.select(contract.key).is_duplicated().any()
    return reading


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write some files and read one language: read({"dev-en.tsv": "..."}, "en", reader="xnli").

    Files of a few rows, most of them refused on purpose, are read: `max_rejected` is 1 unless the test says otherwise.
    """

    def read(
        files: Mapping[str, str | bytes], language: str = "en", languages: Sequence[str] = (), **dataset: Any
    ) -> corpora.Reading:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        study = study_of(tmp_path, languages or [language], **{"path": ".", "max_rejected": 1, **dataset})
        return checked(corpora.read(study, "d", language))

    return read


@pytest.fixture
def read_real(shared: Path) -> Read:
    """Read one language of a real dataset below shared/data."""

    def read_real(language: str, languages: Sequence[str] = (), **dataset: Any) -> corpora.Reading:
        study = study_of(shared / "data", languages or [language], **dataset)
        return checked(corpora.read(study, "d", language))

    return read_real
