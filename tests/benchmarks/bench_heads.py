"""Heads: evaluated rows per second, rows until a synthetic game is decided, the cost of writing samples, pruned models.

    python tests/benchmarks/bench_heads.py SHARED [--model FOLDER] [--permutations 128] [--examples 512]
    python tests/benchmarks/bench_heads.py SHARED --only pruned

FOLDER is a three-class NLI checkpoint; without one, mini-x11 under a random head is measured, which costs the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from common import print_table

from xlwh.corpora import read, sample
from xlwh.heads.engine import Engine
from xlwh.heads.export import without_heads
from xlwh.heads.permutations import permutations
from xlwh.heads.players import players_of
from xlwh.heads.sampler import removals, sample_round
from xlwh.heads.scores import gold_of
from xlwh.heads.sequences import Evidence, paper_radius
from xlwh.models import Zoo
from xlwh.models.batches import collate, plan
from xlwh.models.gates import gated
from xlwh.models.tokenize import encode
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Sampler, Study

LABELS = ("entailment", "neutral", "contradiction")
PADDED, ROWS = 128, 64


def run(
    shared: Path, model: Path | None = None, permutations: int = 128, examples: int = 512
) -> list[dict[str, Any]]:
    """Speed on real XNLI lengths: ours against one coalition at a time on batches padded to 128."""
    with _classifier(shared, model, examples) as (loaded, encoded, frame, warehouse):
        sites = loaded.family.attention_sites(loaded.model)
        players = players_of(("head",), len(sites), sites[0].num_heads)
        engine = Engine(loaded, encoded, players, gold_of(loaded, encoded, frame))
        sampler = Sampler(round_permutations=permutations, adaptive=False)
        everyone = np.ones(len(players), dtype=bool)
        ids = frame["example_id"].to_list()
        sample_round(engine, Sampler(round_permutations=2), 0, 1, everyone, ids)
        start = time.perf_counter()
        made = sample_round(engine, sampler, 0, 0, everyone, ids)
        seconds = time.perf_counter() - start

        written = _write(warehouse, made, ids, players)
        naive_rows, naive_seconds = _naive(loaded, encoded, players)
        half = Engine(loaded, encoded, players, engine.gold, "accuracy", "bfloat16")
        sample_round(half, Sampler(round_permutations=2), 0, 1, everyone, ids)
        start = time.perf_counter()
        sample_round(half, sampler, 0, 0, everyone, ids)
        half_seconds = time.perf_counter() - start
    naive = naive_rows / naive_seconds
    rows = []
    for name, count, spent in (
        (f"one coalition at a time, padded to {PADDED}", naive_rows, naive_seconds),
        ("walks", made.rows, seconds),
        ("walks, bfloat16", made.rows, half_seconds),
    ):
        rows.append(
            {
                "what": name,
                "rows": count,
                "seconds": round(spent, 2),
                "rows/s": round(count / spent, 1),
                "speed-up": round(count / spent / naive, 2),
            }
        )
    rows.append(
        {
            "what": "writing the walks' samples",
            "rows": len(made),
            "seconds": round(written, 3),
            "share of sampling": f"{written / seconds:.1%}",
        }
    )
    return rows


@contextmanager
def _classifier(
    shared: Path, model: Path | None, examples: int
) -> Iterator[tuple[Any, Any, pl.DataFrame, Warehouse]]:
    """A classifier with examples of XNLI, tokenized, and a warehouse to write to."""
    folder = model or shared / "models" / "mini-x11"
    study = Study.model_validate(
        {
            "name": "bench",
            "languages": ["en"],
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {"m": {"path": str(folder), "max_length": PADDED, "labels": LABELS}},
        }
    )
    frame = sample(read(study, "xnli", "en").examples, examples, 0)
    with tempfile.TemporaryDirectory() as root:
        warehouse = Warehouse(root, create=True)
        zoo = Zoo(study, warehouse)
        loaded = zoo.load("m") if model else zoo.load_base("m", len(LABELS), LABELS, 0)
        loaded.model.eval().requires_grad_(False)
        if loaded.task is None:
            raise SystemExit(f"{folder} has no classification head")
        yield loaded, encode(loaded, frame), frame, warehouse


def pruned(
    shared: Path, model: Path | None = None, examples: int = 128, repeats: int = 3
) -> list[dict[str, Any]]:
    """Models without a quarter and half of their heads against the whole one with these heads' gates closed.

    All of them see the same batches in turns; a model's time is the least of its turns, in processor seconds, which
    other work on the machine hardly changes.
    """
    with _classifier(shared, model, examples) as (loaded, encoded, _, _):
        sites = loaded.family.attention_sites(loaded.model)
        players = players_of(("head",), len(sites), sites[0].num_heads)
        batches = [
            collate(loaded, encoded, rows, length).inputs(loaded)
            for rows, length in plan(encoded.lengths, loaded.max_length)
        ]
        order = permutations(0, np.arange(1), len(players))[0]
        ways: list[tuple[str, int, Any, torch.Tensor]] = []
        for removed in (0, len(players) // 4, len(players) // 2):
            gates = torch.ones(len(players))
            gates[torch.from_numpy(order[:removed].copy())] = 0
            shaped = gates.reshape(1, players.layers, players.heads)
            ways.append(("whole, gated", removed, loaded.model, shaped))
            if removed:
                small = without_heads(loaded.model, [players.names[i] for i in order[:removed]])
                ways.append(("pruned", removed, small, torch.ones(0)))

        def forward(network: Any, gates: torch.Tensor) -> torch.Tensor:
            if not len(gates):
                return torch.cat([network(**inputs).logits for inputs in batches])
            with gated(network, gates):
                return torch.cat([network(**inputs).logits for inputs in batches])

        best = [float("inf")] * len(ways)
        logits: list[torch.Tensor] = [torch.ones(0)] * len(ways)
        with torch.inference_mode():
            for _ in range(repeats):
                for place, (_, _, network, gates) in enumerate(ways):
                    spent, logits[place] = _processor_seconds(lambda n=network, g=gates: forward(n, g))  # type: ignore[misc]
                    best[place] = min(best[place], spent)
        rows = []
        for place, (name, removed, network, _) in enumerate(ways):
            twin = place - 1 if name == "pruned" else place
            rows.append(
                {
                    "model": name,
                    "heads removed": f"{removed} of {len(players)}",
                    "parameters": f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M",
                    "examples": examples,
                    "processor s": round(best[place], 3),
                    "speed-up": round(best[twin] / best[place], 2),
                    "largest difference of logits": f"{float((logits[place] - logits[twin]).abs().max()):.1e}",
                }
            )
    return rows


def _processor_seconds(work: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def _naive(loaded: Any, encoded: Any, players: Any) -> tuple[int, float]:
    """A batch of examples under one coalition after the other."""
    batch = collate(loaded, encoded, np.arange(min(ROWS, len(encoded))), PADDED)
    inputs = batch.inputs(loaded)
    order = permutations(0, np.arange(1), len(players))[0]
    coalitions = np.ones((4, len(players)), dtype=bool)
    for step in range(4):
        coalitions[step, order[: 9 * (step + 1)]] = False
    spent = 0.0
    with torch.inference_mode():
        for step, coalition in enumerate([coalitions[0], *coalitions]):
            gates = torch.from_numpy(coalition.reshape(1, players.layers, players.heads)).float()
            start = time.perf_counter()
            with gated(loaded.model, gates.to(loaded.device)):
                loaded.model(**inputs).logits.argmax(dim=-1).cpu()
            if step:  # the first one warms up
                spent += time.perf_counter() - start
    return 4 * len(batch.rows), spent


def _write(warehouse: Warehouse, made: Any, ids: list[str], players: Any) -> float:
    """Seconds to check and store a round's samples."""
    start = time.perf_counter()
    names = players.names
    columns = {
        "model": "m",
        "dataset": "xnli",
        "split": "dev",
        "language": "en",
        "sampler": "rows",
        "estimator": "permutation",
        "permutation": made.permutation,
        "example_id": pl.Series(ids).gather(made.example),
        "unit": "head",
        "layer": np.array([p.layer for p in names])[made.player],
        "head": np.array([p.head for p in names])[made.player],
        "remaining": made.remaining,
        "marginal": made.value,
    }
    frame = pl.DataFrame(columns).select(pl.col(n).cast(t) for n, t in schema("head_samples").items())
    frame = frame.sort("permutation", "example_id", "unit", "layer", "head")
    warehouse.write({Slot("head_samples", ("m", "en"), "xnli.rows.000000"): frame}, "0")
    return time.perf_counter() - start


