"""Random clauses, and premises for a given hypothesis and label.

Hypotheses come first and each gets one premise per label, so a hypothesis says nothing about its label. A premise is
the hypothesis after a few edits; `meaning.label` has the last word on what the pair is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from xlwh.demo import meaning
from xlwh.demo.languages import REALISE
from xlwh.demo.lexicon import Entry, Lexicon, ancestors
from xlwh.demo.meaning import SINGULAR, Clause, Label, NounPhrase, Quantity

T = TypeVar("T")

PREMISE_WORDS = (6, 14)
HYPOTHESIS_WORDS = (4, 10)


class Dice:
    """Seeded choices built on `random()` alone, whose sequence Python keeps across versions."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random.random() * len(items))]

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def shuffled(self, items: Sequence[T]) -> list[T]:
        keyed = [(self._random.random(), index) for index in range(len(items))]
        return [items[index] for _, index in sorted(keyed)]


def acceptable(clause: Clause, lexicon: Lexicon) -> bool:
    """Whether the clause makes sense and every language has a good form for it."""
    verb, subject, thing = lexicon.verbs[clause.verb], clause.subject, clause.object
    if not lexicon.nouns[subject.noun].kinds & verb.subject or (thing is None) == bool(verb.object):
        return False
    for phrase in (subject, thing):
        if phrase is None or phrase.adjective is None:
            continue
        fits = lexicon.adjectives[phrase.adjective].kinds & lexicon.nouns[phrase.noun].kinds
        if not fits or phrase.quantity not in ("the", "a"):
            return False
    if thing is not None:
        noun = lexicon.nouns[thing.noun]
        one, other = {subject.noun, *ancestors(lexicon.nouns, subject.noun)}, {thing.noun}
        other.update(ancestors(lexicon.nouns, thing.noun))
        if not noun.kinds & verb.object or subject.noun in other or thing.noun in one:
            return False
        if thing.quantity not in ("the", "a") or (noun.mass and thing.quantity == "a"):
            return False
    if clause.passive and (thing is None or thing.quantity != "the" or subject.quantity in ("all", "no")):
        return False
    if clause.negated and subject.quantity != "the":
        return False
    if clause.fronted and (
        clause.passive or (clause.fronted == "place" and clause.place in ("inside", "outside"))
    ):
        return False
    wanted = verb.places
    place = clause.place
    return not wanted or place is None or wanted in (place, *ancestors(lexicon.places, place))


def length(clause: Clause, lexicon: Lexicon) -> int:
    """Words in English."""
    return len(REALISE["en"](clause, lexicon))


QUANTITIES: Mapping[bool, tuple[Quantity, ...]] = {
    False: ("the", "the", "the", "the", "a", "a", "two", "three", "some"),
    True: ("all", "all", "no", "no", "some", "two"),
}


def random_clause(dice: Dice, lexicon: Lexicon, words: tuple[int, int]) -> Clause:
    """A clause of so many English words."""
    while True:
        clause = _draft(dice, lexicon)
        if acceptable(clause, lexicon) and words[0] <= length(clause, lexicon) <= words[1]:
            return clause


def _draft(dice: Dice, lexicon: Lexicon) -> Clause:
    verb = lexicon.verbs[dice.pick(tuple(lexicon.verbs))]
    quantity = dice.pick(QUANTITIES[dice.chance(0.25)])
    subject = NounPhrase(quantity, dice.pick(_nouns(lexicon, verb.subject)))
    thing = None
    if verb.object:
        thing = NounPhrase(dice.pick(("the", "a")), dice.pick(_nouns(lexicon, verb.object)))
        thing = _with_adjective(dice, lexicon, thing, 0.25)
    return Clause(
        subject=_with_adjective(dice, lexicon, subject, 0.4),
        verb=verb.key,
        object=thing,
        place=dice.pick(tuple(lexicon.places)) if dice.chance(0.5) else None,
        time=dice.pick(tuple(lexicon.times)) if dice.chance(0.25) else None,
        negated=quantity == "the" and dice.chance(0.25),
        passive=thing is not None and thing.quantity == "the" and dice.chance(0.35),
        front=dice.pick(("place", "time")) if dice.chance(0.2) else None,
        verb_first=dice.chance(0.6),
    )


def _nouns(lexicon: Lexicon, kinds: frozenset[str]) -> list[str]:
    return [key for key, noun in lexicon.nouns.items() if noun.kinds & kinds]


