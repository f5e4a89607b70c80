"""A study of two models, datasets and languages, made in seconds, and variants of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xlwh.models import Zoo
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.runner import run
from xlwh.store import Warehouse
from xlwh.study import Study

CONVERTED = ("examples", "parallelism", "tokens", "predictions")


class Bench:
    """A study of two models, datasets and languages in a folder, and variants of it."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder, self.checkpoint = folder, checkpoint
        for dataset in ("nli", "second"):
            for language in ("en", "de"):
                path = folder / dataset / f"dev-{language}.tsv"
                path.parent.mkdir(exist_ok=True)
                lines = [
                    f"{language} {number} one\t{language} {number} two\tneutral\n" for number in range(9)
                ]
                path.write_text("".join(lines))

    def study(
        self, models=("a", "b"), datasets=("nli", "second"), languages=("en", "de"), **more: Any
    ) -> Study:
        return Study.model_validate(
            {
                "name": "small",
                "languages": languages,
                "datasets": {
                    name: {"reader": "xnli", "path": name, "aligned": "unchecked"} for name in datasets
                },
                "models": {name: {"path": str(self.checkpoint), "datasets": datasets} for name in models},
                "folder": self.folder,
                **more,
            }
        )

    def context(self, *args: Any, **more: Any) -> Context:
        study, warehouse = self.study(*args, **more), Warehouse(self.folder / "warehouse", create=True)
        return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))

    def make(self, context: Context, *steps: str) -> Context:
        for name in steps or CONVERTED:
            for key in partitions(context.study, STEPS[name]):
                run(STEPS[name], context, key)
        return context
