"""What a file really is: packed or not, an archive or not, data or something that stands in its place.

Everything is told by content, never by the name alone. What a downloader, Git or a web server leaves instead of the
data is refused by name: pointers of Git LFS and git-annex, pages and error documents, parts of downloads.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Literal, cast

from xlwh.errors import AbsentFileError, CorpusError

ArchiveKind = Literal["zip", "tar"]

PACKINGS = (".gz", ".bz2", ".xz")
ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
PARTS = (
    ".part", ".partial", ".crdownload", ".incomplete", ".aria2", ".download", ".opdownload", ".filepart",
)  # fmt: skip
"""What browsers and download programs append to the name of a file that is not whole yet."""

_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_OTHERS: Mapping[bytes, str] = {
    b"\x28\xb5\x2f\xfd": "packed with Zstandard; unpack it: zstd -d FILE",
    b"\x04\x22\x4d\x18": "packed with LZ4; unpack it: lz4 -d FILE",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it: 7z x FILE",
    b"Rar!\x1a\x07": "a RAR archive; unpack it: unrar x FILE",
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office document; save it as TSV or CSV in UTF-8",
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a Python pickle, which is never opened: it can run code",
    b"\xba\x16\x4f\x2f": "a binary fastText model; export its vectors as text (.vec)",
    b"{\\rtf": "a rich text document; save it as plain text in UTF-8",
}
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_BINARY = (b"PAR1", b"ARROW1")
"""Formats that readers know, in which zero bytes are data."""

DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
"""What unpackers raise while they read on."""
ERRORS = (*DAMAGE, KeyError, RuntimeError, ValueError, OverflowError)
"""What they raise at the start. RuntimeError: the archive is encrypted, or packed in a way that Python lacks."""

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks."""
_FOR_PEOPLE = frozenset(
    [
        "README",
        "LICENSE",
        "LICENCE",
        "COPYING",
        "CHANGELOG",
        "CHANGES",
        "CITATION",
        "NOTICE",
        "AUTHORS",
    ]
)
LIMIT_VARIABLE = "XLWH_UNPACK_LIMIT"
"""Environment variable with the most bytes that a packed file may unpack to in memory: 8GB."""
_LIMIT_BYTES = 2_000_000_000
_STREAMED = 50
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_HEAD = 4096
_SMALL = 64 * 1024
_DRAINED_BYTES = 32_000_000
"""Of a file on the disk that is unpacked to its end where only its first lines are wanted: a second or two."""
_LONGEST_LINE = 1 << 20
"""Bytes of a line that are read where only the beginning of a file is."""
_NUL_RUN = b"\0" * 1024

_LFS = re.compile(rb"version https?://(git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/\S*")
_ANNEX = re.compile(rb"(\S*\.git)?/annex/objects/\S+\s*")
_HTML = re.compile(
    rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|meta)\b", re.I | re.S
)
_TITLE = re.compile(rb"<title[^>]*>\s*(.*?)\s*</title>", re.I | re.S)
_XML = re.compile(rb"(<\?xml[^>]*>\s*)?(<!doctype[^>]*>\s*|<!--.*?-->\s*)*<([A-Za-z_][\w.:-]*)", re.I | re.S)
_XML_ERRORS = (
    "error",
    "errors",
    "errorresponse",
    "fault",
    "exception",
    "listbucketresult",
    "serviceexception",
)
_HTTP = re.compile(rb"HTTP/\d(\.\d)? \d{3}\b")
_PHRASE = re.compile(
    r"(error:?\s*)?(\d{3}\s*[:-]?\s*)?((entry|file|page|repository|revision|resource)\s+)?(error|not found|"
    r"forbidden|access denied|access to .{0,60} is restricted.*|unauthorized|bad request|bad gateway|gateway time-?out|"
    r"service unavailable|internal server error|too many requests|rate limit exceeded|invalid credentials.*|"
    r"invalid username or password|authentication required|moved permanently|(temporarily )?unavailable)\W*",
    re.I,
)
_ERROR_KEYS = frozenset(
    [
        "error",
        "errors",
        "error_code",
        "error_message",
        "error_description",
        "code",
        "status",
        "status_code",
        "statuscode",
        "message",
        "messages",
        "msg",
        "detail",
        "details",
        "documentation_url",
        "reason",
        "request_id",
        "requestid",
        "timestamp",
        "path",
        "fault",
        "exception",
        "success",
        "ok",
        "traceback",
        "type",
        "title",
        "instance",
        "retry_after",
    ]
)
_ERROR_MARKS = frozenset(
    ["error", "errors", "error_message", "message", "msg", "detail", "details", "fault", "exception"]
)


