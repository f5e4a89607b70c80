"""The SQL files: what each view is, what it reads, and in which order they can be made.

One view per file, named like the file; macros in files of their own. Dependencies come from parsing, not from a list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import duckdb

from xlwh.errors import SqlError
from xlwh.store.query import checked, names, words
from xlwh.tables import TABLES, glossary

_FORM = 4
"""Of the catalogue itself; raised when the same SQL is made into another one, so that those there are built anew."""

FOLDERS = ("source", "core", "metric", "mart")
"""Folders of views inside a SQL folder; `macros` stands beside them."""


@dataclass(frozen=True)
class View:
    """One SQL file: a view, its place, and what its header says."""

    name: str
    folder: str
    path: Path
    sql: str
    """The SELECT, header included, without a semicolon."""
    description: str
    """What a row is."""
    key: tuple[str, ...]
    source: str
    """Paper, equation, units."""
    columns: Mapping[str, str]
    """Column -> description, as the header (or, for a table, its contract) gives them."""
    depends_on: tuple[str, ...]
    """Views and tables it reads, directly or through macros."""
    files: tuple[str, ...] = ()
    """Stored tables whose Parquet files it reads itself, as `files.<table>` or, complete, `stored.<table>`."""


@dataclass(frozen=True)
class Macro:
    """One `create macro` statement."""

    name: str
    path: Path
    sql: str
    depends_on: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definitions:
    """Everything that a catalogue is made of, in an order in which it can be made."""

    steps: tuple[View | Macro, ...]

    @property
    def views(self) -> dict[str, View]:
        """Name -> view, each after the views that it reads."""
        return {step.name: step for step in self.steps if isinstance(step, View)}

    @property
    def files(self) -> set[str]:
        """Stored tables whose Parquet files are read."""
        return {table for step in self.steps for table in step.files}

    def needed_for(self, name: str) -> Definitions:
        """The part that view `name` needs. Raises `SqlError` if there is no such view."""
        views = self.views
        _no_view(name, views)
        needed: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current not in needed:
                needed.add(current)
                waiting.extend(views[current].depends_on if current in views else ())
        # Macros that read views which are not needed cannot be made; nothing here can call them either.
        return Definitions(
            tuple(
                step
                for step in self.steps
                if (step.name in needed if isinstance(step, View) else needed.issuperset(step.depends_on))
            )
        )


@dataclass(frozen=True)
class Sources:
    """Where the views of a warehouse come from: told apart by a digest, parsed only when they are needed."""

    folders: tuple[Path, ...]
    more: Mapping[str, View] = field(default_factory=dict)
    """Views that do not come from a folder, by name."""

    def load(self) -> Definitions:
        """The views and macros. Raises `SqlError` as the function `load` does."""
        return load(self.folders, self.more)

    def load_for(self, name: str) -> Definitions:
        """What view `name` is made from; the rest is not parsed, and so not judged. Raises `SqlError` as `load` does."""
        return load_for(name, self.folders, self.more)

    def headers(self) -> dict[str, View]:
        """The views by name as their headers describe them: their SQL is not parsed, so what they read is left open."""
        return {path.stem: _headed(path) for folder in self.folders for path in _view_files(folder)} | dict(
            self.more
        )

    @property
    def names(self) -> list[str]:
        """Names of the views, in no particular order; nothing is parsed."""
        return [*(path.stem for folder in self.folders for path in _view_files(folder)), *self.more]

    @cached_property
    def digest(self) -> str:
        """Hex digest of everything but the stored files that a catalogue depends on: SQL, contracts, units, DuckDB's version."""
        state = hashlib.blake2b(f"{duckdb.__version__} {_FORM} {glossary.digest()}".encode(), digest_size=8)
        for folder in self.folders:
            for path in sorted(folder.rglob("*.sql")):
                state.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
        for view in self.more.values():
            state.update(repr((view.name, view.sql, view.description)).encode())
        for name, contract in TABLES.items():
            columns = [(column, repr(c.dtype), c.description) for column, c in contract.columns().items()]
            state.update(repr((name, contract.__doc__, columns)).encode())
        return state.hexdigest()


def shipped_sql() -> Path:
    """The folder of the project's own SQL: inside the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "sql", package.parent / "sql"):
        if (folder / "source").is_dir():
            return folder
    raise SqlError(f"The SQL files of xlwh are missing beside {package}; reinstall the package.")


def with_shipped(folder: Path) -> list[Path]:
    """The project's own SQL folder, and `folder` where there is one."""
    return [shipped_sql(), *([folder] if folder.is_dir() else [])]


