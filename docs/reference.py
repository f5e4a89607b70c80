"""Writes reference.md beside it: every command, key of a study, table, view and macro, from the code itself.

python docs/reference.py            # write it
python docs/reference.py --check    # exit code 1 if the file is not what the code says
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from xlwh.cli.app import commands
from xlwh.store import Warehouse
from xlwh.store.views import Macro
from xlwh.study import Study
from xlwh.tables import TABLES
from xlwh.tables.glossary import glossary, unit_of

FILE = Path(__file__).with_name("reference.md")


def reference() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Written by `docs/reference.py` from the code; the tests fail where the two differ.",
        "## Commands",
        *_commands(),
        "## The study file",
        *_study(),
        *_tables_and_views(),
    ]
    return "\n\n".join(parts) + "\n"


def _commands() -> Iterator[str]:
    for command in commands():
        yield from _command(command, f"xlwh {command.name}")
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            yield from _command(inner, f"xlwh {command.name} {inner.name}")


def _command(command: click.Command, name: str) -> Iterator[str]:
    words = " ".join(
        p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)
    )
    yield f"### {name} {words}".rstrip()
    yield " ".join((command.help or "").split())
    options = [
        p for p in command.params if isinstance(p, click.Option) and p.name != "debug" and not p.hidden
    ]
    rows = [(", ".join(f"`{name}`" for name in p.opts), p.help or "", _default(p)) for p in options]
    if rows:
        yield _grid(("option", "meaning", "default"), rows)


def _default(option: click.Option) -> str:
    value = option.default
    return f"`{value}`" if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _study() -> Iterator[str]:
    seen: set[type[BaseModel]] = set()
    waiting: list[tuple[str, type[BaseModel]]] = [("", Study)]
    while waiting:
        path, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        rows = []
        for name, field in model.model_fields.items():
            if model is Study and name == "folder":
                continue
            inner, repeated = _model_in(field.annotation)
            if inner is not None:
                place = f"{path}.{name}".lstrip(".") + (".<key>" if repeated else "")
                waiting.append((place, inner))
            rows.append((f"`{name}`", _type(field.annotation), _value(field), field.description or ""))
        yield f"### [{path}]" if path else "### At the top"
        yield " ".join((model.__doc__ or "").split())
        yield _grid(("key", "type", "default", "meaning"), rows)


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The part of a study that a key holds, and whether it holds several by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    mapping = getattr(get_origin(annotation), "__name__", "") == "Mapping"
    for argument in get_args(annotation):
        found, repeated = _model_in(argument)
        if found is not None:
            return found, repeated or mapping
    return None, False


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    name = getattr(origin, "__name__", "")
    if name == "Literal":
        return " or ".join(f"`{value}`" for value in arguments)
    if name in ("Union", "UnionType"):
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if name == "Annotated":
        return _type(arguments[0])
    if name in ("tuple", "list", "Sequence"):
        return f"list of {_type(arguments[0])}"
    if name == "Mapping":
        return f"table of {_type(arguments[1])}"
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return "table"
        return {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "Path": "path"}.get(
            annotation.__name__, annotation.__name__
        )
    return "anything"


def _value(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`" if value else ""
    return f"`{value}`"


def _tables_and_views() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Warehouse(folder, create=True).connect()) as database,
    ):
        definitions = Warehouse(folder).definitions()
        views = definitions.views

        def columns(name: str) -> str:
            types = dict(row[:2] for row in database.execute(f'describe "{name}"').fetchall())
            described = views[name].columns
            return _grid(
                ("column", "type", "unit", "meaning"),
                [
                    (f"`{column}`", type_, unit_of(name, column) or "", described.get(column, ""))
                    for column, type_ in types.items()
                ],
            )

        yield "## Tables"
        for name, contract in TABLES.items():
            yield f"### {name}"
            yield " ".join((contract.__doc__ or "").split())
            yield f"Key: {', '.join(contract.key)}. Partitions: {', '.join(contract.partition_by) or 'none'}."
            yield columns(name)
        yield "## Views"
        for name, view in sorted(views.items()):
            if name not in TABLES:
                yield f"### {name}"
                yield view.description
                yield f"Key: {', '.join(view.key)}. Source: {view.source or 'see the columns'}."
                yield columns(name)
        yield "## Units"
        yield "What columns are counted in, from `xlwh/tables/glossary.toml`, which has a line for every column name."
        yield _grid(
            ("unit", "range", "meaning"),
            [(unit.name, unit.range, unit.meaning) for unit in glossary()[0].values()],
        )
        yield "## Macros"
        macros = sorted((step for step in definitions.steps if isinstance(step, Macro)), key=lambda m: m.name)
        yield _grid(
            ("macro", "file"),
            [(f"`{_signature(macro)}`", f"{macro.path.parent.name}/{macro.path.name}") for macro in macros],
        )


def _signature(macro: Macro) -> str:
    head = macro.sql[: macro.sql.index(")") + 1]
    return " ".join(head[head.lower().index(macro.name) :].split())


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    page = reference()
    if "--check" in arguments:
        return 0 if FILE.is_file() and FILE.read_text(encoding="utf-8") == page else 1
    FILE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
