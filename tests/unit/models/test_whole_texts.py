"""Any tokenizer, any text: the tokenizer's own ids, offsets that cut out what a sub-token stands for, and its word."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlwh.errors import ModelError
from xlwh.models import LoadedModel
from xlwh.models.families import family_of
from xlwh.models.pieces import Mender, Speller
from xlwh.models.tokenize import NAMED, NONE, Encoded, encode
from xlwh.models.words import segment
from xlwh.study import Tokenization

Frame = Callable[..., pl.DataFrame]
Make = Callable[[str], LoadedModel]

FROM_CHECKPOINTS = ("bert", "roberta", "xlm-roberta", "xlm", "mt5", "llama", "qwen2")
SLOW = ("xlm", "byt5", "phobert", "bertweet")
MADE = ("byt5", "phobert", "bertweet", "uncased", "composing", "byte fallback", "unigram bytes", "undecoded")
HARD = {
    "emoji": "Familie 👨‍👩‍👧‍👦 ist da 👍🏽! 🇩🇪🇫🇷 ☃️",
    "thai": "เขาโทรหาแม่ ก็ได้ ๒๕๖๓ กา" + "กา" * 60,
    "khmer": "ខ្ញុំស្រឡាញ់ភាសាខ្មែរ។",
    "burmese": "မြန်မာဘာသာစကားကို ချစ်တယ်။",
    "arabic": "كِتَابٌ جَمِيـــــلٌ، ﷺ لا إله إلا الله ﻻ",
    "hindi": "किताबें पढ़ना अच्छा है। क्षत्रिय ड़ ज़",
    "decomposed": unicodedata.normalize("NFD", "한국어를 Tôi đã về nhà lập tức."),
    "composed": "한국어를 Tôi đã về nhà lập tức.",
    "wide": "ＡＢＣ１２３ ﾊﾝｶｸ ㍿ ①② ½ ﬁn ™ … ２０２０年 カ\u3099",
    "directions": "\u200fשלום\u200e עולם\u202bab\u202c \u2067x\u2069",
    "invisible": "a\u200bb c\u200b d\ufeff\u00ad e\u2060f \u200b\u200b",
    "greek": "Και είπε, Μαμά, ΈΦΤΑΣΑ στο ΣΠΊΤΙ. ᾳ ΐ",
    "cases": "İstanbul'da IŞIK ılık İİ Straße STRAẞE ŉ ǰ",
    "signs": "?!...—«» „so“ ‘x’ `` '' \"a\", b",
    "dot": ".",
    "white": " \t \u3000 ",
    "empty": "",
    "controls": "a\x10b\x08c\x1cd\x85e\u2028f",
    "no break": "20\u00a0000\u202f€ a\u3000b ,\u00a0c",
    "special": "<s> </s> [MASK] [CLS] <pad> <unk> <|endoftext|> <mask> x</s>",
    "markers": "▁ ▁a _b ▁▁ Ġ ĠaĠ Ċ ĉu ##a a@@ @@ b</w>",
    "blanks": "   lead    b\n\nc\t\td  ",
    "astral": "𝒜𝓃𝒸 𠮷野家 𐍈 \U000e0fff \ue000",
    "marks": "Z̸͓͑a̷̡l̴g̵o̶ e\u0301\u0301\u0301 \u0301a \u093f \u0e31",
    "joined": "well-known isn't l’homme co\u00adoperate می\u200cخواهم",
    "address": "@user_1 http://t.co/aB #tag_x 3.14 1,000 12:30 a&b &amp;",
    "chinese": "他说，妈妈，我回来了。㊗ 私は学生です。ｶﾀｶﾅ",
    "long": "x" * 700 + " y",
    "replaced": "a\ufffdb",
}
PAIRS: list[tuple[str, str | None]] = [
    *((text, None) for text in HARD.values()),
    *(("the cat", text) for text in HARD.values()),
    *((text, "the cat") for text in HARD.values()),
]


@pytest.fixture(scope="session")
def make(checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A tokenizer by name, as a model that has nothing else."""
    made: dict[str, LoadedModel] = {}

    def loaded(name: str) -> LoadedModel:
        if name not in made:
            tokenizer, model_type = _tokenizer(name, checkpoint, tmp_path_factory.mktemp("tokenizer"))
            made[name] = LoadedModel(
                key="m",
                pin=cast(Any, None),
                model=cast(Any, None),
                tokenizer=tokenizer,
                labels=None,
                task=None,
                family=family_of(model_type),
                device=cast(Any, None),
                max_length=512,
            )
        return made[name]

    return loaded


