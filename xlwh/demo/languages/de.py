"""German: the finite verb stands second, participles and separable prefixes close the clause; three cases."""

from __future__ import annotations

from xlwh.demo.languages.base import Word, also, patient, word
from xlwh.demo.lexicon import Entry, Lexicon
from xlwh.demo.meaning import SINGULAR, Clause, NounPhrase

DEFINITE = {
    "nominative": {"m": "der", "f": "die", "n": "das"},
    "accusative": {"m": "den", "f": "die", "n": "das"},
    "dative": {"m": "dem", "f": "der", "n": "dem"},
}
EIN = {
    "nominative": {"m": "ein", "f": "eine", "n": "ein"},
    "accusative": {"m": "einen", "f": "eine", "n": "ein"},
    "dative": {"m": "einem", "f": "einer", "n": "einem"},
}
WEAK = {
    "nominative": {"m": "e", "f": "e", "n": "e"},
    "accusative": {"m": "en", "f": "e", "n": "e"},
    "dative": {"m": "en", "f": "en", "n": "en"},
}
MIXED = {
    "nominative": {"m": "er", "f": "e", "n": "es"},
    "accusative": {"m": "en", "f": "e", "n": "es"},
    "dative": {"m": "en", "f": "en", "n": "en"},
}
PLURAL = {"two": "zwei", "three": "drei", "some": "einige", "all": "alle"}
CONTRACTED = ("im", "am", "vom")


def realise(clause: Clause, lexicon: Lexicon) -> list[Word]:
    """The clause as German words in order."""
    verb = lexicon.verbs[clause.verb]
    singular_form, plural_form, participle, prefix = (*verb.forms["de"], "-", "-")[:4]
    place = prepositional(lexicon.places[clause.place], "place") if clause.place else []
    time = prepositional(lexicon.times[clause.time], "time") if clause.time else []
    negation = [word("nicht", "PART", "negation")] if clause.negated else []

    if clause.passive:
        agent = noun_phrase(clause.subject, "subject", "dative", lexicon)
        if agent[0].form == "dem":
            agent = [word("vom", "ADP", "subject.case", "subject.determiner"), *agent[1:]]
        else:
            agent = [word("von", "ADP", "subject.case"), *agent]
        first = noun_phrase(patient(clause), "object", "nominative", lexicon)
        finite = [word("wird", "AUX", "verb.aux", "verb.passive")]
        middle = [*time, *agent, *negation, *place]
        last = [word(participle, "VERB", "verb", "verb.particle")]
        return [*first, *finite, *middle, *last]

    separable = prefix != "-"
    form = singular_form if clause.subject.quantity in SINGULAR else plural_form
    slots = ("verb", "verb.aux") if separable else ("verb", "verb.aux", "verb.particle")
    finite = [word(form, "VERB", *slots)]
    if "de" in verb.reflexive:
        finite.append(word("sich", "PRON", "verb.reflexive"))
    last = [word(prefix, "ADP", "verb.particle")] if separable else []
    subject = noun_phrase(clause.subject, "subject", "nominative", lexicon)
    object_: list[Word] = []
    if clause.object:
        object_ = noun_phrase(clause.object, "object", "accusative", lexicon)
        if clause.negated and clause.object.quantity == "a":
            # kein: the negation moves into the article
            object_ = [word("k" + object_[0].form, "DET", "negation", "object.determiner"), *object_[1:]]
            negation = []
    indefinite = clause.object is not None and clause.object.quantity == "a"
    front = {"place": place, "time": time, None: subject}[clause.fronted]
    inside = [time, object_, negation, place] if indefinite else [object_, time, negation, place]
    rest = [item for phrase in (subject, *inside) if phrase is not front for item in phrase]
    return [*front, *finite, *rest, *last]


def noun_phrase(phrase: NounPhrase, role: str, case: str, lexicon: Lexicon) -> list[Word]:
    """Article or number, adjective and noun in one of the three cases."""
    gender, singular, *rest = lexicon.nouns[phrase.noun].forms["de"]
    if phrase.quantity not in SINGULAR:
        return _plural(phrase, role, case, rest[0])
    weak = rest[1] if len(rest) > 1 else singular
    noun = word(singular if case == "nominative" else weak, "NOUN", role)
    if phrase.quantity == "the":
        article, endings = DEFINITE[case][gender], WEAK
    else:
        article, endings = EIN[case][gender], MIXED
        article = "k" + article if phrase.quantity == "no" else article
    words = [word(article, "DET", f"{role}.determiner")]
    if phrase.adjective:
        stem = lexicon.adjectives[phrase.adjective].forms["de"][0]
        words.append(word(stem + endings[case][gender], "ADJ", f"{role}.adjective"))
    return [*words, noun]


def _plural(phrase: NounPhrase, role: str, case: str, plural: str) -> list[Word]:
    number = phrase.quantity in ("two", "three")
    form = PLURAL[phrase.quantity]
    if case == "dative":
        form = form if number else form + "n"
        plural = plural if plural[-1] in "ns" else plural + "n"
    first = word(form, "NUM", f"{role}.number") if number else word(form, "DET", f"{role}.determiner")
    return [first, word(plural, "NOUN", role)]


def prepositional(entry: Entry, role: str) -> list[Word]:
    """`auf der Straße`, `im Park`, `draußen`."""
    *case, noun = entry.forms["de"]
    if not case:
        return [word(noun, "ADV", role, f"{role}.case")]
    words = [word(case[0], "ADP", f"{role}.case")]
    if case[0] in CONTRACTED:
        words = [also(words[0], f"{role}.determiner")]
    words += [word(article, "DET", f"{role}.determiner") for article in case[1:]]
    return [*words, word(noun, "NOUN", role)]
