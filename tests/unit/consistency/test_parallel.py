"""Solving pairs in worker processes gives what solving them here gives, in the same order."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from xlwh.consistency import parallel
from xlwh.consistency.parallel import expected_seconds, solve_all, workers_for
from xlwh.consistency.transport import Problem
from xlwh.errors import XlwhError


def _problems(count):
    for seed in range(count):
        generator = np.random.default_rng(seed)
        n, m = generator.integers(1, 9, size=2)
        w_s, w_t = generator.random((2, n)), generator.random((2, m))
        yield Problem(
            similarity=generator.uniform(-1, 1, size=(n, m)).astype(np.float32),
            source_weights=w_s / w_s.sum(axis=1, keepdims=True),
            target_weights=w_t / w_t.sum(axis=1, keepdims=True),
            seeds=np.array([seed, seed + 1], dtype=np.uint64),
        )


def test_workers_change_nothing(monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK", 7)
    here = np.concatenate(list(solve_all(_problems(40), 3, workers=1)))
    there = np.concatenate(list(solve_all(_problems(40), 3, workers=2)))
    assert here.shape == (80, 4)
    np.testing.assert_array_equal(here, there)


def test_problems_are_made_as_they_are_needed(monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK", 2)
    made = []

    def noted():
        for problem in _problems(100):
            made.append(problem)
            yield problem

    results = solve_all(noted(), 1, workers=1)
    next(results)
    assert len(made) == 2


def test_nothing_to_solve():
    assert list(solve_all(iter(()), 3, workers=1)) == []


def test_errors_come_back_as_errors():
    good = next(_problems(1))
    bad = Problem(good.similarity, good.source_weights * np.nan, good.target_weights, good.seeds)
    with pytest.raises(XlwhError, match="not solved"):
        list(solve_all([bad], 1, workers=1))


def test_small_jobs_stay_in_this_process():
    assert workers_for(expected_seconds([(20, 20)] * 300, 1, 20)) == 1
    assert workers_for(1e6) == parallel.available_cores()


def test_workers_import_neither_torch_nor_polars():
    code = (
        "import sys; from xlwh.consistency import parallel, transport; import numpy as np;"
        "transport.consistency(np.ones(1), np.ones(1), np.ones((1, 1)));"
        "print(sorted({'torch', 'polars', 'duckdb', 'transformers', 'pydantic'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
