"""What every language's grammar returns: words that carry their part of speech and what they express."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from xlwh.demo.lexicon import Lexicon
from xlwh.demo.meaning import Clause, NounPhrase


@dataclass(frozen=True)
class Word:
    """A word, its universal part of speech, and the slots of the clause that it expresses, the main one first.

    Words of two languages are translations of each other in context when they share a slot: German `im` has the
    slots of `in` and `the`. Words whose main slots agree are dictionary entries.
    """

    form: str
    tag: str
    slots: tuple[str, ...]


def word(form: str, tag: str, *slots: str) -> Word:
    return Word(form, tag, slots)


Realise = Callable[[Clause, Lexicon], list[Word]]


def patient(clause: Clause) -> NounPhrase:
    """The object of a clause that is known to have one."""
    if clause.object is None:
        raise ValueError(f"the verb `{clause.verb}` has no object here")
    return clause.object


def also(item: Word, *slots: str) -> Word:
    """The same word expressing further slots."""
    return replace(item, slots=item.slots + slots)
