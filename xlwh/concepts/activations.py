"""Vectors of words out of a model: every chosen layer in one pass over a batch, sub-tokens made one vector per word.

Layer 0 is what enters the first layer; a stack's last state includes its final normalisation. In a decoder, the state
that has read a sub-token (`consumed`) stands one step after the state that predicts it (`predicting`). The decoder of
an encoder-decoder reads the text itself, shifted by one (teacher forcing), as it does when it classifies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.concepts.places import Place
from xlwh.models.batches import BATCH_TOKENS, Batch, collate, to_device, to_host, within
from xlwh.models.fitting import batch_tokens_for, each_batch
from xlwh.models.hidden import states_at
from xlwh.models.tokenize import NONE

if TYPE_CHECKING:
    from torch import Tensor

    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

Aggregation = Literal["last", "first", "mean"]

HIGHEST = 65504.0
"""Largest number of half precision."""


@dataclass(frozen=True)
class Spans:
    """Where the words that are wanted lie among their examples' sub-tokens."""

    example: NDArray[np.int64]
    """`[words]`, index into the encoded examples."""
    first: NDArray[np.int64]
    """`[words]`, position of the first sub-token in the model's input; NONE if there is none."""
    last: NDArray[np.int64]
    count: NDArray[np.int64]
    """`[words]`, sub-tokens of the word."""
    reason: NDArray[np.object_]
    """`[words]`, `truncated` or `no_tokens` where the model sees nothing, or not all, of the word; else None."""
    token: NDArray[np.int64]
    """`[tokens of all words]`, positions in the model's input, word by word."""
    bounds: NDArray[np.int64]
    """`[words + 1]`: word i has the tokens `bounds[i]:bounds[i + 1]`."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of words at one place, and of the examples that they are in."""

    values: NDArray[np.float16]
    """`[words, width]`; zeros where there is a reason."""
    norm: NDArray[np.float32]
    """`[words]`, Euclidean length before rounding."""
    reason: NDArray[np.object_]
    """`[words]`, why there is no vector; None where there is one."""
    sentences: NDArray[np.float16]
    """`[examples, width]`, mean over the sub-tokens that are not special; zeros where `averaged` is zero."""
    averaged: NDArray[np.int64]
    """`[examples]`, sub-tokens in that mean; 0 where there is none, or it is no number of half precision."""


def find_words(encoded: Encoded, examples: NDArray[np.int64], word_indices: NDArray[np.int64]) -> Spans:
    """Sub-tokens of some words, each given by its example and its index there."""
    stride = max((len(words) for words in encoded.occurrences), default=0) + 1
    places = np.flatnonzero(encoded.word_index != NONE)
    owner = np.repeat(np.arange(len(encoded)), encoded.lengths)[places]
    # Stable, so that the sub-tokens of a word stay in the order of the text.
    order = np.argsort(owner * stride + encoded.word_index[places], kind="stable")
    places, owner = places[order], owner[order]
    keys = owner * stride + encoded.word_index[places]
    wanted = examples * stride + word_indices
    low, high = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    count = high - low
    bounds = np.concatenate([[0], np.cumsum(count)])
    taken = places[np.repeat(low - bounds[:-1], count) + np.arange(bounds[-1])]
    position = taken - encoded.bounds[np.repeat(examples, count)]
    present = count > 0
    first, last = (np.full(len(wanted), NONE, dtype=np.int64) for _ in range(2))
    first[present], last[present] = position[bounds[:-1][present]], position[bounds[1:][present] - 1]
    return Spans(
        example=examples,
        first=first,
        last=last,
        count=count,
        reason=_reasons(encoded, examples, word_indices, count),
        token=position,
        bounds=bounds,
    )


