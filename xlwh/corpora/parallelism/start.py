"""Where to begin when no feature tells which rows match: pairs of units that are learned in one piece of the rows.

Short texts of languages that share no writing have neither words nor numbers in common, and their lengths say little. If
they are translations, words that occur together in one piece do so in the next one too; if not, they do not.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from xlwh.corpora.parallelism.evidence import Matched, Pair
from xlwh.corpora.parallelism.features import Float, Int
from xlwh.corpora.parallelism.units import weigh, with_learned

_OFFSETS = 3
"""Offsets from 0 and from the surplus of rows that are tried as the one that most rows have."""
_PIECES = 4
"""Pieces that the rows are cut into, if each has `_LEAST` rows; else two."""
_LEAST = 50
_CLIP = 10.0
"""Evidence of one row, at most, in nats either way."""
_GAIN, _SURE = 0.5, 6.0
"""Least mean of what a row gains, in nats, and least multiple of its standard error: rows that share a text are no
independent ones, and many offsets and pieces are tried."""


def learned_start(pair: Pair, offsets: Int) -> Matched | None:
    """The rows at the offset at which one piece of them speaks most for the next; None where none does so clearly."""
    surplus = pair.m - pair.n
    near = {int(o) for o in offsets if min(abs(o), abs(o - surplus)) <= _OFFSETS}
    found: Matched | None = None
    most = _GAIN
    for offset in sorted(near, key=abs):
        rows = np.arange(max(0, -offset), min(pair.n, pair.m - offset))
        rows = rows[pair.source.present[rows] & pair.target.present[rows + offset]]
        if len(rows) < 2 * _LEAST:
            continue
        # Pieces, and not every other row: neighbouring rows often share a text, which would be learned by heart.
        pieces = np.array_split(rows, _PIECES if len(rows) >= _PIECES * _LEAST else 2)
        gains = [_gain(pair, offset, *both) for both in pairwise(pieces)]
        if max(gains) > most:
            most = max(gains)
            speaking = [both for both, gain in zip(pairwise(pieces), gains, strict=True) if gain > _GAIN]
            chosen = np.unique(np.concatenate([piece for both in speaking for piece in both]))
            found = chosen, chosen + offset
    return found


def _gain(pair: Pair, offset: int, first: Int, second: Int) -> float:
    """What units learned in either piece say of a row of the other with its partner, beyond what they say of it with a
    wrong one: the mean, in nats; 0 where it may be chance."""
    gained = np.concatenate([_gained(pair, offset, first, second), _gained(pair, offset, second, first)])
    error = float(gained.std()) / np.sqrt(len(gained))
    mean = float(gained.mean())
    return mean if mean > _SURE * error else 0.0


def _gained(pair: Pair, offset: int, learn: Int, test: Int) -> Float:
    """`[test]`, in nats."""
    matched = (learn, learn + offset)
    weights = weigh(with_learned(pair.units, pair.source, pair.target, matched), matched)
    partners = test + offset
    right = weights.evidence(test, partners)
    wrong = weights.evidence(test, np.roll(partners, len(partners) // 2))
    return np.asarray(np.clip(right, -_CLIP, _CLIP) - np.clip(wrong, -_CLIP, _CLIP))
