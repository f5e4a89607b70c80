"""Word alignment by a program of somebody else's, such as eflomal or fast_align, instead of our own model.

It gets the sentence pairs as `source ||| target` lines and writes one line of `i-j` links for each of them, a file a
direction; these are symmetrised as ours are. What it computes, and whether twice the same, is up to the program.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xlwh.concepts.bitext import Bitext, Directions
from xlwh.errors import CorpusError
from xlwh.texts import whole_number

PLACEHOLDERS = ("input", "forward", "reverse")


def align_externally(bitext: Bitext, command: str) -> Directions:
    """Links of both directions by `command`, such as `eflomal-align -i {input} -f {forward} -r {reverse}`.

    CorpusError with the program's own words where it is missing, fails, or writes something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in PLACEHOLDERS}
        files["input"].write_text("".join(_lines(bitext)), encoding="utf-8")
        arguments = [part.format(**files) for part in shlex.split(command)]
        try:
            subprocess.run(arguments, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            raise CorpusError(f"The aligner `{command}` failed: {said[-500:]}") from None
        forward = _picked(files["forward"], command, bitext.target_starts, bitext.source_starts, 1)
        backward = _picked(files["reverse"], command, bitext.source_starts, bitext.target_starts, 0)
    return Directions(forward, backward, (0.0, 0.0))


def _lines(bitext: Bitext) -> list[str]:
    sides = []
    for words, ids, starts in (
        (bitext.source_words, bitext.source, bitext.source_starts),
        (bitext.target_words, bitext.target, bitext.target_starts),
    ):
        # A blank inside a word would shift the numbers of all words behind it.
        plain = ["_".join(word.split()) or "_" for word in words]
        flat = [plain[number] for number in ids.tolist()]
        sides.append([" ".join(flat[a:b]) for a, b in pairwise(starts)])
    return [f"{one} ||| {other}\n" for one, other in zip(*sides, strict=True)]


def _picked(
    path: Path, command: str, starts: NDArray[np.int64], others: NDArray[np.int64], side: int
) -> NDArray[np.int32]:
    """What each word of one side is linked to, -1 for none; `side` says which number of `i-j` is its own."""
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CorpusError(f"The aligner `{command}` wrote no {path.name} links: {error.strerror}") from None
    if len(lines) != len(starts) - 1:
        raise CorpusError(
            f"The aligner `{command}` wrote {len(lines)} lines of {path.name} links for {len(starts) - 1} sentence pairs."
        )
    picked = np.full(int(starts[-1]), -1, dtype=np.int32)
    lengths, limits = np.diff(starts).tolist(), np.diff(others).tolist()
    for number, line in enumerate(lines):
        for link in line.split():
            first, _, second = link.partition("-")
            ends = whole_number(first, 9), whole_number(second, 9)
            own, other = ends[side], ends[1 - side]
            if own is None or other is None:
                raise CorpusError(
                    f"The aligner `{command}`, line {number + 1}: {link[:40]!r} is no `i-j` link."
                )
            if own >= lengths[number] or other >= limits[number]:
                raise CorpusError(
                    f"The aligner `{command}`, line {number + 1}: {link} links a word that is not there."
                )
            picked[starts[number] + own] = other
    return picked
