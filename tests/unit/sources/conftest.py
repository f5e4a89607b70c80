"""A hub on this machine with a model and a dataset, and a study of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer

from xlwh.cli import main
from xlwh.sources import hub as client

CARD = """---
license: cc-by-nc-4.0
task_categories:
- text-classification
configs:
- config_name: en
  default: true
  data_files:
  - split: train
    path: en/train-*
  - split: validation
    path: en/validation-*
- config_name: de
  data_files:
  - split: validation
    path: de/validation-*
dataset_info:
- config_name: en
  features:
  - name: premise
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': entailment
          '1': neutral
          '2': contradiction
---
# A dataset
"""
MODEL = {
    "config.json": '{"model_type": "bert"}',
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": "{}",
    "pytorch_model.bin": b"pickle" * 1000,
    "README.md": "---\nlicense: apache-2.0\npipeline_tag: fill-mask\n---\nA model",
}


def parquet(rows: Mapping[str, list[object]]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(dict(rows)), stream)
    return stream.getvalue()


def pairs(language: str, count: int = 9) -> bytes:
    return parquet(
        {
            "premise": [f"premise {n} in {language}" for n in range(count)],
            "hypothesis": [f"hypothesis {n} in {language}" for n in range(count)],
            "label": [n % 3 for n in range(count)],
        }
    )


DATASET = {
    "README.md": CARD,
    "en/train-00000-of-00001.parquet": pairs("en", 30),
    "en/validation-00000-of-00001.parquet": pairs("en"),
    "de/validation-00000-of-00001.parquet": pairs("de"),
    "fr/validation-00000-of-00001.parquet": pairs("fr"),
}
STUDY = """# A study of one model.
name = "small"   # its name
languages = ["en", "de"]
data_root = "data"

[models.bert]    # the encoder
hub = "org/bert" # as it is called today
datasets = ["nli"]

# What it is evaluated on.
[datasets.nli]
reader = "hub"
hub = "org/nli"
options = { config = "{language}", text = "premise", text_pair = "hypothesis", label = "label" }
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The hub of this process, without a token."""
    monkeypatch.setattr(client, "pause", lambda seconds: None)
    for name in ("XLWH_STUDY", "XLWH_DATA_ROOT", "XLWH_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    with HubServer(page_size=2) as server:
        server.use(monkeypatch, tmp_path / "cache")
        yield server


@pytest.fixture
def offered(hub: HubServer) -> HubServer:
    """With org/bert and org/nli."""
    hub.add_model("org/bert", MODEL)
    hub.add_dataset("org/nli", DATASET)
    return hub


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    file = tmp_path / "study" / "study.toml"
    file.parent.mkdir()
    file.write_text(STUDY)
    return file


@pytest.fixture
def xlwh(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; returns the exit code, what was printed, and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
