"""Requests to an object store, which is waited for where it does not answer, and errors that say what to do."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from xlwh.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

WAIT_S = 60.0
"""How long a store that does not answer is waited for."""
_WHOLE = 32_000_000
"""Bytes of files that are put in one request, which may have the condition that there is none."""
_BLOCK = 1 << 22
_DIGEST = "sha256"
"""What the metadata of an object have its SHA-256 under, in hexadecimal."""
_NOTHING = "none"
"""Begins a key that no object has."""

T = TypeVar("T")


class TakenError(StoreError):
    """There is an object of that key already."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Something in the store."""

    key: str
    size_bytes: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Ending:
    """The last bytes of an object, and what is said of all of it."""

    content: bytes
    size_bytes: int
    digest: str | None
    """SHA-256, by who put it there; None where that was an earlier version."""


class Bucket:
    """The objects under one URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def _client(self) -> Any:
        """The library that makes the requests."""
        try:
            import obstore
            import obstore.exceptions
        except ImportError:
            raise StoreError(
                f"A warehouse at {self.url} needs obstore. Install it: pip install 'xlwh[objects]'"
            ) from None
        return obstore

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore import store

        options: dict[str, Any] = {
            "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
            "client_options": {"connect_timeout": "5s", "timeout": "300s", "allow_http": _may_be_plain()},
        }
        if (provider := _profile(self.url)) is not None:
            options["credential_provider"] = provider
        try:
            # Not of the whole URL: that would be decoded, and `a%20b` be the place of `a b`.
            scheme, _, rest = self.url.partition("://")
            name, _, prefix = rest.partition("/")
            options["prefix"] = prefix or None
            if scheme == "s3":
                return store.S3Store(name, **options)
            return store.GCSStore(name, **options) if scheme == "gs" else store.AzureStore(name, **options)
        except Exception as error:  # whatever the environment is that it cannot read
            raise self._failure(error) from error

    def _asked(self, work: Callable[[], T]) -> T:
        """The result of a request, once the store answers; FileNotFoundError and `AlreadyExistsError` are answers."""
        errors = self._client.exceptions
        deadline, pause = time.monotonic() + WAIT_S, 0.2
        while True:
            try:
                return work()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise self._failure(error) from error
                raise
            except errors.GenericError as error:
                if time.monotonic() + pause > deadline or not _may_pass(error):
                    raise self._failure(error) from error
            except errors.BaseError as error:
                if isinstance(error, errors.AlreadyExistsError):
                    raise
                raise self._failure(error) from error
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _failure(self, error: Exception) -> StoreError:
        kind = type(error).__name__
        text = str(error).partition("\n")[0].partition(": <?xml")[0].strip()[:300]
        if (
            kind in ("PermissionDeniedError", "UnauthenticatedError")
            or "redential" in text
            or _is_refused(error)
        ):
            what = "does not let you in"
            then = (
                "Set the credentials as its other tools have them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with "
                "boto3 installed (s3); GOOGLE_APPLICATION_CREDENTIALS (gs); AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (az)."
            )
        elif "NoSuchBucket" in str(error):
            what, then = "has no such bucket", "Make the bucket, or correct the URL."
        elif kind == "GenericError":
            what = "does not answer as it should"
            then = "Look whether it runs, and at AWS_ENDPOINT_URL and AWS_REGION, or what your store has in their place."
        else:
            what, then = (
                "refuses a request",
                "A warehouse needs a store with conditional puts (If-None-Match).",
            )
        return StoreError(f"The object store of {self.url} {what}: {text}. {then}")

    def listing(self, folder: str = "") -> list[StoredObject]:
        """All that is in the store, or in a folder of keys."""

        def found() -> list[StoredObject]:
            pages = self._client.list(self._store, folder or None)
            return [
                StoredObject(each["path"], each["size"], each["last_modified"])
                for page in pages
                for each in page
            ]

        return self._asked(found)

    def create(self, key: str, path: Path, digest: str | None = None) -> None:
        """Put a file where there is no object, with its SHA-256; `TakenError` where there is one."""
        said = _metadata(digest)
        try:
            if path.stat().st_size <= _WHOLE:
                content = path.read_bytes()
                self._asked(
                    lambda: self._client.put(
                        self._store, key, content, mode="create", use_multipart=False, attributes=said
                    )
                )
                return
            # In parts, of which the last makes the object; they cannot have the condition.
            if self.size_of(key) is None:
                self._asked(lambda: self._client.put(self._store, key, path, attributes=said))
                return
        except self._client.exceptions.AlreadyExistsError as error:
            raise TakenError(key) from error
        raise TakenError(key)

    def size_of(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""
        with suppress(FileNotFoundError):
            return int(self._asked(lambda: self._client.head(self._store, key))["size"])
        return None

    def put(self, key: str, content: bytes, digest: str | None = None) -> None:
        """Put something in place of what is there."""
        said = _metadata(digest)
        self._asked(lambda: self._client.put(self._store, key, content, use_multipart=False, attributes=said))

    def read(self, key: str) -> bytes | None:
        """A small object; None where there is none."""
        with suppress(FileNotFoundError):
            return bytes(self._asked(lambda: self._client.get(self._store, key).bytes()))
        return None

    def ending(self, key: str, length: int) -> Ending:
        """The last bytes of an object, at most `length`. FileNotFoundError where there is none."""

        def work() -> Ending:
            found = self._client.get(self._store, key, options={"range": {"suffix": length}})
            content = bytes(found.bytes())
            return Ending(content, found.meta["size"], found.attributes.get(_DIGEST))

        return self._asked(work)

    def remove(self, keys: Iterable[str]) -> None:
        """Take objects out of the store, as far as they are there."""
        named = sorted(keys)
        for start in range(0, len(named), 1000):
            some = named[start : start + 1000]
            try:
                self._asked(partial(self._client.delete, self._store, some))
            except FileNotFoundError:
                # Some stores say so of one, and leave others of the request where they are.
                for key in some:
                    with suppress(FileNotFoundError):
                        self._asked(partial(self._client.delete, self._store, [key]))

    def require_removal(self) -> None:
        """`StoreError` where the store does not let us delete; nothing is changed there."""
        try:
            self.remove([f"{_NOTHING}-{secrets.token_hex(8)}"])
        except StoreError as error:
            raise StoreError(
                f"Objects cannot be deleted, and nothing was. {error} The right to delete below the URL is needed."
            ) from error

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file. FileNotFoundError where there is none."""

        def work() -> None:
            with target.open("wb") as stream:
                for block in self._client.get(self._store, key).stream(min_chunk_size=_BLOCK):
                    stream.write(block)

        self._asked(work)