def _tokenizer(name: str, checkpoint: Callable[..., Path], folder: Path) -> tuple[Any, str]:
    import transformers as hf

    if name in FROM_CHECKPOINTS:
        return hf.AutoTokenizer.from_pretrained(checkpoint(name)), name
    if name == "byt5":
        return hf.ByT5Tokenizer(), "t5"
    if name in ("phobert", "bertweet", "tweets"):
        (folder / "vocab.txt").write_text(
            "".join(f"{piece} 9\n" for piece in ("the", "c@@", "a@@", "t", "x", "."))
        )
        (folder / "bpe.codes").write_text("t h 9\nth e</w> 8\n")
        files = str(folder / "vocab.txt"), str(folder / "bpe.codes")
        if name == "phobert":
            return hf.PhobertTokenizer(*files), "roberta"
        return hf.BertweetTokenizer(*files, normalization=name == "tweets"), "roberta"
    return _fast(name), {"byte fallback": "llama"}.get(name, "bert")


def _fast(name: str) -> Any:
    import transformers as hf
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    letters = sorted({letter for text in HARD.values() for letter in text if not letter.isspace()})
    if name == "uncased":
        names = ["[UNK]", *letters, *{letter.lower() for letter in letters}]
        vocabulary = dict.fromkeys([*names, *(f"##{letter}" for letter in names)])
        tokenizer: Any = Tokenizer(
            models.WordPiece({x: i for i, x in enumerate(vocabulary)}, unk_token="[UNK]")
        )
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[UNK]")
    if name in ("byte fallback", "unigram bytes"):
        pieces = [
            "<unk>",
            "<s>",
            "</s>",
            *(f"<0x{value:02X}>" for value in range(256)),
            "▁",
            *"abcthe",
            "th",
            "▁th",
        ]
        if name == "unigram bytes":
            scores = [(piece, -1.0) for piece in dict.fromkeys(pieces)]
            tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
            tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
            return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
        vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
        return hf.LlamaTokenizer(vocab=vocabulary, merges=[("t", "h"), ("▁", "th")])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if name == "composing":
        vocabulary = {letter: index for index, letter in enumerate([*alphabet, "th", "Ġth"])}
        tokenizer = Tokenizer(models.BPE(vocabulary, [("t", "h"), ("Ġ", "th")]))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    pieces = ["<unk>", "▁", *letters, "the", "▁the", "▁c"]
    tokenizer = Tokenizer(
        models.Unigram([(piece, -float(len(piece))) for piece in dict.fromkeys(pieces)], unk_id=0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def own_ids(loaded: LoadedModel, pair: tuple[str, str | None], limit: int) -> list[int]:
    """What the tokenizer makes of one input, itself: of texts that spell its special tokens as of text."""
    tokenizer: Any = loaded.tokenizer
    first, second = pair
    columns = [[first], *([[loaded.family.pair_separator + second]] if second is not None else [])]
    spelled = any(name in first + (second or "") for name in tokenizer.all_special_tokens)
    options = {"split_special_tokens": True} if spelled else {}
    made = tokenizer(*columns, truncation="longest_first", max_length=limit, **options)["input_ids"][0]
    if not spelled:
        return list(made)
    # Such a text may still reach the piece of that name, which then is UNK.
    structure = loaded.family.special_ids(tokenizer)
    plain = tokenizer([""], *([[""]] if second is not None else []))["input_ids"][0]
    surplus = sum(index in structure for index in made) - len(plain)
    return list(made) if surplus <= 0 or tokenizer.unk_token_id is None else []


@pytest.mark.parametrize("name", [*FROM_CHECKPOINTS, *MADE])
def test_ids_are_those_of_the_whole_text(name: str, make: Make, frame: Frame) -> None:
    loaded = make(name)
    checked = 0
    for limit in (512, 24):
        for side in ("left", "right"):
            loaded.tokenizer.truncation_side = side
            encoded = encode(replace(loaded, max_length=limit), frame(PAIRS))
            for index, pair in enumerate(PAIRS):
                expected = own_ids(loaded, pair, limit)
                if expected:
                    assert encoded.input_ids[encoded.row(index)].tolist() == expected, (pair, limit, side)
                    checked += 1
            assert encoded.lengths.max() <= limit
            kept = encoded.lengths[encoded.num_truncated > 0]
            assert (kept == limit).all()
    assert checked > 3 * len(PAIRS)


@pytest.mark.parametrize("name", ["bert", "xlm", "llama", "byt5"])
def test_the_side_of_the_padding_changes_nothing(name: str, make: Make, frame: Frame) -> None:
    loaded = make(name)
    made = []
    for side in ("left", "right"):
        loaded.tokenizer.padding_side = side
        made.append(encode(loaded, frame(PAIRS)))
    for column in ("bounds", "input_ids", "segment", "char_start", "char_end", "word_index"):
        np.testing.assert_array_equal(getattr(made[0], column), getattr(made[1], column))


def cut_out(encoded: Encoded, index: int, texts: tuple[str, ...]) -> list[tuple[int, str, int]]:
    """(token's place, what it covers, its word) of every token of an example that is not special."""
    row = encoded.row(index)
    return [
        (place, texts[encoded.segment[place]][encoded.char_start[place] : encoded.char_end[place]], int(word))
        for place, word in zip(range(row.start, row.stop), encoded.word_index[row], strict=True)
        if not encoded.special[place]
    ]


def letters_of(text: str) -> str:
    """Letters and digits of a text, without accents and case."""
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(part for part in parts if unicodedata.category(part)[0] in "LN")


def same_letters(piece: str, covered: str) -> bool:
    """Whether a piece has the letters of what it covers; of one character it may have a part (a jamo of a syllable)."""
    whole, part = letters_of(covered), letters_of(piece)
    return part == whole or (len(unicodedata.normalize("NFC", covered)) == 1 and part in whole)


def is_dropped(loaded: LoadedModel, letter: str) -> bool:
    """Whether a character is none to the tokenizer: marks and signs go, and the tiny Llama has no UNK."""
    return not letters_of(letter) or bool(
        Mender(loaded.tokenizer).dropped(letter) if loaded.tokenizer.is_fast else ()
    )


@pytest.mark.parametrize("name", [*FROM_CHECKPOINTS, *MADE])
@pytest.mark.parametrize("cut", [False, True])
def test_offsets_cut_out_what_a_token_stands_for(name: str, cut: bool, make: Make, frame: Frame) -> None:
    loaded = replace(make(name), max_length=40 if cut else 512)
    loaded.tokenizer.truncation_side = "right"
    encoded = encode(loaded, frame(PAIRS))
    inside = ~encoded.special
    assert (encoded.char_start[inside] >= 0).all()
    assert (encoded.char_end >= encoded.char_start).all()
    for index, (first, second) in enumerate(PAIRS):
        texts = (first, second or "")
        places = [(side, *span) for side, text in enumerate(texts) for span in segment(text, "en")]
        seen = [np.zeros(len(text), bool) for text in texts]
        for place, covered, word in cut_out(encoded, index, texts):
            side, start, end = (
                int(x[place]) for x in (encoded.segment, encoded.char_start, encoded.char_end)
            )
            assert end <= len(texts[side])
            assert covered == covered.strip() or not covered.strip()
            seen[side][start:end] = True
            if word == NONE:
                assert not letters_of(covered)
            else:
                where, low, high = places[word]
                assert where == side
                assert max(low, start) < min(high, max(end, start + 1))
        if encoded.num_truncated[index]:
            continue
        for text, found in zip(texts, seen, strict=True):
            missed = {letter for letter, known in zip(text, found, strict=True) if not known}
            assert all(is_dropped(loaded, letter) for letter in missed), missed


@pytest.mark.parametrize("name", [*FROM_CHECKPOINTS, *MADE])
def test_pieces_and_their_characters_have_the_same_letters(name: str, make: Make, frame: Frame) -> None:
    loaded = make(name)
    spelt = Speller(loaded.tokenizer)
    texts = [text for label, text in HARD.items() if label not in ("special", "long")]
    encoded = encode(loaded, frame([(text, None) for text in texts]))
    for index, text in enumerate(texts):
        covered = cut_out(encoded, index, (text,))
        if name == "byt5":
            assert [letter for letter in text for _ in letter.encode()] == [part for _, part, _ in covered]
            continue
        pieces = loaded.tokenizer.tokenize(text)
        assert len(pieces) == len(covered)
        for piece, (_, part, _) in zip(pieces, covered, strict=True):
            if piece == loaded.tokenizer.unk_token:
                continue
            if piece.startswith("<0x"):
                assert len(part) == 1
                assert int(piece[3:5], 16) in part.encode()
                continue
            # Bytes may be parts of two characters.
            standing = spelt(piece).replace("\ufffd", "")
            cut_up = spelt.bytes is not None and letters_of(standing) in letters_of(part)
            assert cut_up or same_letters(standing, part), (piece, part, text)


def test_byt5_sees_blanks_and_xlm_and_phobert_whole_texts(make: Make, frame: Frame) -> None:
    text = "the cat\n is"
    byt5 = encode(make("byt5"), frame([(text, None)]))
    assert (byt5.input_ids[:-1] - 3).tolist() == list(text.encode())
    assert [word for *_, word in cut_out(byt5, 0, (text,))] == [0] * 3 + [NONE] + [1] * 3 + [NONE] * 2 + [
        2
    ] * 2
    # A line break is a part of the word before it to PhoBERT, which then ends otherwise.
    phobert = encode(make("phobert"), frame([(text, None)]))
    covered = cut_out(phobert, 0, (text,))
    assert [part for _, part, _ in covered] == ["the", "c", "a", "t", "\n ", "i", "s"]
    assert [word for *_, word in covered] == [0, 1, 1, 1, NONE, 2, 2]
    # Moses takes every Chinese character for a word, whatever words there are.
    chinese = encode(make("xlm"), frame([("他说妈妈", None)], language="zh"))
    pieces = make("xlm").tokenizer.convert_ids_to_tokens(chinese.input_ids.tolist())
    assert pieces[1:-1] == ["他</w>", "说</w>", "妈</w>", "妈</w>"]
    assert chinese.words == (("他", "说", "妈妈"),)
    assert chinese.word_index.tolist() == [NONE, 0, 1, 2, 2, NONE]


SIGNS = list("abXÀßσΣkiदिग12９½\"'“”«»„‘’`´,.;:!?()…—-。，％/&<>@#~$€ \u00a0\t\u3000\u200b\u200d\u0301\x07")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*SIGNS, "''", "...", "@@", "</w>", " - ", "&amp;", "\u00a0%"]), max_size=30))
def test_xlm_is_right_on_any_punctuation(make: Make, parts: list[str]) -> None:
    from tests.unit.conftest import examples_frame

    loaded, text = make("xlm"), "".join(parts)
    encoded = encode(loaded, examples_frame([(text, None)]))
    assert encoded.input_ids.tolist() == loaded.tokenizer([text])["input_ids"][0]
    spelt = Speller(loaded.tokenizer)
    pieces = loaded.tokenizer.tokenize(text)
    covered = [part for _, part, _ in cut_out(encoded, 0, (text,))]
    assert all(same_letters(piece, part) for piece, part in zip(map(spelt, pieces), covered, strict=True))


