"""Make masks of what heads are worth, evaluate every language's on this one, and test what they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import polars as pl

from xlwh.heads.examples import evaluated_examples, valued_examples
from xlwh.heads.masks import HEADS, games_of_masks, masks_frame
from xlwh.heads.summary import summarise
from xlwh.steps.base import Key
from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job, options_of
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot, schema
from xlwh.study import Heads, Inputs, Sampler

TABLES = ("pruning_masks", "pruning_evaluations", "pruning_tests")


@dataclass(frozen=True)
class _Params:
    evaluated: str
    """Dataset that masks are evaluated on."""
    settings: Heads
    """Without what only decides how heads are sampled."""
    seed: int


class _PruningEvaluations(Whole):
    version = "5"
    # SciPy and NumPy: of the tests.
    libraries = (*game.LIBRARIES, "scipy")
    counted = ("pruning_evaluations",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset that heads are valued on, with the samples of all languages that are there now."""
        heads, found = game.head_settings(partition), game.fitting(partition)
        pairs = [(found[v], found[e]) for v, e in heads.datasets.items() if v in found and e in found]
        if not pairs:
            raise NotApplicable(
                f"`{partition.model}` has no dataset to evaluate masks on in `{partition.language}`."
            )
        keys, use = (partition.model, partition.language), game.use_of(partition)
        for valued, evaluated in pairs:
            samples = _samples(partition, heads, valued.dataset)
            reads = dict.fromkeys((valued.entry, evaluated.entry, *samples))
            if heads.importance and any(sampler.players == HEADS for sampler in heads.samplers.values()):
                # What `zero_shot_from` says reaches the rows by these.
                for language in dict.fromkeys(
                    (partition.language, *_zero_shot_from(partition, heads, valued.dataset))
                ):
                    slot = Slot("head_importance", (partition.model, language), valued.dataset)
                    reads[partition.required(slot)] = None
            params = _Params(evaluated.dataset, _settings(heads), partition.study.seed)
            slots = {table: Slot(table, keys, valued.dataset) for table in TABLES}
            yield Job(slots, params, tuple(reads), use, name=valued.dataset)

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of the three tables."""
        from xlwh.heads.evaluate import evaluate_masks

        params: _Params = job.params
        heads, (model, language) = params.settings, job.slots["pruning_masks"].keys
        # One language at a time: the samples of all together may be large.
        summaries = {
            code: summarise(work.scan(job, "head_samples", language=code))
            for code in _languages(job, "head_samples")
        }
        importance = {
            code: work.scan(job, "head_importance", language=code).collect()
            for code in _languages(job, "head_importance")
        }
        games = games_of_masks(summaries, importance, heads, language, params.seed)
        scan, valued = work.scan(job, "examples", dataset=params.evaluated), None
        if job.name == params.evaluated:
            valued = valued_examples(scan, heads.max_examples, params.seed)
        examples = evaluated_examples(scan, valued, heads.max_evaluated, params.seed)
        frames = {table: pl.DataFrame(schema=schema(table)) for table in TABLES}
        own = masks_frame(mask for masks in games.values() for mask in masks if mask.language == language)
        about = {"model": model, "dataset": job.name, "split": job.reads[0].slot.part, "language": language}
        frames["pruning_masks"] = own.with_columns(**{name: pl.lit(value) for name, value in about.items()})
        if examples.height and games:
            work.examples += examples.height
            frames["pruning_evaluations"], frames["pruning_tests"] = evaluate_masks(
                work.load(job, "heads"),
                examples,
                games,
                heads,
                options_of(job, Inputs).tagged_piece,
                params.seed,
                partial(work.progress, f"{params.evaluated}: masks"),
            )
        return frames


STEP = _PruningEvaluations()


def _settings(heads: Heads) -> Heads:
    """Without what only decides how heads are sampled, and what else is made."""
    return heads.model_copy(
        update={
            "datasets": {},
            "models": None,
            "score": "accuracy",
            "precision": "float32",
            "attention_examples": 0,
            "samplers": {n: Sampler(players=s.players, delta=s.delta) for n, s in heads.samplers.items()},
        }
    )


def _languages(job: Job, table: str) -> list[str]:
    """Languages of the files of a table that a job reads."""
    return list(dict.fromkeys(e.slot.partition["language"] for e in job.reads if e.slot.table == table))


def _zero_shot_from(partition: Partition, heads: Heads, dataset: str) -> list[str]:
    """Languages whose other rankings are tried too, as far as the model is evaluated in them."""
    study, model = partition.study, partition.model
    return [code for code in heads.zero_shot_from if dataset in study.evaluations(model, code)]


def _samples(partition: Partition, heads: Heads, dataset: str) -> Iterator[Entry]:
    """Rounds of samples on a dataset, in the languages that the model is evaluated in on it."""
    study, model = partition.study, partition.model
    wanted = {f"{dataset}.{name}" for name in heads.samplers}
    for language in sorted(study.all_languages()):
        if dataset in study.evaluations(model, language):
            rounds = partition.written("head_samples", Key(model, language=language))
            yield from (entry for entry in rounds if entry.slot.part.rpartition(".")[0] in wanted)
