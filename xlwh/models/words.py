"""Words of a text, in any script: Unicode letters and digits by pattern, and ICU's dictionaries where a script
writes words without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese).

A word is a maximal run of letters, marks and digits, held together over an inner apostrophe, hyphen, soft
hyphen or zero-width (non-)joiner; every other visible character is a word of its own (each punctuation mark and
symbol; an emoji sequence or a flag is one character as people see it). White space, control and zero-width characters belong to no word. A run with letters of a script
without spaces is cut further at the word boundaries of ICU (Unicode Standard Annex 29 with dictionaries); these
go by script, so that a Thai name in an English text is cut as well. Thai, Lao, Khmer and Burmese are cut from Latin
letters and digits beside them too.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from itertools import accumulate

import regex

_RUN = r"[\p{L}\p{M}\p{N}]+"
_WORD = regex.compile(rf"{_RUN}(?:['’\-‐\u00ad\u200c\u200d]+{_RUN})*|(?=[^\s\p{{L}}\p{{M}}\p{{N}}\p{{C}}])\X")
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}]"
)
_BORDER = regex.compile(
    r"(?<=[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])(?=[\p{Latin}\p{Nd}--[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]])"
    r"|(?<=[\p{Latin}\p{Nd}--[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]])(?=[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])",
    regex.V1,
)
"""Between a letter of these scripts and a Latin one or a digit, where ICU sets no boundary."""


def segment(text: str, language: str) -> list[tuple[int, int]]:
    """Words of `text` as (start, end) in code points, in order, without overlap.

    `language` is a code whose first part ICU knows ("zh", "zh-Hant", "th"); any other is taken as undetermined.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    if _UNSPACED.search(text) is None:
        return spans
    # Between two letters of other scripts the pattern decides, as everywhere else ("iPhone-7").
    cuts = {cut for cut in _dictionary_cuts(text, language) if _UNSPACED.search(text, cut - 1, cut + 1)}
    ordered = sorted(cuts | {match.start() for match in _BORDER.finditer(text)})
    words = []
    for start, end in spans:
        if _UNSPACED.search(text, start, end) is None:
            words.append((start, end))
            continue
        inner = [cut for cut in ordered if start < cut < end] if end - start > 1 else []
        words.extend(zip([start, *inner], [*inner, end], strict=True))
    return words


def _dictionary_cuts(text: str, language: str) -> list[int]:
    from icu4py.breakers import WordBreaker

    # The pieces, not the breaker's offsets: those count UTF-16 units.
    return list(accumulate(len(piece) for piece in WordBreaker(text, language.replace("-", "_"))))


@cache
def segmenter_name(language: str) -> str:
    """What splits texts of a language into words, with versions: stored with every token."""
    from icu4py import icu_version

    return f"unicode-words-2/regex-{version('regex')}/icu-{icu_version}"
