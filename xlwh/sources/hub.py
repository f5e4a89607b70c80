"""The Hugging Face hub through its own client: what a repository is, its files, and errors that say what to do.

Every call waits and tries again where the hub is busy or a connection breaks; what stays an error becomes one
`SourceError` that names the repository, or an `UnreachableError` that is the same for all of them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from xlwh.errors import SourceError, UnreachableError
from xlwh.place import Kind, hub_cache, require_inside

TRIES = 6
LONGEST_WAIT_S = 300.0
"""The hub counts requests in windows of five minutes."""
_CONVERSIONS = 40
"""Pull requests that are looked into, the newest first."""
_TIMEOUT_S = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class Purpose:
    """What a repository is asked for, as far as an error about the network depends on it."""

    offline: str
    """What is said where HF_HUB_OFFLINE is set."""
    unreachable: str
    """What is said where the hub does not answer."""


FETCH = Purpose(
    "Not here, and HF_HUB_OFFLINE is set. Unset it, or bring it from a mirror: xlwh fetch --from",
    "What came so far is kept: the same command goes on from there. Without a network: xlwh fetch --from",
)
PIN = Purpose(
    "Commits are asked of the hub, and HF_HUB_OFFLINE is set. Unset it, or write them as `revision` by hand.",
    "Commits are asked of the hub: run xlwh pin again where there is a network, or write them as `revision` by hand.",
)
VERIFY = Purpose(
    "Here, and not verified: digests are asked of the hub, and HF_HUB_OFFLINE is set. Unset it, or compare with a mirror: "
    "xlwh fetch --verify --from",
    "Here, and not verified: digests are asked of the hub. Without a network: xlwh fetch --verify --from",
)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit."""

    path: str
    size: int


@dataclass(frozen=True)
class Described:
    """One commit of a repository, as the hub describes it."""

    kind: Kind
    asked: str
    """The id that was asked for."""
    id: str
    """The repository's id today: another one where it was renamed."""
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str
    task: str
    gated: str
    """Empty, or how access is granted: auto, manual."""
    private: bool

    @property
    def is_renamed(self) -> bool:
        """Whether the repository has another id today than the one asked for."""
        return self.id != self.asked

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of its files."""
        return tuple(file.path for file in self.files)

    def size(self, names: Sequence[str]) -> int:
        """Bytes of some of its files."""
        wanted = set(names)
        return sum(file.size for file in self.files if file.path in wanted)


def describe(kind: Kind, repository: str, revision: str, purpose: Purpose = FETCH) -> Described:
    """A commit, or what a branch, tag or pull request stands at; `SourceError` where it cannot be had."""
    from huggingface_hub import HfApi

    api = HfApi()
    info: Any = patiently(
        lambda: api.repo_info(
            repository, repo_type=kind, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
        ),
        kind,
        repository,
        revision,
        purpose,
    )
    require_inside((file.rfilename for file in info.siblings or ()), f"{kind} {repository} at {revision}")
    card: Any = info.card_data or {}
    return Described(
        kind=kind,
        asked=repository,
        id=info.id,
        commit=str(info.sha),
        files=tuple(RemoteFile(file.rfilename, file.size or 0) for file in info.siblings or ()),
        licence=_licence(card, info.tags or ()),
        task=_task(info, card),
        gated=info.gated if isinstance(info.gated, str) else ("yes" if info.gated else ""),
        private=bool(info.private),
    )


def _licence(card: Any, tags: Sequence[str]) -> str:
    said = card.get("license") or [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
    listed = said if isinstance(said, list) else [said]
    return ", ".join(map(str, listed)) or "not stated"


def _task(info: Any, card: Any) -> str:
    found = getattr(info, "pipeline_tag", None) or card.get("task_categories") or ()
    return found if isinstance(found, str) else ", ".join(map(str, found))


def conversions(repository: str) -> Iterator[tuple[str, str]]:
    """(ref, commit) of pull requests of a model that have safetensors, the newest first."""
    from huggingface_hub import HfApi

    from xlwh.models.hub import has_safetensors

    api = HfApi()
    refs = patiently(
        lambda: api.list_repo_refs(repository, include_pull_requests=True), "model", repository, "", PIN
    )
    numbered = sorted(
        (ref for ref in refs.pull_requests or () if ref.ref.rsplit("/", 1)[-1].isdigit()),
        key=lambda ref: -int(ref.ref.rsplit("/", 1)[-1]),
    )
    for ref in numbered[:_CONVERSIONS]:
        found = describe("model", repository, ref.ref, PIN)
        if has_safetensors(found.names):
            yield ref.ref, found.commit


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit as a whole, not a branch, a tag or the beginning of a commit."""
    return re.fullmatch(r"[0-9a-fA-F]{40}", revision) is not None


