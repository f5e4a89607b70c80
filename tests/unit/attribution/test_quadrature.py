"""The adaptive integral against closed forms and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from xlwh.attribution.base import Attribution
from xlwh.attribution.quadrature import PathIntegrals, gauss_legendre

Density = Callable[[float], NDArray[np.float32]]


def integrate(
    f: Callable[[float], float],
    density: Density,
    tolerance: float,
    max_rows: int = 3200,
    roundoff: float = 2.0**-24,
) -> tuple[Attribution, list[float]]:
    return integrate_all([(f, density)], tolerance, max_rows, roundoff)[0]


def integrate_all(
    paths: list[tuple[Callable[[float], float], Density]],
    tolerance: float,
    max_rows: int = 3200,
    roundoff: float = 2.0**-24,
) -> list[tuple[Attribution, list[float]]]:
    """Each path's integral and the positions that were asked for, all refined together."""
    integrals = PathIntegrals(len(paths), tolerance, max_rows, roundoff)
    asked: list[list[float]] = [[] for _ in paths]
    densities: list[NDArray[np.float32]] = []
    made: dict[int, Attribution] = {}
    while len(integrals.requests()[0]):
        items, positions = (each.tolist() for each in integrals.requests())
        new = [paths[item][1](x) for item, x in zip(items, positions, strict=True)]
        densities += new
        for item, x in zip(items, positions, strict=True):
            asked[item].append(x)
        f = np.array([paths[item][0](x) for item, x in zip(items, positions, strict=True)])
        exact = [each.astype(np.float64) for each in new]
        integrals.supply(
            f, np.array([each.sum() for each in exact]), np.array([np.abs(each).sum() for each in exact])
        )
        if (done := integrals.finished()) is None:
            continue
        terms, fours = np.cumsum(done.terms), np.cumsum(done.fours)
        for place, item in enumerate(done.items.tolist()):
            assert item not in made, "an integral is finished once"
            span = slice(terms[place] - done.terms[place], terms[place])
            values = sum(
                w * densities[n].astype(np.float64)
                for n, w in zip(done.nodes[span], done.weights[span], strict=True)
            )
            error = np.zeros_like(values)
            span = slice(fours[place] - done.fours[place], fours[place])
            for five, factor, known in zip(
                done.fives[span], done.factors[span], done.errors[span], strict=True
            ):
                held = np.stack([densities[n] for n in five]).astype(np.float64)
                apart = np.abs(np.array([1, -4, 6, -4, 1]) @ held) * factor
                error += apart * max(1.0, known / max(apart.sum(), 1e-300))
            made[item] = Attribution(
                values,
                float(done.f_input[place]),
                float(done.f_baseline[place]),
                int(done.num_nodes[place]),
                errors=error,
                stopped=done.stops[place],
            )
    for each in asked:
        assert len(each) == len(set(each)), "no point is evaluated twice"
    return [(made[item], asked[item]) for item in range(len(paths))]


def two_tokens(sharp: float, centre: float) -> tuple[Callable[[float], float], Density]:
    """F(x) = tanh(sharp (x - centre)) + x²: one token owns the step, the other the parabola."""

    def f(x: float) -> float:
        return float(np.tanh(sharp * (x - centre)) + x * x)

    def density(x: float) -> NDArray[np.float32]:
        step = sharp / np.cosh(sharp * (x - centre)) ** 2
        return np.array([step, 2 * x], dtype=np.float32)

    return f, density


@pytest.mark.parametrize("sharp", [1.0, 20.0, 150.0])
@pytest.mark.parametrize("tolerance", [0.1, 0.01, 0.001])
def test_error_is_within_the_tolerance(sharp: float, tolerance: float) -> None:
    f, density = two_tokens(sharp, 0.31)
    result, asked = integrate(f, density, tolerance)
    assert result.relative_delta is not None
    assert result.relative_delta <= tolerance
    exact = [f(1) - f(0) - 1.0, 1.0]
    assert np.abs(result.values - exact).sum() <= 2 * tolerance * abs(f(1) - f(0))
    assert result.num_gradient_rows == len(asked)
    assert result.stopped == "tolerance"


def test_points_gather_where_the_path_is_rough() -> None:
    f, density = two_tokens(150.0, 0.31)
    _, asked = integrate(f, density, 0.001)
    near = np.abs(np.array(asked) - 0.31) < 0.1
    assert near.mean() > 0.6
    assert len(asked) < 200


def test_polynomials_up_to_degree_five_need_no_refinement() -> None:
    result, asked = integrate(lambda x: x**6, lambda x: np.array([6 * x**5], dtype=np.float32), 1e-4)
    assert result.values[0] == pytest.approx(1.0, abs=1e-6)
    assert len(asked) == 9


