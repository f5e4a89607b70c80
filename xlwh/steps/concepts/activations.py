"""Words' vectors of one model in one language, at every layer that the study asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from xlwh.concepts.frequency import Choice, Policy, choose, occurrences
from xlwh.concepts.health import health
from xlwh.concepts.places import Place, places_of
from xlwh.concepts.texts import Texts
from xlwh.models.words import segmenter_name
from xlwh.steps.concepts.asked import files, has_texts, settings_of
from xlwh.steps.job import Frames, Job, Stored, cut
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot

TABLES = ("activations", "sentence_vectors")


@dataclass(frozen=True)
class _Params:
    dataset: str
    counted: tuple[str, ...]
    """Datasets that are clustered together: on all of them it is decided which words are kept."""
    language: str
    place: Place
    aggregation: Any
    policy: Policy
    segmenter: str
    batch_tokens: int | None = cut()


class _Activations(Pieced):
    version = "2"
    libraries = ("torch", "transformers", "tokenizers")
    at_once = 2_000
    apart = "example_id"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset and layer; the layers of a dataset are made in one pass."""
        study, asked = partition.study, settings_of(partition)
        model, language = partition.model, partition.language
        if language not in asked.needed_languages(study.languages):
            raise NotApplicable(f"The study clusters no words of `{language}`.")
        found = {
            dataset: files(partition, dataset, language)
            for dataset in asked.datasets
            if has_texts(study, dataset, language)
        }
        if not found:
            raise NotApplicable(f"None of the concepts' datasets is read in `{language}`.")
        use = partition.use(model, "max_length", "dtype", "attention")
        places = places_of(use.pin, asked)
        if not places:
            raise NotApplicable(f"`{model}` has none of the stacks {', '.join(asked.stacks)}.")
        # The seed matters only where there is something to draw.
        seed = study.seed if asked.max_occurrences is not None else 0
        policy, segmenter = Policy(asked.min_count, asked.max_occurrences, seed), segmenter_name(language)
        for dataset in found:
            counted = tuple(found) if asked.pool else (dataset,)
            for place in places:
                values = (dataset, counted, language, place, asked.aggregation, policy, segmenter)
                yield Job(
                    {table: Slot(table, (model, language), f"{dataset}.{place}") for table in TABLES},
                    _Params(*values, asked.batch_tokens),
                    tuple(entry for each in counted for entry in found[each]),
                    use,
                    together=f"{dataset}: activations",
                )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The examples, and where they stand."""
        return _texts(work, jobs[0], jobs[0].params.dataset).ids()

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """Vectors at every place, window by window."""
        from xlwh.concepts.extraction import rows, windows

        params, places = jobs[0].params, [job.params.place for job in jobs]
        loaded = work.load(jobs[0], "activations")
        choice, texts = self._choice(work, jobs[0]), _texts(work, jobs[0], params.dataset)
        examples = texts.read(pieces)
        kept = choice.of(occurrences(examples, params.policy.seed))
        for window in windows(kept, loaded.family.hidden_size(loaded.config) * len(places)):
            yield rows(
                loaded, examples, window, places, params.aggregation, params.batch_tokens, texts.segment
            )
            work.within(int(window["example"][-1]) + 1, pieces.height)

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """What is odd about the vectors of a layer."""
        return {f"{job.params.dataset}, {job.params.place}": health(rows["activations"])}

    def _choice(self, work: Work, job: Job) -> Choice:
        """Which words are kept: counted once for all passes over the same datasets."""
        known = (job.reads, job.params.policy)
        if known not in work.kept:
            work.kept[known] = choose(self._counted(work, job), job.params.policy)
        choice: Choice = work.kept[known]
        work.tell(f"{job.params.dataset}: word types", f"{choice.num_kept_types} of {choice.num_types} kept")
        return choice

    def _counted(self, work: Work, job: Job) -> Iterator[pl.DataFrame]:
        for dataset in job.params.counted:
            texts, done = _texts(work, job, dataset), 0
            ids = texts.ids()
            for part in texts.parts(ids, self.at_once):
                yield occurrences(part, job.params.policy.seed)
                done += part.height
                work.progress(f"{dataset}: counting words", done, ids.height)


STEP = _Activations()


def _texts(work: Work, job: Job, dataset: str) -> Texts:
    return Texts(work.scan(job, "examples", dataset=dataset), job.params.language)
