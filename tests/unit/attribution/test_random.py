"""Random attributions: every draw is its own, named by example and number, and the mean of several is one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from xlwh.attribution.base import Item
from xlwh.attribution.random import draw, random_attribution
from xlwh.models.tokenize import encode
from xlwh.study import RandomAttribution


def test_draws_are_distinct_uniform_and_reproducible():
    draws = {(name, number): draw(name, number, 5000) for name in ("en/1", "de/1") for number in range(4)}
    for one, other in combinations(draws.values(), 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    everything = np.concatenate(list(draws.values()))
    assert 0 <= everything.min() < everything.max() < 1
    assert everything.mean() == pytest.approx(0.5, abs=0.01)
    assert everything.var() == pytest.approx(1 / 12, rel=0.02)
    np.testing.assert_array_equal(draw("en/1", 3, 5000), draws["en/1", 3])
    # A shorter text has the first numbers of a longer one.
    np.testing.assert_array_equal(draw("en/1", 3, 7), draws["en/1", 3][:7])


@pytest.mark.parametrize("draws", [1, 3])
def test_an_attribution_is_the_mean_of_its_draws(checkpoint, zoo_of, frame, draws):
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    encoded = encode(loaded, frame([("the cat sees", None), ("the cat sees", "der Hund")]))
    items = [Item(1, 0), Item(0, 0)]
    found = dict(random_attribution(loaded, encoded, items, RandomAttribution(draws=draws), 512))
    for position, item in enumerate(items):
        special = encoded.special[encoded.row(item.example)]
        drawn = [draw(encoded.names[item.example], number, len(special)) for number in range(draws)]
        assert len({tuple(each) for each in drawn}) == draws
        np.testing.assert_allclose(found[position].values, np.where(special, 0, np.mean(drawn, axis=0)))