def unpack_limit() -> int:
    """The most bytes that a packed file may unpack to in memory. `CorpusError` for a variable that is no size."""
    asked = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not asked:
        return _LIMIT_BYTES
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", asked, re.IGNORECASE)
    if match is None or len(match[1]) > 15:
        raise CorpusError(f"{LIMIT_VARIABLE} is `{asked}`, which is no size; write it like 8GB.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def stream_limit() -> int:
    """The same of a file that is read as a stream, and never in memory as a whole."""
    return _STREAMED * unpack_limit()


def too_large(where: object, limit: int) -> CorpusError:
    """The error of a packed file of which no end is in sight."""
    return CorpusError(
        f"{where}: unpacks to more than {limit:,} bytes, as nothing does but a damaged or a malicious file. If this one "
        f"is meant to, unpack it, or set the environment variable {LIMIT_VARIABLE} to more, such as 8GB."
    )


class _Limited(io.RawIOBase):
    """An unpacked stream that ends with an error behind so many bytes."""

    def __init__(self, stream: IO[bytes], where: object, limit: int) -> None:
        self._stream, self._where = stream, where
        self._limit = self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self._where, self._limit)
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(1 << 20) or b"", b""))


def _limited(stream: IO[bytes], where: object, limit: int) -> IO[bytes]:
    return cast(IO[bytes], io.BufferedReader(_Limited(stream, where, limit), 1 << 20))


def refuse_placeholder(data: bytes, where: object) -> None:
    """Refuse what stands in the place of data: `data` is the whole unpacked file; `CorpusError` names what it is."""
    if found := placeholder(data):
        raise CorpusError(f"{where}: {found}")


def placeholder(data: bytes) -> str:
    """What stands in the place of data, and what to do about it; empty where nothing does."""
    if not data:
        return "the file is empty (0 bytes). Fetch it again."
    if data.startswith(_BINARY):
        return ""
    for magic, what in _OTHERS.items():
        if data.startswith(magic):
            return f"is {what}."
    head = data[:_HEAD].removeprefix(UTF8_MARK).lstrip()
    if _LFS.match(head):
        return "is a pointer of Git LFS, not the data. Fetch it: git lfs pull"
    if len(data) < _HEAD and _ANNEX.fullmatch(head):
        return "is a pointer of git-annex, not the data. Fetch it: git annex get FILE"
    if _HTTP.match(head):
        return "is the answer of a web server with its header lines, not the data. Fetch it again."
    if _HTML.match(head):
        title = _TITLE.search(data[:_SMALL])
        shown = f" (“{title[1][:80].decode('utf-8', 'replace')}”)" if title else ""
        return f"is an HTML page{shown}, such as a login or error page, in place of the data. Fetch it again."
    if (root := xml_root(data)) and root.rsplit(":", 1)[-1].lower() in _XML_ERRORS:
        return f"is an XML error document (<{root}>) in place of the data. Fetch it again."
    if len(data) < _SMALL and (body := _error_body(data)):
        return f"is the error answer of a server ({body}) in place of the data. Fetch it again."
    if _NUL_RUN in data or not data.strip(b"\0"):
        count = data.count(0)
        return (
            f"{count} of its {len(data)} bytes are zero: a download that was never finished, or a damaged file. "
            "Fetch it again."
        )
    return ""


def xml_root(data: bytes) -> str:
    """Name of the first element of an XML document; empty where the bytes do not begin like one."""
    match = _XML.match(data[:_HEAD].removeprefix(UTF8_MARK).lstrip())
    if match is None or (match[1] is None and not data.rstrip().endswith(b">")):
        return ""
    return match[3].decode("ascii")


