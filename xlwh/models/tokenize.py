"""Examples to the sub-tokens that a model sees, each tied to its segment, its characters and its word.

The sub-tokens are those that the tokenizer itself makes of the whole text (or pair), but that a text which spells a
special token is text. Words come from character overlap. Tokenizers that know no offsets (XLM, ByT5, PhoBERT) have
their pieces aligned to the text afterwards; what cannot be aligned is refused. Offsets never begin or end in white
space, unless a sub-token is white space only. Pre-tokenised examples are their own words, joined by blanks. Inputs
longer than the model takes are cut from the longer segment first, and what is cut is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.pieces import Mender, are_blank
from xlwh.models.placing import trimmed
from xlwh.models.segments import TEXTS, Occurrence, Segment, occurrences_of, segments_of
from xlwh.models.slow import SlowTokenizer, UnalignedError, unaligned
from xlwh.models.words import segmenter_name

if TYPE_CHECKING:
    import polars as pl
    from transformers import PreTrainedTokenizerBase

    from xlwh.models.loaded import LoadedModel

KEYS = ("dataset", "split", "language", "example_id")
NONE = -1
"""Stands for NULL in the integer arrays below."""

NAMED = 200
"""Examples that an error names."""

SOURCE_WORDS = "source"
"""`segmenter` of pre-tokenised examples."""


@dataclass(frozen=True)
class Encoded:
    """Sub-tokens of many examples, one after the other: example i owns `bounds[i]:bounds[i + 1]`."""

    keys: pl.DataFrame
    """dataset, split, language, example_id of every example, in the order given."""
    bounds: NDArray[np.int64]
    """`[examples + 1]`"""
    input_ids: NDArray[np.int32]
    """`[tokens]`, special tokens included, padding not."""
    token_type_ids: NDArray[np.int32] | None
    """`[tokens]`; None where the tokenizer makes none."""
    special: NDArray[np.bool_]
    """`[tokens]`, the tokens that the tokenizer added (CLS, SEP, EOS, ...)."""
    segment: NDArray[np.int32]
    """`[tokens]`, 0 first text, 1 second, NONE for special tokens."""
    char_start: NDArray[np.int32]
    """`[tokens]`, code points in the segment's text; NONE for special tokens."""
    char_end: NDArray[np.int32]
    word_index: NDArray[np.int32]
    """`[tokens]`, into `occurrences[i]`; NONE for special tokens, lone blanks and what is in no word (control
    characters)."""
    occurrences: tuple[tuple[Occurrence, ...], ...]
    """Words of each example and where they stand, of both segments, whether or not a token is left of them."""
    segmenters: tuple[str, ...]
    """What split each example into words."""
    num_truncated: NDArray[np.int32]
    """`[examples]`, sub-tokens cut off."""
    partial: tuple[frozenset[int], ...] = field(default=(), kw_only=True)
    """Words of each example of which only a beginning is left, its end being cut off."""
    forced: Sequence[Sequence[int]] | None = field(default=None, kw_only=True)
    """Sub-tokens of an output text for each example, forced on the decoder; None where there is none."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Sub-tokens of each example."""
        return np.diff(self.bounds)

    @cached_property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """Words of each example."""
        return tuple(tuple(place.word for place in places) for places in self.occurrences)

    @cached_property
    def names(self) -> list[str]:
        """The identity of each example in one text, to seed draws by."""
        return _names(self.keys)

    def row(self, index: int) -> slice:
        """Where one example lies in the token arrays."""
        return slice(int(self.bounds[index]), int(self.bounds[index + 1]))


@dataclass
class _Row:
    """One example on its way: per-token lists, and what its words are."""

    ids: list[int]
    types: list[int]
    special: NDArray[np.bool_]
    segment: NDArray[np.int32]
    offsets: NDArray[np.int32]
    truncated: int
    word_index: NDArray[np.int32] | None = None
    pretokens: list[int | None] = field(default_factory=list)
    """What the tokenizer itself takes for the word of each token."""
    partial: frozenset[int] = frozenset()
    """Words whose end is cut off."""


def _names(examples: pl.DataFrame) -> list[str]:
    return ["\x00".join(map(str, key)) for key in examples.select(KEYS).iter_rows()]


