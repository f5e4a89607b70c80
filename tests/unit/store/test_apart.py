"""What a function does to its process does not reach this one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from xlwh.store.apart import Apart
from xlwh.store.parquet import UnreadableError


@pytest.fixture
def apart() -> Iterator[Apart]:
    with closing(Apart()) as made:
        yield made


def test_results_and_errors_come_back(apart):
    assert apart.call(math.sqrt, 9.0) == 3.0
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        apart.call(math.sqrt, -1.0)
    assert apart.call(os.getpid) != os.getpid()


def test_a_call_that_ends_its_process_is_an_error_and_the_next_one_is_answered(apart):
    with pytest.raises(UnreadableError, match="SIGABRT"):
        apart.call(os.abort)
    with pytest.raises(UnreadableError, match="exit code 3"):
        apart.call(os._exit, 3)
    assert apart.call(math.sqrt, 4.0) == 2.0


def test_what_cannot_be_sent_leaves_no_question_open(apart):
    with pytest.raises(Exception, match="pickle"):
        apart.call(lambda: 1)
    assert apart.call(math.sqrt, 4.0) == 2.0