def decide(
    players: int = 12, examples: int = 2490, delta: float = 0.1, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows until every head of a synthetic game is decided: rows with strict evidence, whole sets with Eq. 4.

    An example is right while the sum of what its present heads add exceeds its threshold. Heads differ in what they
    add on average, some of them do harm, and on single examples each may do either.
    """
    game = _Synthetic(players, examples, seed)
    ours = _rows_until_decided(game, delta)
    papers = _whole_sets_until_decided(game, delta)
    rows = [
        {"what": "whole-set Monte Carlo, Eq. 4", **papers},
        {"what": "rows, strict evidence, adaptive", **ours},
    ]
    for row in rows:
        row["fewer by"] = round(papers["rows"] / row["rows"], 1)
    return rows


class _Synthetic:
    def __init__(self, players: int, examples: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        means = np.linspace(0.4, 1.2, players) * np.where(np.arange(players) % 3 == 0, -1, 1)
        self.effects = means + random.normal(0, 0.5, (examples, players))
        self.start = random.normal(-2.0, 2.0, examples)
        self.players, self.examples, self.seed = players, examples, seed

    def walks(self, examples: np.ndarray, orders: np.ndarray) -> np.ndarray:
        """Scores after 0, 1, ... removals: `[rows, removals + 1]`."""
        counted = removals(self.players, 0.5)
        effects = np.take_along_axis(self.effects[examples], orders[:, :counted], axis=1)
        total = self.start[examples] + self.effects[examples].sum(axis=1)
        left = total[:, None] - np.concatenate([np.zeros((len(orders), 1)), effects.cumsum(axis=1)], axis=1)
        return (left > 0).astype(np.float64)

    def blocks(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        number = 0
        while True:
            numbers = np.arange(number, number + size)
            yield numbers, permutations(self.seed, numbers, self.players)
            number += size


def _rows_until_decided(game: _Synthetic, delta: float, block: int = 256) -> dict[str, Any]:
    evidence, rows = Evidence(game.players), 0
    random = np.random.default_rng(game.seed + 1)
    counted = removals(game.players, 0.5)
    for _, orders in game.blocks(block):
        measured = ~evidence.decided(delta)
        if not measured.any():
            wrong = int((np.sign(evidence.total) != np.sign(_truth(game))).sum())
            return {"rows": rows, "permutations": int(evidence.count.max()) * 2, "wrong signs": wrong}
        scores = game.walks(random.integers(0, game.examples, block), orders)
        asked = measured[orders[:, :counted]]
        needed = asked.copy()
        needed[:, :-1] |= asked[:, 1:]
        rows += int(needed.sum())
        row, step = np.nonzero(asked)
        evidence.add(orders[row, step], scores[row, step] - scores[row, step + 1])
    raise AssertionError("blocks never end")


def _whole_sets_until_decided(game: _Synthetic, delta: float, block: int = 8) -> dict[str, Any]:
    """Every head stops by itself, as in the paper; a permutation costs its removals up to the last one needed."""
    count, total, square = (np.zeros(game.players) for _ in range(3))
    rows, done = 0, np.zeros(game.players, dtype=bool)
    counted = removals(game.players, 0.5)
    everyone = np.arange(game.examples)
    for numbers, orders in game.blocks(block):
        for order in orders:
            scores = game.walks(everyone, np.broadcast_to(order, (game.examples, game.players))).mean(axis=0)
            asked = ~done[order[:counted]]
            needed = asked.copy()
            needed[:-1] |= asked[1:]
            rows += int(needed.sum()) * game.examples
            marginal = scores[:-1] - scores[1:]
            who = order[:counted][asked]
            count[who] += 1
            total[who] += marginal[asked]
            square[who] += marginal[asked] ** 2
        seen = np.maximum(count, 1)
        sd = np.sqrt(np.maximum(square / seen - (total / seen) ** 2, 0))
        done |= (count > 1) & (np.abs(total / seen) > paper_radius(seen.astype(np.int64), sd, delta))
        if done.all():
            wrong = int((np.sign(total) != np.sign(_truth(game))).sum())
            return {"rows": rows, "permutations": int(numbers[-1]) + 1, "wrong signs": wrong}
    raise AssertionError("blocks never end")


def _truth(game: _Synthetic) -> np.ndarray:
    """Values by brute force: whole sets over many permutations."""
    total, count = np.zeros(game.players), np.zeros(game.players)
    counted = removals(game.players, 0.5)
    for order in permutations(game.seed + 99, np.arange(400), game.players):
        scores = game.walks(np.arange(game.examples), np.broadcast_to(order, (game.examples, game.players)))
        marginal = scores.mean(axis=0)
        np.add.at(total, order[:counted], marginal[:-1] - marginal[1:])
        np.add.at(count, order[:counted], 1)
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--permutations", type=int, default=128)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--players", type=int, default=12)
    parser.add_argument("--only", choices=("pruned",))
    arguments = parser.parse_args()
    if arguments.only is None:
        _sampling(arguments)
        print()
    print_table("Pruned models, XNLI lengths", pruned(arguments.shared, arguments.model))


def _sampling(arguments: argparse.Namespace) -> None:
    print_table("Rows until a synthetic game is decided", decide(arguments.players))
    print()
    print_table(
        "Evaluated coalitions, XNLI lengths",
        run(arguments.shared, arguments.model, arguments.permutations, arguments.examples),
    )


if __name__ == "__main__":
    main()
