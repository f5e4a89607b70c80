"""Chinese: no inflection; classifiers, localisers, a progressive adverb; place and time before the verb."""

from __future__ import annotations

from xlwh.demo.languages.base import Word, patient, word
from xlwh.demo.lexicon import Entry, Lexicon
from xlwh.demo.meaning import Clause, NounPhrase

NUMBERS = {"two": "两", "three": "三"}


def realise(clause: Clause, lexicon: Lexicon) -> list[Word]:
    """The clause as Chinese words in order; written without spaces."""
    subject = noun_phrase(clause.subject, "subject", lexicon)
    object_ = noun_phrase(clause.object, "object", lexicon) if clause.object else []
    place = place_phrase(lexicon.places[clause.place]) if clause.place else []
    time = (
        [word(lexicon.times[clause.time].forms["zh"][0], "NOUN", "time", "time.case")] if clause.time else []
    )
    verb = [word(lexicon.verbs[clause.verb].forms["zh"][0], "VERB", "verb", "verb.particle")]
    front = {"place": place, "time": time, None: []}[clause.fronted]
    if clause.subject.quantity == "no" and not front:
        front = time
    before = [word("都", "ADV", "subject.determiner")] if clause.subject.quantity == "all" else []
    if clause.negated:
        before.append(word("没有", "ADV", "negation"))
    if place and place is not front:
        before += place
    elif not (clause.passive and clause.negated):
        plain = clause.negated or clause.subject.quantity in ("all", "no")
        before.append(word("在" if plain else "正在", "ADV", "verb.aux"))
    middle = [] if time is front else time
    if clause.passive:
        by = word("被", "ADP", "subject.case", "verb.passive")
        topic = noun_phrase(patient(clause), "object", lexicon)
        return [*front, *topic, *middle, *before, by, *subject, *verb]
    return [*front, *subject, *middle, *before, *verb, *object_]


def noun_phrase(phrase: NounPhrase, role: str, lexicon: Lexicon) -> list[Word]:
    form, classifier = lexicon.nouns[phrase.noun].forms["zh"]
    words = [word(form, "NOUN", role)]
    if phrase.adjective:
        stem, *de = lexicon.adjectives[phrase.adjective].forms["zh"]
        particle = [word(form, "PART", f"{role}.particle") for form in de]
        words = [word(stem, "ADJ", f"{role}.adjective"), *particle, *words]
    determiner = f"{role}.determiner"
    measure = word(classifier, "NOUN", f"{role}.classifier")
    match phrase.quantity:
        case "the":
            return words
        case "a":
            return [word("一" + classifier, "DET", determiner), *words]
        case "two" | "three":
            return [word(NUMBERS[phrase.quantity], "NUM", f"{role}.number"), measure, *words]
        case "some":
            return [word("一些", "DET", determiner), *words]
        case "all":
            return [word("所有", "DET", determiner), word("的", "PART", f"{role}.particle"), *words]
        case "no":
            return [word("没有", "DET", determiner), *words]


def place_phrase(place: Entry) -> list[Word]:
    noun, *localiser = place.forms["zh"]
    words = [word("在", "ADP", "place.case")]
    if not localiser:
        return [*words, word(noun, "NOUN" if place.parent else "ADV", "place")]
    return [*words, word(noun, "NOUN", "place"), word(localiser[0], "ADP", "place.localiser", "place.case")]
