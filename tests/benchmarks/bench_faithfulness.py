"""Faithfulness metrics and gradient attributions, against one example at a time as published scripts do it.

    python tests/benchmarks/bench_faithfulness.py SHARED --model FOLDER [--examples 500] [--peer-examples 50]

FOLDER is a three-class NLI checkpoint (entailment, neutral, contradiction), such as the one that `examples/xnli`
leaves under `warehouse/models/mini-x11-en/`.

The peers do the same work with the same inputs, without padding: one example and one ratio after the other, each
method's gradients and attention by its own pass (captum's where captum has the method). They are measured on the first
`--peer-examples` of the examples, ours on all of them; both are given per example. Probabilities are compared. The
speed-up is of processor time, which a busy machine changes little, and of the clock beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import InputXGradient as CaptumInputXGradient
from common import print_table

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.attribution.saliency import saliency
from xlwh.attribution.vectors import VectorModel
from xlwh.corpora import read, sample
from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
from xlwh.faithfulness.selection import attributable, keep_probability, kept, order, rationale_size
from xlwh.models import LoadedModel, Zoo
from xlwh.models.attentions import eager_attention
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded, encode
from xlwh.store import Warehouse
from xlwh.study import AttentionWeights, Faithfulness, InputXGradient, Lig, ScaledAttention, Study

SETTINGS = Faithfulness(random_draws=1, soft_draws=1)
SHARED_METHODS = {
    "input_x_gradient": InputXGradient(),
    "attention": AttentionWeights(),
    "scaled_attention": ScaledAttention(),
}


def run(shared: Path, model: Path, examples: int = 500, peer_examples: int = 50) -> list[dict[str, Any]]:
    """Rows of the table: ours and the peer for the metrics and for the gradient methods."""
    study = Study.model_validate(
        {
            "name": "bench",
            "languages": ["en"],
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {"nli": {"path": str(model), "labels": ["entailment", "neutral", "contradiction"]}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        loaded = Zoo(study, Warehouse(folder, create=True)).load("nli")
    encoded = encode(loaded, sample(read(study, "xnli", "en").examples, examples, 0))
    logits = predict(loaded, encoded)
    items = [Item(example, int(logits[example].argmax())) for example in range(len(encoded))]
    subjects = _subjects(loaded, encoded, items)
    some = min(peer_examples, len(subjects))
    perturb(loaded, encoded, subjects[:2], SETTINGS)
    ours, made = _timed(lambda: perturb(loaded, encoded, subjects, SETTINGS).rows)
    peer, expected = _timed(lambda: _one_by_one(loaded, encoded, subjects[:some]))
    found = {(r.subject, r.method, r.mode, r.side, r.ratio): r.p_perturbed for r in made if r.subject < some}
    error = max(abs(found[key] - value) for key, value in expected.items())
    rows = _compared("hard and soft metrics, 5 methods × 7 ratios", ours, peer, examples, some, error)
    dict(saliency(loaded, encoded, items[:2], SHARED_METHODS, 2048))
    ours, shared_pass = _timed(lambda: dict(saliency(loaded, encoded, items, SHARED_METHODS, 2048)))
    peer, apart = _timed(lambda: _apart(loaded, encoded, items[:some]))
    error = max(
        float(np.abs(shared_pass[index][name].values - values).max() / max(np.abs(values).max(), 1e-9))
        for (index, name), values in apart.items()
    )
    rows += _compared("input × gradient, attention, scaled attention", ours, peer, examples, some, error)
    return rows


Time = tuple[float, float]
"""Seconds of the clock and of the processor."""


def _compared(
    what: str, ours: Time, peer: Time, examples: int, some: int, error: float
) -> list[dict[str, Any]]:
    rows = []
    for by, (clock, processor), count in (("xlwh", ours, examples), ("one at a time", peer, some)):
        rows.append(
            {
                "work": what,
                "by": by,
                "examples": count,
                "processor ms per example": round(1000 * processor / count, 1),
                "clock ms per example": round(1000 * clock / count, 1),
                "speed-up (processor)": round(peer[1] / some / (processor / count), 1),
                "speed-up (clock)": round(peer[0] / some / (clock / count), 1),
            }
        )
    rows[0]["largest difference"] = f"{error:.1e}"
    return rows


def _timed(work: Callable[[], Any]) -> tuple[Time, Any]:
    start = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - start[0], time.process_time() - start[1]), result


def _subjects(loaded: LoadedModel, encoded: Encoded, items: list[Item]) -> list[Subject]:
    """The examples ranked by five methods: gradients, attention, integrated gradients of few steps, and chance."""
    made = dict(saliency(loaded, encoded, items, SHARED_METHODS, 2048))
    integrated = dict(lig(loaded, encoded, items, Lig(quadrature="fixed", steps=4), 2048))
    subjects = []
    for index, item in enumerate(items):
        scores = {name: made[index][name].values for name in SHARED_METHODS}
        scores["lig"] = integrated[index].values
        scores["random"] = np.random.default_rng(index).random(len(scores["lig"]))
        rankings = tuple(Ranking(name, 0, values) for name, values in scores.items())
        subjects.append(Subject(item.example, item.target, rankings))
    return subjects


def _inputs(
    loaded: LoadedModel, encoded: Encoded, example: int, ids: torch.Tensor
) -> dict[str, torch.Tensor]:
    types = encoded.token_type_ids
    row = encoded.row(example)
    kinds = None if types is None else torch.from_numpy(types[row])[None].long().to(loaded.device)
    return loaded.family.model_inputs(loaded.model, ids, torch.ones_like(ids), kinds)


def _one_by_one(loaded: LoadedModel, encoded: Encoded, subjects: list[Subject]) -> dict[Any, float]:
    """Every method, side and ratio by forward passes of one example: the whole input and the empty one for each
    ratio too, as the published scripts compute a metric."""
    embedding = loaded.family.word_embedding(loaded.model)
    mask = loaded.tokenizer.mask_token_id
    found: dict[Any, float] = {}

    def probability(example: int, target: int, ids: Any, factors: Any = None) -> float:
        tensor = torch.from_numpy(np.asarray(ids, dtype=np.int64))[None].to(loaded.device)
        inputs = _inputs(loaded, encoded, example, tensor)
        if factors is None:
            return float(loaded.model(**inputs).logits[0].softmax(-1)[target])
        vectors = embedding(tensor) * torch.from_numpy(factors)[None].to(loaded.device)
        handle = embedding.register_forward_hook(lambda *_: vectors)
        try:
            return float(loaded.model(**inputs).logits[0].softmax(-1)[target])
        finally:
            handle.remove()

    with torch.inference_mode():
        for number, subject in enumerate(subjects):
            ids = encoded.input_ids[encoded.row(subject.example)]
            free = attributable(encoded, subject.example, keep_query=True)
            noise = _noise(encoded, loaded, subject.example)
            for ranking in subject.rankings:
                ordered = order(ranking.scores, free)
                for ratio in SETTINGS.ratios:
                    probability(subject.example, subject.target, ids)
                    probability(subject.example, subject.target, np.where(free, mask, ids))
                    k = rationale_size(ratio, int(free.sum()))
                    for side in ("sufficiency", "comprehensiveness"):
                        shown = np.where(kept(ordered, k, free, side), ids, mask)
                        key = (number, ranking.method, "hard", side, ratio)
                        found[key] = probability(subject.example, subject.target, shown)
                for side in ("sufficiency", "comprehensiveness"):
                    q = keep_probability(ranking.scores, free, side)
                    factors = (noise < q[:, None]).astype(np.float32)
                    key = (number, ranking.method, "soft", side, None)
                    found[key] = probability(subject.example, subject.target, ids, factors)
    return found


def _noise(encoded: Encoded, loaded: LoadedModel, example: int) -> Any:
    """The uniform numbers of the soft masks' first draw."""
    import hashlib

    from xlwh.models.tokenize import KEYS

    name = "\x00".join([*map(str, encoded.keys.select(KEYS).row(example)), "soft", "0"])
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    width = loaded.family.hidden_size(loaded.config)
    return np.random.default_rng(seed).random((int(encoded.lengths[example]), width), dtype=np.float32)


