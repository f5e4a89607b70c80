"""The adaptive integral against closed forms and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from xlwh.attribution.quadrature import PathIntegral, gauss_legendre

Density = Callable[[float], NDArray[np.float32]]


def integrate(f: Callable[[float], float], density: Density, tolerance: float, max_rows: int = 3200):
    path = PathIntegral(tolerance, max_rows)
    asked: list[float] = []
    while path.requests():
        asked += path.requests()
        path.supply({x: (f(x), density(x)) for x in path.requests()})
    assert len(asked) == len(set(asked)), "no point is evaluated twice"
    return path.result(), asked


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


def test_constant_path_gives_zero() -> None:
    result, _ = integrate(lambda x: 2.5, lambda x: np.zeros(3, dtype=np.float32), 0.01)
    assert result.values.tolist() == [0.0, 0.0, 0.0]
    assert result.delta == 0.0


def test_gauss_legendre_on_the_unit_interval() -> None:
    nodes, weights = gauss_legendre(5)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights * nodes**9).sum() == pytest.approx(0.1)