def _error_body(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return ""
    if len(text) <= 200 and "\n" not in text and _PHRASE.fullmatch(text):
        return text
    if not text.startswith("{") or not text.endswith("}"):
        return ""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    keys = {key.lower() for key in body} if isinstance(body, dict) else set()
    return text[:80] if keys & _ERROR_MARKS and keys <= _ERROR_KEYS else ""


def refuse_part(path: Path) -> None:
    """Refuse a file whose download has not ended, by its own name or by what lies beside it."""
    for suffix in PARTS:
        if path.name.lower().endswith(suffix):
            raise CorpusError(f"{path}: is part of a download (`{suffix}`). Let it end, or fetch it again.")
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            raise CorpusError(
                f"{path}: {beside.name} lies beside it, so its download has not ended. Let it end, or fetch the file "
                f"again and delete {beside.name}."
            )


def absent(path: Path) -> str:
    """Why a file that is named is not there, where what is there tells; empty where it does not."""
    if path.is_symlink() and not path.exists():
        target = str(path.readlink())
        get = "Fetch it: git annex get FILE" if "annex/objects" in target else "Fetch the data again."
        return f"{path} is a link to {target}, which does not exist. {get}"
    for suffix in (*PARTS, ".dvc"):
        if path.with_name(path.name + suffix).exists():
            get = "dvc pull" if suffix == ".dvc" else "let its download end"
            return f"Of {path} there is only {path.name}{suffix}: {get}."
    return ""


def missing(what: str, path: Path) -> AbsentFileError:
    """The error that a file of this kind is not there, with why where that can be told."""
    return AbsentFileError(f"No {what} {path}. {absent(path)}".rstrip(), path)


def read(path: Path, inside: tuple[str, ...] = (), lines: int | None = None) -> bytes:
    """The unpacked bytes of a file, or of a member of an archive (of an archive ...); `CorpusError` where impossible.

    `lines`: only so many lines from its beginning, of text; that all of it can be unpacked is found out all the same,
    unless the file is large.
    """
    where = "/".join((str(path), *inside))
    refuse_part(path)
    try:
        with path.open("rb") as stream:
            drained = lines is not None and path.stat().st_size <= _DRAINED_BYTES
            data = _read(stream, inside, where, lines, drained)
    except ERRORS as error:
        raise unreadable(where, error) from None
    if data.startswith(_ZIPS) or _is_tar(io.BytesIO(data[: tarfile.BLOCKSIZE])):
        raise CorpusError(f"{where}: is an archive. Name the member to read, not the archive.")
    refuse_placeholder(data, where)
    return data


def _read(stream: IO[bytes], inside: tuple[str, ...], where: str, lines: int | None, drained: bool) -> bytes:
    if not inside:
        with unpacked(stream, where) as plain:
            if lines is None:
                return plain.read()
            found = _beginning(plain, lines)
            # Whether packed data is whole is only known at its end.
            while drained and plain.read(1 << 20):
                pass
            return found
    with _archive(stream) as archive:
        if archive is None:
            raise CorpusError(f"{where}: not an archive, so it has no member `{inside[0]}`")
        member = archive.open(inside[0])
        member = _limited(member, where, unpack_limit())
        inner = member if len(inside) == 1 else io.BytesIO(member.read())
        return _read(inner, inside[1:], where, lines, drained)


def _beginning(plain: IO[bytes], lines: int) -> bytes:
    found = [plain.readline(_LONGEST_LINE)]
    # The end of a Parquet file says what is in it.
    if found[0].startswith(_BINARY):
        return found[0] + plain.read()
    while len(found) < lines and found[-1]:
        found.append(plain.readline(_LONGEST_LINE))
    return b"".join(found)


def unreadable(where: object, error: Exception) -> CorpusError:
    """The error of a file that cannot be unpacked."""
    if isinstance(error, EOFError) or "ended before the end" in str(error):
        return CorpusError(
            f"{where}: ends in the middle of its packed data: part of a download. Fetch it again."
        )
    return CorpusError(f"{where}: cannot be read: {error or type(error).__name__}")


@contextmanager
def unpacked(stream: IO[bytes], where: object, limit: int | None = None) -> Iterator[IO[bytes]]:
    """A stream without its gzip, bzip2 or xz; layers of them are taken off one by one.

    Each may unpack to `limit` bytes (default: `unpack_limit`): reading on is a `CorpusError` that names `where`.
    """
    own = not isinstance(stream, io.BufferedReader)
    buffered = io.BufferedReader(cast(io.RawIOBase, stream)) if own else cast(io.BufferedReader, stream)
    try:
        head = buffered.peek(8)[:8]
        if not head.startswith(_PACKED):
            yield cast(IO[bytes], buffered)
            return
        inner: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
        if head.startswith(_PACKED[0]):
            inner = gzip.GzipFile(fileobj=buffered, mode="rb")
        elif head.startswith(_PACKED[1]):
            inner = bz2.BZ2File(buffered)
        else:
            inner = lzma.LZMAFile(buffered)  # noqa: SIM115 - closed below, as the others are
        most = unpack_limit() if limit is None else limit
        with inner, unpacked(_limited(cast(IO[bytes], inner), where, most), where, limit) as plain:
            yield plain
    finally:
        if own and not buffered.closed:
            # Or it would close the stream, which is the caller's.
            buffered.detach()


class _Archive:
    """Zip and tar, one way for both."""

    def __init__(self, kind: ArchiveKind, handle: zipfile.ZipFile | tarfile.TarFile) -> None:
        self.kind = kind
        self._handle = handle
        self._members: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        self.repeated: set[str] = set()
        entries: list[tuple[str, zipfile.ZipInfo | tarfile.TarInfo]]
        if isinstance(handle, zipfile.ZipFile):
            entries = [(info.filename, info) for info in handle.infolist() if not info.is_dir()]
        else:
            entries, total, most = [], 0, stream_limit()
            for member in handle:
                total += member.size
                if total > most:
                    raise too_large(handle.name or "a tar archive", most)
                if member.isfile():
                    entries.append((member.name, member))
            # Python takes a tar that breaks off between two members for a whole one: the end has marks of its own.
            assert handle.fileobj is not None
            handle.fileobj.seek(handle.offset)
            if handle.fileobj.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:
                raise EOFError("a tar archive without an end")
        for name, info in entries:
            name = name.removeprefix("./")
            if name in self._members:
                self.repeated.add(name)
            self._members[name] = info

    def names(self) -> list[str]:
        return list(self._members)

    def open(self, name: str) -> IO[bytes]:
        if name in self.repeated:
            raise ValueError(f"the archive holds `{name}` twice")
        info = self._members[name]
        if isinstance(self._handle, zipfile.ZipFile):
            assert isinstance(info, zipfile.ZipInfo)
            return self._handle.open(info)
        assert isinstance(info, tarfile.TarInfo)
        stream = self._handle.extractfile(info)
        assert stream is not None
        return stream


@contextmanager
def _archive(stream: IO[bytes]) -> Iterator[_Archive | None]:
    """The archive that a stream holds, told by its content; None where it holds none."""
    start = stream.tell()
    head = stream.read(4)
    stream.seek(start)
    if head in _ZIPS:
        with zipfile.ZipFile(stream) as zipped:
            yield _Archive("zip", zipped)
        return
    if _is_tar(stream):
        stream.seek(start)
        with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r:*") as tarred:
            yield _Archive("tar", tarred)
        return
    stream.seek(start)
    yield None


def _is_tar(stream: IO[bytes]) -> bool:
    """Whether the unpacked bytes begin with a header of tar, whose checksum no other file has."""
    try:
        # One block is read.
        with unpacked(stream, "", sys.maxsize) as plain:
            tarfile.TarInfo.frombuf(plain.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except ERRORS:
        return False
    return True


def members(path: Path, inside: tuple[str, ...] = ()) -> list[str] | None:
    """Data files of an archive, sorted; None where the file is no archive. `CorpusError` where it is damaged.

    Left out are folders, links, and what file managers add: a part of the name that starts with `_` or a dot.
    """
    where = "/".join((str(path), *inside))
    if path.suffix.lower() in PARTS:
        return None
    try:
        with path.open("rb") as stream:
            names = _names(stream, inside, where)
    except ERRORS as error:
        raise unreadable(where, error) from None
    if names is None:
        if not inside and path.name.lower().endswith(".zip"):
            refuse_part(path)
            with path.open("rb") as stream:
                head = stream.read(_SMALL)
            if head.startswith(_PACKED):
                # Packed, and only called otherwise.
                return None
            refuse_placeholder(head, where)
            raise CorpusError(
                f"{where}: is no zip archive, whatever its name says. Fetch it again, or rename it if it is the data."
            )
        return None
    return sorted(name for name in names if not any(map(_is_hidden, name.split("/"))))


def _is_hidden(part: str) -> bool:
    return part.startswith(("_", ".")) and part != ".."


def _names(stream: IO[bytes], inside: tuple[str, ...], where: str) -> list[str] | None:
    with _archive(stream) as archive:
        if archive is None:
            return None
        if not inside:
            return archive.names()
        member = _limited(archive.open(inside[0]), where, unpack_limit())
        return _names(io.BytesIO(member.read()), inside[1:], where)


def data_files(names: Iterable[str]) -> list[str]:
    """Members without those that are there for people: README, LICENSE and the like."""
    return [name for name in names if PurePosixPath(name).name.split(".")[0].upper() not in _FOR_PEOPLE]


def only_member(path: Path, names: Iterable[str]) -> str:
    """The one data file among the members of an archive; `CorpusError` where there is none, or several."""
    data = data_files(names)
    if len(data) != 1:
        raise CorpusError(
            f"{path}: the archive holds {len(data)} data files ({', '.join(data[:5])}); unpack it, and name one."
        )
    return data[0]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A large file as a stream of unpacked bytes: plain, packed, or the one data file of an archive.

    `CorpusError` for what stands in the place of data; what unpackers raise further down is the caller's.
    """
    refuse_part(path)
    names, most = members(path), stream_limit()
    with path.open("rb", buffering=1 << 20) as stream:
        if names is None:
            with unpacked(stream, path, most) as plain:
                yield _checked(plain, path)
            return
        with _archive(stream) as archive:
            assert archive is not None
            member = _limited(archive.open(only_member(path, names)), path, most)
            with unpacked(member, path, most) as plain:
                yield _checked(plain, path)


def _checked(stream: IO[bytes], path: Path) -> IO[bytes]:
    buffered = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    refuse_placeholder(buffered.peek(1 << 20)[: 1 << 20], path)
    return cast(IO[bytes], buffered)
