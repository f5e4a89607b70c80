"""Offsets that cut out of a text what tokens stand for, and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import regex
from numpy.typing import NDArray

_BLANK_LETTER = ord("▁")
"""Tokenizers that write a blank as this letter take it for one in a text, too."""

_MARKS = regex.compile(r"[\p{M}\u1160-\u11ff\u314f-\u3163\ud7b0-\ud7fb\uff9e\uff9f]+")
"""What tokenizers drop or compose with the letter before it: marks, vowels and finals of Hangul, voicing signs."""


def trimmed(
    spans: NDArray[np.int64],
    text: NDArray[np.int64],
    joined: str,
    blank: NDArray[np.bool_],
    cut: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places `[tokens, 2]` in `joined` without the white space around them, and which tokens are nothing else.

    Several texts are joined by blanks; `text` is the number of each token's. `blank` tokens decode to white space.

    A blank that a tokenizer puts before a text has no character, though its library gives it the first one; a
    letter that it takes for a blank has. Marks that it drops or composes stay with their letter; not where a text is
    `cut`, since there they may be what was cut off.
    """
    start, end = spans.T
    letters = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    visible = ~_is_space()[letters]
    places = np.arange(len(letters))
    # From each place on the next visible character, and before it the end of the last one.
    after = np.minimum.accumulate(np.where(visible, places, len(letters))[::-1])[::-1]
    before = np.maximum.accumulate(np.concatenate([[0], np.where(visible, places + 1, 0)]))
    seen = np.cumsum(np.concatenate([[0], visible]))
    as_letters = np.cumsum(np.concatenate([[0], letters == _BLANK_LETTER]))
    shown = seen[end] - seen[start]
    blank = blank & ((shown == 0) | (shown != as_letters[end] - as_letters[start]))
    low, high = after[start], before[end]
    worded = (low < high) & ~blank
    start, end = np.where(worded, low, start), np.where(worded, high, end)
    end = np.where(blank, np.maximum(start, np.minimum(end, low)), end)
    last = np.append(np.diff(text) != 0, True)[: len(text)]
    following = np.where(last, np.where(cut, end, len(letters)), np.append(start[1:], 0)[: len(text)])
    for place in np.flatnonzero(worded & (end < following) & visible[end]):
        if marks := _MARKS.match(joined, int(end[place])):
            end[place] = min(following[place], marks.end())
    return np.stack([start, end], axis=1), blank


@cache
def _is_space() -> NDArray[np.bool_]:
    """For every code point whether it is white space."""
    table = np.zeros(0x110000, np.bool_)
    table[[point for point in range(0x10000) if chr(point).isspace()]] = True
    return table
