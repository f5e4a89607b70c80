"""`xlwh ui`: it serves on 127.0.0.1 only, backfills from it work, and nothing is left running when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import browser
import pytest
from processes import children

from dagster_project.resources import FORCE_TAG
from xlwh.cli import main
from xlwh.store import Warehouse
from xlwh.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

BACKFILL = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename ... on LaunchBackfillSuccess { backfillId } }
}
"""
STATUS = """
query($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status error { message } } }
}
"""
CELLS = "{ assetNodes { assetKey { path } partitionStats { numMaterialized numPartitions numFailed } } }"
RUNS = """
{
  runsOrError { ... on Runs { results { runId jobName tags { key } } } }
}
"""
MESSAGES = """
query($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
}
"""
LAUNCHED = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id numPartitions } } } }"
WORKERS = """
{ assetNodes { assetKey { path } assetMaterializations(limit: 100) {
  metadataEntries { label ... on TextMetadataEntry { text } } } } }
"""
NODES = "{ assetNodes { assetKey { path } groupName dependencyKeys { path } } }"


def _lines(path):
    file = Path(path)
    return file.read_text().splitlines()[1:] if file.exists() else []


class Server:
    """A running `xlwh ui`."""

    def __init__(self, study: Path, root: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        program = "import sys; from xlwh.cli import main; sys.exit(main())"
        options = ["--port", str(self.port), "--workers", "processes:2"]
        options += ["--study", str(study), "--warehouse", str(root)]
        self.log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "ui", *options],
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")},
        )

    def ask(self, query, **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def backfill(self, job, **what):
        """Launch a job as its page does, and wait for it."""
        repository = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "dagster_project.definitions",
        }
        selector = {"partitionSetName": f"{job}_partition_set", "repositorySelector": repository}
        launched = self.ask(BACKFILL, p={"selector": selector, **what})["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", (job, launched)
        self.end_of(launched["backfillId"])

    def end_of(self, backfill):
        """Wait until a backfill has ended well."""
        deadline = time.monotonic() + 900
        status = "REQUESTED"
        while status == "REQUESTED" and time.monotonic() < deadline:
            time.sleep(2)
            found = self.ask(STATUS, id=backfill)["partitionBackfillOrError"]
            status = found["status"]
        assert status == "COMPLETED_SUCCESS", found

    def wait(self, seconds=180):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            try:
                return self.ask(NODES)["assetNodes"]
            except OSError:
                time.sleep(1)
        raise AssertionError("the web interface did not come up")

    def descendants(self):
        return children(self.process.pid)


@pytest.fixture
def server(request, tiny_study, tmp_path):
    """On a warehouse with the study, or with the tables that are named."""
    where = ["--study", str(tiny_study), "--warehouse", str(tmp_path / "warehouse")]
    assert main(["materialize", *getattr(request, "param", ()), *where]) == 0
    running = Server(tiny_study, tmp_path / "warehouse", tmp_path / "ui.log")
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        running.process.wait(timeout=120)
    running.log.close()


def test_a_backfill_and_a_clean_end(server, tmp_path):
    nodes = {node["assetKey"]["path"][-1]: node for node in server.wait()}
    needed = {key["path"][-1] for key in nodes["ccta"]["dependencyKeys"]}
    assert needed == {"ccta_pairs", "examples", "attribution_runs", "predictions"}
    assert nodes["ccta"]["groupName"] == "views"

    # Nobody but this machine is listened to: 0100007F is 127.0.0.1.
    listening = [line.split() for table in ("tcp", "tcp6") for line in _lines(f"/proc/net/{table}")]
    port = f"{server.port:04X}"
    assert {row[1] for row in listening if row[3] == "0A" and row[1].endswith(f":{port}")} == {
        f"0100007F:{port}"
    }

    warehouse = Warehouse(tmp_path / "warehouse")
    # Whatever a cell is: green where the table has a file of it, else empty, and never failed.
    stats = {node["assetKey"]["path"][-1]: node["partitionStats"] for node in server.ask(CELLS)["assetNodes"]}
    assert all(stats[table]["numFailed"] == 0 for table in TABLES if stats[table])
    for table in ("tokens", "predictions", "ccta_pairs", "translations", "token_predictions"):
        cells = {entry.slot.keys for entry in warehouse.entries(table)}
        assert stats[table]["numMaterialized"] == len(cells) < stats[table]["numPartitions"], table

    # Two cells of two dimensions: kept where they are fresh, made anew by the other job. Neither fails for one that does
    # not apply to the study.
    cells = ["en|plain", "de|plain", "en|base"]
    chosen = {"partitionNames": cells, "assetSelection": [{"path": ["tokens"]}]}
    for verb, expected in (("materialize", set()), ("force", {("plain", "en"), ("plain", "de")})):
        before = {entry.slot: entry.commit for entry in warehouse.entries()}
        server.backfill(f"{verb}_6_tokens_to_activations", **chosen)
        made = {entry.slot.keys for entry in warehouse.entries() if before[entry.slot] != entry.commit}
        assert made == expected

    # They were made by workers, as was asked for, and what tells runs of dead processes is not shown.
    runs = server.ask(RUNS)["runsOrError"]["results"]
    assert {tag["key"] for run in runs for tag in run["tags"] if "xlwh/" in tag["key"]} == {
        "xlwh/by",
        FORCE_TAG,
    }
    said = [
        event.get("message", "")
        for run in runs
        if run["jobName"] == "force_6_tokens_to_activations"
        for event in server.ask(MESSAGES, id=run["runId"])["logsForRun"]["events"]
    ]
    assert any("Workers: 2 processes (as asked for)" in message for message in said), said

    children = server.descendants()
    assert len(children) >= 3
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=120) == 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(Path(f"/proc/{child}").exists() for child in children):
        time.sleep(0.5)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


