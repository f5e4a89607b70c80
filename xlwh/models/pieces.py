"""What the pieces of a tokenizer stand for, and where they lie in a text when the tokenizer itself does not say.

A tokenizer may lower letters, drop accents, respell punctuation and mark blanks or word ends in its pieces. What
they stand for is asked of its decoder, never read off a letter: `Ġ` is a blank to one tokenizer and a Maltese letter
to another. Their characters are then walked along the text, both sides taken apart into base letters and marks
(NFKD, case folded). Letters and digits have to follow each other exactly; marks and invisible characters may come or
go, and punctuation and symbols may be respelt between two letters. Anything else is not aligned at all.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]

_ANCHOR = "x"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_UNASKED = -1
_blanks: WeakKeyDictionary[PreTrainedTokenizerBase, NDArray[np.int8]] = WeakKeyDictionary()


class Speller:
    """What pieces stand for, by the tokenizer's decoder."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._decode = _decoder(tokenizer)
        self._known: dict[str, str] = {}
        self.bytes = _byte_letters(tokenizer, self._decode)
        """Byte of each letter of byte-level pieces; None where letters are letters."""

    def __call__(self, piece: str) -> str:
        """Text of one piece inside a text: marks of words fall away, those of blanks become blanks.

        Nothing, or U+FFFD, for a part of a character's bytes.
        """
        if piece not in self._known:
            # Between two others: marks of blanks and of words that go on show only there.
            whole = self._decode([_ANCHOR, piece, _ANCHOR])
            held = whole.startswith(_ANCHOR) and whole.endswith(_ANCHOR) and len(whole) > 1
            self._known[piece] = whole[1:-1] if held else piece
        return self._known[piece]

    def joined(self, pieces: Sequence[str]) -> tuple[str, list[Span]]:
        """Text of pieces that follow each other, and the range of it that each one covers."""
        parts = [self._encoded(piece) for piece in pieces]
        text = b"".join(parts).decode("utf-8", "replace")
        owner = _owners(text)
        cuts = list(pairwise([0, *accumulate(map(len, parts))]))
        if len(owner) != sum(map(len, parts)):  # not whole characters
            return "".join(map(self, pieces)), []
        owner.append(len(text))
        return text, [(owner[a], owner[b - 1] + 1 if a < b else owner[a]) for a, b in cuts]

    def _encoded(self, piece: str) -> bytes:
        if self.bytes is not None:
            return b"".join(self.bytes.get(letter, letter.encode()) for letter in piece)
        if is_byte(piece) and self(piece) != piece:
            return bytes([int(piece[3:5], 16)])
        return self(piece).encode()


def is_byte(piece: str) -> bool:
    """Whether a piece is spelt as one byte is, in vocabularies of letters: `<0xE2>`."""
    return _BYTE.fullmatch(piece) is not None


