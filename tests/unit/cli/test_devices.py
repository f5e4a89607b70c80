"""`xlwh devices`, and `--device` of the commands that compute."""

from __future__ import annotations

import os

import pytest
from pretend_gpu import visible_gpus

from xlwh.cli.app import commands
from xlwh.models.devices import VARIABLE

COMPUTES = {"demo", "materialize", "plan", "repair", "ui", "devices"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_commands_that_load_models_take_the_option():
    takes = {each.name for each in commands() if "--device" in [o for p in each.params for o in p.opts]}
    assert takes == COMPUTES
    workers = {each.name for each in commands() if "--workers" in [o for p in each.params for o in p.opts]}
    assert workers < takes


def test_what_would_be_used_is_shown(xlwh):
    with visible_gpus(2):
        code, out, errors = xlwh("devices")
        assert (code, errors) == (0, "")
        assert "built for CUDA 13.0" in out
        assert "Models run on cuda:0, cuda:1: one worker process on each." in out
        assert "Pretended 1" in out
        assert "float32, tf32, bfloat16" in out
        code, out, _ = xlwh("devices", "--device", "cuda:1")
        assert (code, "Models run on cuda:1: one process." in out) == (0, True)
    assert VARIABLE not in os.environ


def test_without_a_gpu_the_cpu_is_shown_and_a_driver_that_is_of_no_use(xlwh):
    with visible_gpus(0, build=None):
        code, out, errors = xlwh("devices")
    assert code == 0
    assert "Models run on cpu: one process." in out
    assert errors.startswith("A GPU's driver is here, but models run on the CPU: torch")


@pytest.mark.parametrize("command", [("devices",), ("demo",), ("ui",)])
def test_a_device_that_is_absent_is_one_error_before_any_work(xlwh, tmp_path, command):
    with visible_gpus(1):
        code, _, errors = xlwh(*command, "--device", "cuda:7")
    assert code == 1
    assert errors.splitlines()[-1] == (
        "Error: --device cuda:7: there is no GPU 7; there is cuda:0. `xlwh devices` shows them."
    )
    assert not (tmp_path / "warehouse" / "manifest.sqlite").exists()


def test_the_option_goes_before_the_environment_for_as_long_as_the_command_runs(xlwh, monkeypatch):
    monkeypatch.setenv(VARIABLE, "cuda:0")
    with visible_gpus(2):
        assert "Models run on cuda:0:" in xlwh("devices")[1]
        assert "Models run on cuda:1:" in xlwh("devices", "--device", "cuda:1")[1]
    assert os.environ[VARIABLE] == "cuda:0"
    monkeypatch.setenv(VARIABLE, "tpu")
    code, _, errors = xlwh("devices")
    assert (code, "not `tpu`" in errors) == (1, True)
