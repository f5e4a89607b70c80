"""Processes of the system, as tests look at them."""

from __future__ import annotations

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended, and that nobody has waited for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """All processes that a process, or one of these, has started."""
    parents: dict[int, list[int]] = {}
    # Without a pattern, which looks at each file once more: processes end meanwhile.
    for process in [path for path in Path("/proc").iterdir() if path.name.isdecimal()]:
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(process.name))
    found = list(parents.get(pid, []))
    for each in found:
        found += parents.get(each, [])
    return found
