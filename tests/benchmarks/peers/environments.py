"""Virtual environments of the peers: made once each, from a list of exact versions, and kept.

A list names everything that is installed and nothing is resolved (`--no-deps`), so that pins which are needlessly
tight can be passed over; the list says which. torch comes first and alone, from PyTorch's CPU index where it can be
reached: with its dependencies it would bring gigabytes of CUDA libraries.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


class NotInstalledError(Exception):
    """Something could not be installed; the message says what."""


def python_of(folder: Path, requirements: Path) -> Path:
    """The interpreter of the environment with these requirements under `folder`, which is made if it is not there."""
    text = requirements.read_text(encoding="utf-8")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    place = folder.expanduser() / f"{requirements.stem}-py{version}-{digest}"
    python = place / "bin" / "python"
    if not (place / "filled").is_file():
        print(f"Installing the peers of {requirements.name} into {place} ...", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        log = place / "pip.log"
        _run(log, sys.executable, "-m", "venv", str(place))
        pip = (str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps")
        torch = next((line for line in text.splitlines() if line.startswith("torch==")), None)
        if torch is not None:
            _run(log, *pip, "--retries", "0", "--timeout", "15", "--extra-index-url", TORCH_INDEX, torch)
        _run(log, *pip, "-r", str(requirements))
        (place / "filled").touch()
    return python


def _run(log: Path, *command: str) -> None:
    """Run quietly; NotInstalledError with the last error that was printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    with log.open("a", encoding="utf-8") as out:
        out.write(done.stdout + done.stderr)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        last = (errors or done.stderr.splitlines() or ["no message"])[-1]
        raise NotInstalledError(f"not installed: {last.removeprefix('ERROR: ')} (see {log.name})")