def test_what_cannot_be_aligned_is_refused_by_name(make: Make, frame: Frame) -> None:
    loaded = make("tweets")
    fine = encode(loaded, frame([("the cat", None)]))
    assert fine.words == (("the", "cat"),)
    message = (
        "Model `m`: which characters the sub-tokens stand for cannot be told in 2 of 3 examples. "
        "In nli/dev/en/1, '@bob.*of all languages.*: nli/dev/en/1, nli/dev/en/2\\.$"
    )
    with pytest.raises(ModelError, match=message):
        encode(loaded, frame([("the cat", None), ("@bob the cat", None), ("@bob", None)]))
    many = [("@bob the cat", None)] * (NAMED + 5)
    with pytest.raises(ModelError, match=r"nli/dev/en/0, nli/dev/en/1, .* and 5 more\.$") as caught:
        encode(loaded, frame(many))
    assert str(caught.value).count("nli/dev/en/") == NAMED + 1


@pytest.mark.parametrize("name", ["bert", "uncased", "xlm-roberta", "undecoded"])
def test_maltese_and_esperanto_letters_belong_to_their_words(name: str, make: Make, frame: Frame) -> None:
    loaded = make(name)
    text = "Ġ ĉ Ċ Ġa ĉu"
    encoded = encode(loaded, frame([(text, None)]))
    words = {word for _, part, word in cut_out(encoded, 0, (text,)) if part.strip()}
    assert words == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "xlm-roberta", "mt5", "qwen2", "uncased", "composing", "undecoded"]
)
def test_words_cut_anew_cover_what_they_stand_for(name: str, make: Make, frame: Frame) -> None:
    loaded = replace(make(name), tokenization=Tokenization(sampling=0.9))
    loaded.tokenizer.truncation_side = "right"
    spelt = Speller(loaded.tokenizer)
    pairs = [(text, "the cat") for label, text in HARD.items() if label not in ("long", "markers")]
    plain, encoded = encode(make(name), frame(pairs)), encode(loaded, frame(pairs))
    for index, texts in enumerate(pairs):
        covered = cut_out(encoded, index, texts)
        for place, part, _ in covered:
            assert part == part.strip() or not part.strip()
            piece = loaded.tokenizer.convert_ids_to_tokens(int(encoded.input_ids[place]))
            if piece != loaded.tokenizer.unk_token:
                # Bytes may be parts of two characters.
                standing = spelt(piece).replace("\ufffd", "")
                cut_up = spelt.bytes is not None and letters_of(standing) in letters_of(part)
                assert cut_up or same_letters(standing, part), (piece, part)
        before = "".join(
            dict.fromkeys(f"{word} " for *_, word in cut_out(plain, index, texts) if word != NONE)
        )
        after = "".join(dict.fromkeys(f"{word} " for *_, word in covered if word != NONE))
        if not encoded.num_truncated[index]:
            assert set(before.split()) <= set(after.split())


def test_real_texts_of_every_language(shared: Path, make: Make, frame: Frame) -> None:
    from transformers import AutoTokenizer

    mini = replace(make("bert"), tokenizer=AutoTokenizer.from_pretrained(shared / "models" / "mini-x11"))
    for file in sorted((shared / "data" / "xnli" / "xtreme").glob("dev-*.tsv")):
        language = file.stem.removeprefix("dev-")
        lines = file.read_text(encoding="utf-8").split("\n")[:60]
        pairs = [(first, second) for first, second, _ in (line.split("\t") for line in lines)]
        for loaded in (mini, *map(make, SLOW)):
            encoded = encode(loaded, frame(pairs, language))
            for index, pair in enumerate(pairs):
                assert encoded.input_ids[encoded.row(index)].tolist() == own_ids(loaded, pair, 512)
                covered = cut_out(encoded, index, pair)
                assert all(part == part.strip() for _, part, word in covered if word != NONE)
                found = {word for *_, word in covered} - {NONE}
                # Pieces of mini-x11 may cover two words; XLM drops Thai vowels above a letter, but no word.
                if not encoded.num_truncated[index] and loaded is not mini:
                    assert found == set(range(len(encoded.words[index])))
