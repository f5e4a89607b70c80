"""A PostgreSQL server of the tests' own: a temporary data folder, on a free port of the loopback, without a password."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path


def binaries() -> Path | None:
    """The folder of the server's programs; None where there is none on this machine."""
    places = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found is not None]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").is_file()), None)


class Server:
    """A running server; it refuses to run as root, and then runs as the system's user `postgres`."""

    def __init__(self, programs: Path, folder: Path, fsync: str = "off") -> None:
        self._programs, self._data, self._fsync = programs, folder / "data", fsync
        self._user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._call(
            "initdb", "-D", self._data, "-U", "xlwh", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _call(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as_user())

    def _as_user(self) -> dict[str, object]:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid}

    def url(self, database: str = "postgres") -> str:
        """Of a database."""
        return f"postgresql://xlwh@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        import psycopg

        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": self._fsync,
            "shared_buffers": "16MB",
            # Each warehouse of a test has some, which a process keeps for five minutes.
            "max_connections": 400,
            "logging_collector": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        deadline = time.monotonic() + 60
        while True:
            # After a kill its children may hold the memory that they share for a moment.
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    preexec_fn=_ends_with_its_parent,
                    **self._as_user(),
                )
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """As by `kill -9`: its children notice, and end."""
        self._stop(signal.SIGKILL)

    def stop(self) -> None:
        """End it at once, in order."""
        self._stop(signal.SIGQUIT)

    def _stop(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._process = None

    def run(self, *statements: str) -> None:
        """Run statements in the database `postgres`."""
        import psycopg

        with closing(psycopg.connect(self.url(), autocommit=True)) as connection:
            for statement in statements:
                connection.execute(statement)


def _ends_with_its_parent() -> None:
    # PR_SET_PDEATHSIG: also where the tests are killed.
    ctypes.CDLL(None).prctl(1, int(signal.SIGQUIT))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
