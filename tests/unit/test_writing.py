"""Files get their names when they are whole: nothing that is killed, or finds the disk full, leaves half of one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WRITERS = {"write_parquet", "write_csv", "savefig", "sink_parquet"}
IN_MEMORY = {"content", "buffer", "drawn"}
"""What io.BytesIO is called where a file is made up in memory."""
OF_THEIR_OWN = {
    "xlwh/demo": "the demo's data are made anew where their last file is missing",
    "xlwh/report/papers/pdf.py": "in a temporary folder",
    "xlwh/report/explorer/sqlcell.py": "in a temporary folder, for a download",
    "xlwh/concepts/alignment_external.py": "in a temporary folder, for another program",
    "xlwh/models/finetune.py": "in a folder that is named when it is whole",
    "xlwh/upkeep/imagined.py": "in a temporary folder, for an estimate",
    "xlwh/upkeep/rename.py": "in a folder that is named when it is whole",
    "xlwh/store/bucket.py": "a copy, named by who asked for it when it is whole",
    "xlwh/store/foreign.py": "in the folder of what is being taken, named at its end",
    "xlwh/store/shelf.py": "the end of a file, in a temporary folder while it is read",
    "xlwh/store/staging.py": "in a chunk that is named when it is whole",
    "dagster_project/instance.py": "an empty file to be locked",
}
"""Where files are written under their own names -> why nobody takes half of one for a file."""


def _written(tree: ast.AST) -> dict[str, int]:
    """What is written to without a name of its own that says so -> line."""
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        target: ast.expr | None = None
        if name in ("write_text", "write_bytes") and isinstance(called, ast.Attribute):
            target = called.value
        elif name in WRITERS and isinstance(called, ast.Attribute):
            target = node.args[0] if node.args else None
        elif name == "open":
            method = isinstance(called, ast.Attribute) and ast.unparse(called.value) not in (
                "gzip",
                "os",
                "io",
            )
            mode = node.args[0 if method else 1] if len(node.args) > (0 if method else 1) else None
            if isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "x"):
                target = called.value if isinstance(called, ast.Attribute) and method else node.args[0]
        if target is not None and ast.unparse(target) not in ("unfinished", "part", *IN_MEMORY):
            found[ast.unparse(target)] = node.lineno
    return found


@pytest.mark.parametrize("package", ["xlwh", "dagster_project"])
def test_no_file_is_written_under_its_own_name(package):
    wrong, used = [], set()
    for path in sorted((ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        written = _written(ast.parse(path.read_text(encoding="utf-8")))
        own = [each for each in OF_THEIR_OWN if place == each or place.startswith(f"{each}/")]
        used.update(own if written else ())
        if not own:
            wrong += [f"{place}:{line}: {target}" for target, line in written.items()]
    assert not wrong, "use xlwh.store.files.write_whole or replacing"
    assert used == {each for each in OF_THEIR_OWN if each.startswith(f"{package}/")}


def test_the_search_finds_what_it_is_for():
    wrong = [
        "path.open('w')",
        "path.write_text(t)",
        "open(path, 'wb')",
        "frame.write_parquet(path)",
        "f.savefig(p)",
    ]
    right = [
        "path.open()",
        "unfinished.open('w')",
        "open(path)",
        "frame.write_parquet(unfinished)",
        "os.open(p, 1)",
    ]
    assert [len(_written(ast.parse(each))) for each in wrong] == [1, 1, 1, 1, 1]
    assert [len(_written(ast.parse(each))) for each in right] == [0] * 5
