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
from xlwh.store.steady import unsteady
from xlwh.tables import TABLES, glossary

_FORM = 6
"""Of the catalogue itself; raised when the same SQL is made into another one, so that those there are built anew."""

FOLDERS = ("source", "core", "metric", "mart")
"""Folders of views inside a SQL folder; `macros` stands beside them."""

METRICS = "metrics"
"""What stands for a folder with views over the results of installed packages' metrics, whose file names say what is in them."""

UNKEPT = ("source", METRICS)
"""Folders of views whose rows are those of stored files: they are not kept unless their header says so."""


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
    """Stored tables whose Parquet files it reads itself or through macros, as `files.<table>`."""
    stored: tuple[str, ...] = ()
    """Those that it reads complete, as `stored.<table>`."""
    calls: tuple[str, ...] = ()
    """Macros that it calls, directly or through others."""
    kept: str = ""
    """How its rows are kept, as the header says it: `whole`, `no`, `by model, language`; empty where it says nothing."""
    by: tuple[str, ...] | None = None
    """Columns by whose values its rows are kept, none for all rows together; None for a view that is not kept."""


@dataclass(frozen=True)
class Macro:
    """One `create macro` statement."""

    name: str
    path: Path
    sql: str
    depends_on: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


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
        return {table for step in self.steps for table in (*step.files, *step.stored)}

    def needed_for(self, names: Iterable[str], given: Collection[str] = ()) -> Definitions:
        """The part that these views need, if the rows of the views `given` come from elsewhere.

        Raises `SqlError` if there is no such view.
        """
        views = self.views
        needed: set[str] = set()
        macros: set[str] = set()
        waiting = list(names)
        for name in waiting:
            require_view(name, views)
        while waiting:
            current = waiting.pop()
            if current not in needed:
                needed.add(current)
                if current in views and current not in given:
                    waiting.extend(views[current].depends_on)
                    macros.update(views[current].calls)
        return Definitions(
            tuple(step for step in self.steps if step.name in (needed if isinstance(step, View) else macros))
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
            for path in _sql_files(folder):
                state.update(f"\0{path.relative_to(folder)}\0".encode() + _bytes(path))
        for view in self.more.values():
            state.update(repr((view.name, view.sql, view.description)).encode())
        state.update(_contracts())
        return state.hexdigest()


@cache
def _contracts() -> bytes:
    """Everything that the contracts say, as one text."""
    found = []
    for name, contract in TABLES.items():
        columns = [(column, repr(c.dtype), c.description) for column, c in contract.columns().items()]
        found.append((name, contract.__doc__, contract.key, contract.partition_by, columns))
    return repr(found).encode()


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

    `more` are views that come from elsewhere, by name. A folder holds `source/`, `core/`, `metric/`, `mart/` and `macros/`,
    or `.sql` files directly.
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


def _sql_files(folder: Path) -> list[Path]:
    return [*sorted((folder / "macros").glob("*.sql")), *_view_files(folder)]


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
    require_view(name, known)
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


def require_view(name: str, views: Collection[str]) -> None:
    """Raise `SqlError`, which lists them, for a name that is none of the views."""
    if name not in views:
        raise SqlError(f"There is no view `{name}`. Views: {', '.join(sorted(views))}.")


def _no_second(new: View | Macro, known: Mapping[str, View | Macro]) -> None:
    if new.name in known:
        raise SqlError(f"`{new.name}` is defined twice: in {known[new.name].path} and in {new.path}.")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SqlError(f"{path} cannot be read: {error}.") from None


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
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
    return View(
        path.stem,
        folder,
        path,
        text,
        header.description,
        header.key,
        header.source,
        columns,
        (),
        kept=header.kept,
    )


@dataclass
class _Header:
    description: str
    key: tuple[str, ...]
    source: str
    kept: str
    columns: dict[str, str]


def _header(text: str) -> _Header:
    header = _Header("", (), "", "", {})
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
        elif content.startswith("kept:"):
            header.kept = content.removeprefix("kept:").strip()
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
    stored: frozenset[str]
    functions: frozenset[str]


def _reads(step: View | Macro) -> _Reads:
    try:
        found = names(_body(step) if isinstance(step, Macro) else step.sql)
    except SqlError as error:
        raise SqlError(f"{step.path}: {error}") from None
    return _Reads(
        frozenset(name for schema, name in found.tables if schema in ("", "main")),
        frozenset(name for schema, name in found.tables if schema == "files"),
        frozenset(name for schema, name in found.tables if schema == "stored"),
        found.functions,
    )


def _ordered(views: Mapping[str, View], macros: Mapping[str, Macro]) -> Definitions:
    """Fill in what is read and how rows are kept, and sort.

    A macro and a view may share a name, so macros are marked in the graph.
    """
    every: list[View | Macro] = [*macros.values(), *views.values()]
    steps = {_mark(step): step for step in every}
    graph: dict[str, list[str]] = {}
    reads: dict[str, _Reads] = {}
    for mark, step in steps.items():
        found = _reads(step)
        _check_known("view", found.views, views, step)
        _check_known("stored table", found.files | found.stored, TABLES, step)
        reads[mark] = found
        graph[mark] = sorted({*found.views, *(f"{name}()" for name in found.functions if name in macros)})
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = error.args[1]
        paths = ", ".join(dict.fromkeys(str(steps[name].path) for name in names))
        raise SqlError(f"Views read each other in a circle: {' -> '.join(names)} ({paths}).") from None
    ready: dict[str, View | Macro] = {}
    changing: dict[str, str] = {}
    for mark in order:
        step, found = steps[mark], reads[mark]
        called = [each for each in map(ready.get, graph[mark]) if isinstance(each, Macro)]
        tables = {"files": set(found.files), "stored": set(found.stored)}
        # `files.tokens` inside the view `tokens` is the stored table of that name.
        direct = {*found.views, *(found.files | found.stored) - {step.name}}
        calls = {macro.name for macro in called}
        for macro in called:
            tables["files"].update(macro.files)
            tables["stored"].update(macro.stored)
            direct.update(macro.depends_on)
            calls.update(macro.calls)
        known = {name: tuple(sorted(each)) for name, each in tables.items()}
        step = replace(step, depends_on=tuple(sorted(direct)), calls=tuple(sorted(calls)), **known)  # type: ignore[arg-type]
        others = [changing[each] for each in graph[mark] if each in changing]
        if not (isinstance(step, View) and step.folder == METRICS):
            others += sorted(unsteady(_body(step) if isinstance(step, Macro) else step.sql))
        if others:
            changing[mark] = others[0]
        ready[mark] = replace(step, by=_kept_by(step, changing.get(mark))) if isinstance(step, View) else step
    return Definitions(tuple(ready[mark] for mark in order))


def _kept_by(view: View, other: str | None) -> tuple[str, ...] | None:
    """What the header's line on keeping asks for, or else the rule for its folder; see `View.by`.

    `other` is a function that a view calls, itself or through others, and that gives other rows at another time.
    """
    if view.kept == "no" or (not view.kept and (view.folder in UNKEPT or other)):
        return None
    columns = (
        tuple(re.split(r"\s*,\s*", view.kept.removeprefix("by "))) if view.kept.startswith("by ") else ()
    )
    if not (view.kept in ("", "whole") or (columns and all(re.fullmatch(r"\w+", each) for each in columns))):
        raise SqlError(
            f"{view.path}: `kept: {view.kept}` is not understood; write `whole`, `no` or `by model, language`."
        )
    if view.name in TABLES:
        raise SqlError(f"{view.path}: `{view.name}` is a stored table; its rows are not kept a second time.")
    if other:
        raise SqlError(
            f"{view.path}: rows that depend on `{other}` are others at another time; write `-- kept: no`."
        )
    return columns


def _mark(step: View | Macro) -> str:
    return f"{step.name}()" if isinstance(step, Macro) else step.name


def _check_known(what: str, names: Iterable[str], known: Iterable[str], step: View | Macro) -> None:
    unknown = set(names).difference(known)
    if unknown:
        raise SqlError(
            f"{step.path}: there is no {what} `{min(unknown)}`. There are: {', '.join(sorted(known)) or 'none'}."
        )
