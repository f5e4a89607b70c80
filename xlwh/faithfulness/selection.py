"""Which tokens can be perturbed, which are the rationale, and with what probability a soft mask keeps them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlwh.models.tokenize import Encoded

Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]


def attributable(encoded: Encoded, example: int, keep_query: bool) -> Mask:
    """Tokens that may be perturbed, `[tokens]`: not special, and not of the second text where that is kept."""
    row = encoded.row(example)
    free = ~encoded.special[row]
    return free & (encoded.segment[row] != 1) if keep_query else free


def rationale_size(ratio: float, size: int) -> int:
    """k = ceil(ratio * size) tokens; at most `size`."""
    # A hair of slack: 0.2 * 35 is 7.000000000000001 in floating point, and means 7.
    return min(size, math.ceil(ratio * size - 1e-9))


def order(scores: Scores, free: Mask) -> NDArray[np.int64]:
    """Positions of the attributable tokens, highest score first, equal ones by position: `[attributable]`."""
    places = np.flatnonzero(free)
    return places[np.argsort(-scores[places], kind="stable")]


def kept(ordered: NDArray[np.int64], k: int, free: Mask, side: str) -> Mask:
    """What is left of the input, `[tokens]`: the k first of `ordered` (sufficiency) or all others (comprehensiveness).

    Tokens that are not attributable always stay.
    """
    chosen = np.zeros(len(free), dtype=np.bool_)
    chosen[ordered[:k]] = True
    rest: Mask = ~free
    return rest | (chosen if side == "sufficiency" else free & ~chosen)


def kept_hash(keep: Mask, free: Mask) -> str:
    """Sixteen hex digits of the set of attributable positions that are kept."""
    return hashlib.blake2b(np.packbits(keep & free).tobytes(), digest_size=8).hexdigest()


def keep_probability(scores: Scores, free: Mask, side: str) -> Scores:
    """Probability that a soft mask keeps an entry of a token's word vector: `[tokens]`.

    Zhao and Aletras 2023: a, the scores min-max scaled over the attributable tokens, for sufficiency, 1 - a for
    comprehensiveness; 1 for all other tokens. Where all scores are equal, a is 1/2.
    """
    probability = np.ones(len(free))
    if free.any():
        values = scores[free]
        spread = np.ptp(values)
        scaled = (values - values.min()) / spread if spread > 0 else np.full(len(values), 0.5)
        probability[free] = scaled if side == "sufficiency" else 1 - scaled
    return probability


@dataclass(frozen=True)
class Released:
    """One input as the released code of arXiv 2403.12809 cuts it; all masks are `[tokens]`.

    A single text's closing separator is ranked with its tokens. Of two texts the second is the query: sufficiency
    keeps it, and comprehensiveness removes what lies between the first two separators, which is the query where one
    separator stands between the texts (BERT) and nothing where two do (RoBERTa).
    """

    rankable: Mask
    """Positions that are ranked, and that soft masks give their own probability."""
    length: int
    """Position of the first separator: what the ratios are shares of."""
    always: Mask
    """The first position and the first separator."""
    query: Mask
    """From the separator before the second text to its end; empty for a single text."""
    between: Mask
    """From the first separator to the second; empty for a single text."""

    def size(self, ratio: float) -> int:
        """Tokens of the rationale: the ceiling in single precision, as torch has it."""
        share = np.float32(self.length) * np.float32(ratio)
        return min(int(np.ceil(share)), int(self.rankable.sum()))

    def kept(self, ordered: NDArray[np.int64], k: int, side: str) -> Mask:
        """What is left of the input: the k first of `ordered`, or all but them."""
        chosen = self.between.copy()
        chosen[ordered[:k]] = True
        return self.always | (chosen | self.query if side == "sufficiency" else ~chosen)

    @property
    def empty(self) -> Mask:
        """What the baseline keeps: the query, and nothing else."""
        return self.query


def released(encoded: Encoded, example: int, separator: int, keep_query: bool) -> Released:
    """How the released code cuts an example whose texts end in the token `separator`."""
    row = encoded.row(example)
    size = row.stop - row.start
    separators = np.flatnonzero(encoded.input_ids[row] == separator)
    first = int(separators[0]) if len(separators) else size - 1
    places = np.arange(size)
    paired = keep_query and len(separators) > 1 and bool((encoded.segment[row] == 1).any())
    nothing = np.zeros(size, dtype=np.bool_)
    return Released(
        rankable=(places > 0) & (places < first) if paired else places > 0,
        length=first,
        always=(places == 0) | (places == first),
        query=(places >= separators[-2]) & (places <= separators[-1]) if paired else nothing,
        between=(places >= first) & (places <= separators[1]) if paired else nothing,
    )


def reversed_probability(scores: Scores, free: Mask, side: str) -> Scores:
    """Probability that a soft mask of the released code keeps an entry of a token's vector: `[tokens]`.

    Tokens that are not attributable have the score -1 and are scaled with the others, so that they are masked too;
    sufficiency keeps 1 - a, comprehensiveness a. Where all scores are equal, a is 0.
    """
    values = np.where(free, scores, -1.0)
    spread = np.ptp(values)
    scaled = (values - values.min()) / spread if spread > 0 else np.zeros(len(values))
    return 1 - scaled if side == "sufficiency" else scaled
