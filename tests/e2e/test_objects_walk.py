"""Every command at the URL of an object store, in the order in which somebody new meets them, with the study of the demo."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import s3_server

from xlwh.cli import main
from xlwh.cli.app import commands
from xlwh.demo import study_path
from xlwh.store import Warehouse
from xlwh.store.objects import behind, root_of
from xlwh.store.roots import LOCAL

ROOT = Path(__file__).resolve().parents[2]
URL = f"s3://{s3_server.BUCKET}/{secrets.token_hex(6)}/a study"
OTHER = f"{URL}, another"
CLUSTERING = "nli_dev.encoder.0.monolingual-en.k24.s0"
FAULT = re.compile("Traceback|^Error", re.MULTILINE)

WALKED = {
    *("demo", "manifest", "materialize", "plan", "sql", "tables", "describe", "report", "explore", "ui"),
    *("concept show", "concept near", "concept cloud", "concept export"),
    *("check", "repair", "gc", "catalogue", "take", "drop", "rename", "compact", "recover", "export"),
}
"""Commands that are run at a URL."""
NO_WAREHOUSE = {
    "init": "writes a study",
    "pin": "reads the hub and writes the study",
    "fetch": "brings models and data to this machine",
    "readers": "lists readers of corpora",
    "devices": "shows this machine's devices",
}
"""Commands that know no warehouse, and what they do in its place."""


class Walk:
    """Runs commands as somebody does who has put URL into the environment."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.done = folder, set[str]()
        self._patch, self._capsys = patch, capsys
        patch.chdir(folder)
        patch.setenv("XLWH_WAREHOUSE", URL)
        self.on("one")

    def on(self, machine: str) -> None:
        """Go to a machine."""
        self._patch.setenv(LOCAL, str(self.folder / machine))

    def run(self, *arguments: str, code: int = 0, names_folder: bool = False) -> str:
        """What a command prints. Only of what is this machine's own may it name this machine's folder."""
        self._noted(arguments)
        found = main(list(arguments))
        captured = self._capsys.readouterr()
        printed = f"{captured.out}{captured.err}"
        assert found == code, (arguments, printed)
        assert "Traceback" not in printed, (arguments, printed)
        said = " ".join(
            line for line in printed.splitlines() if not line.startswith("WARNING: The rows of views")
        )
        assert names_folder or str(root_of(URL)) not in said, (arguments, printed)
        return " ".join(printed.split())

    def served(self, *arguments: str, ready: Callable[[str], bool]) -> None:
        """Run a server until `ready` says that it shows what it is to show, by its address; Ctrl-C ends it in order."""
        self._noted(arguments)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = "import sys; from xlwh.cli import main; sys.exit(main())"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")}
        log = self.folder / f"{arguments[0]}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments, "--port", str(port)],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONPATH": str(ROOT)},
            )
            try:
                deadline = time.monotonic() + 600
                while not self._is_ready(ready, f"http://127.0.0.1:{port}"):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(1)
                process.send_signal(signal.SIGINT)
                assert process.wait(timeout=120) in (0, 130), log.read_text()
            finally:
                process.kill()
        assert not FAULT.search(log.read_text()), log.read_text()

    def _is_ready(self, ready: Callable[[str], bool], address: str) -> bool:
        try:
            return ready(address)
        except OSError:
            return False

    def _noted(self, arguments: tuple[str, ...]) -> None:
        self.done.add(" ".join(arguments[:2]) if arguments[0] == "concept" else arguments[0])


def every_command() -> Iterator[str]:
    """The commands by their names, with the names of those that they have."""
    for each in commands():
        if isinstance(each, click.Group):
            yield from (f"{each.name} {name}" for name in each.commands)
        else:
            assert each.name is not None
            yield each.name


def asked(address: str, query: str) -> dict:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def shows_what_is_made(address: str) -> bool:
    found = asked(
        address, "{ assetNodes { assetKey { path } partitionStats { numMaterialized numPartitions } } }"
    )
    stats = {node["assetKey"]["path"][-1]: node["partitionStats"] for node in found["assetNodes"]}
    assert stats["predictions"]["numPartitions"]
    return True