def are_blank(tokenizer: PreTrainedTokenizerBase, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of `[tokens]` stand for white space only: `[tokens]`."""
    if not len(ids):
        return np.zeros(0, dtype=np.bool_)
    known = _blanks.get(tokenizer, np.zeros(0, dtype=np.int8))
    if (top := int(ids.max())) >= len(known):
        more = np.full(max(top + 1, len(tokenizer)) - len(known), _UNASKED, dtype=np.int8)
        known = _blanks[tokenizer] = np.concatenate([known, more])
    unasked = np.unique(ids[known[ids] == _UNASKED]).tolist()
    if unasked:
        spelt = Speller(tokenizer)
        for index, piece in zip(unasked, tokenizer.convert_ids_to_tokens(unasked), strict=True):
            known[index] = piece is not None and spelt(piece).isspace()
    return known[ids].astype(np.bool_)


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], str]:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is not None:
        return tokenizer.convert_tokens_to_string
    from tokenizers import decoders

    # Some are saved without a decoder: what splits their texts says the same.
    written = str(json.loads(backend.to_str())["pre_tokenizer"])
    for name, made in (("ByteLevel", decoders.ByteLevel), ("Metaspace", decoders.Metaspace)):
        if f"'{name}'" in written:
            decode: Callable[[list[str]], str] = made().decode
            return decode
    return tokenizer.convert_tokens_to_string


def _byte_letters(
    tokenizer: PreTrainedTokenizerBase, decode: Callable[[list[str]], str]
) -> dict[str, bytes] | None:
    """Bytes of the letters of byte-level pieces; None where letters are letters."""
    if not tokenizer.is_fast:
        table: dict[str, int] | None = getattr(tokenizer, "byte_decoder", None)
        return None if table is None else {letter: bytes([value]) for letter, value in table.items()}
    if decode([_ANCHOR, "\u00c3", "\u00a9", _ANCHOR]) != f"{_ANCHOR}\u00e9{_ANCHOR}":
        return None
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    letters = {chr(value): bytes([value]) for value in printable}
    return letters | {chr(256 + number): bytes([value]) for number, value in enumerate(others)}


class Mender:
    """Offsets for the inputs that a tokenizer's library gives wrong ones.

    BPE drops letters of no piece where there is neither UNK nor bytes, and takes those that follow for them. Unigram
    gives each byte of a run of unknown letters the whole run.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._spelt = Speller(tokenizer)
        alphabet = self._spelt.bytes
        self._letters = None if alphabet is None else {value[0]: letter for letter, value in alphabet.items()}
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self._drops = self._fallback = False
        if self._backend is None:
            return
        model = self._backend.model
        self._fallback = type(model).__name__ == "Unigram" and self._has("<0x00>")
        if type(model).__name__ == "BPE":
            fallback = [f"<0x{value:02X}>" for value in range(256)] if model.byte_fallback else []
            letters = fallback or list(alphabet or ())
            known = model.unk_token is not None and self._has(model.unk_token)
            self._drops = not known and not (letters and all(map(self._has, letters)))

    def __bool__(self) -> bool:
        return self._drops or self._fallback

    def dropped(self, text: str) -> set[str]:
        """Characters of a text that no piece is made from."""
        if not self._drops:
            return set()
        return {letter for letter in set(text) if not letter.isspace() and not self._listed(letter)}

    def needed(self, text: str, pieces: Sequence[str]) -> bool:
        """Whether the library's offsets cannot be relied on."""
        return bool(self.dropped(text)) or (self._fallback and any(map(is_byte, pieces)))

    def _listed(self, letter: str) -> bool:
        normalizer = self._backend.normalizer
        made = letter if normalizer is None else normalizer.normalize_str(letter).replace("▁", "")
        if self._letters is not None:
            return all(self._has(self._letters[value]) for value in made.encode())
        return any(map(self._has, (letter, *made)))

    def _has(self, piece: str) -> bool:
        return self._backend.token_to_id(piece) is not None

    def locate(self, pieces: Sequence[str], text: str) -> NDArray[np.int32] | None:
        """As the function of this name, but that dropped characters have no piece."""
        dropped = self.dropped(text)
        places = [place for place, letter in enumerate(text) if letter not in dropped]
        spans = locate(self._spelt, pieces, "".join(text[place] for place in places))
        if spans is None:
            return None
        starts = np.array([*places, len(text)], dtype=np.int32)
        ends = np.array([0, *(place + 1 for place in places)], dtype=np.int32)
        empty = spans[:, 0] == spans[:, 1]
        start = starts[spans[:, 0]]
        return np.stack([start, np.where(empty, start, ends[spans[:, 1]])], axis=1)


def _owners(text: str) -> list[int]:
    """Place of the character that each byte of a text in UTF-8 is a part of."""
    return [place for place, letter in enumerate(text) for _ in letter.encode("utf-8", "replace")]


def locate(spelt: Speller, pieces: Sequence[str], text: str) -> NDArray[np.int32] | None:
    """Characters of `text` that each piece covers, `[pieces, 2]`; None where pieces and text do not fit.

    Pieces that are bytes cover the character that they are a part of. A piece of white space covers what white
    space lies there. One without a character of its own has an empty span where it stands.
    """
    if _are_bytes(pieces, text):
        owner = np.array(_owners(text), dtype=np.int32)
        return np.stack([owner, owner + 1], axis=1)
    spelling, ranges = spelt.joined(pieces)
    return spans_in(ranges, spelling, text) if len(ranges) == len(pieces) else None


def _are_bytes(pieces: Sequence[str], text: str) -> bool:
    """Whether every piece is the letter whose number is a byte of the text (ByT5)."""
    joined = "".join(pieces)
    return len(joined) == len(pieces) and joined.encode("latin-1", "replace") == text.encode()


def spans_in(ranges: Sequence[Span], spelling: str, text: str) -> NDArray[np.int32] | None:
    """Ranges of a tokenizer's spelling of a text as ranges of the text, `[ranges, 2]`; None where they do not fit."""
    if spelling == text:
        return np.array(ranges, dtype=np.int32).reshape(-1, 2)
    places = _places(spelling, text)
    if places is None:
        return None
    spans = np.zeros((len(ranges), 2), dtype=np.int32)
    before = 0
    for row, (start, end) in enumerate(ranges):
        visible = [places[at] for at in range(start, end) if not spelling[at].isspace()]
        own = visible or places[start:end]
        if own:
            spans[row] = min(low for low, _ in own), max(high for _, high in own)
        else:
            spans[row] = before
        before = int(spans[row, 1])
    return spans


@lru_cache(maxsize=1 << 16)
def _atoms(letter: str) -> str:
    """A character in base letters and marks, case folded; nothing for white space."""
    if letter.isspace():
        return ""
    parts = unicodedata.normalize("NFKD", letter)
    parts = letter if parts[0] == " " else parts.replace(" ", "")  # the first: a spacing accent
    folded = (part if unicodedata.category(part)[0] == "M" else part.casefold() for part in parts)
    return unicodedata.normalize("NFKD", "".join(folded))


@lru_cache(maxsize=1 << 16)
def _kind(atom: str) -> str:
    """`letter` (digits too), `soft` (marks and invisible characters) or `sign`."""
    category = unicodedata.category(atom)[0]
    return "letter" if category in "LN" else "soft" if category in "MC" else "sign"


def _taken_apart(text: str) -> tuple[list[str], list[int]]:
    """Atoms of a text, marks in canonical order, and the place of the character that each comes from."""
    atoms = [(atom, place) for place, letter in enumerate(text) for atom in _atoms(letter)]
    start = 0
    while start < len(atoms):
        end = start
        while end < len(atoms) and unicodedata.combining(atoms[end][0]):
            end += 1
        if end - start > 1:
            atoms[start:end] = sorted(atoms[start:end], key=lambda pair: unicodedata.combining(pair[0]))
        start = max(end, start + 1)
    return [atom for atom, _ in atoms], [place for _, place in atoms]


def _places(spelling: str, text: str) -> list[Span] | None:
    """Range in `text` of every character of `spelling`; None where the letters of the two are not the same."""
    ours, of = _taken_apart(spelling)
    theirs, source = _taken_apart(text)
    found = _matched(ours, theirs)
    if found is None:
        return None
    spans: list[Span | None] = [None] * len(spelling)
    for place, matches in zip(of, found, strict=True):
        for match in matches:
            low, high = spans[place] or (source[match], source[match] + 1)
            spans[place] = min(low, source[match]), max(high, source[match] + 1)
    return _filled(spans, text)


def _matched(ours: list[str], theirs: list[str]) -> list[Sequence[int]] | None:
    """For each atom of ours the atoms of theirs that it stands for (none where it was put in)."""
    found: list[Sequence[int]] = [()] * len(ours)
    i = j = 0
    while i < len(ours) or j < len(theirs):
        if i < len(ours) and j < len(theirs) and ours[i] == theirs[j]:
            found[i] = (j,)
            i, j = i + 1, j + 1
            continue
        first, then = _end_of_signs(ours, i), _end_of_signs(theirs, j)
        if (first, then) == (i, j):
            return None  # a letter against another letter, or against the end
        _respelt(ours, range(i, first), theirs, range(j, then), found)
        i, j = first, then
    return found


def _end_of_signs(atoms: list[str], start: int) -> int:
    while start < len(atoms) and _kind(atoms[start]) != "letter":
        start += 1
    return start


def _respelt(
    ours: list[str], mine: range, theirs: list[str], others: range, found: list[Sequence[int]]
) -> None:
    """Signs and marks between two letters: equal ones first, in order; those left over by their places."""
    free: dict[str, list[int]] = {}
    for j in reversed(others):
        free.setdefault(theirs[j], []).append(j)
    odd = []
    for i in mine:
        if free.get(ours[i]):
            found[i] = (free[ours[i]].pop(),)
        elif _kind(ours[i]) == "sign":
            odd.append(i)
    left = sorted(j for places in free.values() for j in places if _kind(theirs[j]) == "sign")
    for number, i in enumerate(odd):
        found[i] = (left[number],) if len(odd) == len(left) else left


def _filled(spans: list[Span | None], text: str) -> list[Span]:
    """Those without a range get the white space between their neighbours, or an empty range there."""
    following = [len(text)] * (len(spans) + 1)
    for place in range(len(spans) - 1, -1, -1):
        span = spans[place]
        following[place] = following[place + 1] if span is None else span[0]
    made: list[Span] = []
    before = 0
    for place, span in enumerate(spans):
        if span is None:
            low = high = before
            while low < following[place] and not text[low].isspace():
                low += 1
            high = low
            while high < following[place] and text[high].isspace():
                high += 1
            span = (low, high) if low < high else (before, before)
        else:
            before = span[1]
        made.append(span)
    return made
