"""Make masks of what heads are worth, evaluate every language's on this one, and test what they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from xlwh.corpora import sample
from xlwh.steps.base import Key
from xlwh.steps.heads import game
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot, schema
from xlwh.study import Heads, Sampler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xlwh.heads.masks import Mask
    from xlwh.heads.players import Player
    from xlwh.heads.scores import Gold

TABLES = ("pruning_masks", "pruning_evaluations", "pruning_tests")
_HEADS = ("head",)
"""Players of a game that can be compared with other measures of importance."""


@dataclass(frozen=True)
class _Params:
    evaluated: str
    """Dataset that masks are evaluated on."""
    settings: Heads
    """Without what only decides how heads are sampled."""
    seed: int


class _PruningEvaluations(Whole):
    version = "4"
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
            reads = dict.fromkeys(
                (valued.entry, evaluated.entry, *_samples(partition, heads, valued.dataset))
            )
            if heads.importance and any(sampler.players == _HEADS for sampler in heads.samplers.values()):
                reads[partition.required(Slot("head_importance", keys, valued.dataset))] = None
            params = _Params(evaluated.dataset, _settings(heads), partition.study.seed)
            slots = {table: Slot(table, keys, valued.dataset) for table in TABLES}
            yield Job(slots, params, tuple(reads), use, name=valued.dataset)

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of the three tables."""
        from xlwh.heads.engine import Engine
        from xlwh.heads.evaluate import mask_scores
        from xlwh.heads.masks import masks_frame

        params: _Params = job.params
        model, language = job.slots["pruning_masks"].keys
        games = _games(work, job, language)
        own = masks_frame(
            [mask for masks in games.values() for made_in, mask in masks if made_in == language]
        )
        frames = {table: pl.DataFrame(schema=schema(table)) for table in TABLES}
        frames["pruning_masks"] = own.with_columns(
            model=pl.lit(model),
            dataset=pl.lit(job.name),
            split=pl.lit(job.reads[0].slot.part),
            language=pl.lit(language),
        )
        examples = _evaluated_examples(work, job)
        if examples.is_empty() or not games:
            return frames
        work.examples += examples.height
        keys = examples.select("dataset", "split", "language", model=pl.lit(model)).head(1)
        loaded = work.load(job, "heads")
        evaluations, tests = [], []
        whole: NDArray[np.float32] | None = None

        def report(done: int, total: int) -> None:
            work.progress(f"{params.evaluated}: masks", done, total)

        for kinds, masks in games.items():
            players, encoded, gold = game.game_of(job, loaded, examples, kinds, params.settings.groups)
            engine = Engine(loaded, encoded, players, gold)
            before, scores = mask_scores(engine, [mask for _, mask in masks], report)
            if whole is None:
                whole = before
                evaluations.append(_evaluated(examples, whole, gold, _NONE._replace(mask_language=language)))
            for column, (made_in, mask) in enumerate(masks):
                name = _Name(mask.ranking, made_in, mask.draw, mask.selection, len(mask.removed))
                evaluations.append(_evaluated(examples, scores[:, column], gold, name))
                tests.append(_tested(params, whole, scores[:, column], gold, name))
        frames["pruning_evaluations"] = pl.concat(evaluations).join(keys, how="cross")
        frames["pruning_tests"] = pl.DataFrame(tests, infer_schema_length=None).join(keys, how="cross")
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


def _samples(partition: Partition, heads: Heads, dataset: str) -> Iterator[Entry]:
    """Rounds of samples on a dataset, in the languages that the model is evaluated in on it."""
    study, model = partition.study, partition.model
    wanted = {f"{dataset}.{name}" for name in heads.samplers}
    for language in sorted(study.all_languages()):
        if dataset in study.evaluations(model, language):
            rounds = partition.written("head_samples", Key(model, language=language))
            yield from (entry for entry in rounds if entry.slot.part.rpartition(".")[0] in wanted)


