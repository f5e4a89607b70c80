"""Sentences in any language, parallel by their number: the demo's grammar where it knows the language, else made words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from xlwh.demo import lexicon
from xlwh.demo.grammar import clauses, realise
from xlwh.demo.languages import REALISE

SENTENCES = 400
_LATIN = (
    ["b", "c", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"],
    ["a", "e", "i", "o", "u", "é", "ai", "ou"],
)
_ALPHABETS = {
    "cyrillic": (
        ["б", "в", "г", "д", "ж", "з", "к", "л", "м", "н", "п", "р", "с", "т", "ш"],
        ["а", "е", "и", "о", "у", "я"],
    ),
    "greek": (
        ["β", "γ", "δ", "ζ", "θ", "κ", "λ", "μ", "ν", "π", "ρ", "σ", "τ", "φ"],
        ["α", "ε", "η", "ι", "ο", "υ"],
    ),
    "thai": (
        ["ก", "ข", "ค", "ง", "จ", "ช", "ด", "ต", "น", "บ", "ป", "ม", "ย", "ร", "ล", "ว", "ส", "ห"],
        ["า", "ิ", "ี", "ุ", "ู"],
    ),
    "hangul": (
        ["가", "나", "다", "라", "마", "바", "사", "아", "자", "차", "카", "타", "파", "하"],
        ["", "서", "고", "니"],
    ),
    "arabic": (
        ["ب", "پ", "ت", "ٹ", "ج", "چ", "د", "ر", "ز", "س", "ش", "ک", "گ", "ل", "م", "ن"],
        ["ا", "و", "ی", "ے"],
    ),
    "vietnamese": (
        ["b", "c", "ch", "d", "đ", "g", "h", "kh", "l", "m", "n", "ng", "ph", "t", "th", "tr", "v"],
        ["a", "ă", "â", "e", "ê", "i", "o", "ô", "ơ", "u", "ư", "á", "ạ", "ế", "ộ"],
    ),
}
_SCRIPTS = {
    "ru": "cyrillic",
    "bg": "cyrillic",
    "el": "greek",
    "th": "thai",
    "ko": "hangul",
    "ur": "arabic",
    "vi": "vietnamese",
}


@dataclass(frozen=True)
class Told:
    """One sentence: its words, and the universal part of speech of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    language: str

    @property
    def text(self) -> str:
        """As it is written: Chinese and Thai without spaces."""
        return ("" if self.language in ("zh", "th") else " ").join(self.words)


@cache
def _clauses() -> tuple[object, ...]:
    return tuple(clauses("papers", SENTENCES))


@cache
def sentence(number: int, language: str) -> Told:
    """Sentence `number`, the same event in every language; numbers beyond `SENTENCES` come round again."""
    clause = _clauses()[number % SENTENCES]
    if language in REALISE:
        words = realise(clause, language, _lexicon())
        return Told(tuple(word.form for word in words), tuple(word.tag for word in words), language)
    words = realise(clause, "en", _lexicon())
    return Told(
        tuple(made(word.form, language) for word in words), tuple(word.tag for word in words), language
    )


@cache
def made(word: str, language: str) -> str:
    """A word in the letters of a language, the same for the same English word."""
    onsets, vowels = _ALPHABETS.get(_SCRIPTS.get(language, ""), _LATIN)
    drawn = hashlib.sha256(f"{language} {word}".encode()).digest()
    syllables = max(1, (len(word) + 1) // 3)
    return "".join(
        onsets[drawn[2 * i] % len(onsets)] + vowels[drawn[2 * i + 1] % len(vowels)] for i in range(syllables)
    )


def vocabulary(language: str) -> list[tuple[str, str]]:
    """Words of all sentences of a language, sorted, each with a word of the English sentence at about its place."""
    found: dict[str, str] = {}
    for number in range(SENTENCES):
        words, english = sentence(number, language).words, sentence(number, "en").words
        for place, word in enumerate(words):
            found.setdefault(word, english[place * len(english) // len(words)])
    return sorted(found.items())


@cache
def _lexicon() -> lexicon.Lexicon:
    return lexicon.load()