def test_agrees_with_scipy_on_an_oscillating_path() -> None:
    def slope(x: float) -> float:
        return float(np.cos(25 * x) * np.exp(x) + 3)

    f_of = {x: quad(slope, 0, x, limit=200)[0] for x in np.linspace(0, 1, 2**12 + 1)}
    result, _ = integrate(f_of.__getitem__, lambda x: np.array([slope(x)], dtype=np.float32), 1e-3)
    assert result.values[0] == pytest.approx(f_of[1.0], rel=1e-3)


def test_row_limit_ends_the_work_and_shows_in_the_error() -> None:
    f, density = two_tokens(400.0, 0.3)
    result, asked = integrate(f, density, 1e-6, max_rows=20)
    assert len(asked) <= 20
    assert result.relative_delta is not None
    assert result.relative_delta > 1e-6
    assert result.stopped == "limit"


def test_constant_path_gives_zero() -> None:
    result, _ = integrate(lambda x: 2.5, lambda x: np.zeros(3, dtype=np.float32), 0.01)
    assert result.values.tolist() == [0.0, 0.0, 0.0]
    assert result.delta == 0.0


def test_gauss_legendre_on_the_unit_interval() -> None:
    nodes, weights = gauss_legendre(5)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights * nodes**9).sum() == pytest.approx(0.1)


def test_paths_refined_together_are_those_refined_alone() -> None:
    paths = [
        two_tokens(sharp, centre) for sharp, centre in ((1.0, 0.3), (150.0, 0.31), (40.0, 0.77), (20.0, 0.5))
    ]
    for (together, asked), path in zip(integrate_all(paths, 0.001), paths, strict=True):
        ((alone, own),) = integrate_all([path], 0.001)
        np.testing.assert_allclose(together.values, alone.values, rtol=1e-12)
        np.testing.assert_allclose(together.errors, alone.errors, rtol=1e-12)
        assert sorted(asked) == sorted(own)


def rounded(bits: int, seed: int = 0) -> tuple[Callable[[float], float], Density]:
    """A path whose F and densities have relative errors of `bits` bits, drawn anew at every point."""
    exact, slope = two_tokens(20.0, 0.31)
    draws = np.random.default_rng(seed)

    def off() -> float:
        return 1 + 2.0**-bits * draws.uniform(-1, 1)

    return lambda x: exact(x) * off(), lambda x: (slope(x) * off()).astype(np.float32)


@pytest.mark.parametrize("bits", [11, 8])
def test_noise_of_f_ends_the_refinement_and_is_told(bits: int) -> None:
    results = integrate_all([rounded(bits, seed) for seed in range(20)], 2.0**-bits / 4, roundoff=2.0**-bits)
    stops = [result.stopped for result, _ in results]
    assert set(stops) <= {"noise", "tolerance"}
    assert stops.count("noise") > 10
    assert max(result.num_gradient_rows for result, _ in results) < 400
    errors = [abs(result.values[1] - 1.0) for result, _ in results]
    assert np.median(errors) < 8 * 2.0**-bits


def test_what_splitting_reduces_is_not_taken_for_noise() -> None:
    """Kinks and steps take many splits and no row limit; they are no noise of float32."""
    kink = (lambda x: max(0.0, x - 0.317), lambda x: np.array([float(x > 0.317)], dtype=np.float32))
    results = [integrate(*kink, 1e-4), *(integrate(*two_tokens(sharp, 0.3), 1e-4) for sharp in (20.0, 400.0))]
    assert [result.stopped for result, _ in results] == ["tolerance"] * 3


def test_a_path_that_tells_nothing_but_its_rounding_is_left() -> None:
    """F changes by less than it is rounded."""
    draws = np.random.default_rng(0)
    result, asked = integrate(
        lambda x: 5.0 + 1e-7 * float(draws.uniform(-1, 1)), lambda x: np.zeros(2, dtype=np.float32), 0.01
    )
    assert result.stopped == "noise"
    assert len(asked) < 60


@pytest.mark.parametrize("sharp", [5.0, 20.0, 150.0])
def test_errors_of_the_tokens_bound_and_are_not_far_off(sharp: float) -> None:
    f, density = two_tokens(sharp, 0.31)
    result, _ = integrate(f, density, 0.01)
    assert result.errors is not None
    step = np.tanh(sharp * 0.69) + np.tanh(sharp * 0.31)
    true = np.abs(result.values - [step, 1.0])
    assert true[0] <= result.errors[0] + 1e-9
    assert sharp > 20 or result.errors[0] <= 0.1 * step
    assert result.errors[1] < 1e-5, "Simpson's rule is exact for the parabola's slope"