def load_views(extra_dirs: Iterable[Path | str] = ()) -> list[View]:
    """The views of the project's own SQL and of `extra_dirs`, each after those that it reads."""
    return list(load([shipped_sql(), *extra_dirs]).views.values())


def load(folders: Sequence[Path | str], more: Mapping[str, View] | None = None) -> Definitions:
    """Read SQL folders. Raises `SqlError` naming the file for what cannot be parsed, unknown names and cycles.

    `more` are views that come from elsewhere, by name. A folder holds `source/`, `core/`, `metric/`, `mart/` and `macros/`, or `.sql` files directly.
    """
    macros: dict[str, Macro] = {}
    views: dict[str, View] = dict(more or {})
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise SqlError(f"There is no SQL folder {folder}.")
        for path in sorted((folder / "macros").glob("*.sql")):
            for macro in _macros(path):
                _no_second(macro, macros)
                macros[macro.name] = macro
        for path in _view_files(folder):
            view = _view(path)
            _no_second(view, views)
            views[view.name] = view
    return _ordered(views, macros)


def load_for(name: str, folders: Sequence[Path | str], more: Mapping[str, View] | None = None) -> Definitions:
    """The part of `load(folders, more)` that view `name` is made from; nothing else is parsed, and so not judged.

    Raises `SqlError` if there is no such view, and as `load` does.
    """
    files = {path.stem: path for folder in map(Path, folders) for path in _view_files(folder)}
    # Names that look as if a macro were made of them, be it in a comment -> the files where they do.
    homes: dict[str, list[Path]] = {}
    for folder in map(Path, folders):
        for path in sorted((folder / "macros").glob("*.sql")):
            for found in _CREATE.findall(_text(path)):
                homes.setdefault(found.lower(), []).append(path)
    known = {*files, *(more or {})}
    _no_view(name, known)
    in_file = cache(_macros)
    views: dict[str, View] = {}
    macros: dict[str, Macro] = {}
    waiting: list[tuple[str, bool]] = [(name, True)]
    while waiting:
        wanted, is_view = waiting.pop()
        if wanted in (views if is_view else macros):
            continue
        if is_view:
            views[wanted] = (more or {}).get(wanted) or _view(files[wanted])
        else:
            made = [macro for path in homes[wanted] for macro in in_file(path)]
            macros |= {macro.name: macro for macro in made if macro.name == wanted}
        step = (views if is_view else macros).get(wanted)
        if step is not None:
            reads = _reads(step)
            _check_known("view", reads.views, known, step)
            waiting += [(view, True) for view in reads.views]
            waiting += [(function, False) for function in reads.functions if function in homes]
    return _ordered(views, macros)


def _view_files(folder: Path) -> list[Path]:
    return [path for name in (*FOLDERS, ".") for path in sorted((folder / name).glob("*.sql"))]


def _no_view(name: str, views: Collection[str]) -> None:
    if name not in views:
        raise SqlError(f"There is no view `{name}`. Views: {', '.join(sorted(views))}.")


