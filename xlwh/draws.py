"""Seeded draws: SplitMix64 by counters, the same numbers whatever the platform, NumPy or torch.

Every draw that reaches a stored row is made here; only training leaves its dropout and its new weights to torch. A
`Stream` is a key and a counter: word i is splitmix64(key + i * GOLDEN_GAMMA) for i = 1, 2, …, which are the outputs of
the published SplitMix64 with that seed. The key is a hash of what the draw is for (`stream("noise", example)`), so no
draw depends on what else is drawn, or in which order the work is done. Two streams of n words overlap with a chance of
2n in 2^64.

Source: Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators". The finaliser is a bijection, so
the words of a stream are all different (within 2^64): for sorting them it does not matter whether a sort is stable.
Words, uniform numbers, integers, permutations and choices are made of whole numbers and powers of two and are equal to
the last bit everywhere; normal variates and weighted choices are rounded as SciPy and NumPy round.

What has an entry for each number of a batch is drawn on the device that needs it: `torch_words` and what is made of it
are the same streams, many at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
"""Raised if a stream of the same name gives other numbers: what was drawn is then stale."""

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""Step between the counters of a stream."""

_BLOCK = 1 << 14
"""Words that are mixed at a time: they and their halves stay in the processor's cache."""
_MASK = 2**64 - 1


def splitmix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: 64-bit words to others, one to one."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def key_of(*parts: object) -> int:
    """64 bits from names, numbers and what else has a lasting text: the same for the same parts."""
    text = "\x1f".join(map(str, parts))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def stream(*parts: object) -> Stream:
    """The stream of a draw that is named by its parts."""
    return Stream(key_of(*parts))


def chosen(names: Sequence[object], count: int, *seed: object) -> list[int]:
    """Places of the `count` names that rank lowest by the SHA-256 of (seed, name), ascending.

    The choice depends on the names alone: a smaller one is a part of a larger one, and lists that share names share
    choices. The first of equal names comes first.
    """
    ranks = [
        hashlib.sha256("\x1f".join(map(str, (*seed, name))).encode("utf-8", "surrogatepass")).digest()
        for name in names
    ]
    return sorted(sorted(range(len(ranks)), key=lambda place: (ranks[place], place))[:count])


