"""From ids to rows: a study of a hub on this machine is pinned, fetched, and made without it, by real processes."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer

from xlwh.store import Warehouse

LABELS = ["entailment", "neutral", "contradiction"]
CARD = """---
license: cc-by-nc-4.0
configs:
""" + "".join(
    f"- config_name: {language}\n  data_files:\n  - split: validation\n    path: {language}/validation-*\n"
    for language in ("en", "de", "es", "fr")
) + "---\n"  # fmt: skip
TABLES = ("examples", "tokens", "predictions", "word_vectors")
LOCAL = 'reader = "xnli"\npath = "nli"\n'
HUB = """reader = "hub"
hub = "org/nli"
options = { config = "{language}", text = "premise", text_pair = "hypothesis", label = "label" }
"""


def _rows(file: Path) -> bytes:
    premise, hypothesis, label = zip(
        *(line.split("\t") for line in file.read_text().splitlines()), strict=True
    )
    table = pa.table({"premise": premise, "hypothesis": hypothesis, "label": list(map(LABELS.index, label))})
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": LABELS}}}}
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), stream)
    return stream.getvalue()


def _run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XLWH_")}
    command = [
        sys.executable,
        "-c",
        "import sys; from xlwh.cli import main; sys.exit(main())",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=kept | environment)


@pytest.fixture
def on_hub(tiny_study: Path, tmp_path: Path) -> tuple[Path, HubServer]:
    """The tiny study with its model and data on a hub, its dictionary at an address, and nothing of them beside it."""
    folder = tmp_path / "hub-study"
    folder.mkdir()
    hub = HubServer(page_size=3)
    hub.add_model("org/tiny", tiny_study.parent / "base", pipeline_tag="text-classification")
    data = tiny_study.parent / "data"
    files = {
        f"{each}/validation-00000-of-00001.parquet": _rows(data / f"nli/dev-{each}.tsv")
        for each in ("en", "de", "es")
    }
    hub.add_dataset("org/nli", {"README.md": CARD.encode(), "fr/validation-0.parquet": b"not read"} | files)
    for language in ("de", "es"):
        hub.add_file(f"/en-{language}.txt", (data / f"en-{language}.txt").read_bytes())
    registry = (
        f'[[source]]\npath = "en-{{target}}.txt"\nurl = "{hub.url}/en-{{target}}.txt"\nlicence = "CC0"\n'
    )
    (folder / "sources.toml").write_text(registry)
    text = tiny_study.read_text().replace(LOCAL, HUB).replace('path = "base"', 'hub = "org/tiny"')
    (folder / "study.toml").write_text(text)
    return folder / "study.toml", hub


def test_a_study_of_ids_becomes_the_rows_of_the_study_of_files(
    on_hub: tuple[Path, HubServer], tiny_study: Path, tmp_path: Path
) -> None:
    study, hub = on_hub
    assets = ["+predictions", "+word_vectors"]
    with hub:
        environment = hub.environment(tmp_path / "cache")
        told = _run("plan", "--no-probe", "--study", study, **environment)
        assert (told.returncode, "Run: xlwh pin" in told.stderr) == (1, True)
        pinned = _run("pin", study, **environment)
        assert pinned.returncode == 0, pinned.stderr
        told = _run("plan", "--no-probe", "--study", study, "--warehouse", tmp_path / "w", **environment)
        assert told.returncode == 1
        output = told.stdout + told.stderr
        assert "was not fetched into the hub cache" in output
        assert "Can be fetched: en-de.txt, en-es.txt. Run: xlwh fetch" in output
        assert "org/tiny is not fetched yet" in output
        fetched = _run("fetch", study, "--to", tmp_path / "mirror", **environment)
        assert fetched.returncode == 0, fetched.stderr
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    made = _run("materialize", *assets, "--study", study, "--warehouse", tmp_path / "w", **offline)
    assert made.returncode == 0, made.stdout + made.stderr
    local = _run("materialize", *assets, "--study", tiny_study, "--warehouse", tmp_path / "l", **offline)
    assert local.returncode == 0, local.stdout + local.stderr
    for table in TABLES:
        of_hub, of_files = (_stored(tmp_path / each, table) for each in ("w", "l"))
        assert of_hub.height > 0
        assert of_hub.equals(of_files), table
    # Another machine, with the mirror and without a hub.
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(study.parent / "data")
    elsewhere = offline | {"XLWH_MIRROR": str(tmp_path / "mirror")}
    told = _run("plan", "--json", "--no-probe", "--study", study, "--warehouse", tmp_path / "w", **elsewhere)
    assert told.returncode == 0, told.stdout + told.stderr
    steps = {step["step"]: step for step in json.loads(told.stdout)["steps"]}
    assert all(steps[each]["to_make"] == 0 < steps[each]["fresh"] for each in TABLES)


def _stored(root: Path, table: str) -> pl.DataFrame:
    """Rows of a table, in an order that does not depend on when they were made, without the names of files."""
    frame = Warehouse(root).scan(table).collect()
    frame = frame.drop("source_file", "row_number", "duration_s", strict=False)
    keys = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return frame.sort(keys)
