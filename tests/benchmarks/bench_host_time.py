"""What one Python thread spends on each row, apart from the arithmetic: the figure that decides how full a GPU gets.

    python tests/benchmarks/bench_host_time.py [NAME ...] [--before CHECKOUT] [--turns 3]

The model has the depth and the heads of XLM-R base and is so narrow that its arithmetic is next to nothing; examples
are random tokens of XNLI-like lengths. `outside` is what padding, plans and bookkeeping take, `launch` what calling the
model (and its gradient) with a single short row takes, which on a GPU is what launching the kernels costs. Their sum at
batches of 2,048 rows is what a row costs the host at best. Seconds are this thread's processor time, so that other
processes matter little. `--before` measures another checkout too, in turns with this one. Tokenizing and Parquet are
not in it (bench_activations.py has the latter).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import torch

ROOT = Path(__file__).resolve().parents[2]
LAYERS, HEADS, WIDTH, PAD, CLASSES, VOCABULARY = 12, 12, 24, 1, 3, 2000
FULL_BATCH = 2048
"""Rows of a batch that fills a GPU, at some 40 sub-tokens a row."""

clock = time.thread_time


def classifier(width: int = WIDTH, layers: int = LAYERS, scale: float = 1.0) -> Any:
    """A loaded model with random weights, as far as analyses need one; `scale` bends it."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from xlwh.models.families import family_of

    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=8 if width > WIDTH else 4 * width,
        max_position_embeddings=258,
        type_vocab_size=1,
        num_labels=CLASSES,
    )
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(config).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    tokenizer = SimpleNamespace(
        pad_token_id=PAD,
        mask_token_id=3,
        bos_token_id=0,
        eos_token_id=2,
        cls_token_id=0,
        sep_token_id=2,
        all_special_ids=[0, PAD, 2, 3],
        get_vocab=lambda: {str(index): index for index in range(VOCABULARY)},
        convert_ids_to_tokens=lambda index: "<mask>",
    )
    return SimpleNamespace(
        key="random",
        model=model,
        config=config,
        family=family_of(model),
        tokenizer=tokenizer,
        labels=("a", "b", "c"),
        task="sequence_classification",
        device=torch.device("cpu"),
        max_length=256,
        tokenization=None,
    )


def encoded(count: int, length: int | None = None) -> Any:
    """Random tokens, every one a word; lengths as of XNLI's English pairs unless one is given."""
    from xlwh.models.segments import Occurrence
    from xlwh.models.tokenize import Encoded

    random = np.random.default_rng(0)
    drawn = np.clip(random.gamma(6.0, 6.6, count), 10, 128).astype(np.int64)
    lengths = drawn if length is None else np.full(count, length)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    size = int(bounds[-1])
    special = np.zeros(size, dtype=bool)
    special[bounds[:-1]] = special[bounds[1:] - 1] = True
    within = (np.arange(size) - np.repeat(bounds[:-1], lengths) - 1).astype(np.int32)
    start = np.where(special, -1, 2 * within).astype(np.int32)
    words = tuple(
        tuple(Occurrence("w", 0, 2 * k, 2 * k + 1) for k in range(length - 2)) for length in lengths.tolist()
    )
    return Encoded(
        keys=pl.DataFrame(
            {
                "dataset": ["d"] * count,
                "split": ["t"] * count,
                "language": ["en"] * count,
                "example_id": [str(index) for index in range(count)],
            }
        ),
        bounds=bounds,
        input_ids=random.integers(4, VOCABULARY, size).astype(np.int32),
        token_type_ids=None,
        special=special,
        segment=np.where(special, -1, 0).astype(np.int32),
        char_start=start,
        char_end=np.where(special, -1, start + 1).astype(np.int32),
        word_index=np.where(special, -1, within).astype(np.int32),
        occurrences=words,
        segmenters=("s",) * count,
        num_truncated=np.zeros(count, np.int32),
    )


@dataclass
class Watch:
    """This thread's seconds, in and outside the model."""

    inside: float = 0.0
    calls: int = 0
    rows: int = 0
    outside: float = 0.0