def _no_second(new: View | Macro, known: Mapping[str, View | Macro]) -> None:
    if new.name in known:
        raise SqlError(f"`{new.name}` is defined twice: in {known[new.name].path} and in {new.path}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SqlError(f"{path} cannot be read: {error}.") from None


def _view(path: Path) -> View:
    view = _headed(path)
    try:
        return replace(view, sql=checked(view.sql))
    except SqlError as error:
        raise SqlError(f"{path}: {error}") from None


def _headed(path: Path) -> View:
    """A view as its file has it, judged by its name only."""
    text = _text(path)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        raise SqlError(f"{path}: the file's name becomes the view's; use lower-case letters, digits and _.")
    header = _header(text)
    columns = dict(header.columns)
    folder = path.parent.name
    if folder == "source" and path.stem in TABLES:
        contract = TABLES[path.stem]
        columns = {name: c.description or "" for name, c in contract.columns().items()} | columns
        header.key = header.key or contract.key
    return View(path.stem, folder, path, text, header.description, header.key, header.source, columns, ())


@dataclass
class _Header:
    description: str
    key: tuple[str, ...]
    source: str
    columns: dict[str, str]


def _header(text: str) -> _Header:
    header = _Header("", (), "", {})
    description = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        content = line.removeprefix("--").strip()
        if column := re.fullmatch(r"column (\w+):\s*(.*)", content):
            header.columns[column[1]] = column[2]
        elif content.startswith("key:"):
            header.key = tuple(re.split(r"\s*,\s*", content.removeprefix("key:").strip()))
        elif content.startswith("source:"):
            header.source = content.removeprefix("source:").strip()
        elif content:
            description.append(content)
    header.description = " ".join(description)
    return header


_CREATE = re.compile(r"create\s+(?:or\s+replace\s+)?(?:macro|function)\s+(\w+)\s*\(", re.IGNORECASE)


def _macros(path: Path) -> list[Macro]:
    try:
        statements = duckdb.extract_statements(_text(path))
    except duckdb.Error as error:
        raise SqlError(f"{path}: not valid SQL: {error}") from None
    macros = []
    for statement in statements:
        # A statement's text may begin with the comment above it.
        sql = re.sub(r"\A(\s*--[^\n]*\n)*\s*", "", statement.query).rstrip().rstrip(";")
        match = _CREATE.match(sql)
        if match is None:
            raise SqlError(
                f"{path}: only `create macro` statements belong here, found: {sql.split(chr(10))[0]}"
            )
        macro = Macro(match[1].lower(), path, sql)
        try:
            checked(_body(macro))
        except SqlError as error:
            raise SqlError(f"{path}, macro {macro.name}: {error}") from None
        macros.append(macro)
    return macros


def _body(macro: Macro) -> str:
    """What the macro stands for, as a query."""
    depth = 0
    tokens = words(macro.sql)
    for at, (_, word) in enumerate(tokens[:-1]):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and word == "as":
            table = tokens[at + 1][1] == "table"
            return macro.sql[tokens[at + 2][0] :] if table else "select " + macro.sql[tokens[at + 1][0] :]
    raise SqlError("there is no `as` after the parameters.")


@dataclass(frozen=True)
class _Reads:
    views: frozenset[str]
    files: frozenset[str]
    """Stored tables under `files` or `stored`."""
    functions: frozenset[str]


def _reads(step: View | Macro) -> _Reads:
    try:
        found = names(_body(step) if isinstance(step, Macro) else step.sql)
    except SqlError as error:
        raise SqlError(f"{step.path}: {error}") from None
    return _Reads(
        frozenset(name for schema, name in found.tables if schema in ("", "main")),
        frozenset(name for schema, name in found.tables if schema in ("files", "stored")),
        found.functions,
    )


def _ordered(views: Mapping[str, View], macros: Mapping[str, Macro]) -> Definitions:
    """Fill in `depends_on` and sort. A macro and a view may share a name, so macros are marked in the graph."""
    found: list[View | Macro] = [*macros.values(), *views.values()]
    steps = {_mark(step): step for step in found}
    graph: dict[str, list[str]] = {}
    direct: dict[str, set[str]] = {}
    files: dict[str, tuple[str, ...]] = {}
    for mark, step in steps.items():
        reads = _reads(step)
        _check_known("view", reads.views, views, step)
        _check_known("stored table", reads.files, TABLES, step)
        # `files.tokens` inside the view `tokens` is the stored table of that name.
        direct[mark] = {*reads.views, *reads.files - {step.name}}
        files[mark] = tuple(sorted(reads.files))
        graph[mark] = sorted({*reads.views, *(f"{name}()" for name in reads.functions if name in macros)})
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = error.args[1]
        paths = ", ".join(dict.fromkeys(str(steps[name].path) for name in names))
        raise SqlError(f"Views read each other in a circle: {' -> '.join(names)} ({paths}).") from None
    for mark in order:
        direct[mark].update(*(direct[called] for called in graph[mark] if isinstance(steps[called], Macro)))
    return Definitions(
        tuple(replace(steps[m], depends_on=tuple(sorted(direct[m])), files=files[m]) for m in order)
    )


def _mark(step: View | Macro) -> str:
    return f"{step.name}()" if isinstance(step, Macro) else step.name


def _check_known(what: str, names: Iterable[str], known: Iterable[str], step: View | Macro) -> None:
    unknown = set(names).difference(known)
    if unknown:
        raise SqlError(
            f"{step.path}: there is no {what} `{min(unknown)}`. There are: {', '.join(sorted(known)) or 'none'}."
        )