def encode(loaded: LoadedModel, examples: pl.DataFrame) -> Encoded:
    """Tokenize examples (columns of the `examples` table) for a model, in the order given."""
    tokenizer = loaded.tokenizer
    rows = examples.select(*KEYS, *TEXTS).to_dicts()
    texts = [segments_of(row) for row in rows]
    names = _names(examples)
    encoded = _fast(loaded, texts, names) if tokenizer.is_fast else _slow(loaded, texts, names)
    if loaded.tokenization is not None:
        encoded = _resegmented(loaded, encoded, texts, names)
    _place(tokenizer, encoded, texts)
    for row, segments in zip(encoded, texts, strict=True):
        _to_original(row, segments)
    uses_types = "token_type_ids" in tokenizer.model_input_names
    offsets = _concat([row.offsets for row in encoded], np.int32).reshape(-1, 2)
    ids = _concat([row.ids for row in encoded], np.int32)
    special = _concat([row.special for row in encoded], np.bool_)
    if tokenizer.unk_token_id is not None:
        # A text that spells out "</s>" can reach the piece of that name: it must not end the sentence.
        structure = np.array(sorted(loaded.family.special_ids(tokenizer)), dtype=np.int32)
        ids[np.isin(ids, structure) & ~special] = tokenizer.unk_token_id
    return Encoded(
        keys=examples.select(KEYS),
        bounds=np.cumsum([0, *(len(row.ids) for row in encoded)], dtype=np.int64),
        input_ids=ids,
        token_type_ids=_concat([row.types for row in encoded], np.int32) if uses_types else None,
        special=special,
        segment=_concat([row.segment for row in encoded], np.int32),
        char_start=offsets[:, 0],
        char_end=offsets[:, 1],
        word_index=_concat([row.word_index for row in encoded], np.int32),
        occurrences=tuple(occurrences_of(segments) for segments in texts),
        segmenters=tuple(
            SOURCE_WORDS if row["words"] is not None else segmenter_name(row["language"]) for row in rows
        ),
        num_truncated=np.array([row.truncated for row in encoded], dtype=np.int32),
        partial=tuple(row.partial for row in encoded),
    )


def tokens_frame(loaded: LoadedModel, encoded: Encoded) -> pl.DataFrame:
    """Rows of the `tokens` table, one per sub-token."""
    import polars as pl

    lengths = encoded.lengths
    example = np.repeat(np.arange(len(encoded)), lengths)
    pieces = np.array(
        loaded.tokenizer.convert_ids_to_tokens(np.unique(encoded.input_ids).tolist()), dtype=object
    )
    ids, inverse = np.unique(encoded.input_ids, return_inverse=True)
    places = [
        encoded.occurrences[i][w] if w != NONE else (None, None, None, None)
        for i, w in zip(example.tolist(), encoded.word_index.tolist(), strict=True)
    ]
    position = np.arange(len(example)) - np.repeat(encoded.bounds[:-1], lengths)
    keys = encoded.keys[example]
    unknown = loaded.tokenizer.unk_token_id
    return pl.DataFrame(
        {
            "model": pl.repeat(loaded.key, len(example), dtype=pl.String, eager=True),
            **{name: keys[name] for name in KEYS},
            "position": position.astype(np.int32),
            "segment": _nullable(encoded.segment),
            "word_index": _nullable(encoded.word_index),
            "word": pl.Series([word for word, *_ in places], dtype=pl.String),
            "word_start": pl.Series([start for *_, start, _ in places], dtype=pl.Int32),
            "word_end": pl.Series([end for *_, end in places], dtype=pl.Int32),
            "token_id": encoded.input_ids,
            "token": pl.Series(pieces[inverse].tolist() if len(ids) else [], dtype=pl.String),
            "char_start": _nullable(encoded.char_start),
            "char_end": _nullable(encoded.char_end),
            "is_special": encoded.special,
            "is_unknown": np.full(len(example), False)
            if unknown is None
            else (encoded.input_ids == unknown) & ~encoded.special,
            "segmenter": pl.Series(encoded.segmenters, dtype=pl.String).gather(example),
        }
    )


