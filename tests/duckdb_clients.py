"""Other versions of DuckDB, as people have them: each in a folder of its own, with the registry's wheel in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VERSIONS = ("1.4", "1.5")
ICEBERG = "1.5.5"
"""The DuckDB whose extension for Iceberg the registry has as a wheel."""

UNREACHED = (
    "from versions: none",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
)
"""What pip says where it finds no registry."""

ASK = """
import json, sys, duckdb

def comparable(value):
    if isinstance(value, float):
        return "0" if abs(value) <= 1e-12 else f"{value:.9g}"
    if isinstance(value, dict):
        return {name: comparable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [comparable(each) for each in value]
    return value

def answer(database, sql):
    try:
        found = database.execute(sql)
        columns = [[each[0], str(each[1])] for each in found.description]
        return [columns, sorted(repr([comparable(value) for value in row]) for row in found.fetchall())]
    except Exception as error:
        return f"{type(error).__name__}: {error}"

attached, path, *statements = json.load(sys.stdin)
database = duckdb.connect() if attached else duckdb.connect(path, read_only=True)
database.execute("set enable_progress_bar = false")
if attached:
    quoted = path.replace("'", "''")
    database.execute(f"attach '{quoted}' as catalogue (read_only)")
    database.execute("use catalogue")
json.dump([duckdb.__version__, *(answer(database, sql) for sql in statements)], sys.stdout)
"""


def installed(version: str, config: pytest.Config, scratch: Path) -> Path:
    """The folder with DuckDB of this version, made the first time; skips where there is no registry."""
    return _folder_with(f"duckdb-{version}", [f"duckdb=={version}.*"], config, scratch)


def with_iceberg(config: pytest.Config, scratch: Path) -> Path:
    """The same with DuckDB's extension for Iceberg, which is of one version of DuckDB exactly."""
    extensions = [f"duckdb-extension-{name}=={ICEBERG}" for name in ("avro", "iceberg")]
    return _folder_with(f"duckdb-iceberg-{ICEBERG}", [f"duckdb=={ICEBERG}", *extensions], config, scratch)


def _folder_with(name: str, packages: list[str], config: pytest.Config, scratch: Path) -> Path:
    cache = getattr(config, "cache", None)
    folder = Path(cache.mkdir(name)) if cache else scratch / name
    if not (folder / "duckdb" / "__init__.py").is_file():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        limits = ["--retries", "1", "--timeout", "15"]
        ran = subprocess.run(
            [*pip, *limits, "--upgrade", "--target", str(folder), *packages],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode and any(text in ran.stderr for text in UNREACHED):
            pytest.skip(f"{', '.join(packages)} cannot be had: the package registry cannot be reached")
        assert ran.returncode == 0, ran.stderr
    return folder


def ask(
    site: Path | None,
    path: Path | str,
    statements: list[str],
    attached: bool = False,
    cwd: Path | None = None,
) -> list[Any]:
    """The client's version, and of each statement on the database at `path` columns and sorted rows, or the error.

    `site` is the client's folder, None for the DuckDB of these tests; `attached`: by ATTACH from another database.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([attached, str(path), *statements]),
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env=environment | ({"PYTHONPATH": str(site)} if site else {}),
    )
    found: list[Any] = json.loads(ran.stdout)
    return found
