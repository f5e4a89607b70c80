"""`sources.lock.toml` beside the data: digests of the files that were fetched, so that a changed one is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xlwh.errors import SourceError
from xlwh.store.files import write_whole
from xlwh.texts import parsed_toml

NAME = "sources.lock.toml"
_HEAD = "# Files that `xlwh fetch` brought: where from, and their digests. A file that differs from its line is refused.\n"


@dataclass(frozen=True)
class Locked:
    """One file as it was fetched."""

    url: str
    bytes: int
    sha256: str


class Lock:
    """The lock of a data root, by path below it."""

    def __init__(self, root: Path) -> None:
        """`SourceError` where the lock cannot be read."""
        self._file = root / NAME
        self._entries = self._read()

    def _read(self) -> dict[str, Locked]:
        if not self._file.is_file():
            return {}
        try:
            content = parsed_toml(self._file.read_text(encoding="utf-8"))
            return {path: Locked(**entry) for path, entry in content.items()}
        except (OSError, ValueError, TypeError) as error:
            raise SourceError(
                f"{self._file} cannot be read: {error}. Repair it, or remove it: files are then locked as they are."
            ) from None

    def get(self, path: str) -> Locked | None:
        """What was written down of a file; None where it was not fetched."""
        return self._entries.get(path)

    def add(self, path: str, entry: Locked) -> None:
        """Write down a file beside those that other processes wrote down; the lock is replaced as a whole."""
        import tomlkit

        from xlwh.sources.download import held

        self._file.parent.mkdir(parents=True, exist_ok=True)
        with held(self._file, waits=True):
            self._entries = self._read() | {path: entry}
            document = tomlkit.document()
            for name in sorted(self._entries):
                document[name] = vars(self._entries[name])
            write_whole(self._file, (_HEAD + tomlkit.dumps(document)).encode())
