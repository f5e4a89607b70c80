"""Time of a fine-tuning step: this project's loop against `transformers.Trainer`.

Same model (mini-x11 with a fresh head), same pairs (MultiNLI, English), same batch size, optimiser (fused AdamW) and
precision. Trainer runs on the very batches of our loop, which compares the loops, and on its own two orders, which
compares what a user gets. Padding decides how much there is to compute, so each row gives the padded sub-tokens of
an average step of the whole epoch beside the time per 1,000 of them; their product is the expected time of a step.
Seconds are of the processor, so that other work on the machine does not count; `wall_step_s` is the clock's.
Needs accelerate for Trainer.

    python tests/benchmarks/bench_finetune.py ../shared [--steps 12] [--rounds 2] [--autocast none]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from common import print_table

BATCH = 32
EXAMPLES = 3200
MAX_LENGTH = 128
LABELS = ("entailment", "neutral", "contradiction")

Ticks = list[tuple[float, float, int]]
"""Wall clock, processor seconds and padded sub-tokens so far, after each step."""


class _Enough(BaseException):
    """Ends a run after the steps that are timed."""


def measure(
    shared: Path, steps: int = 12, rounds: int = 2, autocast: str = "bfloat16"
) -> list[dict[str, Any]]:
    """One row per variant; variants take turns, the first two steps of each turn are not counted."""
    import torch

    from xlwh.digests import HashCache
    from xlwh.models.loading import load_trainable
    from xlwh.models.pins import pin_folder
    from xlwh.study import Model

    examples = _examples(shared)
    with tempfile.TemporaryDirectory() as scratch:
        hashes = HashCache(Path(scratch) / "hashes")
        pin = pin_folder("base", "path", "base", None, shared / "models" / "mini-x11", hashes)

        def load() -> Any:
            return load_trainable(pin, Model(path="base"), torch.device("cpu"), LABELS, 0)

        orders = _orders(load(), examples)
        variants: dict[str, Callable[[], Ticks]] = {
            "xlwh": lambda: _ours(load(), examples, autocast, steps, Path(scratch))
        }
        for name in list(orders)[1:]:
            variants[f"Trainer, {name}"] = lambda name=name: _trainer(
                load(), examples, autocast, steps, orders[name], Path(scratch)
            )
        turns: dict[str, list[Ticks]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, turn in variants.items():
                turns[name].append(turn()[2:])
    rows = []
    for name, ticks in turns.items():
        order = orders[name.removeprefix("Trainer, ")]
        wall = [later[0] - earlier[0] for turn in ticks for earlier, later in pairwise(turn)]
        used = sum(turn[-1][1] - turn[0][1] for turn in ticks)
        tokens = sum(turn[-1][2] - turn[0][2] for turn in ticks)
        per_step = statistics.fmean(order[1])
        rows.append(
            {
                "loop": name,
                "autocast": autocast,
                "steps": len(wall),
                "wall_step_s": round(statistics.median(wall), 3),
                "cpu_s_per_1000_tokens": round(1000 * used / tokens, 4),
                "tokens_per_step": round(per_step),
                "expected_cpu_step_s": round(used / tokens * per_step, 3),
            }
        )
    for row in rows:
        row["relative"] = round(row["expected_cpu_step_s"] / rows[0]["expected_cpu_step_s"], 2)
    return rows


def _examples(shared: Path) -> Any:
    import polars as pl

    lines = (shared / "data/xnli/mnli15k/multinli.train.en.tsv").read_text(encoding="utf-8").split("\n")[1:]
    rows = [line.rstrip("\r").split("\t") for line in lines]
    rows = [row for row in rows if len(row) == 3][:EXAMPLES]
    return pl.DataFrame(
        {
            "dataset": "mnli",
            "split": "train",
            "language": "en",
            "example_id": [str(number) for number in range(len(rows))],
            "task": "sentence_pair",
            "text": [row[0] for row in rows],
            "text_pair": [row[1] for row in rows],
            "label": ["contradiction" if row[2] == "contradictory" else row[2] for row in rows],
            "words": pl.Series([None] * len(rows), dtype=pl.List(pl.String)),
            "word_spans": None,
        }
    )


def _orders(base: Any, examples: Any) -> dict[str, tuple[list[list[int]], list[int]]]:
    """Batches of one epoch, and the padded sub-tokens of each: ours, and Trainer's two ways."""
    import torch
    from torch.utils.data import RandomSampler
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from xlwh.models.batches import padded_length
    from xlwh.models.tokenize import encode
    from xlwh.models.training_data import epoch_batches

    lengths = encode(base, examples).lengths.clip(max=MAX_LENGTH)
    ours = [batch.tolist() for batch in epoch_batches(lengths, BATCH, 0, 0)]
    torch.manual_seed(0)
    grouped = list(LengthGroupedSampler(BATCH, lengths=lengths.tolist()))
    shuffled = list(RandomSampler(lengths))  # type: ignore[arg-type]

    def cut(order: Sequence[int]) -> list[list[int]]:
        return [list(order[start : start + BATCH]) for start in range(0, len(order), BATCH)]

    def eights(length: int, limit: int) -> int:
        return min(-(-length // 8) * 8, limit)

    return {
        name: (batches, [len(batch) * pad(int(lengths[batch].max()), MAX_LENGTH) for batch in batches])
        for name, batches, pad in (
            ("xlwh", ours, padded_length),
            ("our batches", ours, eights),
            ("group_by_length", cut(grouped), eights),
            ("shuffled (default)", cut(shuffled), eights),
        )
    }


def _ours(base: Any, examples: Any, autocast: str, steps: int, scratch: Path) -> Ticks:
    from xlwh.models.finetune import Job, finetune
    from xlwh.study import Finetune

    ticks: Ticks = []
    tokens = 0
    forward = base.model.forward

    def counting(**inputs: Any) -> Any:
        nonlocal tokens
        tokens += inputs["input_ids"].numel()
        return forward(**inputs)

    def report(step: int, total: int) -> None:
        ticks.append((time.perf_counter(), time.process_time(), tokens))
        if step == steps:
            raise _Enough

    base.model.forward = counting
    recipe = Finetune(
        base="base",
        dataset="mnli",
        languages=("en",),
        epochs=1,
        batch_size=BATCH,
        max_length=MAX_LENGTH,
        evaluations_per_epoch=1,
        autocast=autocast,  # type: ignore[arg-type]
    )
    job = Job(
        key="bench",
        recipe=recipe,
        task="sentence_pair",
        labels=LABELS,
        train=examples,
        dev=examples.head(8),
        workspace=scratch / "bench-0000000000000000",
        destination=scratch / "model",
    )
    try:
        finetune(job, lambda: base, progress=report, checkpoint_every_s=1e9)
    except _Enough:
        return ticks
    raise AssertionError("the epoch has fewer steps than are to be timed")


def _trainer(
    base: Any,
    examples: Any,
    autocast: str,
    steps: int,
    order: tuple[list[list[int]], list[int]],
    scratch: Path,
) -> Ticks:
    from torch.utils.data import DataLoader
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    encoded = base.tokenizer(
        examples["text"].to_list(), examples["text_pair"].to_list(), truncation=True, max_length=MAX_LENGTH
    )
    data = [
        {**{name: encoded[name][i] for name in encoded}, "labels": LABELS.index(label)}
        for i, label in enumerate(examples["label"])
    ]
    collate = DataCollatorWithPadding(base.tokenizer, pad_to_multiple_of=8)
    ticks: Ticks = []
    done = 0
    forward = base.model.forward

    def counting(*arguments: Any, **inputs: Any) -> Any:
        nonlocal done
        done += inputs["input_ids"].numel()
        return forward(*arguments, **inputs)

    base.model.forward = counting

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ticks.append((time.perf_counter(), time.process_time(), done))

    class Ordered(Trainer):
        def get_train_dataloader(self) -> Any:
            loader = DataLoader(data, batch_sampler=order[0], collate_fn=collate)  # type: ignore[arg-type]
            return self.accelerator.prepare(loader)

    trainer = Ordered(
        model=base.model,
        args=TrainingArguments(
            output_dir=str(scratch / "trainer"),
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=2e-5,
            weight_decay=0.01,
            optim="adamw_torch_fused",
            bf16=autocast == "bfloat16",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        ),
        train_dataset=data,  # type: ignore[arg-type]
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return ticks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--autocast", choices=["bfloat16", "none"], default="bfloat16")
    options = parser.parse_args()
    rows = measure(options.shared, options.steps, options.rounds, options.autocast)
    print_table("A fine-tuning step", rows)


if __name__ == "__main__":
    main()