def bring(
    kind: Kind,
    repository: str,
    revision: str,
    names: Sequence[str],
    purpose: Purpose = FETCH,
    removes: bool = True,
) -> Path:
    """Fetch files of a commit into the hub's cache, and check the digests of all that is there; the snapshot's folder.

    What was begun is gone on with. `SourceError` as of `verify`.
    """
    import glob

    from huggingface_hub import snapshot_download

    cache = hub_cache()
    folder = patiently(
        lambda: snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            cache_dir=cache,
            allow_patterns=[glob.escape(name) for name in names],
            max_workers=4,
        ),
        kind,
        repository,
        revision,
        purpose,
    )
    verify(kind, repository, revision, Path(folder), purpose, removes)
    return Path(folder)


def verify(
    kind: Kind,
    repository: str,
    revision: str,
    folder: Path,
    purpose: Purpose = VERIFY,
    removes: bool = True,
) -> None:
    """Compare the digests of what a snapshot holds with the hub's; `SourceError` for what differs, which is removed if `removes`."""
    from huggingface_hub import HfApi

    api = HfApi()
    verified = patiently(
        lambda: api.verify_repo_checksums(
            repository, repo_type=kind, revision=revision, cache_dir=hub_cache()
        ),
        kind,
        repository,
        revision,
        purpose,
    )
    if damaged := [each["path"] for each in verified.mismatches]:
        differ = (
            f"{kind} {repository} at {revision}: the bytes of {', '.join(damaged)} are not those of the digest that the hub "
            "has for them"
        )
        if not removes:
            raise SourceError(f"{differ}. Nothing was removed; to remove and fetch them: xlwh fetch --verify")
        for name in damaged:
            drop(folder / name)
        raise SourceError(
            f"{differ}, so they were removed. Run xlwh fetch again; if it stays so, the file on the hub, or a proxy "
            "on the way, is at fault."
        )


def drop(file: Path) -> None:
    """Remove a file of a snapshot with the bytes that it leads to; else the client takes it for whole."""
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)


def keep_list(kind: Kind, repository: str, revision: str) -> None:
    """Keep the hub's list of a model's files in the cache."""
    from huggingface_hub import snapshot_download

    patiently(
        lambda: snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            cache_dir=hub_cache(),
            allow_patterns=["config.json"],
        ),
        kind,
        repository,
        revision,
    )


def patiently(
    call: Callable[[], T], kind: Kind, repository: str, revision: str, purpose: Purpose = FETCH
) -> T:
    """The result of a call of the client; `SourceError` says what is wrong with the repository, or with the hub."""

    def told(error: BaseException) -> SourceError:
        text = _out_of_reach(error, purpose)
        return UnreachableError(text) if text else SourceError(_told(error, kind, repository, revision))

    return retried(call, told)


def retried(call: Callable[[], T], told: Callable[[BaseException], SourceError]) -> T:
    """The result of a call; where the server is busy or the line breaks it is tried again, after a while.

    What stays an error is raised as `told` has it.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except SourceError:
            raise
        except Exception as error:
            cause = _cause(error)
            wait = _wait(cause, attempt)
            if wait is None or attempt == TRIES:
                raise told(cause) from None
            pause(wait)
    raise AssertionError


def pause(seconds: float) -> None:
    """Wait before the next try."""
    time.sleep(seconds)


def _cause(error: Exception) -> BaseException:
    """What lies behind an error: the client wraps answers of the hub into one that says that nothing is cached."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    found: BaseException = error
    while isinstance(found, LocalEntryNotFoundError) and found.__cause__ is not None:
        found = found.__cause__
    return found if isinstance(found, HfHubHTTPError) or found is not error else error


