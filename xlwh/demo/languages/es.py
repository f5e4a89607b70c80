"""Spanish: articles and adjectives agree, adjectives follow, people and animals as objects take `a`."""

from __future__ import annotations

from xlwh.demo.languages.base import Word, patient, word
from xlwh.demo.lexicon import Entry, Lexicon
from xlwh.demo.meaning import SINGULAR, Clause, NounPhrase

ARTICLES = {
    "the": {"m": "el", "f": "la"},
    "a": {"m": "un", "f": "una"},
    "no": {"m": "ningún", "f": "ninguna"},
    "some": {"m": "algunos", "f": "algunas"},
}
NUMBERS = {"two": "dos", "three": "tres"}
ALL = {"m": ("todos", "los"), "f": ("todas", "las")}


def realise(clause: Clause, lexicon: Lexicon) -> list[Word]:
    """The clause as Spanish words in order."""
    verb = lexicon.verbs[clause.verb]
    singular_form, plural_form, participle = (*verb.forms["es"], "-")[:3]
    negation = [word("no", "ADV", "negation")] if clause.negated else []
    place = prepositional(lexicon.places[clause.place], "place") if clause.place else []
    time = prepositional(lexicon.times[clause.time], "time") if clause.time else []
    subject = noun_phrase(clause.subject, "subject", lexicon)
    if clause.passive:
        gender = lexicon.nouns[patient(clause).noun].forms["es"][0]
        form = participle[:-1] + "a" if gender == "f" else participle
        core = [
            *noun_phrase(patient(clause), "object", lexicon),
            *negation,
            word("es", "AUX", "verb.aux", "verb.passive"),
            word(form, "VERB", "verb", "verb.particle"),
            word("por", "ADP", "subject.case"),
            *subject,
        ]
    else:
        form = singular_form if clause.subject.quantity in SINGULAR else plural_form
        reflexive = [word("se", "PRON", "verb.reflexive")] if "es" in verb.reflexive else []
        finite = word(form, "VERB", "verb", "verb.aux", "verb.particle")
        object_ = _object(clause, lexicon) if clause.object else []
        core = [*subject, *negation, *reflexive, finite, *object_]
    front = {"place": place, "time": time, None: []}[clause.fronted]
    rest = [item for phrase in (place, time) if phrase is not front for item in phrase]
    return [*front, *core, *rest]


def noun_phrase(phrase: NounPhrase, role: str, lexicon: Lexicon) -> list[Word]:
    gender, singular, plural = (*lexicon.nouns[phrase.noun].forms["es"], "-")[:3]
    noun = word(singular if phrase.quantity in SINGULAR else plural, "NOUN", role)
    determiner = f"{role}.determiner"
    if phrase.quantity in NUMBERS:
        first = [word(NUMBERS[phrase.quantity], "NUM", f"{role}.number")]
    elif phrase.quantity == "all":
        first = [word(form, "DET", determiner) for form in ALL[gender]]
    else:
        first = [word(ARTICLES[phrase.quantity][gender], "DET", determiner)]
    words = [*first, noun]
    if phrase.adjective:
        masculine, feminine = lexicon.adjectives[phrase.adjective].forms["es"]
        form = feminine if gender == "f" else masculine
        words.append(word(form, "ADJ", f"{role}.adjective"))
    return words


def _object(clause: Clause, lexicon: Lexicon) -> list[Word]:
    phrase = patient(clause)
    words = noun_phrase(phrase, "object", lexicon)
    animate = lexicon.nouns[phrase.noun].kinds & {"animal", "person"}
    if not animate or lexicon.verbs[clause.verb].goods:
        return words
    if words[0].form == "el":
        return [word("al", "ADP", "object.case", "object.determiner"), *words[1:]]
    return [word("a", "ADP", "object.case"), *words]


def prepositional(entry: Entry, role: str) -> list[Word]:
    """`en la calle`, `por la noche`, `el domingo`, `afuera`."""
    *case, noun = entry.forms["es"]
    if not case:
        return [word(noun, "ADV", role, f"{role}.case")]
    if len(case) == 1:
        first = [word(case[0], "DET", f"{role}.determiner", f"{role}.case")]
    else:
        first = [word(case[0], "ADP", f"{role}.case"), word(case[1], "DET", f"{role}.determiner")]
    return [*first, word(noun, "NOUN", role)]
