"""Batches: every example once, bounded, in few shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlwh.models.batches import padded_length, plan


@given(
    lengths=st.lists(st.integers(1, 300), max_size=200),
    tokens=st.integers(1, 4096),
    rows=st.integers(1, 80),
)
def test_every_example_is_in_one_bounded_batch(lengths: list[int], tokens: int, rows: int) -> None:
    batches = plan(lengths, 256, tokens, rows)
    members = np.concatenate([batch for batch, _ in batches]) if batches else np.zeros(0)
    assert sorted(members.tolist()) == list(range(len(lengths)))
    for batch, size in batches:
        assert all(lengths[i] <= size for i in batch)
        assert len(batch) <= rows
        assert len(batch) * size <= tokens or len(batch) == 1
    sizes = [size for _, size in batches]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [(1, 256, 8), (8, 256, 8), (9, 256, 16), (64, 256, 64), (65, 256, 80), (129, 512, 160), (250, 250, 250)],
)
def test_sizes_are_few_and_within_the_models_limit(length: int, limit: int, expected: int) -> None:
    assert padded_length(length, limit) == expected


def test_padding_wastes_little_and_shapes_are_few() -> None:
    lengths = np.arange(1, 513)
    padded = np.array([padded_length(int(n), 512) for n in lengths])
    assert len(set(padded.tolist())) <= 21
    assert (padded / lengths)[lengths > 64].max() < 1.25
    assert (padded[padded < 512] % 8 == 0).all()
