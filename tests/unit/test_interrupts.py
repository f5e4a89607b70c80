"""Ctrl-C ends the work, whatever a library does with it."""

from __future__ import annotations

import signal
import threading

import polars as pl
import pytest
from dagster._utils.interrupts import capture_interrupts, raise_interrupts_as

from xlwh import failures, interrupts


def dropped(number):
    """As between two parts of a run: noted by Dagster, and forgotten when the run ends."""
    with capture_interrupts():
        signal.raise_signal(number)


def turned(number):
    """As where a library gives it a name of its own."""
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        raise ValueError("something went wrong") from None


class Interrupted(BaseException):
    """As Dagster's."""


def panicked(number):
    """As where it comes while Rust has called Python."""
    signals = iter([number])

    def called(_):
        signal.raise_signal(next(signals))
        return 1

    with raise_interrupts_as(Interrupted):
        pl.Series([1, 2]).map_elements(called, return_dtype=pl.Int64)


@pytest.mark.parametrize("lose", [dropped, turned, panicked])
def test_an_interrupt_that_is_lost_on_the_way_ends_the_block(lose):
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.watched():
        lose(signal.SIGINT)
    with interrupts.watched():  # it was the other block's
        interrupts.require_none()


def test_a_termination_counts_as_one_and_another_signal_does_not():
    with pytest.raises(KeyboardInterrupt), interrupts.watched():
        dropped(signal.SIGTERM)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with interrupts.watched():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_it_is_seen_between_two_pieces_of_work():
    seen = list[str]()

    def work():
        for piece in "abc":
            interrupts.require_none()
            seen.append(piece)
            if piece == "b":
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupts.watched(), capture_interrupts():
        work()
    assert seen == ["a", "b"]


def test_errors_pass_and_other_threads_are_left_alone():
    with pytest.raises(ZeroDivisionError), interrupts.watched():
        print(1 / 0)
    raised = list[BaseException]()

    def block():
        try:
            with interrupts.watched():
                interrupts.require_none()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert not raised


def test_what_stands_for_an_interrupt_is_taken_as_one():
    inner, outer = type("DagsterExecutionInterruptedError", (BaseException,), {})(), RuntimeError("lost")
    outer.__context__ = inner
    panic = type("PanicException", (BaseException,), {})(
        "called on an `Err`: DagsterExecutionInterruptedError()"
    )
    assert [
        failures.was_stopped(each) for each in (inner, outer, panic, RuntimeError("KeyboardInterrupt"))
    ] == [
        *[True] * 3,
        False,
    ]
