"""The training loop: what it learns, that it is reproducible, and what it does when something fails."""

from __future__ import annotations

import errno
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from xlwh.digests import HashCache
from xlwh.errors import ModelError, StoreError
from xlwh.models import finetune as module
from xlwh.models import training_state
from xlwh.models.finetune import Job, finetune, learning_rate
from xlwh.models.loaded import LoadedModel
from xlwh.models.loading import load_trainable
from xlwh.models.pins import pin_folder
from xlwh.models.training_data import OBJECTIVES, canonical_labels, epoch_batches, prepare
from xlwh.models.training_record import read_training
from xlwh.store import empty
from xlwh.study import Finetune, Model
from xlwh.study.models import Inputs

WORLD = runpy.run_path(str(Path(__file__).parents[2] / "e2e" / "finetune_child.py"))
LABELS = WORLD["LABELS"]
RECIPE = Finetune(
    base="base",
    dataset="nli",
    languages=("en",),
    epochs=3,
    batch_size=8,
    learning_rate=3e-3,
    max_length=24,
    evaluations_per_epoch=2,
    patience=9,
)


def rows(count: int, seed: int = 0) -> pl.DataFrame:
    return pl.DataFrame(WORLD["make_rows"](count, seed=seed), schema=empty("examples").schema)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WORLD["make_base"](tmp_path_factory.mktemp("model") / "base")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        key="tuned",
        recipe=RECIPE,
        task="sentence_pair",
        labels=LABELS,
        train=rows(60),
        dev=rows(24, seed=1),
        workspace=tmp_path / "staging" / "tuned-0123456789abcdef",
        destination=tmp_path / "models" / "tuned" / "0123456789abcdef",
    )