def _wait(error: BaseException, attempt: int) -> float | None:
    """Seconds before the next try; None where another try is in vain."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    doubled = min(2.0 ** (attempt - 1), 60.0)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 429 or status >= 500 or status == 408:
            return _asked_for(error.response.headers, doubled)
        return None
    if isinstance(error, OfflineModeIsEnabled):
        return None
    if is_broken(error):
        # No network at all is told soon (the client has tried again too); a broken line is mended.
        is_soon = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | RuntimeError)
        return doubled if attempt == 1 or not is_soon else None
    return doubled if _is_short(error) else None


def is_broken(error: BaseException) -> bool:
    """Whether an error is one of the connection."""
    import httpx2

    # The client closes its session where a connection fails, also under the transfers of other threads.
    closed = isinstance(error, RuntimeError) and "client has been closed" in str(error)
    return closed or isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def _asked_for(headers: Any, default: float) -> float | None:
    value = headers.get("Retry-After", "")
    wait = float(value) if value.isdecimal() else default
    return wait if wait <= LONGEST_WAIT_S else None


def _is_short(error: BaseException) -> bool:
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def _out_of_reach(error: BaseException, purpose: Purpose) -> str:
    """What is wrong where the hub cannot be asked at all, and what to do; empty for other errors."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return purpose.offline
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol):
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        return f"The hub {constants.ENDPOINT} cannot be reached ({why}); HF_ENDPOINT names another one. {purpose.unreachable}"
    if isinstance(error, json.JSONDecodeError):
        # As of a proxy that wants a login first.
        return f"{constants.ENDPOINT} answers, but not as a hub does; HF_ENDPOINT names another one. {purpose.unreachable}"
    return ""


def _told(error: BaseException, kind: Kind, repository: str, revision: str) -> str:
    """What is wrong, and what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"{kind} {repository}" + (f" at {revision}" if revision else "")
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    if isinstance(error, GatedRepoError):
        return (
            f"{what}: is gated. Accept its terms at {page}, then log in with `hf auth login`, or set HF_TOKEN to a token "
            "that may read it."
        )
    if isinstance(error, DisabledRepoError):
        return f"{what}: the hub has disabled it. See {page}; name another repository in the study."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{what}: there is no such repository at {page}, or it is private. Correct `hub` in the study; for a private one "
            "log in with `hf auth login`, or set HF_TOKEN. If it was removed, another id has to be named."
        )
    if isinstance(error, RevisionNotFoundError) and not is_commit(revision):
        return (
            f"{what}: the repository has no such revision. Write a branch, a tag, a pull request (refs/pr/4) or all 40 digits of "
            "a commit; or take the line `revision` away, for the commit of today. Then run: xlwh pin"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{what}: the repository has no such revision; its history was rewritten, or the revision is mistyped. "
            "The commit of today: xlwh pin --renew"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return f"{what}: a file that it lists is not there ({error.response.url}). Pin another commit: xlwh pin --renew"
    if isinstance(error, HfHubHTTPError):
        return f"{what}: {_of_status(error)}"
    if is_broken(error):
        return (
            f"{what}: the connection to {constants.ENDPOINT} broke off again and again ({type(error).__name__}: {error}). What "
            "came so far is kept: run the same command again."
        )
    if _is_short(error):
        return f"{what}: the transfer broke off again and again. What came so far is kept: run the same command again."
    return f"{what}: {type(error).__name__}: {error}"


def _of_status(error: Any) -> str:
    status, url = error.response.status_code, error.response.url
    if status == 429:
        wait = error.response.headers.get("Retry-After")
        after = f" for {wait} s" if wait else ""
        return f"the hub's rate limit is reached{after}. Run the same command later; with `hf auth login` the limit is higher."
    if status >= 500:
        return f"the hub answers {status} ({url}), also after {TRIES} tries. Run the same command later."
    if status in (401, 403):
        return f"the hub refuses it ({status}, {url}). Check HF_TOKEN, or log in with `hf auth login`."
    return f"the hub answers {status} ({url}): {error.server_message or ''}".rstrip(": ")