def _fast(loaded: LoadedModel, texts: list[list[Segment]], names: list[str]) -> list[_Row]:
    """Encode in two calls (with and without a second segment), and once more what is too long."""
    tokenizer, limit, separator = loaded.tokenizer, loaded.max_length, loaded.family.pair_separator
    mender = Mender(tokenizer)
    rows: dict[int, _Row] = {}
    refused: list[tuple[str, UnalignedError]] = []
    for count in (1, 2):
        chosen = [i for i, segments in enumerate(texts) if len(segments) == count]
        whole = _call(tokenizer, [texts[i] for i in chosen], separator, None)
        overlong = [k for k, encoding in enumerate(whole) if len(encoding.ids) > limit]
        again = _call(tokenizer, [texts[chosen[k]] for k in overlong], separator, limit)
        cut = dict(zip(overlong, again, strict=True))
        for k, (i, encoding) in enumerate(zip(chosen, whole, strict=True)):
            kept = cut.get(k, encoding)
            segments = np.array([NONE if s is None else s for s in kept.sequence_ids], dtype=np.int32)
            special = np.array(kept.special_tokens_mask, dtype=bool) | (segments == NONE)
            row = _Row(
                ids=kept.ids,
                types=kept.type_ids,
                special=special,
                segment=segments,
                offsets=np.array(kept.offsets, dtype=np.int32).reshape(-1, 2),
                truncated=len(encoding.ids) - len(kept.ids),
                pretokens=kept.word_ids,
            )
            if mender:
                strings = [separator * side + text.string for side, text in enumerate(texts[i])]
                try:
                    _mend(row, encoding, strings, mender, tokenizer.truncation_side)
                except UnalignedError as problem:
                    refused.append((names[i], problem))
            rows[i] = _without_separator(row, separator)
    _require_aligned(loaded, refused, len(texts))
    return [_never_empty(tokenizer, rows[i]) for i in range(len(texts))]


def _mend(row: _Row, whole: Any, strings: list[str], mender: Mender, cut: str) -> None:
    """Offsets of an input of which the library's may be wrong; `whole` is its encoding before truncation."""
    of, special = np.array(whole.sequence_ids, dtype=object), np.array(whole.special_tokens_mask, dtype=bool)
    for side, string in enumerate(strings):
        pieces = [whole.tokens[place] for place in np.flatnonzero((of == side) & ~special)]
        if mender.needed(string, pieces):
            spans = mender.locate(pieces, string)
            if spans is None:
                raise unaligned(string, pieces)
            kept = np.flatnonzero((row.segment == side) & ~row.special)
            row.offsets[kept] = spans[len(spans) - len(kept) :] if cut == "left" else spans[: len(kept)]


def _resegmented(
    loaded: LoadedModel, rows: list[_Row], texts: list[list[Segment]], names: list[str]
) -> list[_Row]:
    """The rows with their words cut anew, and what then is too long cut off; `names` seed the draws."""
    from xlwh.models.resegment import Resegmenter

    if loaded.tokenization is None:
        return rows
    resegmenter = Resegmenter(loaded.key, loaded.tokenizer, loaded.tokenization)
    made = []
    for row, parts, name in zip(rows, texts, names, strict=True):
        segments = row.segment.tolist()
        words = [
            None if side == NONE or word is None else (side, word)
            for side, word in zip(segments, row.pretokens or [None] * len(segments), strict=True)
        ]
        strings = tuple(text.string for text in parts)
        new = resegmenter(name, row.ids, words, row.offsets, strings)
        left = loaded.tokenizer.truncation_side == "left"
        keep = _longest_cut(row.segment[new.source], loaded.max_length, left)
        source = new.source[keep]
        made.append(
            _Row(
                ids=[new.ids[place] for place in keep],
                types=[row.types[place] for place in source],
                special=row.special[source],
                segment=row.segment[source],
                offsets=new.offsets[keep],
                truncated=row.truncated + len(new.ids) - len(keep),
            )
        )
    return made


