"""Entities of a sequence of IOB tags, and their F1: CoNLL-2003's lenient reading, as seqeval's default has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Entity = tuple[str, int, int]
"""Type, first word, one past the last word."""


def is_iob(labels: Iterable[str]) -> bool:
    """Whether tags are O, B-... and I-..., with at least one entity among them: then spans can be scored."""
    known = set(labels)
    return known > {"O"} and all(label == "O" or label[:2] in ("B-", "I-") for label in known)


def entities(tags: Sequence[str]) -> set[Entity]:
    """Entities of one sentence.

    An entity begins at B-x, and at an I-x that does not follow B-x or I-x of the same type; it goes on over I-x.
    Source: conlleval.pl, and seqeval's `get_entities` for IOB tags.
    """
    found: set[Entity] = set()
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, this = tag.partition("-")
        if kind and (prefix != "I" or this != kind):
            found.add((kind, start, place))
            kind = ""
        if prefix != "O" and not kind:
            kind, start = this, place
    return found


def entity_f1(hits: int, gold: int, predicted: int) -> float:
    """Micro-averaged F1 of entities: 2 hits / (gold + predicted); 0 where there are none at all."""
    return 2 * hits / (gold + predicted) if gold + predicted else 0.0
