"""The same text cut into other sub-tokens than the tokenizer would: what happens to a model if only that changes?

Words are cut anew by the published regularisation of each kind of tokenizer, `sampling` being its rate:

- Unigram: with that probability a word's pieces are drawn from P(pieces) ∝ exp(alpha * sum of their scores) instead of
  being the best ones (Kudo 2018, section 3.2; here exactly, by forward filtering and backward sampling).
- BPE: every merge is left out with that probability at every step (Provilkov et al. 2020, BPE-dropout, algorithm 1).
- WordPiece: every match of two characters or more is passed over with that probability (Hiraoka 2022,
  MaxMatch-Dropout).

Draws are seeded by the example. All pieces are in the vocabulary, so the model's weights need not change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.draws import Stream, stream
from xlwh.errors import ModelError
from xlwh.models.pieces import Speller, is_byte, locate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from xlwh.study import Tokenization

Cut = Callable[[str, Stream], list[str] | None]
"""Pieces of one word, joined without gaps, or None where it cannot be cut."""


@dataclass(frozen=True)
class Resegmented:
    """An input after cutting: which old token each new one comes from, its id, and its characters."""

    source: NDArray[np.int64]
    """`[new tokens]`, the first old token of the word that it is a part of."""
    ids: list[int]
    offsets: NDArray[np.int32]
    """`[new tokens, 2]`, code points in the segment's text."""


class Resegmenter:
    """Cuts the words of tokenized texts anew. ModelError for tokenizers that it does not know how to cut."""

    def __init__(self, key: str, tokenizer: PreTrainedTokenizerBase, options: Tokenization) -> None:
        if not tokenizer.is_fast:
            raise ModelError(f"Model `{key}`: `tokenization.sampling` needs a fast tokenizer.")
        backend: Any = tokenizer
        model = json.loads(backend.backend_tokenizer.to_str())["model"]
        self._tokenizer = tokenizer
        self._spelt = Speller(tokenizer)
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._unknown = tokenizer.unk_token
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._seed = options.seed
        self._cut = _cutter(key, model, self._prefix, options)

    def __call__(
        self,
        example: str,
        old_ids: Sequence[int],
        words: Sequence[tuple[int, int] | None],
        offsets: NDArray[np.int32],
        texts: Sequence[str],
    ) -> Resegmented:
        """Cut one input. `words` names the segment and word of each token, None for those that stay as they are.

        `example` seeds the draws. A word whose new pieces cannot be found in its text stays as it is, too.
        """
        pieces = self._tokenizer.convert_ids_to_tokens(list(old_ids))
        drawn = stream("sub-tokens", self._seed, example)
        source: list[int] = []
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        start = 0
        while start < len(pieces):
            end = start + 1
            while end < len(pieces) and words[start] is not None and words[end] == words[start]:
                end += 1
            old, word = list(pieces[start:end]), words[start]
            new = None if word is None else self._new_pieces(old, drawn)
            places = None
            if word is not None and new is not None and new != old:
                low, high = int(offsets[start, 0]), int(offsets[start:end, 1].max())
                places = locate(self._spelt, new, texts[word[0]][low:high])
            if places is None or new is None:
                source += range(start, end)
                ids += old_ids[start:end]
                spans += [(int(first), int(last)) for first, last in offsets[start:end]]
            else:
                source += [start] * len(new)
                ids += [self._vocabulary[piece] for piece in new]
                spans += [(low + int(first), low + int(last)) for first, last in places]
            start = end
        return Resegmented(
            np.array(source, dtype=np.int64), ids, np.array(spans, dtype=np.int32).reshape(-1, 2)
        )

    def _new_pieces(self, old: list[str], drawn: Stream) -> list[str] | None:
        if any(piece == self._unknown or is_byte(piece) for piece in old):
            return None
        word = "".join(self._letters(piece, place) for place, piece in enumerate(old))
        return self._cut(word, drawn)

    def _letters(self, piece: str, place: int) -> str:
        return piece.removeprefix(self._prefix) if place and self._prefix else piece


def _cutter(key: str, model: dict[str, Any], prefix: str, options: Tokenization) -> Cut:
    kind = model.get("type")
    if kind == "Unigram":
        return _unigram(dict(model["vocab"]), options.sampling, options.alpha)
    if kind == "BPE" and not prefix and not model.get("end_of_word_suffix"):
        pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
        return _bpe({pair: rank for rank, pair in enumerate(pairs)}, model["vocab"], options.sampling)
    if kind == "WordPiece":
        return _wordpiece(model["vocab"], prefix, options.sampling)
    raise ModelError(f"Model `{key}`: there is no sampling for its kind of tokenizer ({kind}).")


def _unigram(scores: dict[str, float], rate: float, alpha: float) -> Cut:
    longest = max(map(len, scores))

    def cut(word: str, drawn: Stream) -> list[str] | None:
        if drawn.number() >= rate:
            return None
        size = len(word)
        forward = np.full(size + 1, -np.inf)
        forward[0] = 0.0
        ways: list[list[tuple[int, float]]] = [[] for _ in range(size + 1)]
        for end in range(1, size + 1):
            for start in range(max(0, end - longest), end):
                score = scores.get(word[start:end])
                if score is not None and np.isfinite(forward[start]):
                    ways[end].append((start, float(forward[start] + alpha * score)))
            if ways[end]:
                forward[end] = np.logaddexp.reduce([weight for _, weight in ways[end]])
        if not np.isfinite(forward[size]):
            return None
        pieces: list[str] = []
        end = size
        while end:
            weights = np.array([weight for _, weight in ways[end]])
            (chosen,) = drawn.weighted(np.exp(weights - np.logaddexp.reduce(weights)), 1)
            start = ways[end][chosen][0]
            pieces.append(word[start:end])
            end = start
        return pieces[::-1]

    return cut


def _bpe(ranks: dict[tuple[str, ...], int], vocabulary: dict[str, int], rate: float) -> Cut:
    def cut(word: str, drawn: Stream) -> list[str] | None:
        pieces = list(word)
        while len(pieces) > 1:
            known = [
                (ranks[pair], place)
                for place, pair in enumerate(pairwise(pieces))
                if pair in ranks and drawn.number() >= rate
            ]
            if not known:
                break
            _, place = min(known)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return pieces if all(piece in vocabulary for piece in pieces) else None

    return cut


def _wordpiece(vocabulary: dict[str, int], prefix: str, rate: float) -> Cut:
    longest = max(map(len, vocabulary))

    def cut(word: str, drawn: Stream) -> list[str] | None:
        pieces: list[str] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + longest), start, -1):
                piece = (prefix if start else "") + word[start:end]
                if piece in vocabulary and (end == start + 1 or drawn.number() >= rate):
                    break
            else:
                return None
            pieces.append(piece)
            start = end
        return pieces

    return cut
