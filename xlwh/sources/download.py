"""Files from addresses outside the hub: resumed after a break, tried again where a server is busy, checked by digest.

The transfer itself is that of the hub's client (ranges, bars, retries); what is begun waits beside its target under a
name that holds the file's state on the server, so that parts of two versions are never joined.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from xlwh.digests import sha256
from xlwh.errors import CorpusError, SourceError
from xlwh.sources import hub
from xlwh.sources.packed import is_whole
from xlwh.sources.registry import Address

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Offered:
    """What a server says of a file before it is sent."""

    bytes: int | None
    state: str
    """The server's tag of its content, else the date of its last change; empty where it says neither."""


@dataclass(frozen=True)
class Brought:
    """A file that was fetched."""

    bytes: int
    sha256: str
    note: str
    """What could not be checked; empty where all was."""


def offered(address: Address, expected: str | None) -> Offered:
    """Ask a server for the size and state of a file; `SourceError` where it has none.

    `expected` is the SHA-256 that the file has to have, if one is known: without it nothing comes unencrypted.
    """
    _refuse_open(address, address.url, expected)
    response = _patiently(address, lambda: _head(address.url))
    _refuse_open(address, str(response.url), expected)
    length = response.headers.get("Content-Length")
    state = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return Offered(int(length) if length is not None and length.isdecimal() else None, state)


def _refuse_open(address: Address, url: str, expected: str | None) -> None:
    """Refuse what anybody on the way can change, and nothing would tell."""
    parts = urlsplit(url)
    if parts.scheme == "http" and expected is None and not _is_loopback(parts.hostname or ""):
        raise SourceError(
            f"{address.path}: {url} is not encrypted, so that anybody on the way can change the file, and no digest is known. "
            "Give an https:// address, or its `sha256`, in a `sources.toml` beside the study."
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def download(address: Address, target: Path, expected: str | None) -> Brought:
    """Fetch a file. `expected` is the SHA-256 that it has to have, if one is known.

    Where neither that nor its length is known, a packed file has to have its end, and others have a note.
    `SourceError` where it cannot be had, or is another one than expected; what is at the target is then untouched.
    """
    from huggingface_hub.file_download import http_get

    has = offered(address, expected)
    length = address.known.bytes if has.bytes is None else has.bytes
    # Only what the server can name and measure is gone on with later.
    mark = hashlib.sha256(f"{address.url} {has.state}".encode()).hexdigest()[:12]
    part = target.with_name(f".{target.name}.{mark}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    for other in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if other != part:
            other.unlink(missing_ok=True)
    headers = {"Accept-Encoding": "identity"} | ({"If-Range": has.state} if has.state else {})
    try:
        # Held until it is in its place, so that what is checked is what is put there.
        with held(part) as stream:

            def transfer() -> None:
                begun = stream.seek(0, os.SEEK_END)
                if not has.state or has.bytes is None or begun > has.bytes:
                    begun = stream.truncate(0)
                    stream.seek(0)
                http_get(
                    address.url,
                    stream,
                    resume_size=begun,
                    headers=headers,
                    expected_size=length,
                    displayed_filename=target.name,
                )
                stream.flush()

            _patiently(address, transfer)
            return _placed(part, target, address, expected, length)
    except BlockingIOError:
        raise SourceError(
            f"{address.path}: another process is fetching it. Wait for that one, then run the same command again."
        ) from None


def _placed(part: Path, target: Path, address: Address, expected: str | None, length: int | None) -> Brought:
    """Put what came in its place, if it is what was asked for."""
    refuse_stand_in(part, address)
    digest = sha256([part])
    if expected is not None and digest != expected:
        part.unlink()
        raise SourceError(
            f"{address.path}: what {address.url} sends is another file than before: SHA-256 {digest}, and {expected} is "
            "expected. It was not kept. Compare the two; if the new one is right, correct `sha256` in the registry, or remove "
            "its line from sources.lock.toml."
        )
    note = _unmeasured(part, address) if expected is None and length is None else ""
    size = part.stat().st_size
    os.replace(part, target)
    return Brought(size, digest, note)


def _unmeasured(part: Path, address: Address) -> str:
    """What is said of a file whose end nobody knows; `SourceError` where it is a packed one without its end."""
    whole = is_whole(part, address.path)
    if whole is False:
        part.unlink()
        raise SourceError(
            f"{address.path}: what {address.url} sent is cut short or damaged, and was not kept. Run the same command again."
        )
    unknown = f"{address.path}: {address.url} does not say how long it is, and no digest is known"
    if whole:
        return f"{unknown}; it is packed, and was read to its end."
    return (
        f"{unknown}, so a transfer that was cut short looks like a whole one. See that it is whole; its `bytes` or `sha256` in a "
        "`sources.toml` beside the study are checked."
    )


@contextmanager
def held(file: Path, waits: bool = False) -> Iterator[BinaryIO]:
    """A file to write on with, which no other process holds; BlockingIOError where one does, unless this one `waits`.

    Where the file was replaced or removed meanwhile, the one that is there now is held.
    """
    while True:
        with file.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            if file.exists() and os.path.samestat(os.fstat(stream.fileno()), file.stat()):
                yield stream
                return


def refuse_stand_in(file: Path, address: Address) -> None:
    """Refuse a page or an error document in the place of data."""
    from xlwh.corpora.content import refuse_placeholder

    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    try:
        if not head:
            raise CorpusError("it is empty")
        refuse_placeholder(head, file)
    except CorpusError as error:
        file.unlink()
        raise SourceError(f"{address.path}: {address.url} sends no data: {error}") from None


def _head(url: str) -> Any:
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    response = get_session().head(
        url, follow_redirects=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
    )
    hf_raise_for_status(response)
    return response


def _patiently(address: Address, call: Any) -> Any:
    return hub.retried(call, lambda error: SourceError(_told(error, address)))


def _told(error: BaseException, address: Address) -> str:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    what = f"{address.path}: {address.url}"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{what}: is not here, and HF_HUB_OFFLINE is set. Unset it, or bring it from a mirror: xlwh fetch --from"
    if isinstance(error, HfHubHTTPError):
        status, headers = error.response.status_code, error.response.headers
        return f"{what}: {_of_status(status, headers)}"
    if isinstance(error, OSError) and "Consistency check" in str(error):
        return f"{what}: the transfer broke off again and again. What came so far is kept: run the same command again."
    if isinstance(error, OSError) and not hub.is_broken(error):
        return f"{what}: cannot be written: {error}. What came so far is kept: the same command goes on from there."
    return (
        f"{what} cannot be reached ({type(error).__name__}: {error}). What came so far is kept: the same command goes on "
        "from there. Without a network: xlwh fetch --from"
    )


def _of_status(status: int, headers: Mapping[str, str]) -> str:
    if status in (404, 410):
        return f"is gone ({status}). Name its new address in a `sources.toml` beside the study, or put the file there by hand."
    if status in (401, 403):
        return f"the server refuses it ({status}). Fetch it by hand after its terms, and put it there."
    if status == 429:
        wait = headers.get("Retry-After")
        return f"the server's rate limit is reached{f' for {wait} s' if wait else ''}. Run the same command later."
    if status >= 500:
        return f"the server answers {status}, also after several tries. Run the same command later."
    return f"the server answers {status}."
