"""Faithfulness metrics and gradient attributions, against one example at a time as published scripts do it.

    python tests/benchmarks/bench_faithfulness.py SHARED --model FOLDER [--examples 500] [--padded-examples 50]

FOLDER is a three-class NLI checkpoint (entailment, neutral, contradiction), such as the one that `examples/xnli`
leaves under `warehouse/models/mini-x11-en/`.

Two peers for the metrics, both one example and one ratio after the other. The first is the loop of the paper's
published code: the whole and the empty input once, two passes for every method and ratio, the soft masks again at each
ratio (so that there are seven draws of them), all inputs padded to the longest premise and hypothesis of the training
data. Its scripts take 16 padded inputs at once and build gradients that they do not use; here it is spared both. The
second is the same without the padding and with one draw, which is the least that can be done one by one. Ours has as
many draws as the peer beside it. All passes are counted, probabilities compared.

The gradient methods are compared with a pass of its own for each (captum's where captum has the method).

Ours and the peer take turns on the same examples, chunk by chunk, so that what else the machine does meets them alike.
The speed-up is of processor time, with the clock beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from captum.attr import InputXGradient as CaptumInputXGradient
from common import print_table

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.attribution.saliency import saliency
from xlwh.attribution.vectors import VectorModel
from xlwh.corpora import read, sample
from xlwh.draws import stream
from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
from xlwh.faithfulness.selection import attributable, keep_probability, kept, order, rationale_size
from xlwh.models import LoadedModel, Zoo
from xlwh.models.attentions import eager_attention
from xlwh.models.outputs import output_replaced
from xlwh.models.predict import predict
from xlwh.models.tokenize import KEYS, Encoded, encode
from xlwh.store import Warehouse
from xlwh.study import AttentionWeights, Faithfulness, InputXGradient, Lig, ScaledAttention, Study
from xlwh.tables.faithfulness import SIDES

SETTINGS = Faithfulness(random_draws=1, soft_draws=1)
AS_PUBLISHED = Faithfulness(random_draws=1, soft_draws=len(SETTINGS.ratios))
CHUNK = 5
SHARED_METHODS = {
    "input_x_gradient": InputXGradient(),
    "attention": AttentionWeights(),
    "scaled_attention": ScaledAttention(),
}


@dataclass
class Tally:
    """What one way of doing the work has taken so far."""

    by: str
    examples: int = 0
    passes: int = 0
    clock: float = 0.0
    processor: float = 0.0

    def run(self, examples: int, work: Callable[[], tuple[Any, int]]) -> Any:
        """Time `work`, which gives its result and the number of inputs that the model was run on; the result."""
        clock, processor = time.perf_counter(), time.process_time()
        made, passes = work()
        self.clock += time.perf_counter() - clock
        self.processor += time.process_time() - processor
        self.examples += examples
        self.passes += passes
        return made


@dataclass
class Comparison:
    """Ours and a peer on the same work, and the largest difference of what they found."""

    work: str
    peer: str
    ours: Tally = field(default_factory=lambda: Tally("xlwh"))
    theirs: Tally = field(init=False)
    difference: float = 0.0

    def __post_init__(self) -> None:
        self.theirs = Tally(self.peer)

    def rows(self) -> list[dict[str, Any]]:
        base = self.theirs
        made = [
            {
                "work": self.work,
                "by": tally.by,
                "examples": tally.examples,
                "inputs per example": round(tally.passes / tally.examples, 1),
                "processor ms per example": round(1000 * tally.processor / tally.examples, 1),
                "clock ms per example": round(1000 * tally.clock / tally.examples, 1),
                "speed-up (processor)": round(
                    base.processor / base.examples * tally.examples / tally.processor, 1
                ),
                "speed-up (clock)": round(base.clock / base.examples * tally.examples / tally.clock, 1),
            }
            for tally in (self.ours, self.theirs)
        ]
        made[0]["largest difference"] = f"{self.difference:.1e}"
        return made


def run(shared: Path, model: Path, examples: int = 500, padded_examples: int = 50) -> list[dict[str, Any]]:
    """Rows of the table: ours and the peers for the metrics and for the gradient methods.

    The padded peer takes the first `padded_examples` only.
    """
    data = {"reader": "xnli", "path": "xnli/xtreme"}
    study = Study.model_validate(
        {
            "name": "bench",
            "languages": ["en"],
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": data, "mnli": {**data, "path": "xnli/mnli15k", "split": "train"}},
            "models": {"nli": {"path": str(model), "labels": ["entailment", "neutral", "contradiction"]}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        loaded = Zoo(study, Warehouse(folder, create=True)).load("nli")
    limit = loaded.family.max_positions(loaded.config) or loaded.max_length
    padded_to = min(_longest_pair(read(study, "mnli", "en").examples), limit)
    chosen = sample(read(study, "xnli", "en").examples, examples, 0)
    padded = Comparison(
        "hard and soft metrics, 5 methods × 7 ratios, 7 soft draws",
        f"the published loop, padded to {padded_to}",
    )
    plain = Comparison(
        "hard and soft metrics, 5 methods × 7 ratios, 1 soft draw", "one at a time, not padded"
    )
    gradients = Comparison("input × gradient, attention, scaled attention", "one at a time, a pass each")
    first = encode(loaded, chosen[:2])
    perturb(loaded, first, _subjects(loaded, first, [Item(0, 0), Item(1, 0)]), SETTINGS)
    for start in range(0, examples, CHUNK):
        encoded = encode(loaded, chosen[start : start + CHUNK])
        logits = predict(loaded, encoded)
        items = [Item(example, int(logits[example].argmax())) for example in range(len(encoded))]
        subjects = _subjects(loaded, encoded, items)
        if start < padded_examples:
            few = subjects[: padded_examples - start]
            _metrics(padded, loaded, encoded, few, AS_PUBLISHED, padded_to)
        _metrics(plain, loaded, encoded, subjects, SETTINGS, None)
        _gradients(gradients, loaded, encoded, items)
    return [row for comparison in (padded, plain, gradients) for row in comparison.rows()]


def _longest_pair(examples: pl.DataFrame) -> int:
    """Words of the longest first text plus those of the longest second: the length that the scripts pad to."""
    return sum(max(len(text.split()) for text in examples[column]) for column in ("text", "text_pair"))


def _metrics(
    comparison: Comparison,
    loaded: LoadedModel,
    encoded: Encoded,
    subjects: list[Subject],
    settings: Faithfulness,
    padded_to: int | None,
) -> None:
    def ours() -> tuple[Any, int]:
        made = perturb(loaded, encoded, subjects, settings)
        return made.rows, made.num_evaluated

    peer = OneByOne(loaded, encoded, settings, padded_to)
    rows = comparison.ours.run(len(subjects), ours)
    expected = comparison.theirs.run(len(subjects), lambda: (peer.run(subjects), peer.passes))
    found = {(r.subject, r.method, r.mode, r.side, r.ratio, r.repeat): r.p_perturbed for r in rows}
    errors = [abs(found[key] - value) for key, value in expected.items()]
    comparison.difference = max(comparison.difference, *errors)


def _gradients(comparison: Comparison, loaded: LoadedModel, encoded: Encoded, items: list[Item]) -> None:
    found = comparison.ours.run(
        len(items), lambda: (dict(saliency(loaded, encoded, items, SHARED_METHODS, 2048)), len(items))
    )
    expected = comparison.theirs.run(
        len(items), lambda: (_apart(loaded, encoded, items), len(SHARED_METHODS) * len(items))
    )
    for (index, name), values in expected.items():
        error = np.abs(found[index][name].values - values).max() / max(np.abs(values).max(), 1e-9)
        comparison.difference = max(comparison.difference, float(error))


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
    """One example as it is given, with PAD behind it where `ids` are longer."""
    row = encoded.row(example)
    size, types = row.stop - row.start, encoded.token_type_ids
    seen = torch.zeros_like(ids)
    seen[:, :size] = 1
    kinds = None
    if types is not None:
        kinds = torch.zeros_like(ids)
        kinds[0, :size] = torch.from_numpy(types[row])
    return loaded.family.model_inputs(loaded.model, ids, seen, kinds)


class OneByOne:
    """Every method, side, ratio and draw by forward passes of one example."""

    def __init__(
        self, loaded: LoadedModel, encoded: Encoded, settings: Faithfulness, padded_to: int | None
    ) -> None:
        self.loaded, self.encoded, self.settings, self.padded_to = loaded, encoded, settings, padded_to
        self.embedding = loaded.family.word_embedding(loaded.model)
        self.passes = 0

    def run(self, subjects: list[Subject]) -> dict[Any, float]:
        """Probabilities by (subject, method, mode, side, ratio, draw)."""
        found: dict[Any, float] = {}
        mask = self.loaded.tokenizer.mask_token_id
        with torch.inference_mode():
            for number, subject in enumerate(subjects):
                ids = self.encoded.input_ids[self.encoded.row(subject.example)]
                free = attributable(self.encoded, subject.example, keep_query=True)
                self._probability(subject, ids)
                self._probability(subject, np.where(free, mask, ids))
                for ranking in subject.rankings:
                    ordered = order(ranking.scores, free)
                    for ratio, side in product(self.settings.ratios, SIDES):
                        k = rationale_size(ratio, int(free.sum()))
                        shown = np.where(kept(ordered, k, free, side), ids, mask)
                        key = (number, ranking.method, "hard", side, ratio, 0)
                        found[key] = self._probability(subject, shown)
                width = self.loaded.family.hidden_size(self.loaded.config)
                nothing = np.broadcast_to(~free[:, None], (len(free), width)).astype(np.float32)
                self._probability(subject, ids, nothing)
                for draw in range(self.settings.soft_draws):
                    noise = _noise(self.encoded, width, subject.example, draw)
                    for ranking, side in product(subject.rankings, SIDES):
                        q = keep_probability(ranking.scores, free, side)
                        factors = (noise < q[:, None]).astype(np.float32)
                        key = (number, ranking.method, "soft", side, None, draw)
                        found[key] = self._probability(subject, ids, factors)
        return found

    def _probability(self, subject: Subject, ids: Any, factors: Any = None) -> float:
        """Probability of the subject's class, its word vectors multiplied by `factors` `[tokens, width]`."""
        self.passes += 1
        length = self.padded_to or len(ids)
        tensor = torch.full((1, length), self.loaded.tokenizer.pad_token_id)
        tensor[0, : len(ids)] = torch.from_numpy(np.asarray(ids, dtype=np.int64))
        inputs = _inputs(self.loaded, self.encoded, subject.example, tensor)
        if factors is None:
            return float(self.loaded.model(**inputs).logits[0].softmax(-1)[subject.target])
        vectors = self.embedding(tensor)
        vectors[0, : len(ids)] *= torch.from_numpy(factors)
        with output_replaced(self.embedding, vectors):
            return float(self.loaded.model(**inputs).logits[0].softmax(-1)[subject.target])


