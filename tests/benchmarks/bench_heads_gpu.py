"""Heads on a GPU: a classifier of XLM-R base's shape, sampled to 4 million evaluated rows in bfloat16.

    PYTHONPATH=. python tests/benchmarks/bench_heads_gpu.py

Weights are random and examples are random tokens of XNLI-like lengths: only the time counts. Needs torch,
transformers and numpy, nothing else of xlwh's; writes nothing. It tells every round as it ends and stops after
`--minutes`, whatever is reached. `--device cpu` with a small shape tries it out.
"""

from __future__ import annotations

import argparse
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from xlwh.heads.engine import Engine, check_precision
from xlwh.heads.players import players_of
from xlwh.heads.sampler import sample_round
from xlwh.heads.scores import Gold
from xlwh.heads.sequences import Evidence
from xlwh.models.families import family_of

PAD, CLASSES, MAX_LENGTH = 1, 3, 128


def classifier(layers: int, heads: int, width: int, device: torch.device) -> Any:
    """A loaded model with random weights, as far as the engine needs one."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    config = XLMRobertaConfig(
        vocab_size=32_000,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=MAX_LENGTH + 2,
        type_vocab_size=1,
        num_labels=CLASSES,
    )
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(config).to(device).eval().requires_grad_(False)
    return SimpleNamespace(
        key="random",
        model=model,
        config=config,
        family=family_of(model),
        tokenizer=SimpleNamespace(pad_token_id=PAD),
        labels=("a", "b", "c"),
        task="sequence_classification",
        device=device,
        max_length=MAX_LENGTH,
    )


def inputs(examples: int) -> Any:
    """Random tokens; lengths as of XNLI's English pairs, mean about 40 sub-tokens."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(6.0, 6.6, examples), 10, MAX_LENGTH).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(4, 32_000, int(bounds[-1])).astype(np.int32)
    return SimpleNamespace(
        lengths=lengths,
        bounds=bounds,
        input_ids=ids,
        special=np.zeros(len(ids), dtype=bool),
        token_type_ids=None,
        forced=None,
    )


def run(
    rows: int = 4_000_000,
    examples: int = 512,
    layers: int = 12,
    heads: int = 12,
    width: int = 768,
    device: str = "cuda",
    round_permutations: int = 24_576,
    precision: str = "bfloat16",
    minutes: float = 7.0,
) -> dict[str, Any]:
    """Seconds to `rows` evaluated rows, the decisions taken on the way included."""
    loaded = classifier(layers, heads, width, torch.device(device))
    encoded = inputs(examples)
    players = players_of(("head",), layers, heads)
    gold = Gold(np.random.default_rng(1).integers(0, CLASSES, examples), np.ones(examples, dtype=np.int64))
    engine = Engine(loaded, encoded, players, gold, "probability", precision)
    exact = Engine(loaded, encoded, players, gold, "probability")
    change = check_precision(exact, engine, np.arange(min(examples, 256)))
    ids = [str(number) for number in range(examples)]
    sampler: Any = SimpleNamespace(
        estimator="permutation", truncation=0.5, antithetic=True, round_permutations=round_permutations
    )
    warm: Any = SimpleNamespace(**{**vars(sampler), "round_permutations": 256})
    everyone = np.ones(len(players), dtype=bool)
    sample_round(engine, warm, 1, 0, everyone, ids)
    evidence, done, number = Evidence(len(players)), 0, 0
    start = time.perf_counter()
    while done < rows and time.perf_counter() - start < 60 * minutes:
        made = sample_round(engine, sampler, 0, number, everyone, ids)
        made.observe(evidence, antithetic=True)
        done, number = done + made.rows, number + 1
        print(f"round {number}: {done:,} rows after {time.perf_counter() - start:.1f} s", flush=True)
    seconds = time.perf_counter() - start
    on_gpu = device.startswith("cuda")
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "CPU",
        "GPU memory at most": f"{memory:.1f} GiB",
        "torch": torch.__version__,
        "shape": f"{layers} layers, {heads} heads, width {width}",
        "examples": examples,
        "rows": done,
        "seconds": round(seconds, 2),
        "rows/s": round(done / seconds),
        "seconds to 4 M rows": round(4e6 * seconds / done, 1),
        "decided": int(evidence.decided(0.1).sum()),
        "judged otherwise in half precision": f"{change:.1%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--round-permutations", type=int, default=24_576)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--minutes", type=float, default=7.0)
    found = run(**vars(parser.parse_args()))
    print("\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