@pytest.fixture
def load_base(base: Path, tmp_path: Path) -> Callable[[], LoadedModel]:
    pin = pin_folder("base", "path", "base", None, base, HashCache(tmp_path / "hashes.sqlite"))
    return lambda: load_trainable(pin, Model(path="base"), torch.device("cpu"), LABELS, RECIPE.seed)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    """All of a model folder but its record, which holds times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "training.json"}


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    curve = [{k: v for k, v in point.items() if k != "seconds"} for point in record["curve"]]
    return {**record, "curve": curve, "duration_s": None, "sessions": None}


def test_steps_leave_nothing_behind(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    queued = [getattr(getattr(torch, kind), "_queued_calls", []) for kind in ("cuda", "xpu", "mtia")]
    before = [len(calls) for calls in queued]
    short = replace(job, recipe=RECIPE.model_copy(update={"epochs": 1}))
    steps = finetune(short, load_base)["train_steps"]
    assert steps > 4
    # Those of loading the base and of keeping the caller's generators; none per step.
    assert max(len(calls) - count for calls, count in zip(queued, before, strict=True)) < 4


class Killed(BaseException):
    """Stands for a process that ends at once: nothing handles it."""


def test_learns_and_publishes_a_model_that_loads(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    seen: list[tuple[int, int]] = []
    longer = replace(job, recipe=RECIPE.model_copy(update={"epochs": 12, "patience": 24}), train=rows(180))
    record = finetune(longer, load_base, progress=lambda step, total: seen.append((step, total)))

    assert record["dev_score"] > 0.8
    assert record["train_steps"] == record["planned_steps"] == 12 * 23
    assert seen == [(step, 276) for step in range(1, 277)]
    assert record == read_training(job.destination)
    assert not job.workspace.exists()
    assert len({path.stat().st_mode for path in job.destination.iterdir()}) == 1
    assert {path.name for path in job.destination.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "training.json",
    }

    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(job.destination, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.destination)
    assert model.config.id2label == dict(enumerate(LABELS))
    dev = longer.dev
    encoded = tokenizer(dev["text"].to_list(), dev["text_pair"].to_list(), padding=True, return_tensors="pt")
    with torch.inference_mode():
        predicted = model(**encoded).logits.argmax(-1)
    right = sum(LABELS[i] == label for i, label in zip(predicted.tolist(), dev["label"], strict=True))
    assert right / len(dev) == record["dev_score"]


def test_curve_has_a_point_per_evaluation(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    record = finetune(job, load_base)

    curve = record["curve"]
    assert [point["step"] for point in curve] == [4, 8, 12, 16, 20, 24]
    assert [point["epoch"] for point in curve] == [0.5, 1, 1.5, 2, 2.5, 3]
    assert all(
        0 <= point["dev_score"] <= 1 and point["dev_loss"] > 0 and point["train_loss"] > 0 for point in curve
    )
    assert [point["seconds"] for point in curve] == sorted(point["seconds"] for point in curve)
    assert curve[-1]["learning_rate"] == learning_rate(RECIPE.learning_rate, 23, 2, 24)
    best = max(curve, key=lambda point: (point["dev_score"], -point["dev_loss"]))
    assert (record["dev_score"], record["best_step"]) == (best["dev_score"], best["step"])


def test_same_seed_same_bits_other_seed_other_bits(
    job: Job, load_base: Callable[[], LoadedModel], tmp_path: Path
) -> None:
    once = finetune(job, load_base)
    first = weights(job.destination)
    before = torch.get_rng_state()
    again = finetune(job, load_base, repeat=True, checkpoint_every_s=0)
    assert weights(job.destination) == first
    assert untimed(once) == untimed(again)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()

    other = replace(
        job, recipe=RECIPE.model_copy(update={"seed": 1}), destination=tmp_path / "models" / "other"
    )
    finetune(other, load_base)
    assert weights(other.destination) != first


def test_resumes_bitwise_from_any_step(
    job: Job, load_base: Callable[[], LoadedModel], tmp_path: Path
) -> None:
    expected = finetune(replace(job, destination=tmp_path / "models" / "whole"), load_base)

    steps: list[int] = []

    def until(last: int) -> Callable[[int, int], None]:
        def report(step: int, total: int) -> None:
            steps.append(step)
            if step == last:
                raise Killed

        return report

    for last in (1, 7, 8, 21):
        with pytest.raises(Killed):
            finetune(job, load_base, progress=until(last), checkpoint_every_s=0)
    record = finetune(job, load_base, progress=until(-1), checkpoint_every_s=0)

    assert steps == list(range(1, 25))
    assert record["sessions"] == 5
    assert files(job.destination) == files(tmp_path / "models" / "whole")
    assert untimed(record) == untimed(expected)


def test_killed_around_any_write_ends_with_the_same_bits(
    job: Job, load_base: Callable[[], LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies at the n-th durable rename, before and after it, for every n, and is resumed each time."""
    short = replace(job, recipe=RECIPE.model_copy(update={"epochs": 1}))
    finetune(replace(short, destination=tmp_path / "models" / "whole"), load_base)
    real = training_state.publish
    survived = 0
    for after in (False, True):
        for number in range(1, 100):
            count = 0

            def dying(unfinished: Path, path: Path, after: bool = after, number: int = number) -> None:
                nonlocal count
                count += 1
                if count == number and not after:
                    raise Killed
                real(unfinished, path)
                if count == number:
                    raise Killed

            monkeypatch.setattr(training_state, "publish", dying)
            try:
                finetune(short, load_base)
            except Killed:
                if not after or not job.destination.exists():
                    assert not job.destination.exists()
                monkeypatch.setattr(training_state, "publish", real)
                finetune(short, load_base)
                survived += 1
            assert files(job.destination) == files(tmp_path / "models" / "whole")
            finished = count < number
            for folder in (job.destination, job.workspace):
                if folder.exists():
                    subprocess.run(["rm", "-r", str(folder)], check=True)
            if finished:
                break
    assert survived >= 2 * 4


