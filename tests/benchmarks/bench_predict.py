"""Predictions: xlwh's step against `transformers.pipeline(batch_size=16)`, and bfloat16 against float32.

    python tests/benchmarks/bench_predict.py SHARED --model FOLDER [--examples 1000] [--threads 2]

FOLDER is a three-class NLI checkpoint, such as the one that `examples/xnli` leaves under
`warehouse/models/mini-x11-en/`. Both sides start from texts and end with logits: tokenization is counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from common import print_table
from numpy.typing import NDArray
from transformers import pipeline

from xlwh.corpora import read, sample
from xlwh.models import LoadedModel, Zoo
from xlwh.models.predict import predict
from xlwh.models.tokenize import encode
from xlwh.store import Warehouse
from xlwh.study import Study

LABELS = ("entailment", "neutral", "contradiction")
LANGUAGES = ("en", "de", "es", "zh", "ar")
REPEATS = 3


def run(shared: Path, model: Path, examples: int = 1000) -> list[dict[str, Any]]:
    """Rows of the table: the best of `REPEATS` interleaved runs of each, on the same examples."""
    study = Study.model_validate(
        {
            "name": "bench",
            "languages": LANGUAGES,
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {
                dtype: {"path": str(model), "labels": LABELS, "dtype": dtype}
                for dtype in ("float32", "bfloat16")
            },
        }
    )
    share = -(-examples // len(LANGUAGES))
    frames = [sample(read(study, "xnli", language).examples, share, 0) for language in LANGUAGES]
    # Languages mixed, as a list of texts for a pipeline would be; a pipeline does not sort.
    frame = pl.concat(frames)[:examples].sample(fraction=1.0, shuffle=True, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        zoo = Zoo(study, Warehouse(folder, create=True))
        loaded = {dtype: zoo.load(dtype) for dtype in ("float32", "bfloat16")}
    peer = pipeline(
        "text-classification",
        model=loaded["float32"].model,
        tokenizer=loaded["float32"].tokenizer,
        batch_size=16,
        device=loaded["float32"].device,
    )
    ways: dict[str, Callable[[], NDArray[np.float32]]] = {
        "transformers.pipeline(batch_size=16), float32": lambda: _piped(peer, frame),
        "xlwh, float32": lambda: _ours(loaded["float32"], frame),
        "xlwh, bfloat16": lambda: _ours(loaded["bfloat16"], frame),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    logits: dict[str, NDArray[np.float32]] = {}
    for way in ways.values():  # warm-up
        way()
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            logits[name] = way()
            seconds[name].append(time.perf_counter() - start)
    base_name, exact_name, _ = ways
    base, exact = min(seconds[base_name]), logits[exact_name]
    rows = []
    for name, values in logits.items():
        best = min(seconds[name])
        rows.append(
            {
                "way": name,
                "examples": len(values),
                "rows/s": round(len(values) / best, 1),
                "ratio": round(base / best, 2),
                "same label as float32": f"{(values.argmax(1) == exact.argmax(1)).mean():.2%}",
                "largest logit difference": f"{np.abs(values - exact).max():.1e}",
                "mean logit difference": f"{np.abs(values - exact).mean():.1e}",
            }
        )
    return rows


def _ours(loaded: LoadedModel, frame: pl.DataFrame) -> NDArray[np.float32]:
    return predict(loaded, encode(loaded, frame))


def _piped(peer: Any, frame: pl.DataFrame) -> NDArray[np.float32]:
    pairs = [{"text": a, "text_pair": b} for a, b in frame.select("text", "text_pair").rows()]
    # Logits, so that the two can be compared.
    found = peer(pairs, top_k=None, function_to_apply="none", truncation=True, max_length=256)
    names = [peer.model.config.id2label[index] for index in range(len(LABELS))]
    scores = [{entry["label"]: entry["score"] for entry in row} for row in found]
    return np.array([[row[name] for name in names] for row in scores], dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print_table("Predictions", run(arguments.shared, arguments.model, arguments.examples))


if __name__ == "__main__":
    main()
