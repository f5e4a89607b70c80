"""Clusters of one model's word vectors: concepts of one language, and of languages taken together."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from xlwh.concepts.clusterings import WORD, Task, clustered, summary
from xlwh.concepts.points import gather, vectors
from xlwh.steps.concepts.asked import clusterings, settings_of, texts
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot

LIBRARIES = {"torch": "torch", "faiss": "faiss", "scikit-learn": "scikit-learn", "minibatch": "scikit-learn"}
"""What computes, by `concepts.algorithm`."""


class _Concepts(Whole):
    version = "2"
    libraries = ("scipy",)
    counted = ("concept_members",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per corpus, layer and group of languages."""
        asked, model = settings_of(partition), partition.model
        for clustering in clusterings(partition):
            vectors = [
                partition.required(Slot("activations", (model, language), f"{dataset}.{clustering.place}"))
                for dataset, language in texts(partition.study, clustering)
            ]
            how = (asked.clusters, asked.algorithm, asked.seeds, asked.restarts, asked.max_iterations)
            yield Job(
                {table: clustering.slot(table) for table in ("clusterings", "concepts", "concept_members")},
                Task(clustering, *how),
                tuple(vectors),
                libraries=(LIBRARIES[asked.algorithm],),
                name=clustering.part,
                together="clustering",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of the three tables, of all seeds."""
        rows = work.scan(job, "activations")
        kept = rows.filter(pl.col("vector").is_not_null())
        words = kept.select(*WORD, "aggregation").collect()
        device = work.device() if job.params.algorithm == "torch" else "cpu"
        with work.folder() as folder:
            points = gather(vectors(kept), words.height, folder / "points")
            made = clustered(job.params, words, points, device, work.within)
        left_out = rows.select(pl.col("reason").count()).collect().item()
        runs = made["clusterings"].with_columns(num_left_out=left_out)
        work.count("clusterings", runs.height)
        work.count("empty clusters", int(runs["num_empty"].sum()))
        work.count("not converged", int((~runs["converged"]).sum()))
        work.table("by clustering", summary(runs))
        return {**made, "clusterings": runs}


STEP = _Concepts()