def _noise(encoded: Encoded, width: int, example: int, draw: int) -> Any:
    """The uniform numbers of a draw of the soft masks."""
    name = "\x00".join(map(str, encoded.keys.select(KEYS).row(example)))
    return stream("soft", name, draw).uniform32(int(encoded.lengths[example]), width)


def _apart(loaded: LoadedModel, encoded: Encoded, items: list[Item]) -> dict[tuple[int, str], Any]:
    """captum's InputXGradient, a pass for attention, and a pass with its gradient, example by example."""
    embedding = loaded.family.word_embedding(loaded.model)
    model = VectorModel(loaded)
    explainer = CaptumInputXGradient(model)
    found: dict[tuple[int, str], Any] = {}
    for index, item in enumerate(items):
        ids = torch.from_numpy(encoded.input_ids[encoded.row(item.example)].astype(np.int64))[None]
        inputs = _inputs(loaded, encoded, item.example, ids)
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
            with output_replaced(embedding, vectors):
                output = loaded.model(**inputs, output_attentions=True)
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
    parser.add_argument("--padded-examples", type=int, default=50)
    arguments = parser.parse_args()
    rows = run(arguments.shared, arguments.model, arguments.examples, arguments.padded_examples)
    print_table("Faithfulness on XNLI", rows)


if __name__ == "__main__":
    main()
