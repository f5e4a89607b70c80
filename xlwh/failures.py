"""What to say of errors that nobody raised on purpose: of the system, of a full disk, of libraries and of ourselves.

`XlwhError`s have words of their own. Everything else comes through here, from the command line as from a partition of
a run: known kinds become one clear line, and any other one is named together with the file that has its stack trace.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from xlwh.errors import XlwhError

_FULL = re.compile(
    r"no space left on device|disk is full|disk quota exceeded|\(os error (?:28|122)\)|could not write all bytes",
    re.I,
)
_UNCLEAR = re.compile(r"disk i/o error|unable to open database file|could not write|failed to write", re.I)
"""What SQLite and DuckDB say of a full disk, and of other things too: it counts where a disk is full."""
_UNDECODABLE = re.compile(
    r"out.of.spec|parquet error|parquet (?:file|schema|metadata|read)|metadata is corrupt|decompression failure|TProtocolException|invalid TType|don't know what type|encoded schema stored in ARROW|"
    r"could not read enough bytes|database has been invalidated",
    re.I,
)
"""What Polars and DuckDB say of bytes that are no Parquet."""
_FULL_NUMBERS = {errno.ENOSPC, errno.EDQUOT}
_PATHS = re.compile(r"(?<![\w.])/[^\s'\":,;()]+")
_LITTLE_BYTES = 1_000_000
"""With less room than this SQLite and DuckDB cannot work, and do not always say why."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, the outermost first."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


_STOPS = ("KeyboardInterrupt", "InterruptException", "DagsterExecutionInterruptedError")
"""What Ctrl-C is called by Python, DuckDB and Dagster."""


def was_stopped(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an error, as where a library turns it into one of its own."""
    return any(
        type(each).__name__ in _STOPS
        or "Query interrupted" in str(each)
        or (type(each).__name__ == "PanicException" and any(name in str(each) for name in _STOPS))
        for each in chain(error)
    )


def told(error: BaseException, places: Iterable[Path] = ()) -> str:
    """An error in words. `places`: folders that were written to, of which one may be full."""
    if full := full_disk(error, places):
        return f"{_shown(error)} {full}" if isinstance(error, XlwhError) and full not in str(error) else full
    if isinstance(error, XlwhError):
        return _shown(error)
    return _known(error) or unexpected(error)


def as_error(error: BaseException, places: Iterable[Path] = ()) -> XlwhError:
    """The same as an error of ours, which any process can be sent, with the first one behind it."""
    if isinstance(error, XlwhError) and not full_disk(error, places):
        return error
    made = XlwhError(told(error, places))
    made.__cause__ = error
    return made


def is_unwritable(error: BaseException, place: Path) -> bool:
    """Whether an error says that nothing can be written at a place now: no right, read-only media, or a full disk."""
    numbers = {each.errno for each in chain(error) if isinstance(each, OSError)}
    return bool(numbers & {errno.EACCES, errno.EPERM, errno.EROFS} or full_disk(error, [place]))


def _known(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        where = "" if error.filename is None else f": '{_shown(error.filename)}'"
        return f"{error.strerror}{where}" if where or error.errno in _OF_THE_DISK else None
    if type(error).__module__.startswith(("polars.", "_duckdb")) and _UNDECODABLE.search(str(error)):
        text = " ".join(_shown(error).split())[:300]
        return (
            f"What was read is damaged ({text}). `xlwh check --deep` says which stored file it is, and `xlwh repair` makes it "
            "again."
        )
    if isinstance(error, MemoryError):
        return "Memory ran out. Close other programs, or ask for less at a time."
    if isinstance(error, RecursionError):
        return f"Something is nested too deeply to be read{_source(error)}."
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return f"Not UTF-8: {error.object[:200]!r}. Names and texts have to be."
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "A name holds a NUL character, which no file's name can."
    return None


_OF_THE_DISK = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO),
}
"""Errors of the system that say all there is to know, also without the name of a file."""


def _shown(name: object) -> str:
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return text.encode("utf-8", "backslashreplace").decode()


def _source(error: BaseException) -> str:
    return f": {error}" if str(error) else ""


def unexpected(error: BaseException) -> str:
    """An error of a kind that was not thought of, with the file that has its stack trace."""
    text = " ".join(_shown(error).split())
    named = f"{type(error).__name__}: {text[:1000]}" if text else type(error).__name__
    log = _logged(error)
    where = "" if log is None else f"The stack trace is in {log}; "
    advice = "This was not expected: it is a fault of xlwh where nothing that it was given explains it."
    return f"{named}. {advice} {where}`--debug` shows the stack trace here."


def _logged(error: BaseException) -> Path | None:
    """The file that the stack trace was added to; None where none can be written."""
    lines = "".join(traceback.format_exception(error))
    try:
        log = _log(os.getpid(), _temporary())
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{lines}\n")
    except OSError:
        return None
    return log


@cache
def _log(process: int, folder: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f"xlwh-error-{process}-", suffix=".log", dir=folder)
    os.close(descriptor)
    return Path(name)


def full_disk(error: BaseException, places: Iterable[Path] = ()) -> str:
    """Which file system is full and what to do, where that is behind an error; empty where it is not."""
    # What a database's server says is of a disk of its own.
    behind = [each for each in chain(error) if getattr(each, "sqlstate", None) is None]
    numbers = {each.errno for each in behind if isinstance(each, OSError)}
    text = "\n".join(map(str, behind))
    is_full = bool(numbers & _FULL_NUMBERS or _FULL.search(text))
    if not is_full and not _UNCLEAR.search(text):
        return ""
    # Of a copy the second name is the one that is written.
    names = [name for each in behind if isinstance(each, OSError) for name in (each.filename2, each.filename)]
    named = [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)]
    named += map(Path, _PATHS.findall(text))
    found = [each for path in (*named, *places, Path(_temporary())) if (each := _system(path)) is not None]
    full = [each for each in found if each[1] < _LITTLE_BYTES or not each[3]]
    if not full and not is_full:
        return ""
    if errno.EDQUOT in numbers or "quota" in text.lower():
        return f"Your quota of disk space on {found[0][0]} is used up. Make room there, then run the same command again."
    # What was written in vain may be gone by now, and the room be there again.
    mount, free, total, has_files = (full or found)[0]
    state = "is full" if full else "was full"
    what = f"{free:,} of {total:,} bytes free" if has_files else "no more files can be made on it"
    advice = "`xlwh gc` removes what a warehouse needs no more"
    if _system(Path(_temporary())) == (mount, free, total, has_files):
        advice += ", and XLWH_TEMP names another folder for temporary files"
    return f"The file system {mount} {state} ({what}). Make room there, then run the same command again; {advice}."


def _temporary() -> str:
    return os.environ.get("XLWH_TEMP") or tempfile.gettempdir()


def _system(path: Path) -> tuple[str, int, int, bool] | None:
    """Of the file system on which a path is: where it is mounted, bytes that are free and in all, whether files can be made."""
    try:
        path = path.absolute()
        while not path.exists():
            path = path.parent
        found, device = os.statvfs(path), path.stat().st_dev
        while path.parent != path and path.parent.stat().st_dev == device:
            path = path.parent
    except (OSError, ValueError):
        return None
    has_files = found.f_files == 0 or found.f_favail > 0
    return str(path), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, has_files