def _reasons(
    encoded: Encoded,
    examples: NDArray[np.int64],
    word_indices: NDArray[np.int64],
    count: NDArray[np.int64],
) -> NDArray[np.object_]:
    reasons = np.full(len(examples), None, dtype=object)
    reasons[count == 0] = "no_tokens"
    for at in np.flatnonzero(encoded.num_truncated[examples] > 0):
        row = encoded.row(int(examples[at]))
        seen, segments, word = encoded.word_index[row], encoded.segment[row], word_indices[at]
        # Text is cut off at the end of a segment, so what is cut has no later word of the same segment behind it.
        later = segments[seen > word]
        own = segments[(seen <= word) & (seen != NONE)]
        at_the_end = not len(later) or not len(own) or later.min() != own.max()
        if int(word) in encoded.partial[int(examples[at])] or (count[at] == 0 and at_the_end):
            reasons[at] = "truncated"
    return reasons


def word_vectors(
    loaded: LoadedModel,
    encoded: Encoded,
    spans: Spans,
    places: Sequence[Place],
    aggregation: Aggregation = "last",
    batch_tokens: int | None = None,
    batch_rows: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[Place, Vectors]:
    """The vectors of all words of `spans` at every place, rounded to half precision.

    Every batch passes through the model once, up to the last layer that is needed; examples without a wanted word do
    not. `progress` is called with the number of examples of each batch.
    """
    usable = np.array([reason is None for reason in spans.reason], dtype=bool)
    width = loaded.family.hidden_size(loaded.config)
    values = {place: np.zeros((len(usable), width), dtype=np.float16) for place in places}
    norms = {place: np.zeros(len(usable), dtype=np.float32) for place in places}
    reasons = {place: spans.reason.copy() for place in places}
    sentences = {place: np.zeros((len(encoded), width), dtype=np.float16) for place in places}
    averaged = {place: np.zeros(len(encoded), dtype=np.int64) for place in places}
    examples = np.unique(spans.example[usable])
    chosen = {(place.stack, place.layer) for place in places}

    def compute(members: NDArray[np.int64], length: int) -> None:
        rows = examples[members]
        batch = collate(loaded, encoded, rows, length)
        states = states_at(loaded, _inputs(loaded, batch, places), chosen)
        at = np.flatnonzero(usable & np.isin(spans.example, rows))
        row_of = np.empty(len(encoded), dtype=np.int64)
        row_of[rows] = np.arange(len(rows))
        pad = length - encoded.lengths if loaded.family.padding_side == "left" else 0 * encoded.lengths
        groups = [
            (shift, [place for place in places if _shift(loaded, place) == shift])
            for shift in sorted({_shift(loaded, place) for place in places})
        ]
        found: list[Tensor] = []
        for shift, same in groups:
            # Nothing stands before the first sub-token that could predict it.
            known = at[spans.first[at] + shift >= 0]
            own = [states[place.stack, place.layer] for place in same]
            found += _rounded(torch.stack(_gather(own, spans, known, row_of, pad + shift, aggregation)))
            means, counts = _means(own, batch, shift)
            found += [*_rounded(means), counts]
        arrays = iter(to_host(*found))
        for shift, same in groups:
            known = at[spans.first[at] + shift >= 0]
            without = np.setdiff1d(at, known)
            vectors, highest, norm, mean, most, _, number_of = (next(arrays) for _ in range(7))
            for number, place in enumerate(same):
                reasons[place][without] = "no_state"
                fits = (most[number] <= HIGHEST) & (number_of > 0)
                sentences[place][rows[fits]], averaged[place][rows[fits]] = (
                    mean[number][fits],
                    number_of[fits],
                )
                each = vectors[number], highest[number], norm[number]
                _store(*each, known, values[place], norms[place], reasons[place])

    with torch.inference_mode():
        tokens = batch_tokens_for(loaded, BATCH_TOKENS, batch_tokens)
        for members, _ in each_batch(loaded, encoded.lengths[examples], compute, tokens, batch_rows):
            if progress is not None:
                progress(len(members))
    return {
        place: Vectors(values[place], norms[place], reasons[place], sentences[place], averaged[place])
        for place in places
    }


def _inputs(loaded: LoadedModel, batch: Batch, places: Sequence[Place]) -> dict[str, Tensor]:
    """Inputs of the forward pass; a decoder that would read nothing but its start reads the text."""
    inputs = batch.inputs(loaded)
    decoder = inputs.get("decoder_input_ids")
    reads = decoder is None or decoder.shape == batch.input_ids.shape
    if reads or all(place.stack != "decoder" for place in places):
        return inputs
    return loaded.family.teacher_forced(loaded.model, inputs, batch.input_ids, batch.attention_mask)


def _shift(loaded: LoadedModel, place: Place) -> int:
    """Columns from a sub-token's place in the encoder's (or only) input to the state that is wanted."""
    if place.convention is None:
        return 0
    # An encoder-decoder's decoder input begins with a start token: everything in it stands one later.
    read = 1 if loaded.config.is_encoder_decoder else 0
    return read if place.convention == "consumed" else read - 1


def _gather(
    states: Sequence[Tensor],
    spans: Spans,
    words: NDArray[np.int64],
    row_of: NDArray[np.int64],
    offset: NDArray[np.int64],
    aggregation: Aggregation,
) -> list[Tensor]:
    """Of each state `[rows, length, width]` the vectors `[words, width]`, float32, of words whose examples are its rows."""
    example, like = spans.example[words], states[0]
    if aggregation != "mean":
        column = (spans.last if aggregation == "last" else spans.first)[words] + offset[example]
        row, at = _index(row_of[example], like), _index(column, like)
        return [state[row, at].float() for state in states]
    count = spans.count[words]
    token = spans.token[within(spans.bounds[words], count)]
    owner = np.repeat(example, count)
    row, at = _index(row_of[owner], like), _index(token + offset[owner], like)
    word, counts = _index(np.repeat(np.arange(len(words)), count), like), _index(count, like)[:, None]
    means = []
    for state in states:
        pieces = state[row, at].float()
        means.append(pieces.new_zeros((len(words), state.shape[-1])).index_add_(0, word, pieces) / counts)
    return means


def _rounded(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors in half precision, their largest entry by size, and their lengths before rounding."""
    return vectors.half(), vectors.abs().amax(dim=-1), torch.linalg.vector_norm(vectors, dim=-1)


def _means(states: Sequence[Tensor], batch: Batch, shift: int) -> tuple[Tensor, Tensor]:
    """Mean states `[states, rows, width]` of sub-tokens that are not special, and how many they are, `[rows]`."""
    text = batch.attention_mask.bool() & ~batch.special
    moved = torch.zeros_like(text)
    moved[:, max(0, shift) : text.shape[1] + min(0, shift)] = text[
        :, max(0, -shift) : text.shape[1] - max(0, shift)
    ]
    # Before the first sub-token there may be padding, which has no state that means anything.
    moved &= batch.attention_mask.bool()
    counts, others = moved.sum(dim=1), ~moved[..., None]
    # Not a product: padding may hold anything, NaN included, and zero times that is not zero.
    sums = torch.stack([state.masked_fill(others, 0).float().sum(dim=1) for state in states])
    return sums / counts.clamp(min=1)[:, None], counts


def _index(values: NDArray[np.int64], like: Tensor) -> Tensor:
    return to_device(values, like.device)


def _store(
    rounded: NDArray[np.float16],
    highest: NDArray[np.float32],
    lengths: NDArray[np.float32],
    words: NDArray[np.int64],
    values: NDArray[np.float16],
    norms: NDArray[np.float32],
    reasons: NDArray[np.object_],
) -> None:
    """Write vectors, their lengths, and what is wrong with them into the arrays of all words."""
    finite, fits = np.isfinite(highest), highest <= HIGHEST
    reasons[words[~finite]] = "not_finite"
    reasons[words[finite & ~fits]] = "overflow"
    good = finite & fits
    values[words[good]] = rounded[good]
    norms[words[good]] = lengths[good]