def shows_rows(address: str) -> bool:
    with urllib.request.urlopen(f"{address}/rows/predictions", timeout=60) as answer:
        return "demo-en" in answer.read().decode()


@pytest.fixture
def walk(s3, tmp_path, monkeypatch, capsys):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("XLWH_STUDY", "XLWH_DATA_ROOT", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Walk(tmp_path, monkeypatch, capsys)


def test_each_command_has_its_place_in_the_walk():
    assert set(every_command()) == WALKED | NO_WAREHOUSE.keys(), "what does it do at a URL?"
    takes_one = {each.name for each in commands() if "root" in {parameter.name for parameter in each.params}}
    assert not takes_one & NO_WAREHOUSE.keys()


@pytest.mark.slow
def test_every_command_at_a_url(walk, postgres):
    assert "xlwh manifest postgresql://" in walk.run("demo", code=1)
    walk.run("manifest", postgres.url())
    walk.run("manifest", postgres.url(), "--warehouse", OTHER)
    assert "s3://" in walk.run("demo", "--workers", "in_process")

    walk.on("two")
    shutil.copytree(Path(study_path()).parent, walk.folder / "demo")
    study = walk.folder / "demo" / "study.toml"
    walk._patch.setenv("XLWH_STUDY", str(study))
    assert "predictions" in walk.run("tables")
    walk.run("describe", "calign")
    assert "5,910" in walk.run("sql", "select count(*) from predictions")
    assert "No faults found" in walk.run("check")
    walk.run("plan")
    assert "PostgreSQL" in walk.run("manifest")
    assert "0 files" in walk.run("gc", "--grace", "0s")
    walk.run("concept", "show", "base", CLUSTERING, "1")
    walk.run("concept", "near", "base", "cat", "--language", "en", "--dataset", "nli_dev", "--layer", "0")
    walk.run("concept", "cloud", "base", CLUSTERING, "1", "cloud.png")
    walk.run("concept", "export", "base", "concepts.csv")
    walk.run("report", "report.html")
    walk.served("explore", ready=shows_rows)
    walk.served("ui", "--workers", "in_process", ready=shows_what_is_made)
    walk.run("export", "iceberg", "exported", "predictions")
    walk.run("export", "iceberg", f"{URL}, exported", "predictions")
    walk.run("catalogue", names_folder=True)

    # Home, and from there to another URL.
    assert "refused" not in walk.run("take", URL, "--warehouse", "home").lower()
    assert "refused" not in walk.run("take", "home", "--warehouse", OTHER).lower()
    assert "No faults found" in walk.run("check", "--deep", "--warehouse", OTHER)

    # What changes something, from a machine that has made nothing.
    text = study.read_text()
    study.write_text(text.replace("demo-en-shuffled", "mixed"))
    walk.run("rename", "model", "demo-en-shuffled", "mixed", "--yes")
    assert "mixed" in walk.run("sql", "select distinct model from predictions")
    study.write_text(re.sub(r"(?ms)^\[models\.demo-en-shuffled\].*?(?=^\[)", "", text))
    walk.run("materialize", "models", "--workers", "in_process")
    assert "mixed" in walk.run("drop", "--yes")
    objects = behind(root_of(URL))
    lost = next(entry.file for entry in Warehouse(URL).entries("predictions"))
    objects.remove([lost])
    assert lost in walk.run("repair", "--dry-run", "predictions")
    walk.run("repair", "predictions", "--workers", "in_process")
    assert "Packed" in walk.run("compact")
    walk.run("gc", "--grace", "0s")
    expected = walk.run("sql", "select model, language, count(*) from predictions group by all order by all")

    walk.on("three")
    assert "Nothing to recover" in walk.run("recover")
    objects.remove(["manifest.toml"])
    walk.run("manifest", postgres.url(), "--schema", f"xlwh_{secrets.token_hex(6)}")
    walk.run("recover")
    assert "check --deep" in walk.run("gc", code=1)
    assert "No faults found" in walk.run("check", "--deep")
    assert (
        walk.run("sql", "select model, language, count(*) from predictions group by all order by all")
        == expected
    )
    walk.run("gc")
    assert walk.done == WALKED
