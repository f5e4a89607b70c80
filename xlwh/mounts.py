"""Which file system a folder is on, as far as that decides whether SQLite may keep a file there.

SQLite relies on locks, and on memory that its processes share. File systems of a network have them for the processes of one
machine, or not at all: what two machines write at once is lost or damaged, without an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path

OVERRIDE = "XLWH_SQLITE_ON_NETWORK"
"""Environment variable: `1` lets SQLite's files be on file systems of a network, for whoever knows that one machine at a
time uses them."""

MOUNTS = Path("/proc/self/mountinfo")
"""Where the system lists what is mounted; without it nothing is taken for a network's."""

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "coda", "9p", "ceph", "lustre", "gpfs"),
        *("glusterfs", "beegfs", "orangefs", "pvfs2", "panfs", "wekafs", "gfs", "gfs2", "ocfs2", "acfs"),
        *("davfs", "vboxsf", "prl_fs", "vmhgfs"),
    }
)
_LOCAL_FUSE = frozenset(
    {
        *("fuseblk", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.mergerfs"),
        *("fuse.bindfs", "fuse.unionfs", "fuse.zfs", "fuse.ntfs-3g", "fuse.ext4", "fuse.lxcfs"),
    }
)
"""Of programs that keep their files on a disk of this machine; any other one may bring them over a network."""


def network_type(folder: Path) -> str | None:
    """Type of the file system that a folder is (or would be) on, where that is one of a network; None for others."""
    if os.environ.get(OVERRIDE) == "1":
        return None
    kind = _type(folder.resolve())
    if kind is None:
        return None
    is_fuse = kind == "fuse" or kind.startswith(("fuse.", "fuseblk"))
    return kind if kind in _NETWORK or (is_fuse and kind not in _LOCAL_FUSE) else None


def _type(folder: Path) -> str | None:
    """Type of the file system that is mounted nearest above a folder; None where that cannot be told."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, found = -1, None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if len(fields) < 5 or not types[0]:
            continue
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of two at one place the later one lies above the other.
        if folder.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, found = len(mounted.parts), types[0]
    return found


@cache
def local_cache(root: Path) -> Path:
    """The folder of what this machine remembers of a warehouse, in SQLite's files; it need not exist.

    It is in the warehouse, where that is on a disk of this machine, and else in the user's folder of caches, or in that of
    temporary files. Nothing depends on what is in it but time.
    """
    if network_type(root) is None:
        return root / "cache"
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if network_type(caches) is None:
        return caches / "xlwh" / name
    # Of this user: nobody else may put something there.
    own = Path(tempfile.gettempdir()) / f"xlwh-cache-{os.geteuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.geteuid():
        own = Path(tempfile.mkdtemp(prefix="xlwh-cache-"))
    return own / name
