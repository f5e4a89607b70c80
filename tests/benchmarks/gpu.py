"""Every analysis on one GPU: are its numbers those of the CPU, how fast is it, and how much of the card does it use.

    PYTHONPATH=. python tests/benchmarks/gpu.py --out gpu.json           # one H200: under eight minutes
    PYTHONPATH=. python tests/benchmarks/gpu.py --device cpu --tiny      # tries the script itself

Needs torch, transformers and what they bring; neither Polars nor DuckDB nor pydantic. Models have the shapes of XLM-R
base, XLM-R large and a decoder of 1.1 billion parameters, with random weights made here; examples are random tokens of
XNLI-like lengths. Prints tables for benchmarks.md, and each line as soon as it is known to stderr. What there is no
time for is named, and so is what failed; the exit code is 1 where something failed or numbers differ.

`share of the rate`: arithmetic that the model's calls need (2 per weight and sub-token, attention, and as much again
for gradients with respect to inputs) by the rate of a large matrix product in the same precision, measured first.
`host`: share of the seconds in which the GPU had no kernel to run, from torch's profiler, in a second, profiled run.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import table
from numpy.typing import NDArray

from xlwh.models.families import family_of

ROOT = Path(__file__).resolve().parents[2]
PAD, MASK, SEP, EOS, FIRST = 1, 3, 2, 2, 4
CLASSES, LONGEST = 3, 128
TOLERANCE = 2e-3
"""Deviation from the CPU, relative to the largest number of a result, up to which float32 agrees."""


@dataclass(frozen=True)
class Shape:
    """A model to be made."""

    kind: str
    layers: int
    heads: int
    width: int
    inner: int
    vocabulary: int = 32_000


SHAPES = {
    "XLM-R base": Shape("encoder", 12, 12, 768, 3072),
    "XLM-R large": Shape("encoder", 24, 16, 1024, 4096),
    "decoder 1 B": Shape("decoder", 22, 32, 2048, 5632),
    "mT5 base": Shape("writer", 12, 12, 768, 2048),
}
TINY = {
    name: replace(shape, layers=2, heads=2, width=16, inner=32, vocabulary=200)
    for name, shape in SHAPES.items()
}


@dataclass(frozen=True)
class Sizes:
    """How much of each analysis is measured."""

    predictions: int = 20_000
    lig: int = 256
    saliency: int = 2_048
    subjects: int = 48
    heads: int = 512
    head_rows: int = 4_000_000
    words: int = 100_000
    points: int = 100_000
    clusters: int = 600
    width: int = 768
    steps: int = 60
    texts: int = 256
    matrix: int = 8_192
    children: int = 8_000


SMALL = Sizes(6, 2, 4, 1, 2, 20, 30, 60, 4, 8, 2, 2, 64, 6)


def defaults(module: str, name: str) -> SimpleNamespace:
    """The settings of a part of the study at their defaults, read from its source: pydantic is not needed for that."""
    tree = ast.parse((ROOT / "xlwh" / "study" / f"{module}.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: dict[str, Any] = {}
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found |= vars(defaults(module, base.id))
    for node in classes[name].body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            continue
        value = node.value
        if isinstance(value, ast.Call):
            value = value.args[0] if value.args else ast.Constant(None)
        found[node.target.id] = ast.literal_eval(value)
    return SimpleNamespace(**found)


def made(shape: Shape, device: torch.device, layers: int | None = None) -> Any:
    """A loaded model of that shape with random weights, as far as analyses need one."""
    import transformers

    layers = layers or shape.layers
    common = {"vocab_size": shape.vocabulary, "num_labels": CLASSES, "pad_token_id": PAD}
    if shape.kind == "encoder":
        config = transformers.XLMRobertaConfig(
            hidden_size=shape.width, num_hidden_layers=layers, num_attention_heads=shape.heads,
            intermediate_size=shape.inner, max_position_embeddings=2 * LONGEST + 2, type_vocab_size=1, **common,
        )  # fmt: skip
        kind, task = transformers.XLMRobertaForSequenceClassification, "sequence_classification"
    elif shape.kind == "decoder":
        config = transformers.LlamaConfig(
            hidden_size=shape.width, num_hidden_layers=layers, num_attention_heads=shape.heads,
            num_key_value_heads=max(1, shape.heads // 8), intermediate_size=shape.inner, eos_token_id=EOS,
            max_position_embeddings=2 * LONGEST, **common,
        )  # fmt: skip
        kind, task = transformers.LlamaForSequenceClassification, "sequence_classification"
    else:
        config = transformers.MT5Config(
            vocab_size=shape.vocabulary, d_model=shape.width, d_kv=shape.width // shape.heads, d_ff=shape.inner,
            num_layers=layers, num_decoder_layers=layers, num_heads=shape.heads, pad_token_id=PAD,
            decoder_start_token_id=PAD, eos_token_id=EOS,
        )  # fmt: skip
        kind, task = transformers.MT5ForConditionalGeneration, "translation"
    torch.manual_seed(0)
    with torch.device(device):
        model = kind(config)
    model = model.eval().requires_grad_(False)
    tokenizer = SimpleNamespace(
        pad_token_id=PAD, mask_token_id=MASK, bos_token_id=0, eos_token_id=EOS, cls_token_id=0, sep_token_id=SEP,
        all_special_ids=[0, PAD, SEP, MASK], additional_special_tokens=[], padding_side="right",
        get_vocab=lambda: {str(index): index for index in range(shape.vocabulary)},
        convert_ids_to_tokens=lambda index: "<mask>" if isinstance(index, int) else ["t"] * len(index),
        decode=lambda ids, **_: " ".join(map(str, ids)), batch_decode=lambda rows, **_: [" ".join(map(str, row.tolist())) for row in rows],
    )  # fmt: skip
    return SimpleNamespace(
        key="random", model=model, config=config, family=family_of(model), tokenizer=tokenizer,
        labels=("a", "b", "c"), task=task, device=device, max_length=LONGEST, tokenization=None, pin=None,
    )  # fmt: skip


class _Keys:
    """As much of the frame of keys as analyses use: rows by number, and names of examples for their draws."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = list(numbers)

    def __getitem__(self, rows: Sequence[int]) -> _Keys:
        return _Keys([self._numbers[row] for row in rows])

    def select(self, *_: Any) -> _Keys:
        return self

    def iter_rows(self) -> Iterator[tuple[str, ...]]:
        return iter(self.rows())

    def rows(self) -> list[tuple[str, ...]]:
        return [("d", "t", "en", str(number)) for number in self._numbers]


