"""Claims on slots: all or none, who holds one, and that a killed holder holds nothing."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading

import pytest

from xlwh.errors import HeldError
from xlwh.store import Slot, Warehouse
from xlwh.store.claims import COMMANDS, require_idle

ONE, OTHER, THIRD = (Slot("predictions", ("m", language), "xnli") for language in ("de", "en", "es"))
HOLDER = """
import sys
from xlwh.store import Slot, Warehouse
with Warehouse(sys.argv[1]).claims.claim([Slot.parse(name) for name in sys.argv[2:]]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(root, *slots):
    command = [sys.executable, "-c", HOLDER, str(root), *map(str, slots)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_all_or_none_are_held_and_the_holder_is_named(warehouse):
    claims = warehouse.claims
    with holding(warehouse.root, OTHER) as process:
        with pytest.raises(HeldError) as raised, claims.claim([THIRD, OTHER, ONE]):
            pass
        named = f"process {process.pid} on host {socket.gethostname()}, since 20"
        assert str(raised.value).startswith(f"{OTHER} is being worked on by {named}")
        assert (raised.value.slot, raised.value.holder) == (OTHER, claims.holder(OTHER))
        copy = pickle.loads(pickle.dumps(raised.value))
        assert (copy.slot, copy.holder, str(copy)) == (OTHER, raised.value.holder, str(raised.value))
        assert claims.holder(ONE) is claims.holder(THIRD) is None
        with pytest.raises(HeldError, match=named):
            require_idle(claims, [ONE, OTHER])
        process.send_signal(signal.SIGKILL)
        process.wait()
        # At once, with nobody's help.
        assert claims.holder(OTHER) is None
        with claims.claim([ONE, OTHER, THIRD]):
            assert f"process {os.getpid()} " in claims.holder(THIRD)
    require_idle(claims, [ONE, OTHER, THIRD])


def test_an_error_within_lets_go(warehouse):
    with pytest.raises(ZeroDivisionError), warehouse.claims.claim([ONE]):
        raise ZeroDivisionError
    assert warehouse.claims.holder(ONE) is None


def test_who_asks_is_in_nobodys_way(warehouse):
    asking, ended = Warehouse(warehouse.root).claims, threading.Event()

    def ask():
        while not ended.is_set():
            asking.holder(ONE)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(500):
            with warehouse.claims.claim([ONE]):
                pass
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_held_by_one_process(warehouse, command):
    claims = warehouse.claims
    assert claims.holder_of(command) is None
    with claims.hold(command):
        assert f"process {os.getpid()} on host" in claims.holder_of(command)
        with (
            pytest.raises(HeldError, match=f"`{command}` is being worked on by process"),
            claims.hold(command),
        ):
            pass
    assert claims.holder_of(command) is None