def _apart(loaded: LoadedModel, encoded: Encoded, items: list[Item]) -> dict[tuple[int, str], Any]:
    """captum's InputXGradient, a pass for attention, and a pass with its gradient, example by example."""
    embedding = loaded.family.word_embedding(loaded.model)
    model = VectorModel(loaded)
    explainer = CaptumInputXGradient(model)
    found: dict[tuple[int, str], Any] = {}
    for index, item in enumerate(items):
        ids = torch.from_numpy(encoded.input_ids[encoded.row(item.example)].astype(np.int64))[None]
        inputs = _inputs(loaded, encoded, item.example, ids.to(loaded.device))
        model._names = tuple(inputs)
        vectors = embedding(inputs["input_ids"]).detach().requires_grad_(True)
        made = explainer.attribute(
            vectors, target=item.target, additional_forward_args=tuple(inputs.values())
        )
        found[index, "input_x_gradient"] = made[0].sum(-1).detach().cpu().numpy()
        with eager_attention(loaded.model):
            with torch.inference_mode():
                weights = loaded.model(**inputs, output_attentions=True).attentions[-1]
            found[index, "attention"] = weights[0, :, 0].mean(0).cpu().numpy()
            handle = embedding.register_forward_hook(lambda *_, v=vectors: v)
            output = loaded.model(**inputs, output_attentions=True)
            handle.remove()
            weights = output.attentions[-1]
            (slope,) = torch.autograd.grad(output.logits[0, item.target], weights)
        scaled = weights[0, :, 0].mean(0) * slope[0, :, 0].mean(0)
        found[index, "scaled_attention"] = scaled.detach().cpu().numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--peer-examples", type=int, default=50)
    arguments = parser.parse_args()
    print_table(
        "Faithfulness on XNLI",
        run(arguments.shared, arguments.model, arguments.examples, arguments.peer_examples),
    )


if __name__ == "__main__":
    main()
