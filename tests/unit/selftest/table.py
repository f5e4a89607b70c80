"""The table of docs/selftest.md: every family that is shipped, padded on either side, and every item.

`python tests/unit/selftest/table.py` writes it into the page; the tests compare the page with what they find.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from xlwh.digests import HashCache
from xlwh.models import LoadedModel
from xlwh.selftest import ITEMS, Result

PAGE = Path(__file__).parents[3] / "docs" / "selftest.md"
START, END = "<!-- self-test: begin -->", "<!-- self-test: end -->"
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
MARKS = {"passed": "✓", "failed": "✗", "not_applicable": "–"}

Row = tuple[str, str]
"""A `model_type`, and the side."""


def on_side(loaded: LoadedModel, side: Literal["left", "right"]) -> LoadedModel | None:
    """The model with batches padded on that side; None where its family cannot."""
    if side not in loaded.family.padding_sides:
        return None
    return replace(loaded, family=replace(loaded.family, padding_side=side))


def tried(
    loaded: LoadedModel, side: Literal["left", "right"], test: Callable[..., Any]
) -> Sequence[Result] | None:
    """Results of a model on one side."""
    from xlwh.selftest.texts import built_in

    moved = on_side(loaded, side)
    return None if moved is None else test(moved, built_in(pairs=moved.task == "sequence_classification"))


def table(results: Mapping[Row, Sequence[Result] | None]) -> str:
    """The table in Markdown."""
    names = [f"`{item.name}`" for item in ITEMS]
    lines = [
        f"| architecture | padding | {' | '.join(names)} |",
        f"|---|---|{'|'.join(':-:' for _ in names)}|",
    ]
    for (model_type, side), found in results.items():
        marks = ["–"] * len(names) if found is None else [MARKS[result.status] for result in found]
        lines.append(f"| {model_type} | {side} | {' | '.join(marks)} |")
    return "\n".join(lines)


def in_page() -> str:
    """The table that the page has."""
    return PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0].strip()


def main() -> None:
    """Write the table into the page."""
    import tempfile
    from types import SimpleNamespace

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import make_checkpoint

    from xlwh.models import Zoo
    from xlwh.models.families import FAMILIES
    from xlwh.selftest.checks import self_test
    from xlwh.study import Study

    results: dict[Row, Sequence[Result] | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for model_type in (name for family in FAMILIES for name in family.model_types):
            study = Study.model_validate(
                {
                    "name": "table",
                    "languages": ["en"],
                    "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
                    "models": {
                        "m": {
                            "path": str(make_checkpoint(model_type, root / model_type)),
                            "datasets": ["nli"],
                        }
                    },
                    "folder": root,
                }
            )
            warehouse: Any = SimpleNamespace(root=root / "warehouse", hashes=HashCache.of(root / "warehouse"))
            loaded = Zoo(study, warehouse, device="cpu").load("m")
            results |= {(model_type, side): tried(loaded, side, self_test) for side in SIDES}
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    PAGE.write_text(f"{before}{START}\n{table(results)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
