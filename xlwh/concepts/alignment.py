"""Word alignment of sentence pairs by one of our own models (see `alignment_hmm`, `alignment_diagonal`).

There is no random number in either: the same text gives the same links.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from xlwh.concepts.alignment_diagonal import align_diagonally
from xlwh.concepts.alignment_hmm import FIRST_PASSES, align_by_jumps
from xlwh.concepts.bitext import Bitext, Directions, cells_of, encode
from xlwh.study import Aligner

__all__ = ["Bitext", "Directions", "align", "encode"]

DEFAULT = Aligner()


def align(
    bitext: Bitext,
    settings: Aligner = DEFAULT,
    progress: Callable[[int, int], None] | None = None,
) -> Directions:
    """Train a model in both directions and return the most probable alignment of each.

    Memory: 4 bytes a cell (Σ n·m over the sentence pairs) in a temporary file, about 60 bytes (diagonal)
    or 100 (hmm) for each distinct co-occurring word pair, and working arrays of CELLS_AT_ONCE cells. Pairs with an empty side have no links.
    `progress(done, total)` is called after every pass.
    """
    hmm = settings.model == "hmm"
    total, done = FIRST_PASSES + settings.iterations if hmm else 2 * settings.iterations, 0

    def passed() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    with tempfile.TemporaryFile() as file:
        cells = cells_of(bitext, file)
        if hmm:
            return align_by_jumps(bitext, cells, settings, passed)
        return align_diagonally(bitext, cells, settings, passed)
