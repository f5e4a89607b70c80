"""Fine-tuning: a recipe, a base and examples to a model folder that appears in one rename.

A loop of our own rather than `transformers.Trainer`, for three reasons. A run killed anywhere must end with the
same weights as an undisturbed one: the whole state here is weights, AdamW's moments and a position, in one
safetensors file replaced by one rename, where Trainer spreads a checkpoint over pickled files (`optimizer.pt`,
`rng_state.pth`) and skips through the data to find its place. Batches of similar lengths, padded to few shapes,
take less time a step on a CPU. And Trainer needs accelerate, for one device. The price is that one process trains
on one device; the recipes of the papers need no more.

Whatever is random is drawn from (seed, step) or (seed, epoch), never from a generator's history: no random state
has to be saved, and evaluations or checkpoints cannot shift it. The same recipe on the same machine, with the same
number of threads, gives the same bits.

Settings follow Devlin et al. 2019 and XTREME (Hu et al. 2020): AdamW without decay for biases and norms, linear
warm-up, then linear decay to zero, gradients clipped by their global norm.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is imported: spinning threads starve each other on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import plan
from xlwh.models.training_data import (
    Objective,
    epoch_batches,
    objective_of,
    prepare,
    prepare_development,
)
from xlwh.models.training_state import Workspace, unique_tensors

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor
    from transformers import PreTrainedModel

    from xlwh.models.loaded import LoadedModel
    from xlwh.study import Finetune
    from xlwh.study.models import Inputs

CHECKPOINT_EVERY_S = 300.0
CHECKPOINT_SHARE = 0.05
"""Checkpoints between evaluations take at most this share of the time."""
LOSS_CHECK_STEPS = 10
"""Losses are fetched from the device, and checked, this many at a time."""


def _usual_inputs() -> Inputs:
    from xlwh.study.models import Inputs

    return Inputs()


@dataclass(frozen=True)
class Job:
    """Everything that determines the weights, and where they go.

    `train` and `dev` are rows of `examples`, gold not NULL; `labels` are in the order of the logits, and empty where
    the task has none. `inputs` says how examples become inputs. `workspace` holds partial work, `destination` is the model folder that appears at the end; both must be on one
    file system.
    """

    key: str
    recipe: Finetune
    task: str
    labels: tuple[str, ...]
    train: pl.DataFrame
    dev: pl.DataFrame
    workspace: Path
    destination: Path
    inputs: Inputs = field(default_factory=_usual_inputs)


def finetune(
    job: Job,
    load_base: Callable[[], LoadedModel],
    progress: Callable[[int, int], None] = lambda step, total: None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    repeat: bool = False,
) -> dict[str, Any]:
    """Train until the end or until patience runs out, publish the best model, return the content of `training.json`.

    `load_base` gives a trainable float32 model with a head for the labels, the same one each time. Goes on from the
    last checkpoint in `workspace`, if there is one; a `destination` that exists is returned as it is, unless
    `repeat` asks to train again. Besides those at evaluations, checkpoints are written every `checkpoint_every_s`
    seconds (less often where writing one takes long; 0: after each step); they change nothing in the result.
    `progress(step, planned_steps)` is called after each step.

    Raises `ModelError` when the loss is not finite, when the disk is full or will be, and when the data cannot be
    used; `StoreError` when another process trains the same model.
    """
    from xlwh.models.training_record import read_training

    objective = _objective(job)
    if not repeat and job.destination.exists():
        return read_training(job.destination)
    with Workspace(job.workspace, job.key) as workspace:
        # Another process may have published it before this one had the lock.
        if job.destination.exists() and not repeat:
            workspace.discard()
            return read_training(job.destination)
        base = load_base()
        with _reproducible(base.device):
            run = _Run(job, objective, base, workspace)
            run.train(progress, checkpoint_every_s)
            return run.publish()


def learning_rate(peak: float, step: int, warmup_steps: int, planned_steps: int) -> float:
    """Rate of a step counted from 0: linear to `peak` at the end of the warm-up, then linear to zero.

    Neither the first nor the last step has a rate of zero, so none is wasted.
    """
    rising = (step + 1) / max(1, warmup_steps)
    falling = (planned_steps - step) / max(1, planned_steps - warmup_steps)
    return peak * min(1.0, rising, falling)


class _Run:
    """One process's share of a fine-tuning: the model, its optimiser, and the position in the workspace."""

    def __init__(self, job: Job, objective: Objective, base: LoadedModel, workspace: Workspace) -> None:
        self.job, self.objective, self.workspace = job, objective, workspace
        self.base = replace(base, max_length=_max_length(job, base))
        self.model: PreTrainedModel = base.model
        # Left open, the first forward pass would write it into the configuration, and a run that resumes with no
        # step left would publish another one.
        self.model.config.problem_type = objective.problem_type
        self.train_set = prepare(self.base, objective, job.train, job.labels, job.inputs)
        self.development = prepare_development(self.base, objective, job.dev, job.labels, job.inputs)
        self.dev_set = self.development.data
        recipe = job.recipe
        self.steps_per_epoch = math.ceil(len(self.train_set) / recipe.batch_size)
        self.planned_steps = recipe.epochs * self.steps_per_epoch
        self.warmup_steps = math.ceil(recipe.warmup_ratio * self.planned_steps)
        share = self.steps_per_epoch / recipe.evaluations_per_epoch
        within = {max(1, round(share * (i + 1))) for i in range(recipe.evaluations_per_epoch)}
        self.evaluation_steps = {
            epoch * self.steps_per_epoch + step for epoch in range(recipe.epochs) for step in within
        }
        self.parameters = list(self.model.parameters())
        self.optimizer = _optimizer(self.parameters, recipe)
        weights = sum(tensor.nbytes for tensor in unique_tensors(self.model).values())
        if not workspace.restore(self.model, self.optimizer):
            # Old and new checkpoint (weights and two moments each), old and new best, for a moment all at once.
            workspace.require_space(8 * weights)
        workspace.position.sessions += 1
        self.losses: list[Tensor] = []

    def train(self, progress: Callable[[int, int], None], checkpoint_every_s: float) -> None:
        """Do all steps that are left, evaluating and saving on the way."""
        position, recipe = self.workspace.position, self.job.recipe
        started = time.perf_counter() - position.seconds
        saved, pause = time.perf_counter(), checkpoint_every_s
        batches: list[NDArray[np.int64]] = []
        while position.step < self.planned_steps and not position.stopped_early:
            epoch, index = divmod(position.step, self.steps_per_epoch)
            if index == 0 or not batches:
                lengths = self.train_set.encoded.lengths
                batches = epoch_batches(lengths, recipe.batch_size, recipe.seed, epoch)
            self.losses.append(self._step(batches[index]))
            position.step += 1
            evaluate = position.step in self.evaluation_steps
            due = time.perf_counter() - saved >= pause and position.step < self.planned_steps
            if evaluate or due or len(self.losses) == LOSS_CHECK_STEPS:
                self._check_losses()
            position.seconds = time.perf_counter() - started
            if evaluate:
                self._evaluate()
                position.seconds = time.perf_counter() - started
            if evaluate or due:
                begun = time.perf_counter()
                self.workspace.save(self.model, self.optimizer)
                saved = time.perf_counter()
                if checkpoint_every_s > 0:
                    pause = max(checkpoint_every_s, (saved - begun) / CHECKPOINT_SHARE)
            progress(position.step, self.planned_steps)

    def _step(self, rows: NDArray[np.int64]) -> Tensor:
        """One optimiser step on the examples `rows`; their mean loss, still on the device."""
        recipe, step = self.job.recipe, self.workspace.position.step
        self._seed(_draw(recipe.seed, step))  # dropout
        if not self.model.training:
            self.model.train()
        rate = learning_rate(recipe.learning_rate, step, self.warmup_steps, self.planned_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        autocast = recipe.autocast == "bfloat16"
        with torch.autocast(self.base.device.type, torch.bfloat16, enabled=autocast):
            loss = self._forward(*self.train_set.batch(self.base, rows))[1]
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, recipe.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _seed(self, seed: int) -> None:
        """Seed the generators that dropout draws from.

        `torch.manual_seed` would also leave a call behind for every kind of device that there is none of, each with the
        text of the stack, and never drop it.
        """
        torch.default_generator.manual_seed(seed)
        if self.base.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def _forward(self, inputs: dict[str, Tensor], gold: dict[str, Tensor]) -> tuple[Any, Tensor]:
        """The model's output on a batch, and its mean loss."""
        if self.objective.loss is None:
            output = self.model(**inputs, **gold)
            return output, output.loss
        output = self.model(**inputs)
        return output, self.objective.loss(output, gold, inputs["attention_mask"])

    def _check_losses(self) -> None:
        """Add the losses since the last check to the curve's mean; a loss that is not finite ends the training."""
        position = self.workspace.position
        losses = torch.stack(self.losses).float().tolist()
        for step, loss in enumerate(losses, start=position.step - len(losses) + 1):
            if not math.isfinite(loss):
                self._diverged(f"the training loss is {loss} at step {step:,} of {self.planned_steps:,}")
        position.loss_sum += math.fsum(losses)
        position.loss_steps += len(losses)
        self.losses.clear()

    def _evaluate(self) -> None:
        """Take the development loss and score, add a point to the curve, keep the weights if they are the best."""
        position, recipe = self.workspace.position, self.job.recipe
        self.model.eval()  # type: ignore[no-untyped-call]
        loss, total, scorer = 0.0, 0, self.development.scorer()
        # float32 whatever the training's precision: the score is that of the model as it will be used.
        with torch.inference_mode():
            for rows, _ in plan(self.dev_set.encoded.lengths, self.base.max_length):
                inputs, gold = self.dev_set.batch(self.base, rows)
                output, batch_loss = self._forward(inputs, gold)
                count = scorer.add(rows, output, gold, inputs["attention_mask"].bool().cpu().numpy())
                # The mean over no prediction at all is not a number.
                loss += float(batch_loss) * count if count else 0.0
                total += count
        if not math.isfinite(loss):
            self._diverged(f"the development loss is {loss} after step {position.step:,}")
        scores = scorer.scores()
        name, score = next(iter(scores.items()))
        total = max(total, 1)
        rate = learning_rate(recipe.learning_rate, position.step - 1, self.warmup_steps, self.planned_steps)
        position.curve.append(
            {
                "step": position.step,
                "epoch": position.step / self.steps_per_epoch,
                "train_loss": position.loss_sum / position.loss_steps,
                "dev_loss": loss / total,
                "dev_score": score,
                **{f"dev_{other}": value for other, value in scores.items() if other != name},
                "learning_rate": rate,
                "seconds": position.seconds,
            }
        )
        position.loss_sum, position.loss_steps = 0.0, 0
        better = score > position.best_score
        # Of equal scores, as small or saturated development sets give them, the surer model.
        if better or (score == position.best_score and loss / total < position.best_loss):
            position.best_score, position.best_loss = score, loss / total
            position.best_step = position.step
            self.workspace.save_best(self.model)
        position.evaluations_without_gain = 0 if better else position.evaluations_without_gain + 1
        position.stopped_early = (
            position.evaluations_without_gain >= recipe.patience and position.step < self.planned_steps
        )

    def _diverged(self, what: str) -> None:
        # The same steps would fail the same way: nothing here is worth resuming.
        self.workspace.discard()
        recipe = self.job.recipe
        raise ModelError(
            f"Fine-tuning `{self.job.key}` diverged: {what}. No model was published and the partial work was "
            f"removed. Lower models.{self.job.key}.finetune.learning_rate (now {recipe.learning_rate:g}), or raise "
            f"warmup_ratio (now {recipe.warmup_ratio:g}), then run the same command again."
        )

    def publish(self) -> dict[str, Any]:
        """Write the best weights, the tokenizer and `training.json`, and make them the model."""
        from xlwh.models.training_record import TRAINING_FILE

        record = self._record()
        self.workspace.restore_best(self.model)
        self.model.eval()  # type: ignore[no-untyped-call]

        def fill(folder: Path) -> None:
            with _no_progress_bars():
                self.model.save_pretrained(folder)
            self.base.tokenizer.save_pretrained(folder)
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            (folder / TRAINING_FILE).write_text(text, encoding="utf-8")

        self.workspace.publish(fill, self.job.destination)
        return record

    def _record(self) -> dict[str, Any]:
        job, position = self.job, self.workspace.position
        return {
            "model": job.key,
            "task": job.task,
            "labels": list(job.labels),
            "recipe": job.recipe.model_dump(mode="json"),
            "train_examples": self.train_set.examples,
            "dev_examples": self.dev_set.examples,
            "train_inputs": len(self.train_set),
            "dev_inputs": len(self.dev_set),
            "truncated_examples": self.train_set.truncated_examples,
            "truncated_tokens": self.train_set.truncated_tokens,
            "dev_truncated_examples": self.dev_set.truncated_examples,
            "dev_truncated_tokens": self.dev_set.truncated_tokens,
            **self.train_set.counts,
            **{f"dev_{name}": count for name, count in self.dev_set.counts.items()},
            "planned_steps": self.planned_steps,
            "train_steps": position.step,
            "stopped_early": position.stopped_early,
            "best_step": position.best_step,
            "dev_metric": next(iter(self.development.scorer().scores())),
            "dev_score": position.best_score,
            "duration_s": position.seconds,
            "sessions": position.sessions,
            "device": str(self.base.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "curve": position.curve,
        }


def _objective(job: Job) -> Objective:
    objective = objective_of(job.task, job.key)
    for part, rows in (("training", job.train), ("development", job.dev)):
        if rows.is_empty():
            raise ModelError(f"Model `{job.key}`: there are no {part} examples with gold.")
    if objective.labelled and len(job.labels) < 2:
        raise ModelError(
            f"Model `{job.key}`: fine-tuning needs at least two labels; the training examples have: "
            f"{', '.join(job.labels) or 'none'}."
        )
    return objective


def _max_length(job: Job, base: LoadedModel) -> int:
    limit = base.family.max_positions(base.config)
    if limit is not None and job.recipe.max_length > limit:
        raise ModelError(
            f"Model `{job.key}`: max_length {job.recipe.max_length} is more than the {limit} positions of base "
            f"`{job.recipe.base}`. Set models.{job.key}.finetune.max_length to {limit} or less."
        )
    return job.recipe.max_length


def _optimizer(parameters: Sequence[torch.nn.Parameter], recipe: Finetune) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: biases and norm scales are vectors."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        # One pass over memory: a quarter of the time of the separate operations on a CPU.
        fused=True,
    )


def _draw(seed: int, step: int) -> int:
    """A seed of its own for each step: 63 bits that do not overlap between neighbouring seeds."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels inside; torch's switches and random generators as before afterwards."""
    devices = []
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=devices):
        torch.use_deterministic_algorithms(True)
        # Every kernel here writes all of its output: filling it first would only cost time.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            memory.fill_uninitialized_memory = fill


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
