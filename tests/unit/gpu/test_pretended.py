"""The pretended GPU refuses what a real one refuses, and sees every wait: faults planted for it to find."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
import torch
from pretend_gpu import (
    BLOCKING_UPLOAD,
    DOWNLOAD,
    READ,
    SHAPE,
    SYNCHRONIZE,
    UPLOAD,
    DeviceMixError,
    UnfinishedCopyError,
    pretend_gpu,
)

HERE = "unit/gpu/test_pretended.py"


def _line() -> int:
    return sys._getframe(1).f_lineno


def test_tensors_say_where_they_are_and_numbers_stay_right():
    with pretend_gpu() as log:
        x = torch.arange(6.0).reshape(2, 3).to("cuda")
        made = (x @ x.T).softmax(-1)
        assert made.device == torch.device("cuda", 0)
        assert made.is_cuda
        assert made.get_device() == 0
        assert torch.zeros(2, device=made.device).is_cuda
        assert torch.zeros_like(made).is_cuda
        assert made.new_ones(2).is_cuda
        assert x[0].view(3, 1).is_cuda
        back = made.cpu()
        assert not back.is_cuda
        expected = torch.arange(6.0).reshape(2, 3)
        np.testing.assert_array_equal(back.numpy(), (expected @ expected.T).softmax(-1).numpy())
    assert log.kernels
    assert log.count(DOWNLOAD) == 1


def test_gradients_are_where_the_tensors_are():
    with pretend_gpu():
        weight = torch.ones(3, 3, device="cuda")
        x = torch.ones(2, 3, device="cuda", requires_grad=True)
        (gradient,) = torch.autograd.grad((x @ weight).exp().sum(), x)
        assert gradient.is_cuda
        module = torch.nn.Linear(3, 1).to("cuda")
        module(x).sum().backward()
        assert module.weight.grad is not None
        assert module.weight.grad.is_cuda


@pytest.mark.parametrize(
    "mix",
    [
        lambda gpu, cpu: gpu + cpu,
        lambda gpu, cpu: cpu @ gpu,
        lambda gpu, cpu: torch.cat([gpu, cpu]),
        lambda gpu, cpu: torch.where(gpu > 0, gpu, cpu),
        lambda gpu, cpu: torch.nn.functional.linear(gpu, cpu),
        lambda gpu, cpu: gpu.add_(cpu),
        lambda gpu, cpu: cpu[gpu.long()],
        lambda gpu, cpu: gpu.index_copy_(0, torch.zeros(2, dtype=torch.long), gpu),
        lambda gpu, cpu: gpu.__setitem__(torch.tensor([0]), cpu[:1]),
        lambda gpu, cpu: gpu.gather(1, cpu.long()),
        lambda gpu, cpu: torch.autograd.grad(gpu.requires_grad_().exp(), gpu, cpu),
    ],
)
def test_operators_refuse_tensors_of_two_devices(mix):
    with pretend_gpu():
        gpu, cpu = torch.ones(2, 2, device="cuda"), torch.ones(2, 2)
        with pytest.raises(DeviceMixError):
            mix(gpu, cpu)


def test_single_numbers_of_the_host_go_anywhere():
    with pretend_gpu() as log:
        gpu = torch.ones(2, 2, device="cuda")
        log.reset()
        gpu * torch.tensor(2.0) + 1
        gpu[torch.zeros(2, 2, dtype=torch.bool, device="cuda")] = 3.0
        assert log.waits == 0


@pytest.mark.parametrize("leave", [np.asarray, lambda x: x.numpy(), lambda x: np.stack([x])])
def test_numpy_is_refused_a_tensor_of_the_gpu(leave):
    with pretend_gpu():
        x = torch.ones(2, device="cuda")
        with pytest.raises(TypeError, match=r"Tensor\.cpu"):
            leave(x)


@pytest.mark.parametrize(
    ("wait", "kind"),
    [
        (lambda x: x.cpu(), DOWNLOAD),
        (lambda x: x.to("cpu"), DOWNLOAD),
        (lambda x: torch.zeros(3).copy_(x), DOWNLOAD),
        (lambda x: float(x[0]), READ),
        (lambda x: bool(x.any()), READ),
        (lambda x: x.tolist(), READ),
        (lambda x: x.sum().item(), READ),
        (lambda x: torch.equal(x, x), READ),
        (lambda x: x[x > 0], SHAPE),
        (lambda x: x.nonzero(), SHAPE),
        (lambda x: x.unique(), SHAPE),
        (lambda x: x.repeat_interleave(x.long()), SHAPE),
        (lambda x: x.__setitem__(x > 0, x + 1), SHAPE),
        (lambda x: torch.ones(3).to("cuda"), BLOCKING_UPLOAD),
        (lambda x: torch.ones(3).to("cuda", non_blocking=True), BLOCKING_UPLOAD),
        (lambda x: torch.ones(3).pin_memory().to("cuda"), BLOCKING_UPLOAD),
        (lambda x: torch.tensor([1.0], device="cuda"), BLOCKING_UPLOAD),
        (lambda x: x[torch.tensor([0, 1])], BLOCKING_UPLOAD),
        (lambda x: x[[0, 1]], BLOCKING_UPLOAD),
        (lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True), UPLOAD),
    ],
)
def test_waits_are_counted_at_their_file_and_line(wait, kind):
    with pretend_gpu() as log:
        x = torch.ones(3, device="cuda")
        log.reset()
        for _ in range(3):
            wait(x)
        if kind == UPLOAD:
            assert log.waits == 0
            assert log.count(UPLOAD) == 3
            return
        assert log.count(kind) == 3, log.table()
        assert log.waits == 3, log.table()
        (where,) = {place for found, place in log.events if found == kind}
    assert where == (f"tests/{HERE}", wait.__code__.co_firstlineno)
    assert f"{HERE}:{where[1]}" in log.table()


def test_copies_on_their_way_are_not_to_be_read():
    with pretend_gpu() as log:
        x = torch.arange(3.0, device="cuda")
        arriving = [part.to("cpu", non_blocking=True) for part in (x, x + 1)]
        assert log.waits == 0
        with pytest.raises(UnfinishedCopyError):
            arriving[0].numpy()
        torch.cuda.current_stream().synchronize()
        np.testing.assert_array_equal(arriving[1].numpy(), [1, 2, 3])
        assert log.waits == log.count(SYNCHRONIZE) == 1


def test_nothing_is_counted_where_nothing_waits():
    with pretend_gpu() as log:
        x = torch.ones(3, 4, device="cuda")
        log.reset()
        kept = torch.zeros(5, 4, device="cuda")
        kept.index_copy_(0, torch.arange(3, device="cuda"), x)
        torch.cat([x, x]).view(2, 3, 4).transpose(0, 1).masked_fill(kept[0, 0] > 0, 0).sum((0, 1))
        assert log.waits == 0, log.table()
        assert log.kernels


def test_memory_is_that_of_living_tensors_and_has_an_end():
    with pretend_gpu(capacity=1000) as log:
        x = torch.zeros(100, device="cuda")
        assert log.live_bytes == 400
        view = x[3:]
        del x
        gc.collect()
        assert log.live_bytes == 400
        assert torch.cuda.mem_get_info() == (600, 1000)
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            torch.zeros(200, device="cuda")
        del view
        gc.collect()
        assert log.live_bytes == 0
        assert torch.zeros(200, device="cuda").is_cuda


def test_what_an_exception_keeps_alive_is_still_on_the_gpu():
    def fail() -> None:
        held = torch.zeros(200, device="cuda")
        torch.cat([held, held])

    with pretend_gpu(capacity=1000) as log:
        kept = None
        try:
            fail()
        except torch.OutOfMemoryError as error:
            kept = error
        assert log.live_bytes == 800
        assert kept is not None
        kept.__traceback__ = None
        gc.collect()
        assert log.live_bytes == 0


def test_outside_nothing_is_pretended():
    with pretend_gpu():
        x = torch.ones(3, device="cuda")
    assert not x.is_cuda
    assert torch.cuda.is_available() == (torch.cuda.device_count() > 0)
