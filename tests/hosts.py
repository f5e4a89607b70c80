"""Hosts of the tests' own: namespaces on one bridge, which know each other by name.

Each has an address, a name and `/etc/machine-id`; where that is asked for, a boot and process numbers of its own too, as
software tells machines apart by. The file system is the same, and the processes are this machine's.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from postgres_server import binaries
from processes import children

_FIRST = """\
set -e
hostname "$0"
mount --bind "$1" /proc/sys/kernel/random/boot_id
sleep infinity &
echo ready
wait
"""
"""The first process of a host: the others are its children once their parents have ended."""


def why_not() -> str | None:
    """Why there can be none on this machine; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces are made as root"
    if shutil.which("ip") is None:
        return "there is no `ip` on this machine (Debian: apt-get install iproute2)"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return None if made.returncode == 0 else "the kernel makes no network namespaces here"


class Hosts:
    """Named hosts, each with an address of its own; nothing outside this machine can be reached from them."""

    def __init__(self, names: Sequence[str], booted: bool = False) -> None:
        """With `booted` a host has a boot and process numbers of its own; what runs on one then cannot start anything on another."""
        self._tag = secrets.token_hex(3)
        subnet = f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
        self.address = {name: f"{subnet}.{number}" for number, name in enumerate(names, start=2)}
        self.gateway = f"{subnet}.1"
        """What runs beside the hosts, on this machine itself, has this address for them."""
        self._bridge = f"xb{self._tag}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._booted: dict[str, subprocess.Popen[bytes]] = {}
        self._own: dict[str, list[int]] = {}
        """Processes that a host consists of, as this machine counts: what made it, and its first two."""
        self._folder = Path(tempfile.mkdtemp(prefix="xlwh-hosts-"))
        self._folder.chmod(0o755)
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.gateway}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        known = "127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for name, at in self.address.items())
        for number, (name, address) in enumerate(self.address.items()):
            here, inside = self._namespace(name), f"xv{self._tag}{number}"
            # `ip netns exec` mounts what is here over /etc.
            self._etc(name).mkdir(parents=True)
            (self._etc(name) / "hosts").write_text(known)
            (self._etc(name) / "hostname").write_text(f"{name}\n")
            if Path("/etc/machine-id").is_file():
                (self._etc(name) / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
            _ip("netns", "add", here)
            _ip("link", "add", inside, "type", "veth", "peer", "name", "eth0", "netns", here)
            _ip("link", "set", inside, "master", self._bridge, "up")
            _ip("-n", here, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", here, "link", "set", "eth0", "up")
            _ip("-n", here, "link", "set", "lo", "up")
            if booted:
                self._boot(name)

    def _namespace(self, name: str) -> str:
        return f"x{self._tag}-{name}"

    def _etc(self, name: str) -> Path:
        return Path("/etc/netns") / self._namespace(name)

    def _boot(self, name: str) -> None:
        boot = self._folder / f"{name}.boot_id"
        boot.write_text(f"{uuid.uuid4()}\n")
        own = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        made = self._booted[name] = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace(name), *own, "sh", "-c", _FIRST, name, str(boot)],
            stdout=subprocess.PIPE,
            preexec_fn=_ends_with_its_parent,
        )
        assert made.stdout is not None
        with made.stdout as said:
            assert said.readline() == b"ready\n", f"{name} cannot be made"
        self._own[name] = [made.pid, *children(made.pid)]

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """The command line that runs a command on a host, in the folder that it is called in, under the host's name."""
        if name not in self._own:
            named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
            return ["ip", "netns", "exec", self._namespace(name), *named, *command]
        target = ["--target", str(self._own[name][1]), "--net", "--uts", "--pid", "--mount", "--wd=."]
        return ["nsenter", *target, "--", *command]

    def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end."""
        return subprocess.run(
            self.on(name, command),
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host; `close` ends it and what it has started."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                self.on(name, command),
                env=dict(environment),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def postgres(self, name: str, password: str, user: str, database: str) -> None:
        """Start a PostgreSQL server on a host, at its usual port, for the other hosts with a password."""
        programs = binaries()
        assert programs is not None, (
            "no PostgreSQL server on this machine (Debian: apt-get install postgresql)"
        )
        # The system's user `postgres` may not look into the folders of root's tests.
        folder = self._folder / name
        folder.mkdir()
        (folder / "password").write_text(password)
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
        options = [
            "-D",
            str(folder / "data"),
            "-U",
            user,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        made = [*as_user, str(programs / "initdb"), *options, f"--pwfile={folder / 'password'}"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.0.0.0/8 scram-sha-256\n")
        settings = {"listen_addresses": "*", "port": 5432, "unix_socket_directories": "", "fsync": "off"}
        settings |= {"shared_buffers": "16MB", "logging_collector": "off"}
        set_to = [part for option, value in settings.items() for part in ("-c", f"{option}={value}")]
        command = [*as_user, str(programs / "postgres"), "-D", str(folder / "data"), *set_to]
        self.start(name, command, {"PATH": os.environ["PATH"]}, self._folder / f"{name}.log")
        ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", "5432"]
        deadline = time.monotonic() + 60
        while self.run(name, ready, {}).returncode != 0:
            assert time.monotonic() < deadline, (self._folder / f"{name}.log").read_text()
            time.sleep(0.2)
        create = [
            str(programs / "psql"),
            "-h",
            "127.0.0.1",
            "-U",
            user,
            "-d",
            "postgres",
            "-c",
            f"create database {database}",
        ]
        ran = self.run(name, create, {"PGPASSWORD": password})
        assert ran.returncode == 0, ran.stderr

    def close(self) -> None:
        """End what runs on the hosts, and remove them."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 20
            for name in self.address:
                for process in self._running(name):
                    _signal(process, how)
            while any(map(self._running, self.address)) and time.monotonic() < deadline:
                for process in self._processes:
                    process.poll()
                time.sleep(0.2)
        for booted in self._booted.values():
            booted.kill()
            booted.wait(timeout=60)
        for process in self._processes:
            process.wait(timeout=60)
        for name in self.address:
            _ip("netns", "del", self._namespace(name))
            shutil.rmtree(self._etc(name))
        _ip("link", "del", self._bridge)
        shutil.rmtree(self._folder)

    def _running(self, name: str) -> list[int]:
        """Processes on a host, but those that it consists of. Only those that were started there are in its namespace."""
        found = subprocess.run(
            ["ip", "netns", "pids", self._namespace(name)], capture_output=True, text=True, check=False
        )
        return [number for number in map(int, found.stdout.split()) if number not in self._own.get(name, ())]


def _ends_with_its_parent() -> None:
    # PR_SET_PDEATHSIG, SIGKILL: also where the tests are killed.
    ctypes.CDLL(None).prctl(1, 9)


def _signal(process: int, how: signal.Signals) -> None:
    try:
        os.kill(process, how)
    except ProcessLookupError:
        return


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
