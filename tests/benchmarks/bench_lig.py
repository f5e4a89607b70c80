"""Layer integrated gradients to 1 % completeness: adaptive panels against captum with doubled steps.

    python tests/benchmarks/bench_lig.py SHARED --model FOLDER [--pairs 200] [--skip 0]

FOLDER is a three-class NLI checkpoint (entailment, neutral, contradiction), such as the one that
`examples/xnli` leaves under `warehouse/models/mini-x11-en/`. The methods take turns, chunk of pairs by chunk, so that
what else the machine does meets them alike. It takes some 45 seconds a pair, nearly all of them captum's; Ctrl-C prints
what is done by then, and `--skip` leaves out the first turns of ten pairs, for another process to do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from captum.attr import LayerIntegratedGradients
from common import print_table

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.corpora import read, sample
from xlwh.models import Zoo
from xlwh.models.loaded import LoadedModel
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded, encode
from xlwh.store import Warehouse
from xlwh.study import Lig, Study

TOLERANCE = 0.01
STEPS, CAP = 50, 3200
"""Of captum: its default, and where the doubling ends."""
BATCHES = (8, 16, 32, 64)
"""Of captum: values of internal_batch_size that are tried."""
CHUNK = 10
LANGUAGES = ("en", "de", "es", "zh", "ar")

Attribute = Callable[[Encoded, list[Item]], tuple[list[int], list[float]]]
"""Gradient rows and relative completeness error of each item."""


class Chunk(NamedTuple):
    """What some pairs took: seconds by the clock and of the processor; gradient rows and error of each."""

    wall: float
    processor: float
    rows: list[int]
    errors: list[float]


@dataclass
class Method:
    """One way of attributing, and what it has taken so far."""

    name: str
    attribute: Attribute
    chunks: list[Chunk] = field(default_factory=list)

    def run(self, encoded: Encoded, items: list[Item]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        rows, errors = self.attribute(encoded, items)
        self.chunks.append(Chunk(time.perf_counter() - wall, time.process_time() - processor, rows, errors))

    def total(self, chunks: int) -> Chunk:
        """Of the first chunks, which all methods have done."""
        done = self.chunks[:chunks]
        return Chunk(
            sum(one.wall for one in done),
            sum(one.processor for one in done),
            [rows for one in done for rows in one.rows],
            [error for one in done for error in one.errors],
        )


def run(
    shared: Path, model: Path, pairs: int = 200, batch_tokens: int = 2048, skip: int = 0
) -> list[dict[str, Any]]:
    """Rows of the table: time, rows and completeness error of every method on the same pairs."""
    study = Study.model_validate(
        {
            "name": "bench",
            "languages": LANGUAGES,
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {"nli": {"path": str(model), "labels": ["entailment", "neutral", "contradiction"]}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        loaded = Zoo(study, Warehouse(folder, create=True)).load("nli")
    share = -(-pairs // len(LANGUAGES))
    frames = [sample(read(study, "xnli", language).examples, share, 0) for language in LANGUAGES]
    encoded = encode(loaded, pl.concat(frames)[:pairs])
    items = [Item(row, int(logits.argmax())) for row, logits in enumerate(predict(loaded, encoded))]
    # Every chunk holds all languages.
    chunks = [items[start :: -(-pairs // CHUNK)] for start in range(-(-pairs // CHUNK))]
    batch = _best_batch(loaded, encoded, chunks[0][:5])
    chunks = chunks[skip:]
    methods = [
        Method("adaptive", partial(_ours, loaded, Lig(tolerance=TOLERANCE), batch_tokens)),
        Method(
            f"captum (batches of {batch}), {STEPS} steps doubled to {CAP}",
            partial(_captum, loaded, batch, CAP),
        ),
        Method(f"captum (batches of {batch}), {STEPS} steps", partial(_captum, loaded, batch, STEPS)),
        Method(
            f"fixed, {STEPS} steps",
            partial(_ours, loaded, Lig(quadrature="fixed", steps=STEPS), batch_tokens),
        ),
    ]
    with suppress(KeyboardInterrupt):
        for number, chunk in enumerate(chunks):
            for method in methods:
                method.run(encoded, chunk)
            print(f"{number + 1} of {len(chunks)} chunks", file=sys.stderr)
    done = min(len(method.chunks) for method in methods)
    doubled = methods[1].total(done)
    return [_row(method.name, method.total(done), doubled) for method in methods]


def _row(name: str, total: Chunk, doubled: Chunk) -> dict[str, Any]:
    return {
        "method": name,
        "pairs": len(total.errors),
        "seconds": round(total.wall, 1),
        "processor s": round(total.processor, 1),
        "rows per pair": round(float(np.mean(total.rows)), 1),
        "rows/s": round(sum(total.rows) / total.wall, 1),
        "median error": round(float(np.median(total.errors)), 4),
        "worst error": round(float(np.max(total.errors)), 4),
        "within 1 %": f"{np.mean(np.array(total.errors) <= TOLERANCE):.1%}",
        "doubled / this": round(doubled.wall / total.wall, 2),
        "the same, processor": round(doubled.processor / total.processor, 2),
    }


def _ours(
    loaded: LoadedModel, parameters: Lig, batch_tokens: int, encoded: Encoded, items: list[Item]
) -> tuple[list[int], list[float]]:
    made = dict(lig(loaded, encoded, items, parameters, batch_tokens))
    results = [made[index] for index in range(len(items))]
    return [one.num_gradient_rows for one in results], [float(one.relative_delta or 0.0) for one in results]


def _best_batch(loaded: LoadedModel, encoded: Encoded, items: list[Item]) -> int:
    """The internal_batch_size with which captum is fastest here."""
    seconds = {}
    _captum(loaded, BATCHES[0], STEPS, encoded, items)  # Warm.
    for batch in BATCHES:
        start = time.process_time()
        _captum(loaded, batch, STEPS, encoded, items)
        seconds[batch] = time.process_time() - start
    return min(seconds, key=lambda batch: seconds[batch])


def _captum(
    loaded: LoadedModel, batch: int, cap: int, encoded: Encoded, items: list[Item]
) -> tuple[list[int], list[float]]:
    """Example by example, as captum is used: lengths differ, and only those that miss are done again."""
    model, family = loaded.model, loaded.family

    def forward(ids: torch.Tensor, mask: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        return model(
            input_ids=ids, attention_mask=mask, token_type_ids=inputs[0], position_ids=inputs[1]
        ).logits

    explainer = LayerIntegratedGradients(forward, family.word_embedding(model))
    rows, errors = [], []
    for item in items:
        span = encoded.row(item.example)
        ids = torch.from_numpy(encoded.input_ids[span].astype(np.int64))[None].to(loaded.device)
        special = torch.from_numpy(encoded.special[span])[None].to(loaded.device)
        baseline = torch.where(special, ids, loaded.tokenizer.pad_token_id)
        types = encoded.token_type_ids
        kinds = None if types is None else torch.from_numpy(types[span])[None].long().to(loaded.device)
        inputs = family.model_inputs(model, ids, torch.ones_like(ids), kinds)
        extra = (inputs["attention_mask"], inputs["token_type_ids"], inputs["position_ids"])
        with torch.inference_mode():
            change = float((forward(ids, *extra) - forward(baseline, *extra))[0, item.target])
        steps, total = STEPS, 0
        while True:
            _, delta = explainer.attribute(
                ids,
                baselines=baseline,
                target=item.target,
                additional_forward_args=extra,
                n_steps=steps,
                internal_batch_size=batch,
                return_convergence_delta=True,
            )
            total += steps
            error = abs(float(delta)) / max(abs(change), 1e-6)
            if error <= TOLERANCE or 2 * steps > cap:
                break
            steps *= 2
        rows.append(total)
        errors.append(error)
    return rows, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--skip", type=int, default=0, help="turns to leave out")
    arguments = parser.parse_args()
    print_table(
        "LIG to 1 % completeness",
        run(arguments.shared, arguments.model, arguments.pairs, arguments.batch_tokens),
    )


if __name__ == "__main__":
    main()
