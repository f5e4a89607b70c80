"""Arabic: verb first or subject first; the article is part of the noun; `two` is the noun's dual.

The passive of the other languages is rendered as the language prefers it: the object is named first and taken up
by a pronoun on the verb (`al-qittatu yumsikuha l-kalbu`, the cat, the dog catches it).
"""

from __future__ import annotations

from xlwh.demo.languages.base import Word, patient, word
from xlwh.demo.lexicon import Entry, Lexicon
from xlwh.demo.meaning import Clause, NounPhrase

ARTICLE = "ال"
PRONOUN = {"m": "ه", "f": "ها"}
TANWIN = "ًا"
THREE = {"m": "ثلاثة", "f": "ثلاث"}


def realise(clause: Clause, lexicon: Lexicon) -> list[Word]:
    """The clause as Arabic words in reading order."""
    verb = lexicon.verbs[clause.verb]
    negated = clause.negated or clause.subject.quantity == "no"
    slot = "negation" if clause.negated else "subject.determiner"
    negation = [word("لا", "PART", slot)] if negated else []
    form = verb.forms["ar"][0]
    if clause.passive:
        form = verb.arabic_stem or form
        form += PRONOUN[lexicon.nouns[patient(clause).noun].forms["ar"][0]]
    if _agrees_feminine(clause.subject, lexicon):
        form = "ت" + form[1:]
    finite = [word(form, "VERB", "verb", "verb.aux", "verb.particle")]
    place = place_phrase(lexicon.places[clause.place]) if clause.place else []
    time = time_phrase(lexicon.times[clause.time]) if clause.time else []
    subject = noun_phrase(clause.subject, "subject", lexicon)
    front = {"place": place, "time": time, None: []}[clause.fronted]
    rest = [item for phrase in (place, time) if phrase is not front for item in phrase]
    if clause.passive:
        topic = noun_phrase(patient(clause), "object", lexicon)
        return [*front, *topic, *negation, *finite, *subject, *rest]
    object_ = noun_phrase(clause.object, "object", lexicon) if clause.object else []
    # Before its verb a subject must be definite, and a plural would change the verb's form.
    if clause.verb_first or clause.subject.quantity != "the":
        return [*front, *negation, *finite, *subject, *object_, *rest]
    return [*front, *subject, *negation, *finite, *object_, *rest]


def _agrees_feminine(phrase: NounPhrase, lexicon: Lexicon) -> bool:
    """A verb before its subject is singular; plurals that are not people count as feminine singular."""
    noun = lexicon.nouns[phrase.noun]
    broken_plural = phrase.quantity in ("all", "some") and "person" not in noun.kinds
    return noun.forms["ar"][0] == "f" or broken_plural


def noun_phrase(phrase: NounPhrase, role: str, lexicon: Lexicon) -> list[Word]:
    """Noun and adjective; subjects are nominative, objects accusative (seen only in indefinite masculines)."""
    gender, singular, dual, plural = (*lexicon.nouns[phrase.noun].forms["ar"], "-", "-")[:4]
    determiner = f"{role}.determiner"
    match phrase.quantity:
        case "the":
            words = [word(ARTICLE + singular, "NOUN", role, determiner)]
        case "a":
            accusative = role == "object" and not singular.endswith(("ة", "اء", "و"))
            words = [word(singular + TANWIN if accusative else singular, "NOUN", role, determiner)]
        case "two":
            words = [word(dual, "NOUN", role, f"{role}.number")]
        case "three":
            words = [word(THREE[gender], "NUM", f"{role}.number"), word(plural, "NOUN", role)]
        case "some":
            words = [word("بعض", "DET", determiner), word(ARTICLE + plural, "NOUN", role)]
        case "all":
            words = [word("كل", "DET", determiner), word(ARTICLE + plural, "NOUN", role)]
        case "no":
            words = [word("أي", "DET", determiner), word(singular, "NOUN", role)]
    if phrase.adjective:
        masculine, feminine, accusative_form = lexicon.adjectives[phrase.adjective].forms["ar"]
        form = feminine if gender == "f" else masculine
        if phrase.quantity == "the":
            form = ARTICLE + form
        elif role == "object" and gender == "m":
            form = accusative_form
        words.append(word(form, "ADJ", f"{role}.adjective"))
    return words


def place_phrase(place: Entry) -> list[Word]:
    preposition, noun = place.forms["ar"]
    return [word(preposition, "ADP", "place.case"), word(ARTICLE + noun, "NOUN", "place", "place.determiner")]


def time_phrase(time: Entry) -> list[Word]:
    first, noun = time.forms["ar"]
    tag = "ADP" if first == "في" else "NOUN"
    return [word(first, tag, "time.case"), word(ARTICLE + noun, "NOUN", "time", "time.determiner")]
