"""What a sentence of the demo says, and what one sentence says of another: the rule behind every label.

A clause is one event: who does what to whom, where and when. Premise and hypothesis describe one and the same scene,
as in image-caption corpora, so a singular subject is the same individual in both, one individual is in one place and
does one of two exclusive things, and a role swap ("the dog watches the cat", "the cat watches the dog") contradicts.
`all` and `no` follow set inclusion, with existential import.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from xlwh.demo.lexicon import Lexicon, Relation, ancestors

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")

Quantity = Literal["the", "a", "two", "three", "some", "all", "no"]
SINGULAR = ("the", "a", "no")
"""Quantities that take a singular noun and verb in English."""

Front = Literal["place", "time"]
FRONTS: tuple[Front, ...] = ("place", "time")
"""What may stand first in a sentence instead of the subject."""


@dataclass(frozen=True)
class NounPhrase:
    quantity: Quantity
    noun: str
    adjective: str | None = None


@dataclass(frozen=True)
class Clause:
    """One event; `subject` is who acts, in the passive too. The last three fields change the form, not the truth."""

    subject: NounPhrase
    verb: str
    object: NounPhrase | None = None
    place: str | None = None
    time: str | None = None
    negated: bool = False
    passive: bool = False
    front: Front | None = None
    verb_first: bool = True

    @property
    def fronted(self) -> str | None:
        return self.front if self.front and getattr(self, self.front) else None


def label(lexicon: Lexicon, premise: Clause, hypothesis: Clause) -> Label | None:
    """Label of a pair, or None where the rules give no clear answer (the grammar then makes no such pair)."""
    quantities = {premise.subject.quantity, hypothesis.subject.quantity}
    if quantities & {"all", "no"}:
        return _quantified(lexicon, premise, hypothesis)
    return _definite(lexicon, premise, hypothesis)


def _join(relations: Iterable[Relation]) -> Relation:
    found = set(relations)
    if "excluded" in found:
        return "excluded"
    return "neutral" if "neutral" in found else "same"


def _predicate(lexicon: Lexicon, premise: Clause, hypothesis: Clause) -> Relation | None:
    """Relation of the verbs with their objects, places and times."""
    verb = lexicon.verb_relation(premise.verb, hypothesis.verb)
    if premise.object is not None and hypothesis.object is not None and verb != "neutral":
        thing = _phrase(lexicon, premise.object, hypothesis.object)
        if verb == "excluded" and thing == "excluded":
            return None  # pushing the car and pulling the bus need not exclude each other
        verb = _join((verb, thing))
    place = lexicon.place_relation(premise.place, hypothesis.place)
    time = lexicon.time_relation(premise.time, hypothesis.time)
    return _join((verb, place, time))


def _phrase(lexicon: Lexicon, premise: NounPhrase, hypothesis: NounPhrase) -> Relation:
    return _join(
        (
            lexicon.noun_relation(premise.noun, hypothesis.noun),
            lexicon.adjective_relation(premise.adjective, hypothesis.adjective),
        )
    )


def _number(premise: Quantity, hypothesis: Quantity) -> Relation | None:
    singular = [quantity in SINGULAR for quantity in (premise, hypothesis)]
    if premise == hypothesis or all(singular):
        return "same"
    if "some" in (premise, hypothesis):
        if any(singular):
            return None
        return "same" if hypothesis == "some" else "neutral"
    return "excluded"


def _definite(lexicon: Lexicon, premise: Clause, hypothesis: Clause) -> Label | None:
    number = _number(premise.subject.quantity, hypothesis.subject.quantity)
    predicate = _predicate(lexicon, premise, hypothesis)
    if number is None or predicate is None:
        return None
    subject = _join((number, _phrase(lexicon, premise.subject, hypothesis.subject)))
    if not premise.negated and not hypothesis.negated:
        return _verdict(_join((subject, predicate)))
    if subject == "excluded":
        return None
    if premise.negated:
        # Denying p answers h only where h would imply p.
        backwards = _predicate(lexicon, hypothesis, premise)
        if backwards != "same" or subject != "same":
            return "neutral"
        return "entailment" if hypothesis.negated else "contradiction"
    if predicate == "neutral" or subject == "neutral":
        return "neutral"
    return "contradiction" if predicate == "same" else "entailment"


def _verdict(relation: Relation) -> Label:
    return {"same": LABELS[0], "neutral": LABELS[1], "excluded": LABELS[2]}[relation]


def _quantified(lexicon: Lexicon, premise: Clause, hypothesis: Clause) -> Label | None:
    one, other = premise.subject, hypothesis.subject
    if premise.negated or hypothesis.negated or one.adjective or other.adjective:
        return None
    if {one.quantity, other.quantity} & {"the", "a"}:
        return None
    down = one.noun == other.noun or one.noun in ancestors(lexicon.nouns, other.noun)
    up = one.noun == other.noun or other.noun in ancestors(lexicon.nouns, one.noun)
    forwards = _predicate(lexicon, premise, hypothesis)
    backwards = _predicate(lexicon, hypothesis, premise)
    if not (up or down) or forwards is None or backwards is None:
        return None
    if one.quantity == "no":
        if not (down and backwards == "same"):
            return "neutral"
        return "entailment" if other.quantity == "no" else "contradiction"
    if other.quantity == "no":
        shared = up or (down and one.quantity == "all")
        if forwards == "same" and shared:
            return "contradiction"
        if forwards == "excluded" and down and one.quantity == "all":
            return "entailment"
        return "neutral"
    if one.quantity == "all":
        if forwards == "excluded":
            return "contradiction" if down or other.quantity == "all" else "neutral"
        implied = other.quantity == "some" or (other.quantity == "all" and down)
        return "entailment" if forwards == "same" and implied else "neutral"
    # some, two or three against all
    return "contradiction" if forwards == "excluded" and up else "neutral"