def _evaluated_examples(work: Work, job: Job) -> pl.DataFrame:
    """The examples that masks are evaluated on: never one that heads were valued on."""
    params, heads = job.params, job.params.settings
    scan = work.scan(job, "examples", dataset=params.evaluated)
    examples = game.with_gold(scan)
    if job.name == params.evaluated:
        used = game.valued_examples(scan, heads.max_examples, params.seed).select("example_id")
        examples = examples.join(used, on="example_id", how="anti", maintain_order="left")
    return examples if heads.max_evaluated is None else sample(examples, heads.max_evaluated, params.seed)


def _games(work: Work, job: Job, language: str) -> dict[tuple[str, ...], list[tuple[str, Mask]]]:
    """Masks, each with the language it was made in, by the players that they are made of.

    They are every language's decisions, and this one's other rankings.
    """
    from xlwh.heads.masks import decided_masks, players_in, ranked, sized_masks
    from xlwh.heads.summary import summarise

    settings: Heads = job.params.settings
    sampled = [entry.slot.partition["language"] for entry in job.reads if entry.slot.table == "head_samples"]
    # One language at a time: the samples of all together may be large.
    summaries = {
        code: summarise(work.scan(job, "head_samples", language=code)) for code in dict.fromkeys(sampled)
    }
    by_kinds: dict[tuple[str, ...], list[tuple[str, Mask]]] = {}
    sizes: set[int] = set()
    players: Sequence[Player] = ()
    for name, sampler in settings.samplers.items():
        made = by_kinds.setdefault(sampler.players, [])
        for code, summary in summaries.items():
            own = summary.filter(pl.col("sampler") == name)
            if own.is_empty():
                continue
            decided = decided_masks(own, name, sampler.delta)
            made += [(code, mask) for mask in decided]
            ranking, order = f"shapley.{name}", ranked(own, "mean")
            if settings.zero_shot is not None:
                made += [
                    (code, mask) for mask in sized_masks(ranking, order, [settings.zero_shot], "zero_shot")
                ]
            if code == language:
                made += [(code, mask) for mask in sized_masks(ranking, order, settings.curve, "curve")]
                if sampler.players == _HEADS:
                    players = sorted(players_in(own))
                    sizes |= {len(mask.removed) for mask in decided}
    if _HEADS in by_kinds:
        by_kinds[_HEADS] += [(language, mask) for mask in _other_rankings(work, job, players, sizes)]
    return {kinds: masks for kinds, masks in by_kinds.items() if masks}


def _other_rankings(work: Work, job: Job, players: Sequence[Player], sizes: set[int]) -> Sequence[Mask]:
    """As many heads as the decisions remove, and the curve's numbers, by importance and at random."""
    from xlwh.heads.masks import DESCENDING, RANDOM, random_orders, ranked, sized_masks

    settings: Heads = job.params.settings
    importance = work.scan(job, "head_importance").collect()
    masks: list[Mask] = []
    orders: list[tuple[str, int, tuple[Player, ...]]] = [
        (method, 0, ranked(importance.filter(pl.col("method") == method), "value", method in DESCENDING))
        for method in settings.importance
    ]
    orders += [
        (RANDOM, draw, order)
        for draw, order in enumerate(random_orders(players, settings.random_masks, job.params.seed))
    ]
    for ranking, draw, order in orders:
        masks += sized_masks(ranking, order, sizes, "same_size", draw)
        masks += sized_masks(ranking, order, settings.curve, "curve", draw)
    return masks


class _Name(NamedTuple):
    """What tells masks apart, as columns."""

    ranking: str
    mask_language: str
    draw: int
    selection: str
    num_removed: int


_NONE = _Name("none", "", 0, "none", 0)
"""The whole model."""


def _evaluated(examples: pl.DataFrame, scores: NDArray[np.float32], gold: Gold, mask: _Name) -> pl.DataFrame:
    return examples.select(
        "example_id",
        score=pl.Series(scores),
        weight=pl.Series(gold.weights),
        **{name: pl.lit(value) for name, value in mask._asdict().items()},
    )


def _tested(
    params: _Params, before: NDArray[np.float32], after: NDArray[np.float32], gold: Gold, mask: _Name
) -> dict[str, object]:
    from xlwh.heads.evaluate import compare

    return {
        **mask._asdict(),
        "num_examples": len(before),
        **compare(before, after, gold.weights, params.settings.resamples, params.seed, gold.tagging),
        "resamples": params.settings.resamples,
    }
