"""A small warehouse made by hand, and running a command line on it."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.cli import main
from xlwh.store import Slot, Warehouse, schema


@pytest.fixture
def xlwh(tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder; returns the exit code, what was printed, and errors."""
    monkeypatch.chdir(tmp_path)
    for name in ("XLWH_STUDY", "XLWH_WAREHOUSE", "XLWH_DATA_ROOT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def filled(tmp_path):
    """./warehouse with the examples of two languages; the texts are awkward ones."""
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    for language, text in (("en", "=1+1"), ("de", 'Er sagt: "ja", [bold]\nund geht')):
        row = {
            "dataset": "nli",
            "split": "dev",
            "language": language,
            "example_id": "1",
            "task": "sentence_pair",
            "text": text,
            "text_pair": None,
            "label": "neutral",
            "words": ["a", "b"],
            "word_spans": [{"start": 0, "end": 1}, {"start": 1, "end": 2}],
            "word_labels": None,
            "answers": None,
            "source_file": "f",
            "row_number": 0,
        }
        frame = pl.DataFrame([row], schema=schema("examples"))
        warehouse.write({Slot("examples", ("nli", language), "dev"): frame}, "f" * 32)
    warehouse.build_catalogue()
    return warehouse
