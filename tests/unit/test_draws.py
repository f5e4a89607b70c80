"""Draws: published outputs, numbers that never change, distributions, and what a draw depends on."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from xlwh.draws import (
    GOLDEN_GAMMA,
    Stream,
    chosen,
    key_of,
    keys_from,
    splitmix64,
    stream,
    torch_bits24,
    torch_normal,
    torch_words,
)

N = 200_000


@pytest.mark.parametrize(
    ("seed", "outputs"),
    [
        # Vigna's splitmix64.c.
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]),
        (2**64 - 1, [0xE4D971771B652C20, 0xE99FF867DBF682C9, 0x382FF84CB27281E9, 0x6D1DB36CCBA982D2]),
    ],
)
def test_words_are_the_published_outputs(seed, outputs):
    assert Stream(seed).words(4).tolist() == outputs
    counters = np.uint64(seed) + np.arange(1, 5, dtype=np.uint64) * GOLDEN_GAMMA
    assert splitmix64(counters).tolist() == outputs


def test_numbers_never_change():
    """What is stored depends on them: if one changes, so has every draw (raise `xlwh.draws.VERSION`)."""
    assert key_of("bootstrap", 0) == 17497918816862362836
    made = stream("test", 1)
    assert made.uniform(3).tolist() == [0.590580694467624, 0.9262954333886794, 0.058758618780717975]
    assert made.uniform32(2).tolist() == [0.18849945068359375, 0.6455897092819214]
    assert made.number() == 0.27497588951373864
    assert made.integers(10, 8).tolist() == [1, 5, 3, 6, 5, 8, 2, 6]
    assert made.permutation(8).tolist() == [5, 0, 2, 3, 7, 4, 6, 1]
    assert made.choice(100, 5).tolist() == [43, 17, 64, 31, 97]
    assert made.weighted([1, 2, 3, 4], 8).tolist() == [2, 3, 2, 2, 2, 2, 3, 2]
    assert made.normal(3).tolist() == pytest.approx(
        [-1.1130707364783805, 0.4390946132443339, -0.43739345728327966], abs=1e-14
    )
    assert chosen(["a", "b", "c", "d", "e"], 2, 0) == [2, 3]


def test_how_a_stream_is_cut_does_not_matter():
    whole = stream("x").words(40_000)
    parts = stream("x")
    np.testing.assert_array_equal(np.concatenate([parts.words(n) for n in (1, 16_385, 0, 23_614)]), whole)
    one, many = stream("x"), stream("x")
    assert [one.number() for _ in range(50)] == many.uniform(50).tolist()
    np.testing.assert_array_equal(stream("x").uniform(6, 7).ravel(), stream("x").uniform(42))


def test_words_are_those_of_whole_numbers():
    """Python's integers as an oracle, and counters that wrap round."""

    def word(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    for key in (0, 2**63, 2**64 - 2, key_of("a")):
        expected = [word((key + i * int(GOLDEN_GAMMA)) % 2**64) for i in range(1, 20_001)]
        assert Stream(key).words(20_000).tolist() == expected


@pytest.mark.parametrize("used", [0, 7, 16_384])
def test_many_streams_in_torch_are_the_same_ones(used):
    names = [0, 2**63, 2**64 - 2, key_of("a")]
    keys = torch.from_numpy(keys_from(np.array(names, dtype=np.uint64), used))
    streams = [Stream(key) for key in names for _ in range(3)]
    for each in streams:
        each.words(used)
    words, bits, normal = torch_words(keys, 20_000), torch_bits24(keys, 20_000), torch_normal(keys, 20_000)
    for row in range(len(names)):
        one, other, third = streams[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(words[row].numpy().view(np.uint64), one.words(20_000))
        np.testing.assert_array_equal(bits[row].numpy() * np.float32(2.0**-24), other.uniform32(20_000))
        np.testing.assert_allclose(normal[row].numpy(), third.normal(20_000), rtol=1e-13, atol=1e-15)


def test_a_stream_may_begin_before_its_first_word():
    back = torch.from_numpy(keys_from(np.array([key_of("a")], dtype=np.uint64), -5))
    np.testing.assert_array_equal(torch_words(back, 12)[0, 5:].numpy().view(np.uint64), stream("a").words(7))


def test_parts_name_a_stream():
    assert key_of("a", 1) == key_of("a", "1")
    assert len({key_of("a", 1), key_of("a", 2), key_of("a1"), key_of(1, "a"), key_of("\ud800")}) == 5
    keys = np.array([key_of("part", i) for i in range(2000)], dtype=np.uint64)
    bits = (keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert abs(bits.mean() - 0.5) < 0.005
    assert (abs(bits.mean(axis=0) - 0.5) < 0.05).all()


@pytest.mark.parametrize("key", [0, 1, 2, key_of("k")])
def test_uniform_numbers(key):
    wide, narrow = Stream(key).uniform(N), Stream(key).uniform32(N)
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    for values in (wide, narrow):
        assert 0 <= values.min() <= values.max() < 1
        assert stats.kstest(values.astype(np.float64), "uniform").pvalue > 1e-3
    # Neighbours, in pairs, on a grid.
    cells = np.histogram2d(wide[::2], wide[1::2], bins=20)[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-3


def test_the_largest_uniform_numbers_are_below_one(monkeypatch):
    monkeypatch.setattr(Stream, "words", lambda self, size: np.full(size, 2**64 - 1, dtype=np.uint64))
    assert stream("x").uniform(1)[0] == 1 - 2.0**-53
    assert stream("x").uniform32(1)[0] == np.float32(1 - 2.0**-24) < 1
    assert stream("x").weighted([0, 1, 0], 1).tolist() == [1]
    assert np.isfinite(stream("x").normal(1)).all()


@pytest.mark.parametrize("below", [2, 3, 7, 10, 1000, 2**20 + 1])
def test_integers(below):
    values = stream("integers", below).integers(below, N)
    assert 0 <= values.min() <= values.max() < below
    assert values.dtype == np.int64
    bins = min(below, 100)
    expected = np.bincount(np.arange(below) * bins // below, minlength=bins) * N / below
    assert stats.chisquare(np.bincount(values * bins // below, minlength=bins), expected).pvalue > 1e-3


def test_integers_of_a_large_range_are_not_biased():
    """Below 2^63, and below 3 * 2^61, of which the remainder alone would favour the lower third."""
    assert stream("x").integers(2**63, 1000).max() > 2**62
    below = 3 * 2**61
    values = stream("y").integers(below, N)
    assert stats.chisquare(np.bincount(values >> 61)).pvalue > 1e-3
    with pytest.raises(ValueError, match="no whole number"):
        stream("x").integers(0, 1)


def test_integers_by_hand():
    assert stream("x").integers(1, 5).tolist() == [0] * 5
    words = stream("x").words(1000).tolist()
    assert stream("x").integers(17, 1000).tolist() == [word % 17 for word in words]


def test_permutations_are_uniform():
    orders = [tuple(stream("p", i).permutation(4).tolist()) for i in range(24_000)]
    counts = np.unique(np.array(orders), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3
    assert sorted(stream("p").permutation(1000).tolist()) == list(range(1000))
    assert stream("p").permutation(0).tolist() == []


def test_choices_are_uniform_and_different():
    picks = np.array([stream("c", i).choice(6, 3) for i in range(12_000)])
    assert (np.sort(picks, axis=1)[:, 1:] > np.sort(picks, axis=1)[:, :-1]).all()
    ordered = np.unique(picks, axis=0, return_counts=True)[1]
    assert len(ordered) == 120
    assert stats.chisquare(ordered).pvalue > 1e-3
    np.testing.assert_array_equal(stream("c").choice(50, 7), stream("c").permutation(50)[:7])
    np.testing.assert_array_equal(stream("c").choice(50, 50), stream("c").permutation(50))
    with pytest.raises(ValueError, match="cannot be drawn"):
        stream("c").choice(3, 4)


def test_weighted_choices():
    weights = np.array([0, 3, 1, 0, 6, 0])
    counts = np.bincount(stream("w").weighted(weights, N), minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    assert stats.chisquare(counts[[1, 2, 4]], N * np.array([0.3, 0.1, 0.6])).pvalue > 1e-3
    for bad in ([], [0, 0]):
        with pytest.raises(ValueError, match="no weight"):
            stream("w").weighted(bad, 1)


def test_normal_variates():
    values = stream("n").normal(N)
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(values)) < 0.05
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01


def test_streams_are_independent():
    """Of neighbouring names and of neighbouring keys."""
    for make in (lambda i: stream("s", i), Stream):
        table = np.array([make(i).uniform(2000) for i in range(40)])
        correlations = np.corrcoef(table)[np.triu_indices(40, 1)]
        assert abs(correlations).max() < 0.1
        assert stats.kstest(table[:, 0], "uniform").pvalue > 1e-3
    rows = [set(stream("s", i).words(1000).tolist()) for i in range(20)]
    assert not any(one & other for one, other in pairwise(rows))


def test_a_choice_by_names_depends_on_the_names_alone():
    names = [f"{i:05d}" for i in range(300)]
    whole = {names[i] for i in chosen(names, 60, 7)}
    assert {names[i] for i in chosen(names, 20, 7)} < whole
    part = [name for name in names if int(name) % 3]
    assert {part[i] for i in chosen(part, 60, 7)} >= whole & set(part)
    assert chosen(names, 60, 7) == sorted(chosen(names, 60, 7))
    assert chosen(names, 60, 8) != chosen(names, 60, 7)
    assert chosen(["a", "a", "a"], 2, 0) == [0, 1]


@pytest.mark.parametrize(
    ("ours", "numpy"),
    [
        (lambda: stream("t").uniform(N), lambda: np.random.default_rng(0).random(N)),
        (lambda: stream("t").uniform32(N), lambda: np.random.default_rng(0).random(N, dtype=np.float32)),
        (lambda: stream("t").integers(2490, N), lambda: np.random.default_rng(0).integers(0, 2490, N)),
        (lambda: stream("t").permutation(N), lambda: np.random.default_rng(0).permutation(N)),
        (lambda: stream("t").normal(N), lambda: np.random.default_rng(0).standard_normal(N)),
        (lambda: stream("t").uniform(20), lambda: np.random.default_rng(0).random(20)),
    ],
    ids=["uniform", "uniform32", "integers", "permutation", "normal", "twenty"],
)
def test_no_draw_is_much_slower_than_numpys(ours, numpy):
    """Two to three times at most; in the processor's time, which other processes do not change."""

    def seconds(draw):
        found = []
        for _ in range(7):
            start = time.process_time()
            draw()
            found.append(time.process_time() - start)
        return min(found)

    assert seconds(ours) < 8 * seconds(numpy)
