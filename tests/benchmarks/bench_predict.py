"""Predictions: xlwh's step against `transformers.pipeline(batch_size=16)`, and what half precision does to them.

    python tests/benchmarks/bench_predict.py SHARED --model FOLDER [--examples 1000] [--half 1000] [--threads 2]

FOLDER is a three-class NLI checkpoint, such as the one that `examples/xnli` leaves under
`warehouse/models/mini-x11-en/`. Both sides start from texts and end with logits: tokenization is counted. The ways take
turns; `rows/s` and `ratio` are by the clock, `cpu ratio` by processor seconds, which other work on the machine leaves
alone. 0 examples leave a table out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from xlwh.models.predict import predict, softmax
from xlwh.models.tokenize import encode
from xlwh.store import Warehouse
from xlwh.study import Study

LABELS = ("entailment", "neutral", "contradiction")
LANGUAGES = ("en", "de", "es", "zh", "ar")
DTYPES = ("float32", "bfloat16", "float16")
REPEATS = 3


def against_pipeline(shared: Path, model: Path, examples: int) -> list[dict[str, Any]]:
    """The first table: a row per way, on the same examples."""
    loaded, frame = _loaded(shared, model, ("float32",)), _examples(shared, examples)
    peer = pipeline(
        "text-classification",
        model=loaded["float32"].model,
        tokenizer=loaded["float32"].tokenizer,
        batch_size=16,
        device=loaded["float32"].device,
    )
    timed = _take_turns(
        {
            "transformers.pipeline(batch_size=16)": lambda: _piped(peer, frame),
            "xlwh": lambda: _ours(loaded["float32"], frame),
        }
    )
    base, own = timed["transformers.pipeline(batch_size=16)"], timed["xlwh"]
    return [
        {
            "way": name,
            **way.described(base),
            "same label": f"{(way.logits.argmax(1) == own.logits.argmax(1)).mean():.2%}",
            "largest logit difference": f"{np.abs(way.logits - own.logits).max():.1e}",
        }
        for name, way in timed.items()
    ]


def precisions(shared: Path, model: Path, examples: int) -> list[dict[str, Any]]:
    """The second table: what `dtype` of a model costs and changes, on the same examples."""
    loaded, frame = _loaded(shared, model, DTYPES), _examples(shared, examples)
    timed = _take_turns({dtype: partial(_ours, loaded[dtype], frame) for dtype in DTYPES})
    exact = timed["float32"]
    wanted, sure = exact.logits.argmax(1), softmax(exact.logits)
    margin = np.sort(sure, axis=1)
    rows = []
    for name, way in timed.items():
        change = np.abs(softmax(way.logits) - sure)
        other = way.logits.argmax(1) != wanted
        rows.append(
            {
                "dtype": name,
                **way.described(exact),
                "same label": f"{1 - other.mean():.2%}",
                "largest change of a probability": f"{change.max():.1e}",
                "mean": f"{change.mean():.1e}",
                # How far apart the two likeliest classes were where the label changed.
                "largest margin of a changed label": f"{(margin[other, -1] - margin[other, -2]).max():.1e}"
                if other.any()
                else "",
            }
        )
    return rows


@dataclass
class _Way:
    """A way to predict: its logits `[n, 3]`, and the seconds of each turn."""

    logits: NDArray[np.float32]
    clock: list[float]
    processor: list[float]

    def described(self, base: _Way) -> dict[str, Any]:
        """The fastest turn, and how many times the pace of another way it is."""
        best, used = min(self.clock), min(self.processor)
        return {
            "examples": len(self.logits),
            "rows/s": round(len(self.logits) / best, 1),
            "ratio": round(min(base.clock) / best, 2),
            "cpu ms/row": round(1000 * used / len(self.logits), 1),
            "cpu ratio": round(min(base.processor) / used, 2),
        }


def _take_turns(ways: Mapping[str, Callable[[], NDArray[np.float32]]]) -> dict[str, _Way]:
    timed = {name: _Way(way(), [], []) for name, way in ways.items()}  # warm-up
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter(), time.process_time()
            way()
            timed[name].clock.append(time.perf_counter() - start[0])
            timed[name].processor.append(time.process_time() - start[1])
    return timed


def _study(shared: Path, model: Path, dtypes: Sequence[str]) -> Study:
    return Study.model_validate(
        {
            "name": "bench",
            "languages": LANGUAGES,
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {dtype: {"path": str(model), "labels": LABELS, "dtype": dtype} for dtype in dtypes},
        }
    )


def _loaded(shared: Path, model: Path, dtypes: Sequence[str]) -> dict[str, LoadedModel]:
    with tempfile.TemporaryDirectory() as folder:
        zoo = Zoo(_study(shared, model, dtypes), Warehouse(folder, create=True))
        return {dtype: zoo.load(dtype) for dtype in dtypes}


def _examples(shared: Path, count: int) -> pl.DataFrame:
    study = _study(shared, shared, ("float32",))
    share = -(-count // len(LANGUAGES))
    frames = [sample(read(study, "xnli", language).examples, share, 0) for language in LANGUAGES]
    # Languages mixed, as a list of texts for a pipeline would be; a pipeline does not sort.
    return pl.concat(frames)[:count].sample(fraction=1.0, shuffle=True, seed=0)


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
    parser.add_argument("--half", type=int, default=1000, help="examples of the second table")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shared, model = arguments.shared, arguments.model
    if arguments.examples:
        print_table("Predictions", against_pipeline(shared, model, arguments.examples))
    if arguments.half:
        print_table("Predictions in half precision", precisions(shared, model, arguments.half))


if __name__ == "__main__":
    main()
