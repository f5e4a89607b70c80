"""Which machine this is, for what several machines share."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

_IDENTITIES = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
"""What a machine has of its own: for good, or (a container without the first) until it is started again."""


def host_name() -> str:
    """Its name, for people: two machines may have the same."""
    return platform.node() or "unknown"


@cache
def machine() -> str:
    """16 hexadecimal digits that no other machine has; they do not tell the system's own identity."""
    found = (path.read_text().strip() for path in _IDENTITIES if path.is_file())
    identity = next(filter(None, found), "")
    return hashlib.sha256(f"xlwh {host_name()} {identity}".encode()).hexdigest()[:16]


def process_identity(process: int) -> str | None:
    """A running process, as no other one is called, before or later: the start of the machine, the namespace that its
    number belongs to, its number and when it began. None where the system does not say (other systems than Linux).
    """
    try:
        [began] = _stat(process)[19:20]
        return f"{_numbers()}:{process}:{began}"
    except (OSError, ValueError):
        return None


def is_gone(identity: str) -> bool:
    """Whether the process of an identity has ended. Of those of other machines and containers that is not known: False."""
    numbers, _, rest = identity.partition(":")
    process, _, began = rest.partition(":")
    try:
        if numbers != _numbers():
            return False
        os.kill(int(process), 0)
        fields = _stat(int(process))
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False  # another user's, or no identity
    return fields[0] == "Z" or fields[19] != began


def _numbers() -> str:
    """What numbers of processes belong to: a start of a machine, and a namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"


def _stat(process: int) -> list[str]:
    """The fields of a process after its name: its state is the first, when it began the twentieth."""
    return (
        Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    )