def _longest_cut(segment: NDArray[np.int32], limit: int, left: bool) -> list[int]:
    """Places that are left when the end (or beginning) of the longer segment is cut until `limit` tokens remain."""
    places = list(range(len(segment)))
    while len(places) > limit:
        counts = {side: [place for place in places if segment[place] == side] for side in (0, 1)}
        longer = max(counts.values(), key=len)
        if not longer:
            break
        places.remove(longer[0 if left else -1])
    return places


def _call(
    tokenizer: PreTrainedTokenizerBase, texts: list[list[Segment]], separator: str, limit: int | None
) -> list[Any]:
    if not texts:
        return []
    columns = [
        [separator * side + segments[side].string for segments in texts] for side in range(len(texts[0]))
    ]
    output = tokenizer(
        *columns,
        truncation=False if limit is None else "longest_first",
        max_length=limit,
        # Text is text: "</s>" in a sentence does not end it.
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    encodings: list[Any] = output.encodings
    return encodings


def _never_empty(tokenizer: PreTrainedTokenizerBase, row: _Row) -> _Row:
    """An empty text under a tokenizer without special tokens: a blank, so that there is an input."""
    if row.ids:
        return row
    blank = tokenizer(" ", add_special_tokens=False)["input_ids"]
    if not blank:
        names = (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
        blank = [next(index for index in names if index is not None)]
    size = len(blank)
    return _Row(
        ids=blank,
        types=[0] * size,
        special=np.ones(size, bool),
        segment=np.full(size, NONE, np.int32),
        offsets=np.full((size, 2), NONE, np.int32),
        truncated=row.truncated,
    )


def _slow(loaded: LoadedModel, texts: list[list[Segment]], names: list[str]) -> list[_Row]:
    """The tokenizer's own call for each example, and its pieces aligned to the text."""
    from xlwh.models.loading import quiet

    separator = loaded.family.pair_separator
    slow = SlowTokenizer(loaded.tokenizer, loaded.max_length)
    rows = []
    refused: list[tuple[str, UnalignedError]] = []
    with quiet():
        for name, segments in zip(names, texts, strict=True):
            try:
                made = slow([separator * side + text.string for side, text in enumerate(segments)])
            except UnalignedError as problem:
                refused.append((name, problem))
                continue
            row = _Row(
                ids=made.ids,
                types=made.types,
                special=made.segment == NONE,
                segment=made.segment,
                offsets=made.offsets,
                truncated=made.truncated,
            )
            rows.append(_never_empty(loaded.tokenizer, _without_separator(row, separator)))
    _require_aligned(loaded, refused, len(texts))
    return rows


def _require_aligned(
    loaded: LoadedModel, refused: Sequence[tuple[str, UnalignedError]], examples: int
) -> None:
    """ModelError that names every one of some examples whose sub-tokens could not be aligned to their text."""
    if not refused:
        return
    names = ["/".join(name.split("\x00")) for name, _ in sorted(refused, key=lambda pair: pair[0])]
    raise ModelError(
        f"Model `{loaded.key}`: which characters the sub-tokens stand for cannot be told in {len(refused):,} of "
        f"{examples:,} examples. In {'/'.join(refused[0][0].split(chr(0)))}, {refused[0][1]}. The tokenizer "
        f"({type(loaded.tokenizer).__name__}) does not say, and changes more of the text than case, accents and "
        "punctuation. Use a checkpoint with another tokenizer, or take these examples out of the data (of all "
        f"languages, where they are parallel): {', '.join(names[:NAMED])}"
        + (f" and {len(names) - NAMED:,} more." if len(names) > NAMED else ".")
    )


def _without_separator(row: _Row, separator: str) -> _Row:
    """The separator stands before the second text, and is none of it."""
    if separator:
        second = row.segment == 1
        row.offsets[second] -= len(separator)
        row.special |= second & (row.offsets[:, 1] <= 0)
        row.offsets = np.maximum(row.offsets, 0)
    row.offsets[row.special] = NONE
    row.segment[row.special] = NONE
    return row


def _place(tokenizer: PreTrainedTokenizerBase, rows: list[_Row], texts: list[list[Segment]]) -> None:
    """Leave the white space around tokens out of their offsets, and fill `word_index` from character overlap."""
    if not rows:
        return
    ids = _concat([row.ids for row in rows], np.int32)
    spans = _concat([row.offsets for row in rows], np.int32).reshape(-1, 2)
    segment = _concat([row.segment for row in rows], np.int32)
    sizes = [len(row.ids) for row in rows]
    owner = np.repeat(np.arange(len(rows)), sizes)
    inside = np.flatnonzero(segment != NONE)
    # All texts in one, a blank after each: offsets become places in it.
    strings = [text.string + " " for segments in texts for text in segments]
    bases = np.cumsum([0, *map(len, strings)])
    text = np.cumsum([0, *map(len, texts)])[owner[inside]] + segment[inside]
    shift = bases[text][:, None]
    cut = np.array([row.truncated > 0 for row in rows])[owner[inside]]
    placed, blank = trimmed(
        spans[inside] + shift, text, "".join(strings), are_blank(tokenizer, ids[inside]), cut
    )
    spans[inside] = placed - shift
    flat = [part for segments in texts for part in segments]
    words = [
        (a + base, b + base) for part, base in zip(flat, bases.tolist(), strict=False) for a, b in part.words
    ]
    found = words_of_offsets(placed, words)
    before = np.cumsum([0, *(sum(len(part.words) for part in segments) for segments in texts)])
    index = np.full(len(ids), NONE, np.int32)
    index[inside] = np.where(blank | (found == NONE), NONE, found - before[owner[inside]])
    for row, stop in zip(rows, np.cumsum(sizes).tolist(), strict=True):
        at = slice(stop - len(row.ids), stop)
        row.offsets, row.word_index = spans[at], index[at]


def _to_original(row: _Row, segments: list[Segment]) -> None:
    """Note which words are cut, and move the offsets of pre-tokenised text to the original."""
    row.partial = _partial(row, segments)
    if segments[0].places is not None and row.word_index is not None:
        for place in np.flatnonzero(row.segment == 0):
            word = int(row.word_index[place])
            start, end = row.offsets[place].tolist()
            row.offsets[place] = NONE if word == NONE else segments[0].original(word, start, end)


def _partial(row: _Row, segments: list[Segment]) -> frozenset[int]:
    """Of each text that something was cut off from: its last word, if the sub-tokens that are left end inside it."""
    if not row.truncated or row.word_index is None:
        return frozenset()
    found: set[int] = set()
    first = 0
    for side, text in enumerate(segments):
        at = np.flatnonzero((row.segment == side) & (row.word_index != NONE))
        if len(at):
            last = int(row.word_index[at].max())
            if int(row.offsets[at[row.word_index[at] == last], 1].max()) < text.words[last - first][1]:
                found.add(last)
        first += len(text.words)
    return frozenset(found)


def words_of_offsets(
    offsets: NDArray[np.int32] | NDArray[np.int64], words: list[tuple[int, int]]
) -> NDArray[np.int32]:
    """Word with which each `[tokens, 2]` span shares most characters (the first of equals); NONE if none.

    Tokenizers that put the preceding blank inside the span (Qwen) and those that do not (RoBERTa) come out the
    same. A piece that covers several words belongs to one of them; the others then have no piece.
    """
    if not words or not len(offsets):
        return np.full(len(offsets), NONE, np.int32)
    starts, ends = np.array(words, dtype=np.int64).T
    low = offsets[:, 0].astype(np.int64)
    # A normaliser can leave a piece without characters of its own: it belongs where it stands.
    high = np.maximum(offsets[:, 1], low + 1)
    first = np.searchsorted(ends, low, side="right")
    last = np.searchsorted(starts, high, side="left") - 1
    found = np.where(first <= last, first, NONE).astype(np.int32)
    for place in np.flatnonzero(first < last):
        candidates = np.arange(first[place], last[place] + 1)
        shared = np.minimum(ends[candidates], high[place]) - np.maximum(starts[candidates], low[place])
        found[place] = candidates[np.argmax(shared)]
    return found


def _concat(parts: Iterable[Any], dtype: type) -> NDArray[Any]:
    arrays: list[NDArray[Any]] = [np.asarray(part, dtype=dtype) for part in parts]
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def _nullable(values: NDArray[np.int32]) -> pl.Series:
    import polars as pl

    series = pl.Series(values, dtype=pl.Int32)
    return series.set(series == NONE, None)
