"""Text to pretrain the demo's encoder on: pairs of sentences in any two languages, without inference labels.

The second sentence of a pair is a translation of the first, or of an edited copy of it. The encoder learns to fill in
masked pieces (masked and translation language modelling, Devlin et al. 2019, Conneau and Lample 2019), which words of
either sentence the other one does not say (replaced-word detection after Clark et al. 2020, across languages), and
whether there are any. Some first sentences are code-switched word by word (as Qin et al. 2020 do for transfer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.demo.grammar import realise
from xlwh.demo.languages import Word
from xlwh.demo.lexicon import LANGUAGES, Lexicon
from xlwh.demo.meaning import Clause
from xlwh.demo.sampling import HYPOTHESIS_WORDS, MAIN_EDITS, PREMISE_WORDS, Dice, acceptable, random_clause

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LENGTHS = (HYPOTHESIS_WORDS[0], PREMISE_WORDS[1])
SAME_LANGUAGE = 0.3
SAME_MEANING = 0.25
SWITCHED_SENTENCES = 0.2
SWITCHED_WORDS = 0.5
MASKED = 0.2
LENGTH_STEP = 8
"""Batches are padded to a multiple of this: few shapes are faster on a CPU than tight ones."""


def edited(dice: Dice, lexicon: Lexicon, clause: Clause) -> Clause:
    """A clause made from another one by up to five edits."""
    edits = [edit for group in MAIN_EDITS.values() for edit in group.values()]
    found = clause
    for _ in range(dice.pick((2, 3, 4, 5))):
        candidate = dice.pick(edits)(dice, lexicon, found)
        if candidate is not None and acceptable(candidate, lexicon):
            found = candidate
    return found


def said(clause: Clause, slot: str) -> object:
    """What a clause says in a slot; form (voice, order, `a` or `the`) is nothing said."""
    part, _, detail = slot.partition(".")
    if part == "negation":
        return clause.negated
    if part in ("verb", "place", "time"):
        return getattr(clause, part)
    phrase = clause.subject if part == "subject" else clause.object
    if phrase is None or not detail:
        return phrase and phrase.noun
    if detail in ("adjective", "particle"):
        return phrase.adjective
    return "one" if phrase.quantity in ("the", "a") else phrase.quantity


@dataclass(frozen=True)
class Sentence:
    """Piece ids of a sentence and, for each piece, whether the other clause of the pair says something else there."""

    ids: NDArray[np.int64]
    changed: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Arrays `[rows, length]`; `changed_any` is `[rows]`."""

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    masked: NDArray[np.bool_]
    gold_ids: NDArray[np.int64]
    inner: NDArray[np.bool_]
    changed: NDArray[np.float32]
    changed_any: NDArray[np.float32]


class PretrainingText:
    """Sentence pairs of all languages, encoded once, from which batches are drawn."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, lexicon: Lexicon, pairs: int, seed: int) -> None:
        self._tokenizer = tokenizer
        dice = Dice(f"{seed}-pretraining")
        clauses = [random_clause(dice, lexicon, LENGTHS) for _ in range(pairs)]
        others = [
            clause if dice.chance(SAME_MEANING) else edited(dice, lexicon, clause) for clause in clauses
        ]
        both = list(zip(clauses, others, strict=True))
        self.first = {x: self._encode([(a, b, realise(a, x)) for a, b in both], x) for x in LANGUAGES}
        self.second = {x: self._encode([(b, a, realise(b, x)) for a, b in both], x) for x in LANGUAGES}
        mixed = [
            (a, b, code_switched(dice, a, LANGUAGES[i % len(LANGUAGES)])) for i, (a, b) in enumerate(both)
        ]
        self.switched = self._encode(mixed, None)
        self._vocabulary = len(tokenizer)

    def _encode(
        self, sentences: Sequence[tuple[Clause, Clause, Sequence[Word]]], language: str | None
    ) -> list[Sentence]:
        texts, spans = [], []
        for _, _, words in sentences:
            text, starts = "", []
            for word in words:
                # Chinese words stand together, in code-switched text too.
                blank = "" if not text or language == "zh" or (_han(text[-1]) and _han(word.form[0])) else " "
                starts.append(len(text) + len(blank))
                text += blank + word.form
            texts.append(text)
            spans.append(starts)
        encodings = self._tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        found = []
        for (clause, other, words), starts, encoding in zip(sentences, spans, encodings, strict=True):
            flags = np.array([_changed(clause, other, word) for word in words], dtype=np.float32)
            ends = np.array([end for _, end in encoding.offsets])
            at = np.searchsorted(starts, np.maximum(ends - 1, 0), side="right") - 1
            found.append(Sentence(np.array(encoding.ids, dtype=np.int64), flags[at]))
        return found

    def batches(self, rows: int, seed: int) -> Iterator[Batch]:
        """Endless batches of sentence pairs, special tokens in place and pieces masked."""
        random = np.random.default_rng(seed)
        while True:
            yield self._batch(random, rows)

    def _batch(self, random: np.random.Generator, rows: int) -> Batch:
        pairs = []
        for index in random.integers(len(self.switched), size=rows):
            one, other = random.choice(len(LANGUAGES), size=2, replace=False)
            one = other if random.random() < SAME_LANGUAGE else one
            first = self.first[LANGUAGES[one]][index]
            if random.random() < SWITCHED_SENTENCES:
                first = self.switched[index]
            pairs.append((first, self.second[LANGUAGES[other]][index]))
        longest = max(len(a.ids) + len(b.ids) + 4 for a, b in pairs)
        shape = rows, -(-longest // LENGTH_STEP) * LENGTH_STEP
        begin, pad, end, _, mask = range(5)
        gold = np.full(shape, pad, dtype=np.int64)
        types, attention = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        inner, changed = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.float32)
        for row, (a, b) in enumerate(pairs):
            middle, size = len(a.ids) + 2, len(a.ids) + len(b.ids) + 4
            gold[row, :size] = [begin, *a.ids, end, end, *b.ids, end]
            types[row, middle:size] = 1
            attention[row, :size] = 1
            inner[row, 1 : middle - 1] = inner[row, middle + 1 : size - 1] = True
            changed[row, 1 : middle - 1] = a.changed
            changed[row, middle + 1 : size - 1] = b.changed
        masked = inner & (random.random(shape) < MASKED)
        ids, dice = gold.copy(), random.random(shape)
        ids[masked & (dice < 0.8)] = mask
        replaced = masked & (dice >= 0.9)
        ids[replaced] = random.integers(5, self._vocabulary, size=int(replaced.sum()))
        return Batch(
            input_ids=ids,
            token_type_ids=types,
            attention_mask=attention,
            masked=masked,
            gold_ids=gold,
            inner=inner & ~masked,
            changed=changed,
            changed_any=changed.max(axis=1),
        )


def code_switched(dice: Dice, clause: Clause, language: str) -> list[Word]:
    """The clause with about half of its words replaced by their translations into languages at random."""
    translations = {x: realise(clause, x) for x in LANGUAGES}
    found = []
    for word in translations[language]:
        same = [other for other in translations[dice.pick(LANGUAGES)] if other.slots[0] == word.slots[0]]
        found.append(same[0] if same and dice.chance(SWITCHED_WORDS) else word)
    return found


def _changed(clause: Clause, other: Clause, word: Word) -> bool:
    return any(said(clause, slot) != said(other, slot) for slot in word.slots[:1])


def _han(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