@pytest.fixture
def page():
    if (reason := browser.why_not()) is not None:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=["--no-sandbox"])
        opened = chromium.new_page(viewport={"width": 1440, "height": 900})
        opened.set_default_timeout(120_000)
        yield opened
        chromium.close()


@pytest.mark.parametrize("server", [("examples", "parallelism", "models")], indirect=True)
def test_a_backfill_that_is_launched_in_the_browser_goes_to_the_workers(server, page, tmp_path):
    shown = Path(os.environ.get("XLWH_SCREENSHOTS", tmp_path))
    shown.mkdir(parents=True, exist_ok=True)
    server.wait()
    here = f"http://127.0.0.1:{server.port}"
    page.goto(f"{here}/locations/dagster_project.definitions/jobs/materialize_6_tokens_to_activations")
    page.get_by_role("button", name="Materialize all").click()
    chosen = page.get_by_text("9 partitions", exact=True)
    deadline = time.monotonic() + 120
    # Before the dialog knows of partitions, all are none.
    while not chosen.is_visible():
        assert time.monotonic() < deadline
        for dimension in (0, 1):
            page.get_by_role("button", name="All", exact=True).nth(dimension).click()
        page.wait_for_timeout(500)
    page.screenshot(path=shown / "backfill-launch.png")
    page.get_by_role("button", name="Launch backfill").click()
    deadline = time.monotonic() + 120
    while not (launched := server.ask(LAUNCHED)["partitionBackfillsOrError"]["results"]):
        assert time.monotonic() < deadline
        page.wait_for_timeout(500)
    [backfill] = launched
    assert backfill["numPartitions"] == 9
    server.end_of(backfill["id"])
    page.goto(f"{here}/runs/b/{backfill['id']}")
    page.get_by_text("100% completed").first.wait_for()
    page.screenshot(path=shown / "backfill.png")
    page.goto(f"{here}/runs/b/{backfill['id']}?tab=runs")
    page.get_by_text("Success", exact=True).first.wait_for()
    page.screenshot(path=shown / "backfill-runs.png")

    entries = Warehouse(tmp_path / "warehouse").entries("predictions")
    assert {entry.slot.keys for entry in entries} == {
        (model, language) for model in ("plain", "tuned") for language in ("en", "de", "es")
    }
    assert all(entry.rows for entry in entries)
    workers = {
        entry["text"]
        for node in server.ask(WORKERS)["assetNodes"]
        if node["assetKey"]["path"] == ["predictions"]
        for event in node["assetMaterializations"]
        for entry in event["metadataEntries"]
        if entry["label"] == "worker"
    }
    # None was made by the process of the run itself.
    assert len(workers) >= 2, workers
