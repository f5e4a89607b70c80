"""Which devices models run on: what is asked for, what is there, and what is said where it is not."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from pretend_gpu import visible_gpus

from xlwh.errors import XlwhError
from xlwh.models import Zoo, devices
from xlwh.models.devices import VARIABLE, VISIBLE, Devices


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (VARIABLE, VISIBLE):
        monkeypatch.delenv(name, raising=False)


def test_the_setting_is_read_and_other_words_are_refused():
    assert [Devices.parse(text).kind for text in ("auto", "cpu", "cuda")] == ["auto", "cpu", "cuda"]
    assert Devices.parse("cuda:3") == Devices("cuda", (3,))
    assert Devices.parse("cuda:2,cuda:0") == Devices("cuda", (2, 0))
    for wrong in (
        "",
        "gpu",
        "cuda:",
        "cuda:-1",
        "cuda:0,",
        "cuda:0,cuda:0",
        "cuda:0,1",
        "0",
        "CPU",
        "cuda:1 ",
        "mps",
    ):
        with pytest.raises(XlwhError, match=r"--device .or XLWH_DEVICE. is auto, cpu, cuda, or cuda:N"):
            Devices.parse(wrong)


@pytest.mark.parametrize(
    ("count", "asked", "found"),
    [
        (0, "auto", ("cpu",)),
        (0, "cpu", ("cpu",)),
        (1, "auto", ("cuda:0",)),
        (3, "auto", ("cuda:0", "cuda:1", "cuda:2")),
        (3, "cuda", ("cuda:0", "cuda:1", "cuda:2")),
        (3, "cpu", ("cpu",)),
        (3, "cuda:2,cuda:0", ("cuda:2", "cuda:0")),
    ],
)
def test_what_is_asked_for_is_chosen_of_what_is_there(count, asked, found, monkeypatch):
    monkeypatch.setenv(VARIABLE, asked)
    zoo = Zoo(None, SimpleNamespace(hashes=None))
    with visible_gpus(count):
        assert devices.chosen() == zoo.devices() == found
        assert zoo.device() == torch.device(found[0])


@pytest.mark.parametrize(
    ("count", "build", "asked", "visible", "told"),
    [
        (2, "13.0", "cuda:5", None, "there is no GPU 5; there are cuda:0, cuda:1. `xlwh devices` shows them"),
        (1, "13.0", "cuda:0,cuda:1", None, "there is no GPU 1; there is cuda:0"),
        (
            0,
            "13.0",
            "cuda",
            None,
            r"built for CUDA 13.0, finds no GPU that it can use \(Found no NVIDIA driver",
        ),
        (0, "13.0", "cuda:0", "", "CUDA_VISIBLE_DEVICES is set and hides all GPUs"),
        (0, None, "cuda", None, "built without CUDA. Install one with CUDA .* Without a GPU: --device cpu"),
    ],
)
def test_a_gpu_that_is_absent_is_an_error_that_says_why(count, build, asked, visible, told, monkeypatch):
    monkeypatch.setenv(VARIABLE, asked)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    with visible_gpus(count, build=build):
        for ask in (devices.chosen, devices.require_there):
            with pytest.raises(XlwhError, match=f"--device {asked}: .*{told}"):
                ask()


def test_a_gpu_that_auto_leaves_aside_is_told(monkeypatch):
    assert devices.overlooked() is None or devices.may_be_there()
    with visible_gpus(0, build=None):
        assert "models run on the CPU: torch" in str(devices.overlooked())
        monkeypatch.setenv(VARIABLE, "cpu")
        assert devices.overlooked() is None
    with visible_gpus(2):
        monkeypatch.delenv(VARIABLE)
        assert devices.overlooked() is None


def test_names_for_other_processes_are_cudas(monkeypatch):
    assert [devices.visible_as(f"cuda:{number}") for number in (0, 3)] == ["0", "3"]
    monkeypatch.setenv(VISIBLE, "4, GPU-77")
    assert [devices.visible_as(f"cuda:{number}") for number in (0, 1)] == ["4", "GPU-77"]


@pytest.mark.parametrize(
    ("asked", "runs"),
    [("auto", 1), ("cuda", 1), ("cpu", 1), ("cuda:3", 4), ("cuda:0,cuda:1", 2), ("cuda:0,cuda:1,cuda:2", 1)],
)
def test_runs_that_name_their_gpus_leave_room_for_others(asked, runs, monkeypatch):
    monkeypatch.setenv(VARIABLE, asked)
    with visible_gpus(4):
        assert devices.runs_at_once() == runs


def test_cards_tell_memory_and_arithmetic():
    with visible_gpus(2):
        cpu, first, second = devices.cards()
    assert (cpu.device, cpu.free_bytes, cpu.precisions) == ("cpu", None, ("float32", "bfloat16"))
    assert (first.device, first.name, first.free_bytes) == ("cuda:0", "Pretended 0", 10**9)
    assert second.precisions == ("float32", "tf32", "bfloat16")
    with visible_gpus(1, capability=(7, 5)):
        assert devices.cards()[1].precisions == ("float32",)


def test_the_environment_of_this_process_is_left_alone():
    with visible_gpus(2):
        devices.chosen()
    assert VARIABLE not in os.environ