@contextmanager
def watched(owner: Any, *names: str) -> Iterator[Watch]:
    """Time what goes on inside, and within some functions of `owner` and in gradients."""
    watch, depth = Watch(), [0]

    def timed(function: Callable[..., Any], counts: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begun = clock()
            depth[0] += 1
            try:
                return function(*args, **kwargs)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    watch.inside += clock() - begun
                    watch.calls += counts
                    ids = kwargs.get("input_ids")
                    watch.rows += 0 if ids is None else len(ids)

        return call

    genuine = [(owner, name, getattr(owner, name), True) for name in names]
    genuine.append((torch.autograd, "grad", torch.autograd.grad, False))
    for place, name, function, counts in genuine:
        setattr(place, name, timed(function, counts))
    begun = clock()
    try:
        yield watch
    finally:
        watch.outside = clock() - begun - watch.inside
        for place, name, function, _ in genuine:
            setattr(place, name, function)
            if isinstance(place, torch.nn.Module):
                with suppress(AttributeError):
                    delattr(place, name)


Figures = dict[str, float]
"""`units`, `outside` seconds, `rows` and `batches`, and seconds of one `launch`."""


def _figures(watch: Watch, units: float, launch: float = 0.0) -> Figures:
    return {
        "units": units,
        "outside": watch.outside,
        "rows": watch.rows,
        "batches": watch.calls,
        "launch": launch,
    }


def _launch(call: Callable[[Any, Any], Any], turns: int = 9) -> float:
    """Seconds inside the model of a call with one short row, the median of some."""
    loaded, one = classifier(), encoded(1, 8)
    call(loaded, one)
    seconds = []
    for _ in range(turns):
        with watched(loaded.model, "forward") as watch:
            call(loaded, one)
        seconds.append(watch.inside / max(1, watch.calls))
    return float(np.median(seconds))


def predictions(size: int = 256) -> Figures:
    from xlwh.models.predict import predict

    loaded, examples = classifier(), encoded(size)
    with watched(loaded.model, "forward") as watch:
        predict(loaded, examples)
    return _figures(watch, size, _launch(predict))


LIG_ROWS, LIG_LENGTH = 1024, 24
"""Rows of a batch, all of one length, with which integrated gradients are measured: what a batch costs once is in it."""


def _lig(loaded: Any, examples: Any, **settings: Any) -> int:
    from xlwh.attribution.base import Item
    from xlwh.attribution.lig import lig
    from xlwh.study import Lig

    items = [Item(row, row % CLASSES) for row in range(len(examples))]
    tokens = LIG_ROWS * LIG_LENGTH
    with patch("xlwh.models.fitting.BATCH_ROWS", LIG_ROWS):
        return sum(
            made.num_gradient_rows for _, made in lig(loaded, examples, items, Lig(**settings), tokens)
        )


def _lig_launch() -> float:
    return _launch(lambda loaded, one: _lig(loaded, one, quadrature="fixed", steps=1), turns=5)


def lig_adaptive(size: int = 256) -> Figures:
    loaded, examples = classifier(scale=14), encoded(size, LIG_LENGTH)
    with watched(loaded.model, "forward") as watch:
        rows = _lig(loaded, examples, tolerance=1e-3, max_rows=400)
    return _figures(watch, rows, _lig_launch())


def lig_fixed(size: int = 64) -> Figures:
    loaded, examples = classifier(), encoded(size, LIG_LENGTH)
    with watched(loaded.model, "forward") as watch:
        rows = _lig(loaded, examples, quadrature="fixed", steps=50)
    return _figures(watch, rows, _lig_launch())


@contextmanager
def full_batches() -> Iterator[int]:
    """Inside, batches have FULL_BATCH rows, as on a GPU; the sub-tokens that hold them."""
    from xlwh.models import fitting

    with patch.object(fitting, "BATCH_ROWS", FULL_BATCH):
        yield 128 * FULL_BATCH


def _saliency(loaded: Any, examples: Any, batch_tokens: int = 2048) -> None:
    from xlwh.attribution.base import Item
    from xlwh.attribution.saliency import saliency

    items = [Item(row, row % CLASSES) for row in range(len(examples))]
    parameters = {
        "input_x_gradient": SimpleNamespace(reduction="signed"),
        "attention": None,
        "scaled_attention": None,
    }
    list(saliency(loaded, examples, items, parameters, batch_tokens))


def saliency(size: int = FULL_BATCH) -> Figures:
    # Short, since the attention weights of long rows are arithmetic (and memory) in the head's row as well.
    loaded, examples = classifier(layers=2), encoded(size, 12)
    with full_batches() as tokens, watched(loaded.model, "forward") as watch:
        _saliency(loaded, examples, tokens)
    return _figures(watch, size, _launch(_saliency))


def occlusion(size: int = 48) -> Figures:
    from xlwh.attribution.base import Item
    from xlwh.attribution.occlusion import occlusion as method
    from xlwh.study import Occlusion

    loaded, examples = classifier(layers=2), encoded(size, 40)
    items = [Item(row, row % CLASSES) for row in range(size)]
    with full_batches() as tokens, watched(loaded.model, "forward") as watch:
        rows = sum(made.num_forward_rows for _, made in method(loaded, examples, items, Occlusion(), tokens))
    return _figures(watch, rows)


def _perturbations(size: int, soft: int) -> Figures:
    from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
    from xlwh.study import Faithfulness

    # As wide as XLM-R base, since soft masks are; two layers, since only what is outside them counts.
    loaded, examples = classifier(768, 2), encoded(size)
    random = np.random.default_rng(0)

    def rankings(length: int) -> tuple[Any, ...]:
        methods = [Ranking(name, 0, random.normal(size=length)) for name in ("a", "b", "c", "d")]
        return (*methods, *(Ranking("random", k, random.random(length)) for k in range(5)))

    subjects = [Subject(row, row % CLASSES, rankings(int(examples.lengths[row]))) for row in range(size)]
    with watched(loaded.model, "forward") as watch:
        made = perturb(loaded, examples, subjects, Faithfulness(soft_draws=soft))
    return _figures(watch, made.num_evaluated)


def perturbations(size: int = 3) -> Figures:
    return _perturbations(size, 0)


def soft_perturbations(size: int = 2) -> Figures:
    return _perturbations(size, 3)


def activations(size: int = 24) -> Figures:
    from xlwh.concepts.activations import find_words, word_vectors
    from xlwh.concepts.places import Place

    loaded, examples = classifier(768), encoded(size)
    sizes = [len(words) for words in examples.words]
    owner = np.repeat(np.arange(size), sizes)
    spans = find_words(examples, owner, np.concatenate([np.arange(count) for count in sizes]))
    places = [Place("encoder", layer) for layer in range(LAYERS + 1)]
    with watched(loaded.model, "forward") as watch:
        word_vectors(loaded, examples, spans, places)
    return _figures(watch, len(owner) * len(places))


def head_walks(size: int = 256) -> Figures:
    """Planning and bookkeeping of a round at default settings; what a step launches is not in it."""
    from xlwh.heads.engine import Engine
    from xlwh.heads.players import players_of
    from xlwh.heads.sampler import sample_round
    from xlwh.heads.scores import Gold
    from xlwh.heads.sequences import Evidence
    from xlwh.heads.stack import Layered
    from xlwh.study.heads import Sampler

    class Still:
        """Rows that do not move: zeros for logits."""

        def __init__(self, batch: Any, repeated: Any) -> None:
            self.logits = torch.zeros(len(batch.rows), CLASSES)

        def move(self, order: Any, reach: Any, gates: Any) -> Any:
            return torch.zeros(len(order), CLASSES)

    loaded, examples = classifier(), encoded(size)
    gold = Gold(np.random.default_rng(1).integers(0, CLASSES, size), np.ones(size, dtype=np.int64))
    engine = Engine(loaded, examples, players_of(("head",), LAYERS, HEADS), gold, "probability")
    ids, everyone = [str(row) for row in range(size)], np.ones(LAYERS * HEADS, dtype=bool)
    with patch.object(Layered, "rows", Still), watched(loaded.model, "forward") as watch:
        made = sample_round(engine, Sampler(), 0, 0, everyone, ids)
        made.observe(Evidence(LAYERS * HEADS))
    watch.rows = made.rows
    return _figures(watch, made.rows)


def kmeans(size: int = 8_000) -> Figures:
    """Per point and iteration, apart from the products with the centroids."""
    from xlwh.concepts import assign, kmeans, points

    random = np.random.default_rng(0)
    values = random.normal(size=(size, 128)).astype(np.float32)
    values += 3 * random.normal(size=(40, 128)).astype(np.float32)[random.integers(0, 40, size)]
    held, start = points.from_array(values), values[random.choice(size, 100, replace=False)]
    with watched(assign.InTorch, "nearest") as watch:
        fit = kmeans.lloyd(held, start, lambda centroids: assign.InTorch(centroids, torch.device("cpu")), 20)
    return _figures(watch, size * fit.iterations)


MEASURED: dict[str, tuple[Callable[[], Figures], str, float | None]] = {
    "predictions": (predictions, "example", 20),
    "lig-adaptive": (lig_adaptive, "gradient row", 10),
    "lig-fixed": (lig_fixed, "gradient row", 10),
    "saliency": (saliency, "example", 10),
    "occlusion": (occlusion, "forward row", 10),
    "perturbations": (perturbations, "input", 10),
    "soft-perturbations": (soft_perturbations, "input", 10),
    "activations": (activations, "word and layer", 15),
    "head-walks": (head_walks, "evaluated row", 3),
    "kmeans": (kmeans, "point and iteration", None),
}
"""What is measured, the unit, and the microseconds a unit that are aimed at."""


def measure(checkout: Path, names: Sequence[str]) -> dict[str, Figures]:
    """Figures of a checkout, from a process of its own."""
    child = subprocess.run(
        [sys.executable, __file__, "--child", *names],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Figures] = json.loads(child.stdout.splitlines()[-1])
    return found


def run(names: Sequence[str], before: Path | None, turns: int) -> list[dict[str, Any]]:
    """Rows of the table: medians over the turns."""
    checkouts = {"this": ROOT} if before is None else {"before": before, "this": ROOT}
    found: dict[str, list[dict[str, Figures]]] = {name: [] for name in checkouts}
    for turn in range(turns):
        for which, checkout in checkouts.items():
            found[which].append(measure(checkout, names))
            print(f"turn {turn + 1} of {turns}: {which}", file=sys.stderr, flush=True)
    rows = []
    for name in names:
        _, unit, aim = MEASURED[name]
        last = found["this"][-1][name]
        row: dict[str, Any] = {"analysis": name, "unit": unit}
        if last["batches"] and last["rows"]:
            row["rows a batch"] = round(last["rows"] / last["batches"])
        each = {
            which: float(np.median([1e6 * turn[name]["outside"] / turn[name]["units"] for turn in all_turns]))
            for which, all_turns in found.items()
        }
        for which in checkouts:
            row["µs" if before is None else f"µs, {which}"] = round(each[which], 2)
        if before is not None:
            row["before / this"] = round(each["before"] / each["this"], 2)
        launches = [turn[name]["launch"] for turn in found["this"] if turn[name]["launch"]]
        if launches:
            launch = float(np.median(launches))
            row["ms a launch"] = round(1e3 * launch, 1)
            row[f"µs at {FULL_BATCH:,} rows"] = round(each["this"] + 1e6 * launch / FULL_BATCH, 1)
        if aim is not None:
            row["aim"] = aim
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(MEASURED)}")
    parser.add_argument("--before", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(MEASURED):
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(MEASURED)}")
    names = asked.names or list(MEASURED)
    if asked.child:
        torch.set_num_threads(1)
        print(json.dumps({name: MEASURED[name][0]() for name in names}))
        return
    from common import print_table

    print_table("Host time a row", run(names, asked.before, asked.turns))


if __name__ == "__main__":
    main()
