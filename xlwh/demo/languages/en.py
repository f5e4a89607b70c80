"""English: subject, auxiliary, verb, object; the progressive throughout; `by` names the agent of a passive."""

from __future__ import annotations

from xlwh.demo.languages.base import Word, word
from xlwh.demo.lexicon import Entry, Lexicon
from xlwh.demo.meaning import SINGULAR, Clause, NounPhrase


def realise(clause: Clause, lexicon: Lexicon) -> list[Word]:
    """The clause as English words in order."""
    subject = noun_phrase(clause.subject, "subject", lexicon)
    object_ = noun_phrase(clause.object, "object", lexicon) if clause.object else []
    singular = clause.passive or clause.subject.quantity in SINGULAR
    ing, participle, particle = (*lexicon.verbs[clause.verb].forms["en"], "-", "-")[:3]
    be = [word("is" if singular else "are", "AUX", "verb.aux")]
    if clause.negated:
        be.append(word("not", "PART", "negation"))
    slots = ("verb",) if particle != "-" else ("verb", "verb.particle")
    verb = [word(participle if clause.passive else ing, "VERB", *slots)]
    if particle != "-":
        verb.append(word(particle, "ADP", "verb.particle"))
    place = place_phrase(lexicon.places[clause.place]) if clause.place else []
    time = time_phrase(lexicon.times[clause.time]) if clause.time else []
    if clause.passive:
        by = [word("by", "ADP", "subject.case")]
        core = [*object_, *be, word("being", "AUX", "verb.passive"), *verb, *by, *subject]
    else:
        core = [*subject, *be, *verb, *object_]
    front = {"place": place, "time": time, None: []}[clause.fronted]
    rest = [item for phrase in (place, time) if phrase is not front for item in phrase]
    return [*front, *core, *rest]


def noun_phrase(phrase: NounPhrase, role: str, lexicon: Lexicon) -> list[Word]:
    singular, plural = (*lexicon.nouns[phrase.noun].forms["en"], "-")[:2]
    noun = word(singular if phrase.quantity in SINGULAR else plural, "NOUN", role)
    words = [noun]
    if phrase.adjective:
        adjective = lexicon.adjectives[phrase.adjective].forms["en"][0]
        words.insert(0, word(adjective, "ADJ", f"{role}.adjective"))
    if phrase.quantity in ("two", "three"):
        first = word(phrase.quantity, "NUM", f"{role}.number")
    else:
        form: str = phrase.quantity
        if form == "a" and words[0].form[0] in "aeiou":
            form = "an"
        first = word(form, "DET", f"{role}.determiner")
    return [first, *words]


def place_phrase(place: Entry) -> list[Word]:
    forms = place.forms["en"]
    if len(forms) == 1:
        return [word(forms[0], "ADV", "place", "place.case")]
    return [
        word(forms[0], "ADP", "place.case"),
        word("the", "DET", "place.determiner"),
        word(forms[1], "NOUN", "place"),
    ]


def time_phrase(time: Entry) -> list[Word]:
    *case, noun = time.forms["en"]
    slots = {"the": ("DET", "time.determiner")}
    words = [word(form, *slots.get(form, ("ADP", "time.case"))) for form in case]
    return [*words, word(noun, "NOUN", "time")]
