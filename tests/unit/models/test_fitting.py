"""Batches that fit the device: planned by a measured need, halved when memory runs out, the same numbers throughout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pretend_gpu import pretend_gpu

from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.fitting import LEAST, batch_tokens_for, bytes_per_token, each_batch, fitted
from xlwh.models.predict import predict
from xlwh.models.tokenize import encode
from xlwh.study import Attribution, Concepts, Faithfulness
from xlwh.study.base import CUT

ON_CPU: Any = SimpleNamespace(key="m", device=torch.device("cpu"), max_length=64)


def _limited(most: int, seen: list[tuple[int, int]]) -> Callable[..., list[int]]:
    def compute(rows: np.ndarray, length: int) -> list[int]:
        seen.append((len(rows), length))
        if len(rows) * length > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much.\nAnd so on.")
        return rows.tolist()

    return compute


@pytest.mark.parametrize("most", [16, 17, 40, 100, 10_000])
def test_every_row_is_computed_once_whatever_fits(most: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 16, 50)
    seen: list[tuple[int, int]] = []
    done = list(each_batch(ON_CPU, lengths, _limited(most, seen), 512))
    assert sorted(row for rows, _ in done for row in rows.tolist()) == list(range(50))
    assert all(made == rows.tolist() for rows, made in done)
    # What did not fit once is not tried again: one failure for each halving at most.
    assert sum(rows * length > most for rows, length in seen) <= 6


def test_batches_keep_their_order_when_they_are_halved() -> None:
    batches = [(np.arange(8), 8), (np.arange(8, 12), 4)]
    assert [rows.tolist() for rows, _ in fitted(ON_CPU, batches, _limited(20, []))] == [
        [0, 1], [2, 3], [4, 5], [6, 7], [8, 9, 10, 11]
    ]  # fmt: skip


def test_a_single_input_that_does_not_fit_names_the_key_to_change() -> None:
    with pytest.raises(
        ModelError, match=r"16 sub-tokens .* lower `max_length` under `\[models\.m\]`"
    ) as caught:
        list(each_batch(ON_CPU, [3, 16], _limited(10, []), 512))
    assert "And so on" not in str(caught.value)
    # Nothing that hangs on the error keeps a batch in memory.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def fail(rows: np.ndarray, length: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(each_batch(ON_CPU, [3, 16], fail, 512))


def test_what_a_sub_token_takes_is_measured_and_fills_the_free_memory(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    tokens = {}
    for capacity in (2**24, 2**26):
        with pretend_gpu(capacity) as log:
            loaded = zoo_of("cuda", m={"path": str(checkpoint("xlm-roberta"))}).load("m")
            held = log.live_bytes
            plain, gradients = bytes_per_token(loaded, False), bytes_per_token(loaded, True)
            assert log.live_bytes == held
            assert 4 * 24 < plain < gradients
            tokens[capacity] = batch_tokens_for(loaded, 7, gradients=True)
            assert batch_tokens_for(loaded, 7, asked=99) == 99
            assert LEAST <= tokens[capacity] <= capacity / gradients
    assert tokens[2**26] > 2 * tokens[2**24] or tokens[2**24] == LEAST
    assert batch_tokens_for(ON_CPU, 7) == 7


def test_a_device_without_room_for_the_measurement_is_given_little_at_a_time(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    with pretend_gpu() as log:
        loaded = zoo_of("cuda", m={"path": str(checkpoint("xlm-roberta"))}).load("m")
        log.capacity = log.live_bytes + 100
        assert batch_tokens_for(loaded, 7) == LEAST


def test_a_gpu_with_room_takes_everything_at_once_and_one_without_it_in_parts(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    examples = frame([("The cat sits on the mat.", "Der Hund schläft!")] * 300)
    on_cpu = zoo_of(m={"path": str(checkpoint("xlm-roberta"))}).load("m")
    expected = predict(on_cpu, encode(on_cpu, examples))
    calls: dict[int | None, list[int]] = {}
    for room in (None, 400_000):
        with pretend_gpu() as log:
            loaded = zoo_of("cuda", m={"path": str(checkpoint("xlm-roberta"))}).load("m")
            encoded, rows = encode(loaded, examples), calls.setdefault(room, [])
            loaded.model.register_forward_pre_hook(
                lambda _, __, given, rows=rows: rows.append(len(given["input_ids"])), with_kwargs=True
            )
            tokens = batch_tokens_for(loaded, 1)
            rows.clear()
            if room is not None:
                # Less than the plan reckons with: another process has taken the rest.
                log.capacity = log.live_bytes + room
            np.testing.assert_allclose(predict(loaded, encoded, batch_tokens=tokens), expected, atol=1e-5)
    assert calls[None] == [300]
    assert max(calls[400_000][-3:]) < 300


def test_no_setting_of_batches_is_in_a_fingerprint() -> None:
    for part in (Attribution, Concepts, Faithfulness):
        assert CUT in part.model_fields["batch_tokens"].metadata
