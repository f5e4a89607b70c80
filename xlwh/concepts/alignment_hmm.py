"""Word alignment: a hidden Markov model in both directions, whose translation tables are trained to agree.

Each target word j is drawn from the source word a_j that it is linked to, or from NULL, with probability
t(word | source word). Where a_j lies depends on the last link of the sentence:

    p(a_j = i | a_{j-1} = k) = (1 - p0) * c(i - k) / Σ_i' c(i' - k)        p(NULL) = p0, and the last link stays

Source: Vogel, Ney and Tillmann (1996); the null that keeps the last position is that of Och and Ney (2003), section 2.1.
The two directions are trained in one loop, and both tables count the product of the two posteriors, "alignment by
agreement" (Liang, Taskar and Klein 2006, section 3.2); jumps and nulls are each direction's own. The tables start from
passes of the diagonal model (see `alignment_diagonal`) without agreement: on tables that know nothing the product of
the two posteriors has next to no mass. The update of the tables is that of variational Bayes under a Dirichlet prior
(Riley and Gildea 2012), which holds more mass for two words that are spelled alike (names, numbers, cognates).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlwh.concepts.alignment_diagonal import prior_of
from xlwh.concepts.bitext import Bitext, Block, Cells, Directions, Floats, Ids, normalised
from xlwh.study import Aligner

FIRST_PASSES = 3
"""Passes of the diagonal model before those of the HMM."""
FARTHEST = 8
"""Longer jumps count as this long."""
ALIKE = 0.5
"""Least Dice coefficient of the letter pairs of two words at which they are spelled alike."""
CELLS_IN_CACHE = 1 << 16
"""Word pairs whose chains run together: what the processor's cache holds makes them twice as fast."""
_WORD_PAIRS_AT_ONCE = 1 << 19
_SURE = 20.0
"""Weight of words that are spelled alike in the first pass, in which all other pairs of words have 1."""


@dataclass
class _Side:
    """What one direction has learned: its table of word pairs, its nulls, and its jumps."""

    pairs: Floats
    null: Floats
    jumps: Floats
    """Relative frequency of a jump by -FARTHEST … FARTHEST."""


@dataclass
class _Counts:
    """What a pass expects to have seen, of one direction."""

    pairs: Floats
    null: Floats
    jumps: Floats


def align_by_jumps(
    bitext: Bitext,
    cells: Cells,
    settings: Aligner,
    passed: Callable[[], None],
) -> Directions:
    """Train both directions in one loop, and return what each word picked in the last pass; `passed()` after each."""
    picked = [np.full(len(ids), -1, dtype=np.int32) for ids in (bitext.target, bitext.source)]
    starts = bitext.target_starts, bitext.source_starts
    given = cells.pair_source, cells.pair_target
    sizes = len(bitext.source_words), len(bitext.target_words)
    alike = spelling(bitext, *given) if settings.spelling else np.zeros(len(given[0]))
    extra, first = settings.spelling * alike, 1.0 + _SURE * alike
    widths = np.arange(-FARTHEST, FARTHEST + 1)
    jumps = np.exp(-0.5 * np.abs(widths - 1.0)) + 0.02
    jumps /= jumps.sum()
    sides = [_Side(first, np.ones(sizes[1 - way]), jumps) for way in (0, 1)]
    for number in range(FIRST_PASSES + settings.iterations):
        chained, last = number >= FIRST_PASSES, number == FIRST_PASSES + settings.iterations - 1
        counts = [
            _Counts(np.zeros(len(given[0])), np.zeros(sizes[1 - way]), np.zeros(len(widths)))
            for way in (0, 1)
        ]
        if chained:
            # Agreement: the same counts in both directions.
            counts[1].pairs = counts[0].pairs
        moves: dict[int, tuple[tuple[Floats, NDArray[np.int64]], ...]] = {}
        for block in _in_cache(cells):
            index = cells.of(block)
            found = _posteriors(block, index, sides, settings, chained, moves, counts)
            if last:
                for way, (posterior, null) in enumerate(found):
                    best = posterior.argmax(axis=2).astype(np.int32)
                    best[posterior.max(axis=2) <= null] = -1
                    picked[way][starts[way][block.rows, None] + np.arange(posterior.shape[1])] = best
                continue
            (forward, source_null), (backward, target_null) = found
            backward = backward.transpose(0, 2, 1)
            if chained:
                np.add.at(counts[0].pairs, index.ravel(), (forward * backward).ravel())
            else:
                np.add.at(counts[0].pairs, index.ravel(), forward.ravel())
                np.add.at(counts[1].pairs, index.ravel(), backward.ravel())
            np.add.at(counts[0].null, block.target.ravel(), source_null.ravel())
            np.add.at(counts[1].null, block.source.ravel(), target_null.ravel())
        if not last:
            for way, side in enumerate(sides):
                count = counts[way]
                side.pairs = normalised(count.pairs, given[way], sizes[way], settings.alpha + extra)
                nothing = np.zeros(len(count.null), dtype=np.int32)
                side.null = normalised(count.null, nothing, 1, settings.alpha)
                if chained:
                    side.jumps = (count.jumps + 1.0) / (count.jumps + 1.0).sum()
        passed()
    return Directions(picked[0], picked[1], (settings.tension, settings.tension))


