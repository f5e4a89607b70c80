"""Whether a space fits the words that are looked up in it: else similarities would say nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xlwh.corpora.dictionaries import Dictionary
from xlwh.errors import CorpusError

_SHOWN = 5
_EVIDENCE = 5
"""Words that say which side of a dictionary is which."""
_KEY = re.compile(r"/(\w+/)+|\w{2,12}(:|__|#)(?=\w)")
"""Prefixes of words: ConceptNet's `/c/en/`, and `en:`, `en__`, `en#`."""


def require_coverage(
    asked: int,
    found: int,
    least: float,
    *,
    where: str,
    language: str,
    space: str,
    missing: Sequence[str],
    examples: Sequence[str] = (),
) -> None:
    """CorpusError where fewer of the distinct words `asked` have a vector than the share `least`.

    It shows some words that are `missing`, and `examples` of what a file has; `where` they were looked up, for which
    `space` of the study.
    """
    if not asked or (found and found >= least * asked):
        return
    shown = f" Not found: {', '.join(missing[:_SHOWN])}." if missing else ""
    has = f" The file has: {', '.join(examples)}." if examples else ""
    raise CorpusError(
        f"{where}: {found} of {asked} distinct words of the corpora in `{language}` have a vector ({found / asked:.0%}); "
        f"at least {least:.0%} are needed (`spaces.{space}.min_coverage`).{shown}{has}{_why_not_found(examples)}"
    )


def require_direction(
    dictionary: Dictionary,
    words: Sequence[str],
    of_pivot: bool,
    *,
    where: str,
    language: str,
    space: str,
    is_reversed: bool,
) -> None:
    """CorpusError where a dictionary is read backwards: the `words` of a language are those of its other side.

    `of_pivot` says whose words they are, `where` which dictionary it is, of which `space` of the study, and
    `is_reversed` what the study says of it.
    """
    known = {word.lower() for word in words}
    pivots, foreigns = ({word.lower() for word in side} for side in zip(*dictionary.pairs, strict=True))
    own, other = (pivots, foreigns) if of_pivot else (foreigns, pivots)
    right, wrong = len((own - other) & known), len((other - own) & known)
    if wrong >= _EVIDENCE and wrong > 2 * right:
        raise CorpusError(
            f"{where} seems to be read backwards: of the words of the corpora in `{language}`, {right} stand on its side of "
            f"`{language}` and {wrong} on the other. {'Take it out of' if is_reversed else 'Name the language in'} "
            f"`spaces.{space}.reversed_dictionaries`."
        )


def _why_not_found(examples: Sequence[str]) -> str:
    """What the file's words have in common that would explain it, as a sentence."""
    prefixes = [match[0] for word in examples if (match := _KEY.match(word))]
    if prefixes:
        return (
            f" Its keys begin with a prefix such as `{prefixes[0]}`: write plain words, one language a file."
        )
    if examples and all(word.isupper() or not word.islower() for word in examples if word.isalpha()):
        return " Its words are capitalised: words are looked up as they are and in lower case."
    return " Is it a file of another language?" if examples else ""
