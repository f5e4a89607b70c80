"""Similarity of representations against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from xlwh.concepts.similarity import anisotropy, language_probe, linear_cka, retrieval
from xlwh.draws import stream


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    return first @ second.T / lengths


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    n = len(first)
    centre = np.eye(n) - 1 / n
    return float(np.trace(first @ first.T @ centre @ second @ second.T @ centre))


@pytest.mark.parametrize("count", [12, 60])
def test_cka_is_normalised_hsic(count: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 20)) + 3
    y = x[:, :15] @ rng.standard_normal((15, 15)) + rng.standard_normal((count, 15))
    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    score = linear_cka(x, y, stream(0))
    assert score.value == pytest.approx(expected)
    assert score.null is not None
    assert score.null < score.value
    assert score.units == count


def test_cka_knows_no_rotation_scale_or_shift() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 8))
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert linear_cka(x, 3 * x @ rotation + 5).value == pytest.approx(1)
    assert linear_cka(x, np.ones((50, 8))).value == 0


def test_retrieval_counts_nearest_neighbours() -> None:
    first = np.array([[1.0, 0, 0], [0, 1, 0], [0.9, 0.1, 0]])
    second = np.array([[2.0, 0.1, 0], [0, 5, 1], [0, 0, 1]])
    nearest = cosines(first, second).argmax(axis=1)
    assert nearest.tolist() == [0, 1, 0]
    forward, backward, mutual = retrieval(first, second)
    assert forward.value == pytest.approx(2 / 3)
    assert (cosines(second, first).argmax(axis=1) == np.arange(3)).mean() == pytest.approx(backward.value)
    assert mutual.value <= min(forward.value, backward.value)
    assert (forward.null, mutual.null) == (1 / 3, 1 / 9)


def test_anisotropy_is_the_mean_cosine_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 6)) + 1
    matrix = cosines(vectors, vectors)
    expected = matrix[~np.eye(40, dtype=bool)].mean()
    assert anisotropy(vectors).value == pytest.approx(expected, rel=1e-5)
    assert anisotropy(vectors.astype(np.float16)).value == pytest.approx(expected, rel=1e-2)
    assert abs(anisotropy(rng.standard_normal((2000, 6))).value) < 0.01
    assert anisotropy(vectors[:1]).value == 0


def test_the_probe_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)

    def drawn(shift: float) -> dict[str, np.ndarray]:
        sizes = {"de": 300, "en": 900, "es": 150}
        return {
            language: rng.standard_normal((size, 10)) + shift * np.eye(10)[number]
            for number, (language, size) in enumerate(sizes.items())
        }

    assert language_probe(drawn(8), drawn(8)).value > 0.99
    score = language_probe(drawn(0), drawn(0))
    assert score.null == pytest.approx(1 / 3)
    # A large language is no advantage: languages weigh the same.
    assert abs(score.value - 1 / 3) < 0.06
    assert score.units == 1350