def _in_cache(cells: Cells) -> Iterator[Block]:
    """The blocks in pieces of CELLS_IN_CACHE cells, one sentence pair at least."""
    for block in cells.blocks:
        count, m, n = block.shape
        step = max(1, CELLS_IN_CACHE // (m * n))
        for at in range(0, count, step):
            part = slice(at, at + step)
            yield Block(block.rows[part], block.source[part], block.target[part], block.offset + at * m * n)


def _posteriors(
    block: Block,
    index: Ids,
    sides: Sequence[_Side],
    settings: Aligner,
    chained: bool,
    moves: dict[int, Any],
    counts: Sequence[_Counts],
) -> list[tuple[Floats, Floats]]:
    """Of either direction the probability of each link, `[s, drawn, given]`, and of none, `[s, drawn]`.

    The jumps that a chain expects are added to `counts`.
    """
    found = []
    for way, (side, drawn) in enumerate(zip(sides, (block.target, block.source), strict=True)):
        weight = side.pairs[index]
        weight = weight.transpose(0, 2, 1) if way else weight
        null = settings.null_probability * side.null[drawn]
        _, m, n = weight.shape
        if chained:
            if n not in moves:
                moves[n] = tuple(_moves(each.jumps, n) for each in sides)
            transitions, width = moves[n][way]
            posterior, none, seen = chain(weight, null, (1 - settings.null_probability) * transitions)
            counts[way].jumps += np.bincount(width.ravel(), seen.ravel(), minlength=len(side.jumps))
        else:
            prior, _ = prior_of((m, n), settings.tension)
            posterior = weight * ((1 - settings.null_probability) * prior)
            total = posterior.sum(axis=2) + null
            posterior /= total[:, :, None]
            none = null / total
        found.append((posterior, none))
    return found


def _moves(jumps: Floats, n: int) -> tuple[Floats, NDArray[np.int64]]:
    """Probability of each move between `n` positions, and its place in `jumps`: `[n + 1, n + 1]` both.

    Row and column 0 are the start before the first word; nothing moves there.
    """
    places = np.arange(-1, n)
    width = np.clip(places[None, :] - places[:, None], -FARTHEST, FARTHEST) + FARTHEST
    found = jumps[width]
    found[:, 0] = 0.0
    return found / found.sum(axis=1, keepdims=True), width


def chain(emissions: Floats, null: Floats, moves: Floats) -> tuple[Floats, Floats, Floats]:
    """Forward-backward over sentences of the same lengths, scaled at every word.

    From emissions `[s, m, n]`, the weight of no link `[s, m]`, and moves `[n + 1, n + 1]` from the start (0) and each of
    the n positions: the posterior of each link `[s, m, n]`, of none `[s, m]`, and the expected moves `[n + 1, n + 1]`.
    """
    count, m, n = emissions.shape
    emitted = np.zeros((m, count, n + 1))
    emitted[:, :, 1:] = emissions.transpose(1, 0, 2)
    forward = np.zeros((m + 1, count, n + 1))
    forward[0, :, 0] = 1.0
    posterior = np.empty((m, count, n + 1))
    scale, nothing = np.empty((m, count)), np.empty((m, count))
    for j in range(m):
        np.matmul(forward[j], moves, out=posterior[j])
        posterior[j] *= emitted[j]
        np.multiply(null[:, j, None], forward[j], out=forward[j + 1])
        forward[j + 1] += posterior[j]
        scale[j] = np.maximum(forward[j + 1].sum(axis=1), 1e-300)
        forward[j + 1] /= scale[j][:, None]
    ahead = np.ones((count, n + 1))
    seen = np.zeros((n + 1, n + 1))
    for j in range(m - 1, -1, -1):
        ahead /= scale[j][:, None]
        posterior[j] *= ahead
        nothing[j] = null[:, j] * np.einsum("sn,sn->s", forward[j], ahead)
        emitted[j] *= ahead
        seen += forward[j].T @ emitted[j]
        ahead *= null[:, j, None]
        ahead += emitted[j] @ moves.T
    return posterior[:, :, 1:].transpose(1, 0, 2), nothing.T, seen * moves


def spelling(bitext: Bitext, sources: Ids, targets: Ids) -> Floats:
    """Dice² of the sets of letter pairs of two words, with their ends, for each pair of words; 0 up to ALIKE."""
    from scipy import sparse

    known: dict[str, int] = {}
    sides = []
    for words in (bitext.source_words, bitext.target_words):
        rows, columns = [], []
        for row, word in enumerate(words):
            # The ends are no letters: not even a word that has them is taken for another.
            marked = f"\x02{word}\x03"
            for two in {marked[at : at + 2] for at in range(len(marked) - 1)}:
                rows.append(row)
                columns.append(known.setdefault(two, len(known)))
        sides.append((rows, columns, len(words)))
    tables = [
        sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(size, len(known)))
        for rows, columns, size in sides
    ]
    lengths = [np.diff(table.indptr).astype(np.float64) for table in tables]
    found = np.zeros(len(sources))
    for at in range(0, len(sources), _WORD_PAIRS_AT_ONCE):
        part = slice(at, at + _WORD_PAIRS_AT_ONCE)
        common = tables[0][sources[part]].multiply(tables[1][targets[part]]).sum(axis=1)
        dice = 2 * np.asarray(common).ravel() / (lengths[0][sources[part]] + lengths[1][targets[part]])
        found[part] = np.where(dice > ALIKE, dice**2, 0.0)
    return found
