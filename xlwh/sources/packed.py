"""Whether a packed file is whole, as far as it tells itself: for files of which neither length nor digest is known."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xlwh.corpora import content

_STREAMS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_CHUNK = 1 << 20


def is_whole(file: Path, name: str) -> bool | None:
    """Whether a packed file has its end; None where a file of that name (`a.tar.gz`) cannot tell.

    Streams are unpacked to their end, with their checksums; of a zip the directory at its end is read.
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".zip":
        return zipfile.is_zipfile(file)
    if suffix not in _STREAMS:
        return None
    try:
        with _STREAMS[suffix](file) as stream:
            left = content.stream_limit()
            while data := stream.read(_CHUNK):
                left -= len(data)
                if left < 0:
                    raise content.too_large(file, content.stream_limit())
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        return False
    return True
