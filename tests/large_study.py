"""A study of many models, languages and datasets over tiny files, and a warehouse that is filled without computing.

Every table is stored under the fingerprint that its step plans; its files are links to one file per table, so that
hundreds of thousands of them take no room. Planning, the catalogue and `gc` see what they see of a real study.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from itertools import product
from pathlib import Path

from made_up import parallel_rows, row

from xlwh.models import Zoo
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.planning import NotApplicable
from xlwh.store import Entry, Slot, Warehouse, empty
from xlwh.store.files import UNFINISHED
from xlwh.store.manifest import NewFile
from xlwh.store.parquet import Written, write_parquet
from xlwh.store.slots import contract
from xlwh.store.write import new_name
from xlwh.study import load

_LINKS = 30_000
"""Names that one file is given: file systems allow some ten thousand."""


def write(
    folder: Path, models: int, languages: int, datasets: int, methods: str = "input_x_gradient"
) -> Path:
    """The study's file, with everything that it names: sentence pairs, and checkpoints that can be told apart."""
    codes = [first + second for first, second in product("abcdefghij", "abcde")][:languages]
    assert len(codes) == languages
    names = [f"d{number}" for number in range(datasets)]
    for name, code in product(names, codes):
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        (folder / "data" / name / f"dev-{code}.tsv").write_text(f"{code} one\t{code} two\tneutral\n" * 4)
    lines = [
        'name = "large"',
        f"languages = {json.dumps(codes)}",
        'data_root = "data"',
        *(f'[datasets.{name}]\nreader = "xnli"\npath = "{name}"' for name in names),
        "[attribution]\nmax_examples = 2",
        *(f"[attribution.methods.{method}]" for method in methods.split()),
        "[faithfulness]\nmax_examples = 2",
    ]
    for number in range(models):
        key = f"m{number:03d}"
        _write_checkpoint(folder / "checkpoints" / key, number)
        lines.append(f'[models.{key}]\npath = "checkpoints/{key}"\ndatasets = {json.dumps(names)}')
    file = folder / "study.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def _write_checkpoint(folder: Path, number: int) -> None:
    """What a pin is taken of; it cannot be loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_text(f"weights {number}")


def context(file: Path, root: Path) -> Context:
    """The study over the warehouse at `root`."""
    study, warehouse = load(file), Warehouse(root, create=True)
    return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))


def fill(context: Context) -> int:
    """Store everything that the study asks for, step by step, a commit each; the number of files."""
    root, planner, count = context.warehouse.root, context.planner, 0
    for step in STEPS.values():
        planner.refresh()
        links = {table: _links(root, table, context.study.languages) for table in step.tables}
        put = list[NewFile]()
        for key in partitions(context.study, step):
            try:
                jobs = planner.jobs(step, key)
            except NotApplicable:
                continue
            for planned in jobs:
                for table, slot in planned.job.slots.items():
                    file = new_name(slot, planned.fingerprint)
                    (root / file).parent.mkdir(parents=True, exist_ok=True)
                    link, version = links[table].send(root / file), contract(table).version
                    put.append(
                        NewFile(slot, file, planned.fingerprint, 1, link.size_bytes, version, link.digest)
                    )
        context.warehouse.manifest.commit(put=put)
        count += len(put)
    planner.refresh()
    return count


def _links(root: Path, table: str, languages: Sequence[str]) -> Generator[Written, Path]:
    """Gives one file of a table every name that is sent."""
    if table == "examples":
        # What a dataset is asked for is found in the task of its examples.
        rows = row(table, task="sentence_pair")
    else:
        rows = parallel_rows("all", languages) if table == "parallelism" else empty(table)

    def links() -> Generator[Written, Path]:
        written, number, template = Written(0, ""), 0, root / f"{UNFINISHED}{table}"
        while True:
            name = yield written
            if number % _LINKS == 0:
                template.unlink(missing_ok=True)
                written = write_parquet(rows, template, {})
            os.link(template, name)
            number += 1

    found = links()
    next(found)
    return found


def touch(context: Context, slot: Slot | None = None) -> None:
    """Commit one file anew, with the rows and the fingerprint that it has."""
    warehouse = context.warehouse
    entry = warehouse.current(slot or Slot("predictions", ("m000", context.study.languages[0]), "d0"))
    assert entry is not None
    file = new_name(entry.slot, entry.fingerprint)
    os.link(warehouse.root / entry.file, warehouse.root / file)
    warehouse.manifest.commit(put=[linked(entry, file, entry.fingerprint)])


def linked(entry: Entry, file: str, fingerprint: str) -> NewFile:
    """Another file of a slot with the same rows."""
    assert entry.digest is not None
    return NewFile(entry.slot, file, fingerprint, entry.rows, entry.size_bytes, entry.version, entry.digest)
