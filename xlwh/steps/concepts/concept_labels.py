"""Names of concepts, from the file that the study names."""

from __future__ import annotations

import hashlib

import polars as pl

from xlwh.concepts.labels import read
from xlwh.errors import CorpusError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.concepts import stored_clusterings
from xlwh.steps.upstream import identity
from xlwh.store import Slot, fingerprint, schema

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `concept_labels` of one model.

    CorpusError for a label of a concept that is not stored: clusterings are made anew with other settings, and a label
    must not move to another concept without notice.
    """
    model, settings = str(key.model), context.study.concepts
    if settings is None or settings.labels is None:
        return not_applicable("The study names no file of labels (`concepts.labels`).")
    if model not in (settings.models or context.study.models):
        return not_applicable(f"The study asks for no concepts of `{model}`.")
    watch, path = Stopwatch(), context.study.folder / settings.labels
    labels = read(path).filter(pl.col("model") == model)
    members = stored_clusterings(context, model, settings, "concepts")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    current = fingerprint("concept_labels", CODE_VERSION, {}, [content, *map(identity, members)])
    slot = Slot("concept_labels", (model,))
    if not context.force and context.warehouse.is_fresh(slot, current):
        return StepResult(status="fresh")
    columns = ("clustering", "concept")
    none = pl.DataFrame(schema={name: schema("concepts")[name] for name in columns})
    files = [context.warehouse.root / entry.file for entry in members]
    known = pl.concat([none, *(pl.read_parquet(file, columns=list(columns)) for file in files)])
    lost = labels.join(known, on=["clustering", "concept"], how="anti")
    if lost.height:
        row = lost.row(0, named=True)
        raise CorpusError(
            f"{path}: {lost.height} labels are of concepts that `{model}` does not have, the first "
            f'"{row["label"]}" of concept {row["concept"]} of `{row["clustering"]}`.'
        )
    frame = labels.select(pl.col(name).cast(dtype) for name, dtype in schema("concept_labels").items())
    context.warehouse.write({slot: frame}, current)
    return StepResult("written", frame.height, 0, watch.seconds)
