"""What pieces stand for, and where they lie in a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlwh.models.pieces import Mender, Speller, are_blank, locate, spans_in


def covered(spelling: str, text: str) -> list[str] | None:
    """What of the text each character of a spelling covers."""
    spans = spans_in([(place, place + 1) for place in range(len(spelling))], spelling, text)
    return None if spans is None else [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("spelling", "text", "expected"),
    [
        ("abc", "abc", ["a", "b", "c"]),
        ("strasse", "Straße", ["S", "t", "r", "a", "ß", "ß", "e"]),
        ("unite", "Ünïté", ["Ü", "n", "ï", "t", "é"]),
        ("한", "\u1112\u1161\u11ab", ["\u1112\u1161\u11ab"]),
        ("\u1112\u1161\u11ab", "한", ["한", "한", "한"]),
        ("12", "１２", ["１", "２"]),
        ("...", "…", ["…", "…", "…"]),
        ('"a", "b"', "“a”, «b»", ["“", "a", "”", ",", " ", "«", "b", "»"]),
        # Moses puts the comma inside the quotation marks.
        ('a,"b', 'a",b', ["a", ",", '"', "b"]),
        ("-", "—", ["—"]),
        ('"', "''", ["''"]),
        # A point for a blank that does not break covers that blank, and one for nothing covers nothing.
        ("2.0", "2\u00a00", ["2", "\u00a0", "0"]),
        ("a.b", "ab", ["a", "", "b"]),
        ("a b", "a\t\nb", ["a", "\t\n", "b"]),
        ("ab", "a\u200bb\x07", ["a", "b"]),
        ("ab", "a\u0301b", ["a", "b"]),
        ("a\u0323\u0301", "a\u0301\u0323", ["a", "\u0323", "\u0301"]),
        ("'", "´", ["´"]),
        ("", "", []),
        ("", "…", []),
    ],
)
def test_a_spelling_is_followed_along_the_text(spelling: str, text: str, expected: list[str]) -> None:
    assert covered(spelling, text) == expected


def without_marks(letter: str) -> str:
    return "".join(
        part for part in unicodedata.normalize("NFD", letter) if unicodedata.category(part) != "Mn"
    )


CHANGES: dict[str, Callable[[str], str]] = {
    "none": str,
    "lower": str.lower,
    "upper": str.upper,
    "taken apart": lambda letter: unicodedata.normalize("NFD", letter),
    "compatible": lambda letter: unicodedata.normalize("NFKD", letter),
    "lower without marks": lambda letter: without_marks(letter.lower()),
    "without invisible ones": lambda letter: "" if unicodedata.category(letter)[0] == "C" else letter,
    "without white space": lambda letter: "" if letter.isspace() else letter,
}


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_letter_of_a_spelling_comes_from_the_character_it_was(change: str, text: str) -> None:
    made = [CHANGES[change](letter) for letter in text]
    spelling = "".join(made)
    spans = spans_in([(place, place + 1) for place in range(len(spelling))], spelling, text)
    assert spans is not None
    owners = [place for place, part in enumerate(made) for _ in part]
    for letter, owner, (start, end) in zip(spelling, owners, spans.tolist(), strict=True):
        if unicodedata.category(letter)[0] in "LN":
            assert start <= owner < end
            # No more than the character, unless marks of two of them could be told apart no longer.
            assert end - start == 1 or unicodedata.combining(text[owner])


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        ("@user", "@bob"),
        ("smile", "☺"),
        ("ab", "a"),
        ("a", "ab"),
        ("a1b", "ab"),
        ("ba", "ab"),
        ("", "x"),
        ("\ufffd", "é"),
    ],
)
def test_other_letters_are_not_aligned(spelling: str, text: str) -> None:
    assert covered(spelling, text) is None


def byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer: Any = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def letters_only(kind: str, decoder: bool = True) -> Any:
    """A vocabulary that has the letters which byte-level tokenizers write for white space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "Ġ", "Ċ", "ĉ", "▁", "a", "▁a"]
    vocabulary = {name: index for index, name in enumerate(names)}
    if kind == "wordpiece":
        tokenizer: Any = Tokenizer(models.WordPiece(vocabulary | {"##Ġ": 7}, unk_token="<unk>"))
        tokenizer.decoder = decoders.WordPiece() if decoder else None
    else:
        tokenizer = Tokenizer(models.Unigram([(name, -1.0) for name in names], unk_id=0))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        if decoder:
            tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def blanks(tokenizer: Any) -> set[str]:
    ids = np.arange(len(tokenizer), dtype=np.int32)
    found = are_blank(tokenizer, ids)
    assert (are_blank(tokenizer, ids) == found).all()
    return {
        piece
        for piece, blank in zip(tokenizer.convert_ids_to_tokens(ids.tolist()), found, strict=True)
        if blank
    }


def test_blanks_are_what_the_decoder_says() -> None:
    # Tab, line feed, vertical tab, form feed, carriage return, four separators and the blank.
    assert blanks(byte_level()) == {chr(256 + value) for value in (*range(9, 14), *range(28, 33))}
    for decoder in (True, False):
        assert blanks(letters_only("wordpiece", decoder)) == set()
        assert blanks(letters_only("unigram", decoder)) == {"▁"}
    assert are_blank(byte_level(), np.zeros(0, np.int32)).tolist() == []


def test_bytes_of_a_character_cover_the_character() -> None:
    text = "né 他 👍"
    for tokenizer in (byte_level(),):
        pieces = tokenizer.tokenize(text)
        spans = locate(Speller(tokenizer), pieces, text)
        assert spans is not None
        assert [text[a:b] for a, b in spans] == [letter for letter in text for _ in letter.encode()]
    composed = byte_level().tokenize(unicodedata.normalize("NFC", "e\u0301a"))
    spans = locate(Speller(byte_level()), composed, "e\u0301a")
    assert spans is not None
    assert spans.tolist() == [[0, 2], [0, 2], [2, 3]]
    # The first byte of two alone is no text.
    assert locate(Speller(byte_level()), composed[:1], "e\u0301") is None


def test_letters_without_a_piece_are_found() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    def bpe(**options: Any) -> Any:
        model = models.BPE({"<unk>": 0, "a": 1, "b": 2}, [], **options)
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))

    dropping = Mender(bpe())
    assert dropping
    assert dropping.dropped("a xb") == {"x"}
    spans = dropping.locate(["a", "b"], "xaxxbx")
    assert spans is not None
    assert spans.tolist() == [[1, 2], [4, 5]]
    for whole in (bpe(unk_token="<unk>"), byte_level(), letters_only("unigram"), letters_only("wordpiece")):
        assert not Mender(whole)
