"""What kind of concept each one is: affixes beyond chance, and gold tags where the corpus has them."""

from __future__ import annotations

import polars as pl

from xlwh.concepts.kinds import commonest, entity_type, kind_of_tags, shared_affixes
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.concepts import stored_clusterings
from xlwh.steps.upstream import identity, keep_only
from xlwh.store import Entry, Slot, fingerprint, schema

CODE_VERSION = "1"

_WORD = ("dataset", "split", "language", "example_id", "word_index")


def run(context: Context, key: Key) -> StepResult:
    """Write `concept_kinds` of one model, a file per corpus, layer and scope, as `concept_members` has them."""
    model, settings = str(key.model), context.study.concepts
    if settings is None or model not in (settings.models or context.study.models):
        return not_applicable(f"The study asks for no concepts of `{model}`.")
    members = stored_clusterings(context, model, settings, "concept_members")
    if not members:
        return not_applicable(f"No concepts of `{model}` are stored.")
    keep_only(
        context, ("concept_kinds",), (model,), {Slot("concept_kinds", (model,), e.slot.part) for e in members}
    )
    watch, rows, tags = Stopwatch(), 0, None
    wanted = {
        Slot("examples", (dataset, language), context.study.datasets[dataset].split)
        for dataset in settings.datasets
        for language in context.study.dataset_languages(dataset)
    }
    examples = [entry for entry in context.warehouse.entries("examples") if entry.slot in wanted]
    for number, entry in enumerate(members):
        slot = Slot("concept_kinds", (model,), entry.slot.part)
        current = fingerprint("concept_kinds", CODE_VERSION, {}, map(identity, [entry, *examples]))
        if not context.force and context.warehouse.is_fresh(slot, current):
            continue
        if tags is None:
            tags = _tags(context, examples)
        context.progress(f"kinds of concepts: {entry.slot.part}", number, len(members))
        frame = pl.read_parquet(context.warehouse.root / entry.file)
        kinds = pl.concat(
            [_kinds(own, tags) for (_,), own in frame.partition_by("clustering", as_dict=True).items()]
        )
        context.warehouse.write({slot: kinds}, current)
        rows += kinds.height
    if not rows:
        return StepResult(status="fresh")
    return StepResult("written", rows, 0, watch.seconds)


def _tags(context: Context, examples: list[Entry]) -> dict[str, pl.DataFrame]:
    """`pos` and `entity` -> gold tags as rows of a word's key and `tag`, of all datasets that have such tags."""
    found: dict[str, list[pl.DataFrame]] = {"pos": [], "entity": []}
    for entry in examples:
        frame = (
            pl.scan_parquet(context.warehouse.root / entry.file, glob=False)
            .filter(pl.col("word_labels").is_not_null())
            .select(
                "dataset",
                "split",
                "language",
                "example_id",
                word_index=pl.int_ranges(pl.col("word_labels").list.len(), dtype=pl.Int32),
                tag="word_labels",
            )
            .explode("word_index", "tag")
            .collect()
        )
        kind = kind_of_tags(frame["tag"].unique().to_list())
        if kind is not None:
            found[kind].append(frame)
    none = pl.DataFrame(
        schema={**{name: schema("concept_members")[name] for name in _WORD}, "tag": pl.String}
    )
    return {kind: pl.concat([none, *frames]) for kind, frames in found.items()}


def _kinds(members: pl.DataFrame, tags: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Rows of `concept_kinds` of one clustering."""
    pos = members.join(tags["pos"], on=_WORD).select("concept", "tag")
    entity = members.join(tags["entity"], on=_WORD).select(
        "concept", tag=pl.col("tag").map_elements(entity_type, return_dtype=pl.String)
    )
    languages = commonest(members.select("concept", tag="language"), "language")
    several = members.group_by("concept").agg(num_languages=pl.col("language").n_unique())
    frame = (
        members.group_by("model", "clustering", "concept")
        .agg(num_tokens=pl.len())
        .sort("concept")
        .join(shared_affixes(members), on="concept", how="left", maintain_order="left")
        .join(commonest(pos, "pos"), on="concept", how="left", maintain_order="left")
        .join(commonest(entity, "entity"), on="concept", how="left", maintain_order="left")
        .join(several, on="concept", how="left", maintain_order="left")
        .join(languages, on="concept", how="left", maintain_order="left")
        .with_columns(pl.col("num_pos_tagged", "num_entity_tagged").fill_null(0))
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema("concept_kinds").items())