def test_early_stopping_keeps_the_best(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    recipe = RECIPE.model_copy(update={"learning_rate": 1e-12, "patience": 2})
    record = finetune(replace(job, recipe=recipe), load_base)

    assert record["stopped_early"]
    assert record["train_steps"] == 12 < record["planned_steps"] == 24
    assert {point["dev_score"] for point in record["curve"]} == {record["dev_score"]}
    surest = min(record["curve"], key=lambda point: point["dev_loss"])
    assert record["best_step"] == surest["step"]


def test_bfloat16_autocast_trains_in_float32_weights(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    record = finetune(replace(job, recipe=RECIPE.model_copy(update={"autocast": "bfloat16"})), load_base)

    assert all(
        tensor.dtype == torch.float32 for tensor in load_file(job.destination / "model.safetensors").values()
    )
    assert record["recipe"]["autocast"] == "bfloat16"


def test_divergence_says_what_to_lower_and_leaves_nothing(
    job: Job, load_base: Callable[[], LoadedModel]
) -> None:
    recipe = RECIPE.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(
        ModelError, match=r"diverged: the .* loss is (nan|inf).*models\.tuned\.finetune\.learning_rate"
    ):
        finetune(replace(job, recipe=recipe), load_base)
    assert not job.workspace.exists()
    assert not job.destination.exists()


def test_divergence_names_the_first_bad_step(
    job: Job, load_base: Callable[[], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._Run._step

    def step(run: Any, batch: Any) -> torch.Tensor:
        loss = real(run, batch)
        return loss * float("inf") if run.workspace.position.step == 2 else loss

    monkeypatch.setattr(module._Run, "_step", step)
    with pytest.raises(ModelError, match="training loss is inf at step 3 of 24"):
        finetune(job, load_base)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_keeps_the_last_checkpoint(
    job: Job,
    load_base: Callable[[], LoadedModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    real, count = training_state.save_file, 0

    def failing(tensors: Any, path: Path, metadata: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            path.write_bytes(b"half")
            raise error
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(training_state, "save_file", failing)
    with pytest.raises(ModelError, match=r"(?s)tuned.*No space left.*free some space.*same command again"):
        finetune(job, load_base, checkpoint_every_s=0)
    assert not job.destination.exists()
    assert not list(job.workspace.glob("*.partial"))

    monkeypatch.setattr(training_state, "save_file", real)
    record = finetune(job, load_base)
    assert record["sessions"] == 2
    finetune(replace(job, destination=tmp_path / "models" / "whole"), load_base)
    assert weights(job.destination) == weights(tmp_path / "models" / "whole")


def test_full_disk_while_publishing(
    job: Job, load_base: Callable[[], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    def failing(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", failing)
        with pytest.raises(ModelError, match=r"disk is full.*No model was published"):
            finetune(job, load_base)
    assert not job.destination.exists()
    steps: list[int] = []
    finetune(job, load_base, progress=lambda step, _: steps.append(step))
    assert steps == []
    assert job.destination.is_dir()


def test_refuses_to_begin_without_space(
    job: Job, load_base: Callable[[], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_state.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ModelError, match=r"needs [\d.]+ [kMG]B .* only 1.0 kB are free"):
        finetune(job, load_base)


def test_two_processes_do_not_train_the_same_model(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    lock = job.workspace.parent / "tuned.lock"
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom xlwh.store.locks import FileLock\n"
            "with FileLock(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    sys.stdin.read()",
            str(lock),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=rf"fine-tuning of model `tuned`.*process {holder.pid}"):
            finetune(job, load_base)
        holder.kill()
    finetune(job, load_base)


def test_published_model_is_taken_as_it_is(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    record = finetune(job, load_base)

    def never() -> LoadedModel:
        raise AssertionError("the base was loaded although the model is there")

    assert finetune(job, never) == record
    assert not job.workspace.exists()


def test_checkpoint_is_not_a_pickle_and_names_its_position(
    job: Job, load_base: Callable[[], LoadedModel]
) -> None:
    def stop(step: int, total: int) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        finetune(job, load_base, progress=stop, checkpoint_every_s=0)
    assert {path.name for path in job.workspace.iterdir()} == {"checkpoint.safetensors", "best-4.safetensors"}
    with safe_open(job.workspace / "checkpoint.safetensors", framework="pt") as file:
        position = json.loads(file.metadata()["position"])
        kinds = {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118 - not a mapping
    assert position["step"] == 5
    assert position["best_step"] == 4
    assert kinds == {"model", "exp_avg", "exp_avg_sq", "step"}


@pytest.mark.parametrize("damage", ["truncated", "not ours", "best gone"])
def test_damaged_checkpoint_says_what_to_remove(
    job: Job, load_base: Callable[[], LoadedModel], damage: str
) -> None:
    def stop(step: int, total: int) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        finetune(job, load_base, progress=stop, checkpoint_every_s=0)
    checkpoint = job.workspace / "checkpoint.safetensors"
    if damage == "truncated":
        os.truncate(checkpoint, 1000)
    elif damage == "best gone":
        (job.workspace / "best-4.safetensors").unlink()
    else:
        training_state.save_file(
            {"model.x": torch.zeros(2)}, checkpoint, metadata={"position": '{"step": 5}'}
        )
    with pytest.raises(
        ModelError, match=rf"(?s)checkpoint.safetensors of model `tuned`.*Remove the folder {job.workspace}"
    ):
        finetune(job, load_base)


@pytest.mark.parametrize("part", ["model", "exp_avg", "best"])
def test_weights_of_another_shape_are_not_repeated_to_fit(
    job: Job, load_base: Callable[[], LoadedModel], part: str
) -> None:
    """A tensor of one row would be copied into all rows."""

    def stop(step: int, total: int) -> None:
        if step == (total if part == "best" else 5):
            raise Killed

    with pytest.raises(Killed):
        finetune(job, load_base, progress=stop, checkpoint_every_s=0)
    pattern = "best-*.safetensors" if part == "best" else "checkpoint.safetensors"
    (name,) = (path.name for path in job.workspace.glob(pattern))
    with safe_open(job.workspace / name, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(job.workspace / name)
    key = next(
        key
        for key, value in sorted(tensors.items())
        if key.startswith("" if part == "best" else part) and value.ndim == 2
    )
    tensors[key] = tensors[key][:1].clone()
    training_state.save_file(tensors, job.workspace / name, metadata=metadata)
    with pytest.raises(ModelError, match=rf"(?s){name} of model `tuned`.*has the shape \[1, "):
        finetune(job, load_base)


def test_work_under_former_recipes_is_swept(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    former = job.workspace.with_name("tuned-fedcba9876543210")
    neighbour = job.workspace.with_name("tuned-b-fedcba9876543210")
    for folder in (former, neighbour):
        folder.mkdir(parents=True)
    finetune(job, load_base)
    assert not former.exists()
    assert neighbour.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": "summarization"},
            "task `summarization` cannot be fine-tuned here. Tasks that can: sequence_class",
        ),
        ({"task": "translation"}, "has no text-to-text head, which translation needs"),
        ({"labels": ("entailment",)}, "at least two labels"),
        ({"train": rows(0)}, "no training examples with gold"),
        ({"dev": rows(0)}, "no development examples with gold"),
        ({"labels": ("entailment", "neutral")}, "Label `contradiction` is not one of the labels trained on"),
        (
            {"recipe": RECIPE.model_copy(update={"max_length": 64})},
            "max_length 64 is more than the 32 positions",
        ),
    ],
)
def test_unusable_jobs_are_refused(
    job: Job, load_base: Callable[[], LoadedModel], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        finetune(replace(job, **change), load_base)
    assert not job.destination.exists()


def test_truncated_subtokens_are_counted(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    recipe = RECIPE.model_copy(update={"max_length": 10, "epochs": 1})
    record = finetune(replace(job, recipe=recipe), load_base)

    lengths = [len(f"{a} {b}".split()) + 3 for a, b in job.train.select("text", "text_pair").iter_rows()]
    assert record["truncated_examples"] == sum(length > 10 for length in lengths) > 0
    assert record["truncated_tokens"] == sum(max(0, length - 10) for length in lengths)
    assert record["dev_truncated_examples"] > 0


def test_single_texts_train_too(job: Job, load_base: Callable[[], LoadedModel]) -> None:
    def single(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(text=pl.col("text_pair"), text_pair=pl.lit(None, pl.String))

    record = finetune(
        replace(job, task="sequence_classification", train=single(job.train), dev=single(job.dev)), load_base
    )
    assert record["task"] == "sequence_classification"
    assert record["train_examples"] == 60


def test_learning_rate_rises_then_falls_and_is_never_zero() -> None:
    rates = [learning_rate(1.0, step, 4, 20) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[-1] == pytest.approx(1 / 16)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert learning_rate(1.0, 0, 0, 3) == 1.0


def test_epoch_batches_hold_each_example_once_and_similar_lengths() -> None:
    import numpy as np

    lengths = np.random.default_rng(0).integers(4, 120, 1003)
    batches = epoch_batches(lengths, 16, seed=3, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1003))
    assert sorted(map(len, batches)) == [11, *[16] * 62]
    spread = np.mean([lengths[batch].max() - lengths[batch].min() for batch in batches])
    assert spread < 10
    same = epoch_batches(lengths, 16, seed=3, epoch=0)
    assert all(np.array_equal(a, b) for a, b in zip(batches, same, strict=True))
    assert not np.array_equal(batches[0], epoch_batches(lengths, 16, seed=3, epoch=1)[0])


def test_canonical_labels() -> None:
    assert canonical_labels(["contradiction", "neutral", "entailment", "neutral"]) == LABELS
    assert canonical_labels(["contradiction", "entailment"]) == ("entailment", "contradiction")
    assert canonical_labels(["positive", "negative"]) == ("negative", "positive")


def test_gold_lists_are_padded_with_the_ignored_label(load_base: Callable[[], LoadedModel]) -> None:
    """A task with one gold per sub-token needs no other batching."""
    loaded = load_base()
    tagged = replace(
        OBJECTIVES["sentence_pair"],
        targets=lambda encoded, examples, labels, inputs: {"labels": [[1] * int(n) for n in encoded.lengths]},
    )
    data = prepare(loaded, tagged, rows(20), LABELS, Inputs())
    longest = int(data.encoded.lengths.argmax())
    shortest = int(data.encoded.lengths.argmin())
    inputs, gold = data.batch(loaded, torch.tensor([longest, shortest]).numpy())
    assert gold["labels"].shape == inputs["input_ids"].shape
    assert inputs["input_ids"].shape[1] % 8 == 0
    assert torch.equal(gold["labels"] == -100, inputs["attention_mask"] == 0)
