"""Which machine this is, for what several machines share."""

from __future__ import annotations

import hashlib
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
