"""What kind of concept each one is: affixes beyond chance, and gold tags where the corpus has them."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from xlwh.concepts.kinds import commonest, entity_type, kind_of_tags, shared_affixes
from xlwh.corpora import inapplicable
from xlwh.steps.concepts.clusterings import clusterings, texts
from xlwh.steps.job import Frames, Job, files_of
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, schema

_WORD = ("dataset", "split", "language", "example_id", "word_index")


class _ConceptKinds(Whole):
    version = "1"
    libraries = ("scipy",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per corpus, layer and group of languages, as `concept_members` has them."""
        study = partition.study
        for clustering in clusterings(partition):
            examples = [
                partition.required(Slot("examples", (dataset, language), study.datasets[dataset].split))
                for dataset, language in texts(study, clustering)
                if not inapplicable(study, dataset, language)
            ]
            yield Job(
                {"concept_kinds": clustering.slot("concept_kinds")},
                reads=(partition.required(clustering.slot("concept_members")), *examples),
                name=clustering.part,
                together="kinds of concepts",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of every seed's clustering."""
        members, tags = work.scan(job, "concept_members").collect(), _tags(work, job)
        return {"concept_kinds": pl.concat(_kinds(own, tags) for own in members.partition_by("clustering"))}


STEP = _ConceptKinds()


def _tags(work: Work, job: Job) -> dict[str, pl.DataFrame]:
    """`pos` and `entity` -> gold tags as rows of a word's key and `tag`, of all datasets that have such tags."""
    found: dict[str, list[pl.DataFrame]] = {"pos": [], "entity": []}
    for file in files_of(work.root, job, "examples"):
        frame = (
            pl.scan_parquet(file, hive_partitioning=False, glob=False)
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
    return (
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