def encoded(count: int, vocabulary: int, seed: int = 0) -> Any:
    """Random tokens, every one a word; lengths as of XNLI's English pairs, mean about 40."""
    from xlwh.models.segments import Occurrence
    from xlwh.models.tokenize import Encoded

    random = np.random.default_rng(seed)
    lengths = np.clip(random.gamma(6.0, 6.6, count), 10, LONGEST).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    size = int(bounds[-1])
    special = np.zeros(size, dtype=bool)
    special[bounds[:-1]] = special[bounds[1:] - 1] = True
    ids = random.integers(FIRST, vocabulary, size).astype(np.int32)
    ids[bounds[1:] - 1] = EOS
    within = (np.arange(size) - np.repeat(bounds[:-1], lengths) - 1).astype(np.int32)
    start = np.where(special, -1, 2 * within).astype(np.int32)
    words = tuple(tuple(Occurrence("w", 0, 2 * k, 2 * k + 1) for k in range(n - 2)) for n in lengths.tolist())
    return Encoded(
        keys=_Keys(range(count)),  # type: ignore[arg-type]
        bounds=bounds,
        input_ids=ids,
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
class Done:
    """What an analysis did: units of work, and its numbers."""

    units: float
    unit: str
    numbers: Any = None
    gradients: bool = False


Analysis = Callable[[Any, int], Done]
"""Of a loaded model and a number of examples."""


def predictions(loaded: Any, size: int) -> Done:
    from xlwh.models.predict import predict

    return Done(size, "example", predict(loaded, encoded(size, loaded.config.vocab_size)))


def _items(size: int) -> list[Any]:
    from xlwh.attribution.base import Item

    return [Item(row, row % CLASSES) for row in range(size)]


def lig(precision: str | None = None, **settings: Any) -> Analysis:
    def run(loaded: Any, size: int) -> Done:
        from xlwh.attribution.lig import lig as method
        from xlwh.models.fitting import batch_tokens_for

        chosen = SimpleNamespace(**{**vars(defaults("attribution", "Lig")), **settings})
        if precision is not None:
            chosen.precision = precision
        tokens = batch_tokens_for(loaded, 2048, gradients=True)
        found = list(method(loaded, encoded(size, loaded.config.vocab_size), _items(size), chosen, tokens))
        rows = sum(attribution.num_gradient_rows for _, attribution in found)
        return Done(rows, "gradient row", _scores(found), gradients=True)

    return run


def _scores(found: Any) -> list[Any]:
    return [attribution.values for _, attribution in sorted(found, key=lambda each: each[0])]


def saliency(loaded: Any, size: int) -> Done:
    from xlwh.attribution.saliency import saliency as method
    from xlwh.models.fitting import batch_tokens_for

    parameters: dict[str, Any] = {"input_x_gradient": defaults("attribution", "InputXGradient")}
    parameters |= {"attention": None, "scaled_attention": None}
    tokens = batch_tokens_for(loaded, 2048, gradients=True)
    examples = encoded(size, loaded.config.vocab_size)
    found = list(method(loaded, examples, _items(size), parameters, tokens))
    shown = {(index, name): each.values for index, made in found for name, each in made.items()}
    return Done(size, "example", shown, gradients=True)


def faithfulness(loaded: Any, size: int) -> Done:
    from xlwh.faithfulness.perturbations import Ranking, Subject, perturb

    settings, random = defaults("faithfulness", "Faithfulness"), np.random.default_rng(0)
    examples = encoded(size, loaded.config.vocab_size)
    subjects = []
    for row in range(size):
        length = int(examples.lengths[row])
        drawn = [Ranking(name, 0, random.normal(size=length)) for name in "abcde"]
        subjects.append(Subject(row, row % CLASSES, tuple(drawn)))
    done = perturb(loaded, examples, subjects, settings)
    return Done(done.num_evaluated, "input", [row.p_perturbed for row in done.rows])


def heads(
    rows_each: int, seconds: float = 20.0, precision: str = "float32", permutations: int | None = None
) -> Analysis:
    """Rounds at default settings, until there are so many evaluated rows for each example."""

    def run(loaded: Any, size: int) -> Done:
        from xlwh.heads.engine import Engine
        from xlwh.heads.players import players_of
        from xlwh.heads.sampler import sample_round
        from xlwh.heads.scores import Gold
        from xlwh.heads.sequences import Evidence

        config = loaded.config
        layers, count = config.num_hidden_layers, config.num_attention_heads
        gold = Gold(np.random.default_rng(1).integers(0, CLASSES, size), np.ones(size, dtype=np.int64))
        players, examples = players_of(("head",), layers, count), encoded(size, config.vocab_size)
        engine = Engine(loaded, examples, players, gold, "probability", precision)
        ids, sampler = [str(row) for row in range(size)], defaults("heads", "Sampler")
        sampler.round_permutations = permutations or sampler.round_permutations
        evidence, rows, number, begun = Evidence(len(players)), 0, 0, time.perf_counter()
        while rows < rows_each * size and (number == 0 or time.perf_counter() - begun < seconds):
            round_ = sample_round(engine, sampler, 0, number, np.ones(len(players), dtype=bool), ids)
            round_.observe(evidence)
            rows, number = rows + round_.rows, number + 1
        return Done(rows, "evaluated row", np.asarray(evidence.decided(0.1), dtype=np.float64))

    return run


def activations(loaded: Any, words: int) -> Done:
    """Of every layer; nothing is written, since that needs Polars."""
    from xlwh.concepts.activations import find_words, word_vectors
    from xlwh.concepts.places import Place
    from xlwh.models.hidden import places

    examples = encoded(max(2, words // 38), loaded.config.vocab_size)
    sizes = [len(own) for own in examples.occurrences]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    spans = find_words(examples, owner, np.concatenate([np.arange(count) for count in sizes]))
    wanted = [
        Place(stack, layer, "consumed" if stack == "decoder" else None)
        for stack, layer in places(loaded.model)
    ]
    found = word_vectors(loaded, examples, spans, wanted)
    kept = [vectors.values[:200] for vectors in found.values()]
    return Done(len(owner) * len(wanted), "word and layer", kept)


def kmeans(sizes: Sizes) -> Analysis:
    def run(loaded: Any, points: int) -> Done:
        from xlwh.concepts.kmeans import cluster
        from xlwh.concepts.points import from_array

        random = np.random.default_rng(0)
        # Points about a few hundred centres, as words have; a draw without structure has no clusters to agree on.
        centres = 3 * random.normal(size=(sizes.clusters, sizes.width)).astype(np.float32)
        values = random.normal(size=(points, sizes.width)).astype(np.float32)
        values += centres[random.integers(0, len(centres), points)]
        held = from_array(values)
        done = cluster(held, max(2, min(sizes.clusters, points // 4)), 0, "torch", 1, 100, loaded.device)
        return Done(points * done.iterations, "point and iteration", [done.distances])

    return run


def fine_tuning(autocast: str = "none", batch: int = 32) -> Analysis:
    """Steps of training alone: preparing the examples and writing checkpoints need Polars and a disk."""

    def run(loaded: Any, steps: int) -> Done:
        from xlwh.models import finetune

        recipe = SimpleNamespace(
            learning_rate=2e-5,
            weight_decay=0.01,
            seed=0,
            autocast=autocast,
            max_grad_norm=1.0,
            batch_size=batch,
        )
        examples = encoded(steps * batch, loaded.config.vocab_size)
        gold = np.random.default_rng(0).integers(0, CLASSES, steps * batch)
        data = finetune_data(examples, gold)
        model = loaded.model.train().requires_grad_(True)
        trainer: Any = object.__new__(finetune._Run)
        parameters = list(model.parameters())
        vars(trainer).update(
            job=SimpleNamespace(recipe=recipe, key="random"),
            workspace=SimpleNamespace(position=SimpleNamespace(step=0)),
            objective=SimpleNamespace(loss=None),
            base=loaded,
            model=model,
            train_set=data,
            warmup_steps=1,
            planned_steps=steps,
            parameters=parameters,
            optimizer=finetune._optimizer(parameters, recipe),  # type: ignore[arg-type]
        )
        model.config.problem_type = "single_label_classification"
        losses = []
        try:
            with finetune._reproducible(loaded.device):
                for step in range(steps):
                    trainer.workspace.position.step = step
                    losses.append(trainer._step(np.arange(step * batch, (step + 1) * batch)))
            numbers = torch.stack(losses).float().cpu().numpy()
        finally:
            model.eval().requires_grad_(False)
        return Done(steps * batch, "example", numbers[:1] if steps else numbers, gradients=True)

    return run


def finetune_data(examples: Any, gold: NDArray[np.int64]) -> Any:
    """A training set of encoded examples with classes."""
    from xlwh.models.training_data import TrainingSet

    return TrainingSet(examples, {"labels": gold}, len(examples))


def generation(loaded: Any, size: int) -> Done:
    from xlwh.models.translation import translate

    settings = SimpleNamespace(beams=1, length_penalty=1.0, max_tokens=32)
    written: Any = translate(loaded, encoded(size, loaded.config.vocab_size), settings)  # type: ignore[arg-type]
    tokens = [np.array(list(map(int, each.text.split()))) for each in written]
    return Done(sum(each.num_tokens for each in written), "written token", tokens)


# Measuring.


def flops(loaded: Any, calls: Sequence[tuple[int, int]], gradients: bool) -> float:
    """Arithmetic of calls of the model, each of (rows, padded length)."""
    embeddings = loaded.model.get_input_embeddings().weight.numel()
    weights = sum(parameter.numel() for parameter in loaded.model.parameters()) - embeddings
    config = loaded.config
    layers, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
    forward = sum(rows * length * (2.0 * weights + 4.0 * layers * width * length) for rows, length in calls)
    return forward * (2 if gradients else 1)


@contextmanager
def calls_of(model: Any) -> Iterator[list[tuple[int, int]]]:
    """(rows, length) of every call of the model."""
    calls: list[tuple[int, int]] = []

    def note(_: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        ids = kwargs.get("inputs_embeds") if ids is None else ids
        if ids is not None:
            calls.append((ids.shape[0], ids.shape[1]))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rates(device: torch.device, size: int) -> dict[str, float]:
    """Operations a second of a product of two square matrices, by precision."""
    found = {}
    for precision in ("float32", "tf32", "bfloat16"):
        if precision == "tf32" and device.type != "cuda":
            continue
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        with tf32(precision == "tf32"):
            for _ in range(3):
                one @ other
            synchronize(device)
            begun, turns = time.perf_counter(), 10
            for _ in range(turns):
                one @ other
            synchronize(device)
        found[precision] = turns * 2 * size**3 / (time.perf_counter() - begun)
    return found


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Products of float32 in TF32, or not, inside."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def host_share(run: Callable[[], object], device: torch.device) -> float | None:
    """Share of the seconds in which the GPU had nothing to do; None without one."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        begun = time.perf_counter()
        run()
        synchronize(device)
        seconds = time.perf_counter() - begun
    busy = sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6
    return max(0.0, 1 - busy / seconds)


def measured(
    name: str, shape: str, loaded: Any, analysis: Analysis, size: int, rates: dict[str, float], precision: str
) -> dict[str, Any]:
    """One line of the table: a small run first, then the measured one."""
    device = loaded.device
    analysis(loaded, max(2, size // 50))
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with calls_of(loaded.model) as calls:
        begun = time.perf_counter()
        done = analysis(loaded, size)
        synchronize(device)
        seconds = time.perf_counter() - begun
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    row: dict[str, Any] = {
        "model": shape,
        "analysis": name,
        "precision": precision,
        "unit": done.unit,
        "units": round(done.units),
        "seconds": round(seconds, 2),
        "units/s": round(done.units / seconds, 1),
    }
    if calls and precision in rates and name not in ("generation", "k-means", "heads"):
        share = flops(loaded, calls, done.gradients) / seconds / rates[precision]
        row["share of the rate"] = f"{share:.1%}"
    host = host_share(lambda: analysis(loaded, max(2, size // 10)), device)
    if host is not None and memory is not None:
        row |= {"host": f"{host:.0%}", "GiB at most": round(memory, 1)}
    return row


def deviation(one: Any, other: Any) -> float:
    """Largest difference of two results, relative to the largest number of each array; infinite where shapes differ."""
    if isinstance(one, dict):
        return max((deviation(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list | tuple) and one and not isinstance(one[0], int | float | None):
        same = len(one) == len(other)
        return max(map(deviation, one, other), default=0.0) if same else float("inf")
    a, b = (np.asarray(each, dtype=np.float64) for each in (one, other))
    if a.shape != b.shape:
        return float("inf")
    scale = max(float(np.nanmax(np.abs(a), initial=0.0)), 1e-9)
    apart = float(np.nanmax(np.abs(a - b), initial=0.0))
    return apart / scale if np.array_equal(np.isnan(a), np.isnan(b)) else float("inf")


class Session:
    """The lines of all tables, what failed, and the time that is left."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.skipped: list[str] = []
        self.failed: list[str] = []

    def add(self, title: str, name: str, make: Callable[[], dict[str, Any]], need_s: float = 5.0) -> None:
        """A line, unless there is no time for it; what fails is named and leaves the others alone."""
        if time.monotonic() + need_s > self._end:
            self.skipped.append(f"{name}: no time was left")
            return
        try:
            row = make()
        except Exception as error:  # whatever it is, the other lines are to be had
            self.failed.append(
                f"{title}, {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
            print(self.failed[-1], file=sys.stderr, flush=True)
            error.__traceback__ = None
            return
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        self.tables.setdefault(title, []).append(row)
        print(f"{title}: {row}", file=sys.stderr, flush=True)


def parity(
    session: Session, shapes: dict[str, Shape], device: torch.device, sizes: Sizes, tiny: bool
) -> None:
    """CPU and GPU, two layers of each shape, float32 without TF32."""
    small = sizes if tiny else Sizes(clusters=8, width=64)
    analyses: dict[str, tuple[Analysis, int]] = {
        "predictions": (predictions, 8),
        "LIG, fixed": (lig(quadrature="fixed", steps=8), 3),
        "LIG, adaptive": (lig(max_rows=64), 3),
        "saliency": (saliency, 6),
        "faithfulness": (faithfulness, 2),
        "activations": (activations, 200),
        "heads": (heads(1, permutations=8), 4),
        "k-means": (kmeans(small), 400),
        "fine-tuning": (fine_tuning(batch=4), 1),
    }
    for shape_name, shape in shapes.items():
        mine = {"generation": (generation, 3)} if shape.kind == "writer" else analyses
        both = [made(shape, at, layers=min(2, shape.layers)) for at in (torch.device("cpu"), device)]
        both[1].model.load_state_dict(both[0].model.state_dict())
        for name, (analysis, size) in mine.items():
            if shape.kind == "decoder" and name in ("saliency", "heads"):
                continue  # measured with encoders; the decoder's whole-pass engine would take the time of all

            make = partial(compared, shape_name, name, analysis, size, both)
            session.add("CPU and GPU", f"{shape_name}, {name}", make)


def compared(shape: str, name: str, analysis: Analysis, size: int, both: Sequence[Any]) -> dict[str, Any]:
    """One line of the comparison; AssertionError where the numbers of two models differ by more than rounding."""
    apart = deviation(*(analysis(loaded, size).numbers for loaded in both))
    if not apart <= TOLERANCE:
        raise AssertionError(f"deviates from the CPU by {apart:.1e}, more than {TOLERANCE:.0e}")
    return {"model": shape, "analysis": name, "deviation": f"{apart:.1e}"}


def speed(
    session: Session, shapes: dict[str, Shape], device: torch.device, sizes: Sizes, rates: dict[str, float]
) -> None:
    """The table of speeds, the shapes that matter most first."""
    has_precision = hasattr(defaults("attribution", "Lig"), "precision")
    if not has_precision:
        session.skipped.append("LIG in TF32 and bfloat16 as settings: this version has no such setting")
    precisions = [p for p in rates if p != "float32"] if has_precision else []
    for name, shape in shapes.items():
        base, decoder = name == "XLM-R base", shape.kind == "decoder"
        part = 1 if base else 16 if decoder else 4
        try:
            loaded = made(shape, device)
        except torch.OutOfMemoryError as error:
            session.failed.append(f"{name}: the model does not fit: {error}")
            continue
        if shape.kind == "writer":
            plan: list[tuple[str, Analysis, int, str]] = [("generation", generation, sizes.texts, "float32")]
        else:
            plan = [
                ("predictions", predictions, max(2, sizes.predictions // part), "float32"),
                ("LIG, fixed", lig(quadrature="fixed"), max(2, sizes.lig // part), "float32"),
                ("LIG, adaptive", lig(), max(2, sizes.lig // (2 * part)), "float32"),
                *(
                    (kind, lig(precision, **settings), max(2, sizes.lig // part), precision)
                    for precision in precisions
                    for kind, settings in (("LIG, fixed", {"quadrature": "fixed"}), ("LIG, adaptive", {}))
                ),
                ("activations", activations, max(60, sizes.words // part), "float32"),
                ("fine-tuning", fine_tuning(), max(1, sizes.steps // part), "float32"),
            ]
            if not decoder:
                plan += [
                    ("saliency", saliency, max(2, sizes.saliency // part), "float32"),
                    ("faithfulness", faithfulness, max(1, sizes.subjects // part), "float32"),
                    ("heads", heads(sizes.head_rows // sizes.heads), sizes.heads, "float32"),
                    (
                        "heads",
                        heads(sizes.head_rows // sizes.heads, precision="bfloat16"),
                        sizes.heads,
                        "bfloat16",
                    ),
                ]
            if base:
                plan += [
                    ("k-means", kmeans(sizes), sizes.points, "float32"),
                    ("fine-tuning", fine_tuning("bfloat16"), sizes.steps, "bfloat16"),
                ]
        for analysis_name, analysis, size, precision in plan:
            make = partial(measured, analysis_name, name, loaded, analysis, size, rates, precision)
            session.add("Speed", f"{name}, {analysis_name}, {precision}", make, need_s=15.0)
        # Its memory must be free before the next one is made.
        del loaded, make


def out_of_memory(shape: Shape, device: torch.device) -> dict[str, Any]:
    """Predictions in one batch that does not fit: are they halved until it does, and are the numbers the same?"""
    from xlwh.models.predict import predict

    loaded, size = made(shape, device), 512 if device.type == "cuda" else 16
    examples = encoded(size, shape.vocabulary)
    expected = predict(loaded, examples, batch_tokens=1024)
    refused = 0

    def refuse(_: Any, args: Any, kwargs: Any) -> None:
        nonlocal refused
        if kwargs["input_ids"].shape[0] > size // 4:
            refused += 1
            if device.type == "cuda":
                torch.empty(2**50, dtype=torch.uint8, device=device)  # the allocator's own error
            raise torch.OutOfMemoryError("no memory (provoked)")

    handle = loaded.model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        found = predict(loaded, examples, batch_tokens=2**22, batch_rows=2**20)
    finally:
        handle.remove()
    apart = deviation(expected, found)
    if not refused or apart > TOLERANCE:
        raise AssertionError(f"{refused} batches were refused, and predictions deviate by {apart:.1e}")
    return {"what": "out of memory", "result": f"{refused} batches refused and halved, deviation {apart:.1e}"}


def twice(
    shape: Shape, device: torch.device, sizes: Sizes
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The same analysis twice: the same bits?"""
    loaded = made(shape, device)
    small = replace(sizes, clusters=min(sizes.clusters, 32))
    analyses: list[tuple[str, Analysis, int]] = [
        ("predictions", predictions, 64),
        ("LIG, adaptive", lig(max_rows=64), 4),
        ("faithfulness", faithfulness, 2),
        ("heads", heads(1, permutations=32), 8),
        ("k-means", kmeans(small), 4_000 if sizes.points > 4_000 else sizes.points),
    ]
    for name, analysis, size in analyses:

        def run(name: str = name, analysis: Analysis = analysis, size: int = size) -> dict[str, Any]:
            apart = deviation(*(analysis(loaded, size).numbers for _ in range(2)))
            return {"what": f"twice: {name}", "result": "equal" if apart == 0 else f"deviation {apart:.1e}"}

        yield name, run


def two_processes(arguments: Sequence[str]) -> dict[str, Any]:
    """Predictions by one process, and by two at once on the same card."""

    def seconds(number: int) -> float:
        command = [sys.executable, __file__, *arguments, "--child"]
        children = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
            for _ in range(number)
        ]
        said = [child.communicate()[0] for child in children]
        if any(child.returncode for child in children):
            raise AssertionError(f"{number} processes: {[child.returncode for child in children]}")
        return max(float(each.splitlines()[-1]) for each in said)

    alone, together = seconds(1), seconds(2)
    return {
        "what": "two processes on one card",
        "result": f"{together:.2f} s each, {alone:.2f} s for one alone: {2 * alone / together:.2f} times its pace",
    }


def machine(device: torch.device) -> str:
    import transformers

    if device.type != "cuda":
        return f"CPU, torch {torch.__version__}, transformers {transformers.__version__}: a dry run, no GPU"
    free, total = torch.cuda.mem_get_info(device)
    return (
        f"{torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, torch "
        f"{torch.__version__}, transformers {transformers.__version__}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that try the script itself")
    parser.add_argument(
        "--minutes", type=float, default=7.0, help="what would begin later is left out and named"
    )
    parser.add_argument("--alone", action="store_true", help="without the two processes on one card")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --tiny tries the script itself")
    shapes, sizes = (TINY, SMALL) if asked.tiny else (SHAPES, Sizes())
    if asked.child:
        loaded = made(shapes["XLM-R base"], device)
        predictions(loaded, 2)
        synchronize(device)
        begun = time.perf_counter()
        predictions(loaded, sizes.children)
        synchronize(device)
        print(time.perf_counter() - begun)
        return 0
    session, told = Session(asked.minutes), machine(device)
    rates = matrix_rates(device, sizes.matrix)
    base = shapes["XLM-R base"]
    parity(session, shapes, device, sizes, asked.tiny)
    session.add("Behaviour", "out of memory", lambda: out_of_memory(base, device))
    for name, run in twice(base, device, sizes):
        session.add("Behaviour", f"twice, {name}", run)
    again = ["--device", asked.device, *(["--tiny"] if asked.tiny else [])]
    if asked.alone:
        session.skipped.append("two processes on one card: left out by --alone")
    else:
        need_s = 5.0 if asked.tiny else 60.0
        session.add("Behaviour", "two processes", lambda: two_processes(again), need_s)
    speed(session, shapes, device, sizes, rates)
    shown = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.items())
    print(f"## On a GPU\n\n{told}; TFLOP/s of a {sizes.matrix:,}² product: {shown}\n")
    for title, rows in session.tables.items():
        print(f"### {title}\n\n{table(rows)}\n")
    for kind, lines in (("Left out", session.skipped), ("Failed", session.failed)):
        print("".join(f"{kind}: {line}\n" for line in lines), end="")
    if asked.out is not None:
        found = {
            "machine": told,
            "operations_per_s": rates,
            "tables": session.tables,
            "left_out": session.skipped,
            "failed": session.failed,
        }
        asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
