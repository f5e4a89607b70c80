"""Processes that have ended are told from those that run, and from what cannot be known."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from xlwh.store.host import is_gone, process_identity


def test_one_that_runs_is_there_and_one_that_ended_is_gone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = process_identity(process.pid)
        assert identity is not None
        assert not is_gone(identity)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(identity), "it has ended, and nobody has waited for it"
    assert is_gone(identity)


def test_a_number_that_was_given_again_is_another_process():
    numbers, process, began = process_identity(os.getpid()).split(":")
    assert not is_gone(f"{numbers}:{process}:{began}")
    assert is_gone(f"{numbers}:{process}:{int(began) - 1}")


@pytest.mark.parametrize("change", ["other-boot-1:{pid}:1", "{numbers}0:{pid}:1", "", "x", "{numbers}:x:1"])
def test_of_other_machines_nothing_is_known(change):
    numbers, pid, _ = process_identity(os.getpid()).split(":")
    assert not is_gone(change.format(numbers=numbers, pid=pid))


def test_another_users_process_is_there():
    assert not is_gone(process_identity(1))
