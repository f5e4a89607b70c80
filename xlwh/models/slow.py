"""Inputs of tokenizers written in Python (XLM, ByT5, PhoBERT), which do not say what characters a piece comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.models.pieces import Speller, locate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_SEGMENT = -1


class UnalignedError(Exception):
    """What of an input cannot be aligned."""


def unaligned(string: str, pieces: list[str]) -> UnalignedError:
    """Says what a text became."""
    return UnalignedError(f"{string[:80]!r} became {' '.join(pieces)[:120]!r}")


@dataclass(frozen=True)
class Aligned:
    """One input, each of its tokens with its text and characters."""

    ids: list[int]
    types: list[int]
    segment: NDArray[np.int32]
    """`[tokens]`, 0 first text, 1 second, NO_SEGMENT for special tokens."""
    offsets: NDArray[np.int32]
    """`[tokens, 2]`, code points."""
    truncated: int
    """Tokens cut off."""


class SlowTokenizer:
    """Inputs as a tokenizer without offsets makes them, each piece with its characters."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        self._tokenizer: Any = tokenizer
        self._limit = limit
        self._spelt = Speller(tokenizer)
        self._special = tuple(tokenizer.all_special_tokens)
        self._known: dict[tuple[str, bool], tuple[list[int], NDArray[np.int32]]] = {}

    def __call__(self, strings: list[str]) -> Aligned:
        """One or two texts as one input; UnalignedError where their characters cannot be told."""
        tokenizer = self._tokenizer
        # Text is text: "</s>" in a sentence does not end it.
        spelled = any(name in string for string in strings for name in self._special)
        options = {"split_special_tokens": True} if spelled else {}
        # As lists of one: a bare "" is taken for no second segment at all.
        own = tokenizer(
            *([string] for string in strings),
            truncation="longest_first",
            max_length=self._limit,
            return_attention_mask=False,
            verbose=False,
            **options,
        )
        ids: list[int] = own["input_ids"][0]
        sides = [self._pieces(string, spelled, options) for string in strings]
        whole = [pieces for pieces, _ in sides]
        added = tokenizer.num_special_tokens_to_add(pair=len(sides) == 2)
        excess = max(0, sum(map(len, whole)) + added - self._limit)
        kept = [
            part or []
            for part in tokenizer.truncate_sequences(*whole, num_tokens_to_remove=excess)[: len(sides)]
        ]
        left = tokenizer.truncation_side == "left"
        spans = [
            side[len(side) - len(part) :] if left else side[: len(part)]
            for (_, side), part in zip(sides, kept, strict=True)
        ]
        # Stand-ins show which of the input's tokens come from where.
        layout = np.array(
            tokenizer.build_inputs_with_special_tokens(
                *([-1 - side] * len(part) for side, part in enumerate(kept))
            )
        )
        inside = layout < 0
        if len(layout) != len(ids) or np.array(ids)[inside].tolist() != [
            index for part in kept for index in part
        ]:
            raise UnalignedError("what it makes of the whole input is not what it makes of the texts")
        segment = np.full(len(ids), NO_SEGMENT, np.int32)
        segment[inside] = -1 - layout[inside]
        offsets = np.full((len(ids), 2), NO_SEGMENT, np.int32)
        offsets[inside] = np.concatenate(spans) if spans else 0
        return Aligned(
            ids=ids,
            types=own["token_type_ids"][0] if "token_type_ids" in own else [0] * len(ids),
            segment=segment,
            offsets=offsets,
            truncated=excess,
        )

    def _pieces(
        self, string: str, spelled: bool, options: dict[str, bool]
    ) -> tuple[list[int], NDArray[np.int32]]:
        """Ids and characters of all pieces of one text."""
        if (string, spelled) not in self._known:
            pieces = self._tokenizer.tokenize(string, **options)
            spans = locate(self._spelt, pieces, string)
            if spans is None:
                raise unaligned(string, pieces)
            self._known[string, spelled] = self._tokenizer.convert_tokens_to_ids(pieces), spans
        return self._known[string, spelled]
