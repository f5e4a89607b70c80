"""No module imports itself by way of others, and none imports what stands above it.

Every import statement counts: at the top, under TYPE_CHECKING and inside functions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS = (
    {"errors", "mounts"},
    {"digests", "draws", "failures", "guard", "interrupts", "jsons", "papers", "place", "tables", "texts"},
    {"stats", "study"},
    {"store"},
    {"corpora", "models", "published"},
    {"sources"},
    {"attribution", "concepts", "consistency", "faithfulness", "heads"},
    {"selftest"},
    {"steps"},
    {"upkeep"},
    {"report", "demo"},
    {"cli"},
)
"""Parts of `xlwh`, from the ground up. A part imports from floors below its own, and from none beside it."""

Graph = Mapping[str, Mapping[str, int]]
"""Module -> modules that it imports -> line of the first such import."""


def _modules(root: Path, *packages: str) -> dict[str, Path]:
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(path: Path, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            # A name that is no module is one of a module's.
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name, node.lineno


def graph(root: Path, *packages: str) -> Graph:
    known = _modules(root, *packages)
    found: dict[str, dict[str, int]] = {}
    for module, path in known.items():
        targets = found.setdefault(module, {})
        for target, line in _imports(path, known):
            if target != module:
                targets.setdefault(target, line)
    return found


def circles(imports: Graph) -> list[list[str]]:
    """Strongly connected components of two modules or more. Source: Tarjan (1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for target in imports[module]:
            if target not in number:
                visit(target)
            if target in stack:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == number[module]:
            members = stack[stack.index(module) :]
            del stack[-len(members) :]
            if len(members) > 1:
                found.append(sorted(members))

    for module in imports:
        if module not in number:
            visit(module)
    return found


@pytest.fixture(scope="module")
def imports() -> Graph:
    return graph(ROOT, "xlwh", "dagster_project")


def test_a_circle_is_found_wherever_the_imports_stand(tmp_path):
    package = tmp_path / "made"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("def f():\n    from made.two import g\n")
    (package / "two.py").write_text("if TYPE_CHECKING:\n    from made import three\n")
    (package / "three.py").write_text("import made.one\nimport made.four\n")
    (package / "four.py").write_text("")
    assert circles(graph(tmp_path, "made")) == [["made.one", "made.three", "made.two"]]


def test_no_circle(imports):
    told = [
        f"  {module}, line {line}: imports {target}"
        for members in circles(imports)
        for module in members
        for target, line in imports[module].items()
        if target in members
    ]
    assert not told, "modules that import each other; move what both need into a third one:\n" + "\n".join(
        told
    )


def test_no_part_imports_what_stands_above_or_beside_it(imports):
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    told = []
    for module, targets in imports.items():
        package, _, part = module.partition(".")
        if package != "xlwh" or not part:
            continue
        part = part.partition(".")[0]
        assert part in floor, f"xlwh/{part} stands on no floor: name it in FLOORS"
        for target, line in targets.items():
            other = target.partition(".")[2].partition(".")[0]
            if target.startswith("xlwh.") and other != part and floor[other] >= floor[part]:
                told.append(f"  {module}, line {line}: imports {target}")
    assert not told, "imports that go up or sideways:\n" + "\n".join(told)


def test_only_the_command_line_knows_dagster(imports):
    """It starts it; everything else is usable without."""
    told = {
        module.split(".")[1]
        for module, targets in imports.items()
        if module.startswith("xlwh.") and any(target.startswith("dagster_project") for target in targets)
    }
    assert told <= {"cli"}


def test_no_file_that_is_read_with_polars_has_its_path_expanded():
    """A folder of the user's may have glob characters in its name."""
    root, found = Path(__file__).resolve().parents[2], []
    for file in [*root.glob("xlwh/**/*.py"), *root.glob("dagster_project/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("read_parquet", "scan_parquet", "read_parquet_schema")
                and not any(word.arg == "glob" for word in node.keywords)
            ):
                found.append(f"{file.relative_to(root)}:{node.lineno}")
    assert found == []