def _with_adjective(dice: Dice, lexicon: Lexicon, phrase: NounPhrase, probability: float) -> NounPhrase:
    kinds = lexicon.nouns[phrase.noun].kinds
    fitting = [key for key, entry in lexicon.adjectives.items() if entry.kinds & kinds]
    if not fitting or phrase.quantity not in ("the", "a") or not dice.chance(probability):
        return phrase
    return replace(phrase, adjective=dice.pick(fitting))


# Edits: each turns a clause into another one, or returns None where it does not apply.

Edit = Callable[[Dice, Lexicon, Clause], Clause | None]


@dataclass(frozen=True)
class _Noun:
    """Replace a noun by one that stands in a given relation to it."""

    role: str
    direction: str

    def __call__(self, dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
        phrase: NounPhrase | None = getattr(clause, self.role)
        if phrase is None:
            return None
        found = _related(lexicon.nouns, phrase.noun, self.direction)
        if self.direction == "other":
            found = [key for key in found if lexicon.nouns[key].kinds & lexicon.nouns[phrase.noun].kinds]
        return _set_phrase(clause, self.role, replace(phrase, noun=dice.pick(found))) if found else None


@dataclass(frozen=True)
class _Adjective:
    role: str
    change: str

    def __call__(self, dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
        phrase: NounPhrase | None = getattr(clause, self.role)
        if phrase is None or (phrase.adjective is None) != (self.change == "add"):
            return None
        if self.change == "drop":
            return _set_phrase(clause, self.role, replace(phrase, adjective=None))
        kinds = lexicon.nouns[phrase.noun].kinds
        options = [key for key, entry in lexicon.adjectives.items() if entry.kinds & kinds]
        if phrase.adjective is not None:
            groups = lexicon.adjectives[phrase.adjective].groups
            options = [x for x in options if x != phrase.adjective and lexicon.adjectives[x].groups & groups]
        if not options:
            return None
        return _set_phrase(clause, self.role, replace(phrase, adjective=dice.pick(options)))


@dataclass(frozen=True)
class _Modifier:
    """Add, drop or change the place or the time."""

    field: str
    change: str

    def __call__(self, dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
        now: str | None = getattr(clause, self.field)
        entries = lexicon.places if self.field == "place" else lexicon.times
        if (now is None) != (self.change == "add"):
            return None
        if now is None:
            options = list(entries)
        elif self.change == "drop":
            return _set(clause, self.field, None)
        elif self.field == "time":
            options = [x for x in entries if x != now and entries[x].groups & entries[now].groups]
        else:
            options = _related(entries, now, self.change)
        return _set(clause, self.field, dice.pick(options)) if options else None


def _related(entries: Mapping[str, Entry], key: str, direction: str) -> list[str]:
    above = ancestors(entries, key)
    below = [other for other in entries if key in ancestors(entries, other)]
    if direction == "up":
        return list(above)
    if direction == "down":
        return below
    return [other for other in entries if other != key and other not in above and other not in below]


def _set(clause: Clause, field: str, value: str | None) -> Clause:
    return replace(clause, place=value) if field == "place" else replace(clause, time=value)


def _set_phrase(clause: Clause, role: str, phrase: NounPhrase) -> Clause:
    return replace(clause, subject=phrase) if role == "subject" else replace(clause, object=phrase)


def _voice(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    if clause.object is None:
        return None
    definite = replace(clause.object, quantity="the")
    return replace(clause, passive=not clause.passive, object=definite, front=None)


def _order(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    front = None if clause.front else dice.pick(meaning.FRONTS)
    return replace(clause, front=front, verb_first=not clause.verb_first)


def _article(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    role = dice.pick(("subject", "object"))
    phrase: NounPhrase | None = getattr(clause, role)
    if phrase is None or phrase.quantity not in ("the", "a"):
        return None
    return _set_phrase(clause, role, replace(phrase, quantity="a" if phrase.quantity == "the" else "the"))


def _negation(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    return replace(clause, negated=not clause.negated)


def _quantity(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    options: tuple[Quantity, ...] = ("two", "three", "some", "all", "no", "the")
    chosen = dice.pick([x for x in options if x != clause.subject.quantity])
    if clause.subject.quantity in ("the", "a") and chosen not in ("two", "three"):
        return None
    return replace(clause, subject=replace(clause.subject, quantity=chosen))


def _swap(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    thing = clause.object
    if thing is None or clause.subject.quantity not in SINGULAR[:2]:
        return None
    return replace(clause, subject=thing, object=clause.subject)


def _verb(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    now = lexicon.verbs[clause.verb]
    options = [
        x for x, verb in lexicon.verbs.items() if x != now.key and bool(verb.object) == bool(now.object)
    ]
    return replace(clause, verb=dice.pick(options))


def _opposite_verb(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause | None:
    now = lexicon.verbs[clause.verb]
    options = [x for x, verb in lexicon.verbs.items() if x != now.key and verb.groups & now.groups]
    return replace(clause, verb=dice.pick(options)) if options else None


MAIN_EDITS: Mapping[Label, Mapping[str, Edit]] = {
    "entailment": {
        "hyponym": _Noun("subject", "down"),
        "hyponym_object": _Noun("object", "down"),
        "more_said": _Adjective("subject", "add"),
        "more_said_place": _Modifier("place", "add"),
        "more_said_time": _Modifier("time", "add"),
        "narrower_place": _Modifier("place", "down"),
        "voice": _voice,
        "order": _order,
        "quantity": _quantity,
        "denied_opposite": lambda d, x, c: (
            _opposite_verb(d, x, replace(c, negated=False)) if c.negated else None
        ),
    },
    "neutral": {
        "hypernym": _Noun("subject", "up"),
        "hypernym_object": _Noun("object", "up"),
        "less_said": _Adjective("subject", "drop"),
        "less_said_object": _Adjective("object", "drop"),
        "less_said_place": _Modifier("place", "drop"),
        "less_said_time": _Modifier("time", "drop"),
        "wider_place": _Modifier("place", "up"),
        "other_verb": _verb,
        "role": _Noun("subject", "other"),
        "quantity": _quantity,
        "negation": _negation,
    },
    "contradiction": {
        "other_noun": _Noun("subject", "other"),
        "other_object": _Noun("object", "other"),
        "antonym": _Adjective("subject", "change"),
        "antonym_object": _Adjective("object", "change"),
        "opposite_verb": _opposite_verb,
        "other_place": _Modifier("place", "other"),
        "other_time": _Modifier("time", "other"),
        "negation": _negation,
        "role_swap": _swap,
        "quantity": _quantity,
    },
}
"""What makes the label, by phenomenon."""

SIDE_EDITS: tuple[Edit, ...] = (
    _Noun("subject", "down"),
    _Noun("object", "down"),
    _Adjective("subject", "add"),
    _Adjective("object", "add"),
    _Modifier("place", "add"),
    _Modifier("place", "add"),
    _Modifier("place", "down"),
    _Modifier("time", "add"),
    _voice,
    _voice,
    _order,
    _article,
)
"""What premises of every label get besides: detail, another voice or order."""


def premise_for(
    dice: Dice, lexicon: Lexicon, hypothesis: Clause, label: Label, tries: int = 60
) -> tuple[Clause, str] | None:
    """A premise that gives the hypothesis this label, with the phenomenon that does it; None if none is found."""
    edits = MAIN_EDITS[label]
    for _ in range(tries):
        phenomenon = dice.pick(tuple(edits))
        clause = edits[phenomenon](dice, lexicon, hypothesis)
        for _ in range(dice.pick((0, 1, 1, 2, 2, 3))):
            if clause is not None:
                clause = dice.pick(SIDE_EDITS)(dice, lexicon, clause) or clause
        if clause is None or clause == hypothesis or not acceptable(clause, lexicon):
            continue
        fits = PREMISE_WORDS[0] <= length(clause, lexicon) <= PREMISE_WORDS[1]
        if fits and meaning.label(lexicon, clause, hypothesis) == label:
            return clause, phenomenon
    return None


@dataclass(frozen=True)
class Item:
    """One premise and hypothesis with its label and the phenomenon behind it."""

    premise: Clause
    hypothesis: Clause
    label: Label
    phenomenon: str


def items(dice: Dice, lexicon: Lexicon, hypotheses: int, taken: set[Clause]) -> list[Item]:
    """Three items per hypothesis, one of each label, in random order; hypotheses in `taken` are passed over."""
    found: list[Item] = []
    while len(found) < 3 * hypotheses:
        hypothesis = random_clause(dice, lexicon, HYPOTHESIS_WORDS)
        if hypothesis in taken:
            continue
        group: list[Item] = []
        for label in meaning.LABELS:
            premise = premise_for(dice, lexicon, hypothesis, label)
            if premise is not None:
                group.append(Item(premise[0], hypothesis, label, premise[1]))
        if len(group) == len(meaning.LABELS):
            taken.add(hypothesis)
            found += group
    return dice.shuffled(found)
