"""The words of a premise that decide its label: gold rationales in ERASER's form, from the rule behind the labels.

A word decides where the label would be another one if the premise said there what the hypothesis says. Entailment is
mostly decided by what the premise does not contradict, so few of its items have such words; those without are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from xlwh.demo import meaning
from xlwh.demo.languages import REALISE, Word
from xlwh.demo.lexicon import Lexicon
from xlwh.demo.meaning import Clause, NounPhrase
from xlwh.demo.sampling import Item

LANGUAGE = "en"


def deciding_words(item: Item, lexicon: Lexicon) -> tuple[list[Word], list[int]]:
    """The words of an item's English premise, and which of them (from 0) decide its label."""
    words = REALISE[LANGUAGE](item.premise, lexicon)
    decisive = {
        slot
        for slot, edited in _edits(item.premise, item.hypothesis).items()
        if edited != item.premise and meaning.label(lexicon, edited, item.hypothesis) != item.label
    }
    return words, [index for index, word in enumerate(words) if word.slots[0] in decisive]


def _edits(premise: Clause, hypothesis: Clause) -> Mapping[str, Clause]:
    """Slot of a word -> the premise with that slot as the hypothesis has it."""
    edits = {
        "verb": replace(premise, verb=hypothesis.verb),
        "verb.particle": replace(premise, verb=hypothesis.verb),
        "negation": replace(premise, negated=hypothesis.negated),
        "place": replace(premise, place=hypothesis.place),
        "time": replace(premise, time=hypothesis.time),
    }
    for slot, phrase in _phrases("subject", premise.subject, hypothesis.subject):
        edits[slot] = replace(premise, subject=phrase)
    if premise.object is not None and hypothesis.object is not None:
        for slot, phrase in _phrases("object", premise.object, hypothesis.object):
            edits[slot] = replace(premise, object=phrase)
    return edits


def _phrases(role: str, premise: NounPhrase, hypothesis: NounPhrase) -> Iterator[tuple[str, NounPhrase]]:
    yield role, replace(premise, noun=hypothesis.noun)
    yield f"{role}.adjective", replace(premise, adjective=hypothesis.adjective)
    quantity = replace(premise, quantity=hypothesis.quantity)
    yield f"{role}.determiner", quantity
    yield f"{role}.number", quantity


def eraser(items: Sequence[Item], lexicon: Lexicon, count: int) -> tuple[list[str], list[str]]:
    """Lines of `val.jsonl` (annotations) and of `docs.jsonl`, for the first `count` items with deciding words.

    Ids are the items' places.
    """
    annotations: list[str] = []
    documents: list[str] = []
    for number, item in enumerate(items):
        words, found = deciding_words(item, lexicon)
        if not found or len(annotations) == count:
            continue
        hypothesis = REALISE[LANGUAGE](item.hypothesis, lexicon)
        evidences = [
            {
                "docid": str(number),
                "start_token": index,
                "end_token": index + 1,
                "text": words[index].form,
            }
            for index in found
        ]
        annotation = {
            "annotation_id": str(number),
            "classification": item.label,
            "query": " ".join(word.form for word in hypothesis),
            "evidences": [evidences],
        }
        annotations.append(json.dumps(annotation))
        documents.append(
            json.dumps({"docid": str(number), "document": " ".join(word.form for word in words)})
        )
    return annotations, documents
