"""Make masks of what heads are worth, evaluate every language's on this one, and test what they change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.heads.game import evaluated_examples, fitting, game_of, head_settings, input_parameters
from xlwh.steps.models.evaluated import Corpus
from xlwh.steps.models.selftests import load
from xlwh.steps.upstream import identity
from xlwh.store import Entry, Slot, fingerprint, schema
from xlwh.study import Heads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xlwh.heads.masks import Mask
    from xlwh.heads.players import Player
    from xlwh.heads.scores import Gold

CODE_VERSION = "3"
TABLES = ("pruning_masks", "pruning_evaluations", "pruning_tests")


@dataclass(frozen=True)
class _Job:
    """The masks of one dataset, on one dataset."""

    valued: Corpus
    evaluated: Corpus
    fingerprint: str

    def slots(self, model: str) -> dict[str, Slot]:
        keys = (model, self.evaluated.language)
        return {table: Slot(table, keys, self.valued.dataset) for table in TABLES}


@dataclass(frozen=True)
class _Masks:
    """The masks of one game (the players of some samplers), each with the language it was made in."""

    kinds: tuple[str, ...]
    masks: tuple[tuple[str, Mask], ...]


def run(context: Context, key: Key) -> StepResult:
    """Write `pruning_masks`, `pruning_evaluations` and `pruning_tests` of one model in one language."""
    model, language = str(key.model), str(key.language)
    heads = head_settings(context, model)
    if isinstance(heads, StepResult):
        return heads
    found = fitting(context, model, language)
    pairs = [(found[v], found[e]) for v, e in heads.datasets.items() if v in found and e in found]
    if not pairs:
        return not_applicable(f"`{model}` has no dataset to evaluate masks on in `{language}`.")
    jobs = [_job(context, heads, model, valued, evaluated) for valued, evaluated in pairs]
    if not context.force:
        jobs = [
            job
            for job in jobs
            if not all(context.warehouse.is_fresh(s, job.fingerprint) for s in job.slots(model).values())
        ]
    if not jobs:
        return StepResult(status="fresh")
    watch, pin = Stopwatch(), context.zoo.pin(model)
    rows = examples = 0
    for job in jobs:
        frames = _pruned(context, heads, model, job)
        slots = job.slots(model)
        context.warehouse.write(
            {slots[t]: frame for t, frame in frames.items()}, job.fingerprint, pin.provenance
        )
        rows += frames["pruning_evaluations"].height
        examples += frames["pruning_evaluations"]["example_id"].n_unique()
    return StepResult("written", rows, examples, watch.seconds)


def _job(context: Context, heads: Heads, model: str, valued: Corpus, evaluated: Corpus) -> _Job:
    parameters = {
        **input_parameters(context, model),
        "max_examples": heads.max_examples,
        "max_evaluated": heads.max_evaluated,
        "groups": heads.groups,
        "samplers": {
            name: {"players": s.players, "delta": s.delta} for name, s in sorted(heads.samplers.items())
        },
        "importance": heads.importance,
        "random_masks": heads.random_masks,
        "curve": heads.curve,
        "zero_shot": heads.zero_shot,
        "resamples": heads.resamples,
    }
    inputs = [*context.zoo.pin(model).identity, identity(valued.entry), identity(evaluated.entry)]
    inputs += [identity(entry) for entry in _samples(context, heads, model, valued.dataset)]
    importance = context.warehouse.current(_importance_slot(model, valued))
    if importance is not None:
        inputs.append(identity(importance))
    return _Job(valued, evaluated, fingerprint("pruning_evaluations", CODE_VERSION, parameters, inputs))


def _samples(context: Context, heads: Heads, model: str, dataset: str) -> list[Entry]:
    """Rounds of samples on a dataset, in the languages that the model is evaluated in on it, by the samplers of the study.

    As the study has both now: samples that it no longer names may still be stored.
    """
    study = context.study
    languages = {name for name in study.all_languages() if dataset in study.evaluations(model, name)}
    wanted = {f"{dataset}.{sampler}" for sampler in heads.samplers}
    return [
        entry
        for entry in context.warehouse.entries("head_samples")
        if entry.slot.keys[0] == model
        and entry.slot.keys[1] in languages
        and entry.slot.part.rpartition(".")[0] in wanted
    ]


def _importance_slot(model: str, valued: Corpus) -> Slot:
    return Slot("head_importance", (model, valued.language), valued.dataset)


def _pruned(context: Context, heads: Heads, model: str, job: _Job) -> dict[str, pl.DataFrame]:
    """Rows of the three tables."""

    from xlwh.heads.engine import Engine
    from xlwh.heads.evaluate import mask_scores
    from xlwh.heads.masks import masks_frame

    language, valued = job.evaluated.language, job.valued
    games = list(_games(context, heads, model, job))
    own = [mask for game in games for made_in, mask in game.masks if made_in == language]
    first = valued.frame.select("split").head(1).collect()["split"]
    made = _typed(
        masks_frame(own).with_columns(
            model=pl.lit(model),
            dataset=pl.lit(valued.dataset),
            split=pl.lit(first[0] if len(first) else ""),
            language=pl.lit(language),
        ),
        "pruning_masks",
    )
    examples = evaluated_examples(context, heads, valued, job.evaluated)
    if examples.is_empty() or not games:
        return {"pruning_masks": made, **{t: pl.DataFrame(schema=schema(t)) for t in TABLES[1:]}}
    loaded = load(context, model, "heads")
    evaluations, tests = [], []
    whole: NDArray[np.float32] | None = None
    for game in games:
        players, encoded, gold = game_of(context, loaded, examples, game.kinds, heads)
        engine = Engine(loaded, encoded, players, gold)

        def report(done: int, total: int) -> None:
            context.progress(f"{job.evaluated.dataset}: masks", done, total)

        masks = [mask for _, mask in game.masks]
        before, scores = mask_scores(engine, masks, report)
        if whole is None:
            whole = before
            evaluations.append(_evaluated(examples, whole, gold, "none", language, "none", 0, 0))
        for column, (made_in, mask) in enumerate(game.masks):
            after = scores[:, column]
            size = len(mask.removed)
            evaluations.append(
                _evaluated(examples, after, gold, mask.ranking, made_in, mask.selection, mask.draw, size)
            )
            tests.append(_tested(context, heads, whole, after, gold, made_in, mask))
    common = {
        "model": pl.lit(model),
        "dataset": pl.lit(job.evaluated.dataset),
        "split": pl.lit(examples["split"][0]),
        "language": pl.lit(language),
    }
    return {
        "pruning_masks": made,
        "pruning_evaluations": _typed(pl.concat(evaluations).with_columns(**common), "pruning_evaluations"),
        "pruning_tests": _typed(
            pl.DataFrame(tests, infer_schema_length=None).with_columns(**common), "pruning_tests"
        )
        if tests
        else pl.DataFrame(schema=schema("pruning_tests")),
    }


def _games(context: Context, heads: Heads, model: str, job: _Job) -> Iterator[_Masks]:
    """Masks by the players that they are made of: every language's decisions, this one's other rankings."""
    from xlwh.heads.masks import decided_masks, players_in, ranked, sized_masks
    from xlwh.heads.summary import summarise

    language, dataset = job.evaluated.language, job.valued.dataset
    # One language at a time: the samples of all together may be large.
    summaries = {
        code: summarise(pl.scan_parquet(paths, glob=False))
        for code, paths in _by_language(context, heads, model, dataset).items()
    }
    by_kinds: dict[tuple[str, ...], list[tuple[str, Mask]]] = {}
    sizes: set[int] = set()
    players: Sequence[Player] = ()
    for name, sampler in heads.samplers.items():
        made = by_kinds.setdefault(sampler.players, [])
        for code, summary in summaries.items():
            own = summary.filter(pl.col("sampler") == name)
            if own.is_empty():
                continue
            decided = decided_masks(own, name, sampler.delta)
            made += [(code, mask) for mask in decided]
            ranking, order = f"shapley.{name}", ranked(own, "mean")
            if heads.zero_shot is not None:
                made += [(code, mask) for mask in sized_masks(ranking, order, [heads.zero_shot], "zero_shot")]
            if code == language:
                made += [(code, mask) for mask in sized_masks(ranking, order, heads.curve, "curve")]
                if sampler.players == ("head",):
                    players = sorted(players_in(own))
                    sizes |= {len(mask.removed) for mask in decided}
    if ("head",) in by_kinds:
        others = _other_rankings(context, heads, model, job, players, sizes)
        by_kinds[("head",)] += [(language, mask) for mask in others]
    for kinds, masks in by_kinds.items():
        if masks:
            yield _Masks(kinds, tuple(masks))


def _by_language(context: Context, heads: Heads, model: str, dataset: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in _samples(context, heads, model, dataset):
        found.setdefault(entry.slot.keys[1], []).append(str(context.warehouse.root / entry.file))
    return found


def _other_rankings(
    context: Context, heads: Heads, model: str, job: _Job, players: Sequence[Player], sizes: set[int]
) -> Sequence[Mask]:
    """As many heads as the decisions remove, and the curve's numbers, by importance and at random."""
    from xlwh.heads.masks import DESCENDING, RANDOM, random_orders, ranked, sized_masks

    valued = job.valued
    scan = context.warehouse.scan("head_importance", model=model, language=valued.language)
    importance = scan.filter(pl.col("dataset") == valued.dataset).collect()
    masks: list[Mask] = []
    orders: list[tuple[str, int, tuple[Player, ...]]] = [
        (method, 0, ranked(importance.filter(pl.col("method") == method), "value", method in DESCENDING))
        for method in heads.importance
    ]
    orders += [
        (RANDOM, draw, order)
        for draw, order in enumerate(random_orders(players, heads.random_masks, context.study.seed))
    ]
    for ranking, draw, order in orders:
        masks += sized_masks(ranking, order, sizes, "same_size", draw)
        masks += sized_masks(ranking, order, heads.curve, "curve", draw)
    return masks


def _evaluated(
    examples: pl.DataFrame,
    scores: NDArray[np.float32],
    gold: Gold,
    ranking: str,
    made_in: str,
    selection: str,
    draw: int,
    size: int,
) -> pl.DataFrame:
    return examples.select("example_id").with_columns(
        ranking=pl.lit(ranking),
        mask_language=pl.lit(made_in),
        draw=pl.lit(draw),
        selection=pl.lit(selection),
        num_removed=pl.lit(size),
        score=pl.Series(scores),
        weight=pl.Series(gold.weights),
    )


def _tested(
    context: Context,
    heads: Heads,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    gold: Gold,
    made_in: str,
    mask: Mask,
) -> dict[str, object]:
    from xlwh.heads.evaluate import compare

    return {
        "ranking": mask.ranking,
        "mask_language": made_in,
        "draw": mask.draw,
        "selection": mask.selection,
        "num_removed": len(mask.removed),
        "num_examples": len(before),
        **compare(before, after, gold.weights, heads.resamples, context.study.seed, gold.tagging),
        "resamples": heads.resamples,
    }


def _typed(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema(table).items())
