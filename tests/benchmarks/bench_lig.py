"""Layer integrated gradients to 1 % completeness: adaptive panels against captum with doubled steps.

    python tests/benchmarks/bench_lig.py SHARED --model FOLDER [--pairs 200]

FOLDER is a three-class NLI checkpoint (entailment, neutral, contradiction), such as the one that
`examples/xnli` leaves under `warehouse/models/mini-x11-en/`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from captum.attr import LayerIntegratedGradients
from common import print_table

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.corpora import read, sample
from xlwh.models import Zoo
from xlwh.models.predict import predict
from xlwh.models.tokenize import encode
from xlwh.store import Warehouse
from xlwh.study import Lig, Study

TOLERANCE = 0.01
CAPTUM_START, CAPTUM_CAP, CAPTUM_BATCH = 50, 3200, 64
LANGUAGES = ("en", "de", "es", "zh", "ar")


def run(shared: Path, model: Path, pairs: int = 200, batch_tokens: int = 2048) -> list[dict[str, Any]]:
    """Rows of the table: time, rows and completeness error of both on the same pairs."""
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
    rows = [_ours("adaptive", Lig(tolerance=TOLERANCE), loaded, encoded, items, batch_tokens)]
    rows.append(
        _captum(f"captum, {CAPTUM_START} steps doubled to {CAPTUM_CAP}", loaded, encoded, items, CAPTUM_CAP)
    )
    rows.append(_captum(f"captum, {CAPTUM_START} steps", loaded, encoded, items, CAPTUM_START))
    rows.append(
        _ours(
            f"fixed, {CAPTUM_START} steps",
            Lig(quadrature="fixed", steps=CAPTUM_START),
            loaded,
            encoded,
            items,
            batch_tokens,
        )
    )
    base = next(row for row in rows if "doubled" in row["method"])["seconds"]
    for row in rows:
        row["speed-up"] = round(base / row["seconds"], 2)
    return rows


def _row(name: str, seconds: float, evaluated: list[int], errors: list[float]) -> dict[str, Any]:
    return {
        "method": name,
        "pairs": len(errors),
        "seconds": round(seconds, 1),
        "rows per pair": round(float(np.mean(evaluated)), 1),
        "rows/s": round(sum(evaluated) / seconds, 1),
        "median error": round(float(np.median(errors)), 4),
        "worst error": round(float(np.max(errors)), 4),
        "within 1 %": f"{np.mean(np.array(errors) <= TOLERANCE):.1%}",
    }


def _ours(
    name: str, parameters: Lig, loaded: Any, encoded: Any, items: list[Item], batch_tokens: int
) -> dict[str, Any]:
    start = time.perf_counter()
    results = dict(lig(loaded, encoded, items, parameters, batch_tokens))
    seconds = time.perf_counter() - start
    made = [results[index] for index in range(len(items))]
    return _row(
        name, seconds, [a.num_gradient_rows for a in made], [float(a.relative_delta or 0.0) for a in made]
    )


def _captum(name: str, loaded: Any, encoded: Any, items: list[Item], cap: int) -> dict[str, Any]:
    """Example by example, as captum is used: lengths differ, and only those that miss are done again."""
    model, family = loaded.model, loaded.family

    def forward(ids: torch.Tensor, mask: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        return model(
            input_ids=ids, attention_mask=mask, token_type_ids=inputs[0], position_ids=inputs[1]
        ).logits

    explainer = LayerIntegratedGradients(forward, family.word_embedding(model))
    seconds, evaluated, errors = 0.0, [], []
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
        steps, total = CAPTUM_START, 0
        start = time.perf_counter()
        while True:
            _, delta = explainer.attribute(
                ids,
                baselines=baseline,
                target=item.target,
                additional_forward_args=extra,
                n_steps=steps,
                internal_batch_size=CAPTUM_BATCH,
                return_convergence_delta=True,
            )
            total += steps
            error = abs(float(delta)) / max(abs(change), 1e-6)
            if error <= TOLERANCE or 2 * steps > cap:
                break
            steps *= 2
        seconds += time.perf_counter() - start
        evaluated.append(total)
        errors.append(error)
    return _row(name, seconds, evaluated, errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    arguments = parser.parse_args()
    print_table(
        "LIG to 1 % completeness",
        run(arguments.shared, arguments.model, arguments.pairs, arguments.batch_tokens),
    )


if __name__ == "__main__":
    main()
