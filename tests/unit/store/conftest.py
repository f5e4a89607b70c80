"""Small frames that keep their contracts, and a warehouse with a SQL folder of its own."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import s3_server
from postgres_server import Server

from xlwh.store import Slot, Warehouse, schema
from xlwh.store.manifest import NewFile
from xlwh.store.manifest_sql import SqlManifest
from xlwh.store.manifests import open_manifest
from xlwh.store.move import to_postgres
from xlwh.store.objects import root_of
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL
from xlwh.store.views import shipped_sql

ATTRIBUTIONS = Slot("token_attributions", ("m", "en"), "xnli.lig")
PREDICTIONS = Slot("predictions", ("m", "en"), "xnli")


def attributions(examples: int = 2, tokens: int = 3, first: int = 0, **constants: str) -> pl.DataFrame:
    """`examples` x `tokens` rows of token_attributions; example ids count from `first`."""
    names = {
        "model": "m",
        "dataset": "xnli",
        "split": "dev",
        "language": "en",
        "method": "lig",
        "target": "no",
    }
    rows = [
        {
            **names,
            "example_id": f"{first + i:04d}",
            "position": p,
            "attribution": float(10 * (first + i) + p),
            **constants,
        }
        for i in range(examples)
        for p in range(tokens)
    ]
    return pl.DataFrame(rows, schema=schema("token_attributions"))


def predictions(examples: int = 2, first: int = 0, **constants: str) -> pl.DataFrame:
    """One row of predictions per example."""
    names = {"model": "m", "dataset": "xnli", "split": "dev", "language": "en", "task": "sentence_pair"}
    rows = [
        {
            **names,
            "example_id": f"{first + i:04d}",
            "label": "no",
            "predicted": "no",
            "logits": [0.0, 1.0],
            "probabilities": [0.25, 0.75],
            "num_tokens": 3,
            "num_truncated": 0,
            **constants,
        }
        for i in range(examples)
    ]
    return pl.DataFrame(rows, schema=schema("predictions"))


@pytest.fixture(scope="session")
def frames() -> SimpleNamespace:
    """The builders and the slots that their frames belong to."""
    return SimpleNamespace(
        attributions=attributions, predictions=predictions, ATTRIBUTIONS=ATTRIBUTIONS, PREDICTIONS=PREDICTIONS
    )


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A SQL folder with the source views and nothing else."""
    folder = tmp_path / "sql"
    for name in ("source", "core", "metric", "mart", "macros"):
        (folder / name).mkdir(parents=True)
    for file in (shipped_sql() / "source").glob("*.sql"):
        (folder / "source" / file.name).write_text(file.read_text())
    return folder


@pytest.fixture
def open_warehouse(tmp_path: Path, sql: Path) -> Callable[[], Warehouse]:
    """Opens the test's warehouse, as often as wanted."""
    return lambda: Warehouse(tmp_path / "warehouse", create=True, sql_dirs=[sql])


@pytest.fixture
def warehouse(open_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """An empty warehouse whose views are those of the `sql` fixture."""
    return open_warehouse()


@pytest.fixture
def made_long_ago():
    """Lets a warehouse's manifest say that it began in 2020: of files from before it began it knows nothing."""

    def change(warehouse: Warehouse) -> Warehouse:
        with closing(sqlite3.connect(warehouse.root / "manifest.sqlite")) as manifest, manifest:
            manifest.execute("update about set value = '2020-01-01T00:00:00+00:00' where name = 'began_at'")
        return warehouse

    return change


@pytest.fixture
def address(postgres: Server) -> Address:
    """A schema of its own in a PostgreSQL database."""
    return Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}")


@pytest.fixture(params=["sqlite", "postgres"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SqlManifest]:
    """Opens the manifest of the warehouse at `tmp_path`, as often as wanted; the test runs for each kind of manifest."""
    if request.param == "postgres":
        to_postgres(tmp_path, request.getfixturevalue("address"))
    return lambda: open_manifest(tmp_path)


@pytest.fixture
def manifest(open_again: Callable[[], SqlManifest]) -> SqlManifest:
    """That manifest."""
    return open_again()


@pytest.fixture
def write_at_once():
    """Commits forty files to a manifest, by four threads with ten for a slot each: `<thread>-<number>`."""

    def write(opened: Callable[[], SqlManifest]) -> None:
        def commit(thread: int) -> None:
            own, slot = opened(), Slot("tokens", (f"m{thread}", "en"), "a")
            for i in range(10):
                own.commit(put=[NewFile(slot, f"{thread}-{i}", "f", 1, 1, 1, "0" * 64)])

        threads = [threading.Thread(target=commit, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return write


@pytest.fixture
def as_before():
    """Makes the manifest at a path what a version wrote that knew no digests, artefacts and scopes, and kept no journal."""

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for index in ("by_segment", "by_packing"):
                connection.execute(f"drop index {index}")
            for column in ("packed_from", "number", "segment", "digest"):
                connection.execute(f"alter table versions drop column {column}")
            for table in ("about", "artefacts", "hidden", "scope"):
                connection.execute(f"drop table {table}")
            connection.execute("pragma application_id = 0")
            connection.execute("pragma user_version = 0")
        path.with_name("manifest.journal").unlink(missing_ok=True)

    return change


@pytest.fixture
def node(s3: s3_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this process one on the machine of a name."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)

    def become(name: str) -> None:
        monkeypatch.setenv(LOCAL, str(tmp_path / name))

    become("one")
    return become


@pytest.fixture
def make(postgres: Server) -> Callable[[str], str]:
    """Makes a warehouse at a URL."""

    def made(url: str) -> str:
        to_postgres(root_of(url), Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}"))
        return url

    return made


@pytest.fixture
def url(node: Callable[[str], None], make: Callable[[str], str]) -> str:
    """A new warehouse in an object store."""
    return make(f"s3://{s3_server.BUCKET}/{secrets.token_hex(6)}/wh")