def _metadata(digest: str | None) -> dict[str, str] | None:
    return None if digest is None else {_DIGEST: digest}


def _may_pass(error: Exception) -> bool:
    """Whether a request may be answered when it is made again."""
    text = str(error)
    return not _is_refused(error) and not any(
        told in text
        for told in ("not found", "Not Implemented", "NotImplemented", "InvalidArgument", "builder error")
    )


def _is_refused(error: Exception) -> bool:
    """Whether the store does not let us do that; to list and to delete has no error of its own kind in the library then."""
    told = str(error)
    return "AccessDenied" in told or any(f"status code: {status}" in told for status in (401, 403))


def _may_be_plain() -> bool:
    """Whether the environment names a store without encryption, as on one's own machine."""
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
    is_allowed = any(os.environ.get(f"{each}_ALLOW_HTTP") in ("1", "true") for each in ("AWS", "AZURE"))
    return is_allowed or any(os.environ.get(each, "").startswith("http://") for each in named)


def _profile(url: str) -> Any:
    """Credentials as AWS's own tools find them, where the environment has none and boto3 is installed."""
    if not url.startswith("s3://") or "AWS_ACCESS_KEY_ID" in os.environ:
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider()
    except (ImportError, ValueError):
        # Without boto3, or without a profile: the machine's own role may have some.
        return None