class Stream:
    """Numbers that follow from a key, each used once. Every number takes one word of 64 bits."""

    def __init__(self, key: int) -> None:
        self._key = key & _MASK
        self._used = 0

    def words(self, size: int) -> NDArray[np.uint64]:
        """The next words, `[size]`."""
        found = np.empty(size, dtype=np.uint64)
        steps = np.arange(1, min(size, _BLOCK) + 1, dtype=np.uint64) * GOLDEN_GAMMA
        half = np.empty_like(steps)
        for start in range(0, size, _BLOCK):
            z = found[start : start + _BLOCK]
            h = half[: len(z)]
            np.add(steps[: len(z)], np.uint64(self._state(start)), out=z)
            # splitmix64, in place: three times as fast.
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                np.right_shift(z, np.uint64(shift), out=h)
                np.bitwise_xor(z, h, out=z)
                np.multiply(z, np.uint64(factor), out=z)
            np.right_shift(z, np.uint64(31), out=h)
            np.bitwise_xor(z, h, out=z)
        self._used += size
        return found

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Multiples of 2^-53 in [0, 1)."""
        words = self.words(_size(shape))
        words >>= np.uint64(11)
        found = words.astype(np.float64)
        found *= 2.0**-53
        return found.reshape(shape)

    def uniform32(self, *shape: int) -> NDArray[np.float32]:
        """Multiples of 2^-24 in [0, 1)."""
        words = self.words(_size(shape))
        words >>= np.uint64(40)
        return (words.astype(np.float32) * np.float32(2.0**-24)).reshape(shape)

    def number(self) -> float:
        """The next of `uniform`, alone: fast for one."""
        z = self._state(1)
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        self._used += 1
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    def integers(self, below: int, *shape: int) -> NDArray[np.int64]:
        """Whole numbers from 0 up to `below` (at most 2^63), each exactly as likely.

        Words past the largest multiple of `below` are drawn again, by mixing them once more. ValueError for none.
        """
        if not 0 < below <= 2**63:
            raise ValueError(f"no whole number from 0 up to {below} can be drawn")
        words = self.words(_size(shape))
        last = np.uint64(_MASK - 2**64 % below)
        while len(again := np.flatnonzero(words > last)):
            words[again] = splitmix64(words[again] + GOLDEN_GAMMA)
        # Division by a scalar is vectorised, the remainder is not.
        words -= words // np.uint64(below) * np.uint64(below)
        return words.astype(np.int64).reshape(shape)

    def permutation(self, size: int) -> NDArray[np.int64]:
        """The numbers 0 … size - 1 in random order: the order of as many words."""
        return np.argsort(self.words(size)).astype(np.int64, copy=False)

    def choice(self, of: int, size: int) -> NDArray[np.int64]:
        """`size` different numbers from 0 to `of` - 1 in random order: the first of a permutation."""
        if not 0 <= size <= of:
            raise ValueError(f"{size} different ones of {of} cannot be drawn")
        words = self.words(of)
        lowest: NDArray[np.int64] = np.argpartition(words, size)[:size] if size < of else np.arange(of)
        return lowest[np.argsort(words[lowest])]

    def weighted(self, weights: ArrayLike, *shape: int) -> NDArray[np.int64]:
        """Places in `weights` `[n]`, with replacement, in proportion to them."""
        sums = np.cumsum(np.asarray(weights, dtype=np.float64))
        if not len(sums) or not sums[-1] > 0:
            raise ValueError("there is no weight to draw by")
        found = np.searchsorted(sums, self.uniform(*shape) * sums[-1], side="right")
        # The product may round up to the total.
        last: NDArray[np.int64] = np.minimum(found, np.searchsorted(sums, sums[-1]))
        return last

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Standard normal variates: the inverse of their distribution at (k + 1/2) 2^-53; at most 8.3 in size."""
        from scipy import special

        words = self.words(_size(shape))
        words >>= np.uint64(11)
        found: NDArray[np.float64] = special.ndtri((words + 0.5) * 2.0**-53)
        # (2^53 - 1/2) 2^-53 rounds to 1.
        return np.clip(found, -8.3, 8.3).reshape(shape)

    def _state(self, ahead: int) -> int:
        return (self._key + (self._used + ahead) * int(GOLDEN_GAMMA)) & _MASK


def keys_from(keys: NDArray[np.uint64], used: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Keys of streams of which `used` words are gone (or are to come, if it is negative), for `torch_words`."""
    moved: NDArray[np.uint64] = keys + np.asarray(used, dtype=np.int64).astype(np.uint64) * GOLDEN_GAMMA
    return moved.view(np.int64)


def torch_words(keys: Tensor, count: int) -> Tensor:
    """The first words of streams `[streams]`, keys and words as int64 of the same bits: `[streams, count]`."""
    import torch

    # Whole numbers wrap round in torch as they do here; shifts keep the sign, which is masked.
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device) * _signed(int(GOLDEN_GAMMA))
    z = keys[:, None] + steps
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z.bitwise_xor_((z >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(_signed(factor))
    return z.bitwise_xor_((z >> 31).bitwise_and_((1 << 33) - 1))


def torch_bits24(keys: Tensor, count: int) -> Tensor:
    """`Stream.uniform32` of streams `[streams]` times 2^24, as int32 `[streams, count]`."""
    import torch

    found: Tensor = (torch_words(keys, count) >> 40).bitwise_and_((1 << 24) - 1).to(torch.int32)
    return found


def torch_normal(keys: Tensor, count: int) -> Tensor:
    """`Stream.normal` of streams `[streams]`, float64 `[streams, count]`, rounded as torch rounds."""
    import torch

    words = (torch_words(keys, count) >> 11).bitwise_and_((1 << 53) - 1)
    found: Tensor = torch.special.ndtri((words.double() + 0.5) * 2.0**-53).clamp_(-8.3, 8.3)
    return found


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
