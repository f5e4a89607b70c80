"""Hindi: the verb last, postpositions, oblique forms; verb and auxiliary agree with the subject.

For the passive of the other languages the object moves to the front and takes `ko`, as the language prefers.
"""

from __future__ import annotations

from xlwh.demo.languages.base import Word, patient, word
from xlwh.demo.lexicon import Entry, Lexicon
from xlwh.demo.meaning import SINGULAR, Clause, NounPhrase

QUANTITIES = {"some": "कुछ", "all": "सभी", "no": "कोई"}
NUMBERS = {"two": "दो", "three": "तीन"}


def realise(clause: Clause, lexicon: Lexicon) -> list[Word]:
    """The clause as Hindi words in order."""
    gender = lexicon.nouns[clause.subject.noun].forms["hi"][0]
    singular = clause.subject.quantity in SINGULAR
    progressive = "रही" if gender == "f" else "रहा" if singular else "रहे"
    *preverb, root = lexicon.verbs[clause.verb].forms["hi"]
    verb = [word(form, "NOUN", "verb", "verb.particle") for form in preverb]
    slots = ("verb.light", "verb") if preverb else ("verb", "verb.particle")
    verb += [
        word(root, "VERB", *slots),
        word(progressive, "AUX", "verb.aux"),
        word("है" if singular else "हैं", "AUX", "verb.aux"),
    ]
    if clause.negated or clause.subject.quantity == "no":
        slot = "negation" if clause.negated else "subject.determiner"
        verb.insert(len(preverb), word("नहीं", "PART", slot))
    subject = noun_phrase(clause.subject, "subject", False, lexicon)
    object_ = _object(clause, lexicon) if clause.object else []
    place = postpositional(lexicon.places[clause.place], "place") if clause.place else []
    time = postpositional(lexicon.times[clause.time], "time") if clause.time else []
    if clause.passive:
        return [*object_, *subject, *time, *place, *verb]
    front = {"place": place, "time": time, None: []}[clause.fronted]
    rest = [item for phrase in (time, place) if phrase is not front for item in phrase]
    return [*front, *subject, *rest, *object_, *verb]


def noun_phrase(phrase: NounPhrase, role: str, oblique: bool, lexicon: Lexicon) -> list[Word]:
    gender, singular, *rest = lexicon.nouns[phrase.noun].forms["hi"]
    plural, oblique_form = rest[0], rest[-1]  # things have no plural here
    form = oblique_form if oblique else singular if phrase.quantity in SINGULAR else plural
    words = [word(form, "NOUN", role)]
    if phrase.adjective:
        forms = lexicon.adjectives[phrase.adjective].forms["hi"]
        index = 0 if len(forms) == 1 else 2 if gender == "f" else 1 if oblique else 0
        words.insert(0, word(forms[index], "ADJ", f"{role}.adjective"))
    determiner = f"{role}.determiner"
    match phrase.quantity:
        case "the":
            return words
        case "a":
            return [word("एक", "DET", determiner), *words]
        case "two" | "three":
            return [word(NUMBERS[phrase.quantity], "NUM", f"{role}.number"), *words]
        case _:
            return [word(QUANTITIES[phrase.quantity], "DET", determiner), *words]


def _object(clause: Clause, lexicon: Lexicon) -> list[Word]:
    phrase = patient(clause)
    animate = lexicon.nouns[phrase.noun].kinds & {"animal", "person"} and not lexicon.verbs[clause.verb].goods
    if not animate and not clause.passive:
        return noun_phrase(phrase, "object", False, lexicon)
    return [*noun_phrase(phrase, "object", True, lexicon), word("को", "ADP", "object.case")]


def postpositional(entry: Entry, role: str) -> list[Word]:
    """`park men`, `sham ko`, `bahar`."""
    noun, *postposition = entry.forms["hi"]
    if not postposition:
        tag = "ADV" if role == "place" else "NOUN"
        return [word(noun, tag, role, f"{role}.case")]
    return [word(noun, "NOUN", role), word(postposition[0], "ADP", f"{role}.case")]
