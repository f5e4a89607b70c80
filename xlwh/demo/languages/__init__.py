"""One file per language of the demo grammar: how a clause becomes words, in order, inflected and tagged.

A language knows its own word order and agreement and the forms that the lexicon lists for it, nothing of labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xlwh.demo.languages import ar, de, en, es, hi, zh
from xlwh.demo.languages.base import Realise, Word

REALISE: Mapping[str, Realise] = {
    "en": en.realise,
    "de": de.realise,
    "es": es.realise,
    "zh": zh.realise,
    "ar": ar.realise,
    "hi": hi.realise,
}


def text(words: Sequence[Word], language: str) -> str:
    """The words as they are written: Chinese without spaces."""
    return ("" if language == "zh" else " ").join(word.form for word in words)


__all__ = ["REALISE", "Word", "text"]
