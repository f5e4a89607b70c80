"""The demo's corpus: parallel inference items with gold alignments, tags and dictionaries, all from one seed.

`python -m xlwh.demo.grammar` writes `xlwh/demo/data/` again, byte for byte. Row i is the same item in every language:

- `train-{language}.tsv` (English and Spanish), `dev-{language}.tsv` (all): premise, hypothesis, label; XTREME's XNLI
- `alignments/dev.en-{language}.jsonl`: the words of both sides and their gold links, 0-based `i-j`, per segment
- `dictionaries/en-{language}.txt`: English word and translation, inflected forms, most frequent first; MUSE's form
- `tags/dev-{language}.tsv`: the premises, one word and its universal part of speech a line; XTREME's UDPOS
- `rationales/`: the words of English premises that decide the label; ERASER's form

Sentences are written as captions are: no capital at the beginning, no full stop.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xlwh.demo import lexicon, rationales
from xlwh.demo.languages import REALISE, Word, text
from xlwh.demo.lexicon import LANGUAGES, Lexicon
from xlwh.demo.meaning import Clause
from xlwh.demo.sampling import HYPOTHESIS_WORDS, PREMISE_WORDS, Dice, Item, items, random_clause

DATA = Path(__file__).parent / "data"
SEED = 2026
DEV_HYPOTHESES = 160
TRAIN_HYPOTHESES = 1400
TRAIN_LANGUAGES = ("en", "es")
RATIONALES = 60
DICTIONARY_CLAUSES = 12_000
"""Clauses read off for the dictionaries: enough that every form of the lexicon occurs many times."""


@dataclass(frozen=True)
class Corpus:
    """Development and training items; no hypothesis is in both."""

    dev: list[Item]
    train: list[Item]


def corpus(seed: int = SEED) -> Corpus:
    """The items of the demo: as many of each label for every hypothesis."""
    words, taken = lexicon.load(), set[Clause]()
    dev = items(Dice(f"{seed}-dev"), words, DEV_HYPOTHESES, taken)
    return Corpus(dev, items(Dice(f"{seed}-train"), words, TRAIN_HYPOTHESES, taken))


def clauses(seed: int | str, count: int) -> Iterator[Clause]:
    """Random clauses of all lengths: text without labels."""
    dice, words = Dice(f"{seed}-clauses"), lexicon.load()
    shortest, longest = HYPOTHESIS_WORDS[0], PREMISE_WORDS[1]
    return (random_clause(dice, words, (shortest, longest)) for _ in range(count))


def realise(clause: Clause, language: str, words: Lexicon | None = None) -> list[Word]:
    """A clause as tagged words of a language."""
    return REALISE[language](clause, words or lexicon.load())


def links(source: Sequence[Word], target: Sequence[Word]) -> list[tuple[int, int]]:
    """Gold alignment: the pairs of words (0-based) that express a common slot of the clause."""
    return [
        (i, j)
        for i, one in enumerate(source)
        for j, other in enumerate(target)
        if set(one.slots) & set(other.slots)
    ]


def dictionaries(seed: int = SEED, size: int = DICTIONARY_CLAUSES) -> dict[str, list[tuple[str, str]]]:
    """Gold dictionaries from English: pairs of words that express the same slot above all, in any of their forms.

    The most frequent source word first, its most frequent translation first. A word that stands for several slots
    (German `im`) is listed under its main one.
    """
    counts: Mapping[str, Counter[tuple[str, str]]] = {language: Counter() for language in LANGUAGES[1:]}
    frequency: Counter[str] = Counter()
    for clause in clauses(f"{seed}-dictionary", size):
        source = realise(clause, LANGUAGES[0])
        frequency.update(word.form for word in source)
        for language, found in counts.items():
            target = realise(clause, language)
            found.update((a.form, b.form) for a in source for b in target if a.slots[0] == b.slots[0])
    return {
        language: sorted(found, key=lambda pair: (-frequency[pair[0]], pair[0], -found[pair], pair[1]))
        for language, found in counts.items()
    }


def write(folder: Path = DATA, seed: int = SEED) -> list[Path]:
    """Write all files under `folder`; the same seed gives the same bytes."""
    found = corpus(seed)
    files: dict[str, Iterable[str]] = {}
    for language in LANGUAGES:
        files[f"dev-{language}.tsv"] = _rows(found.dev, language)
        files[f"tags/dev-{language}.tsv"] = _tags(found.dev, language)
    for language in TRAIN_LANGUAGES:
        files[f"train-{language}.tsv"] = _rows(found.train, language)
    for language in LANGUAGES[1:]:
        files[f"alignments/dev.{LANGUAGES[0]}-{language}.jsonl"] = _alignments(found.dev, language)
    for language, pairs in dictionaries(seed).items():
        files[f"dictionaries/{LANGUAGES[0]}-{language}.txt"] = (f"{a}\t{b}" for a, b in pairs)
    annotations, documents = rationales.eraser(found.dev, lexicon.load(), RATIONALES)
    files |= {"rationales/val.jsonl": annotations, "rationales/docs.jsonl": documents}
    return [_write(folder / name, lines) for name, lines in files.items()]


def _rows(found: Sequence[Item], language: str) -> Iterator[str]:
    for item in found:
        segments = (text(realise(clause, language), language) for clause in (item.premise, item.hypothesis))
        yield "\t".join((*segments, item.label))


def _tags(found: Sequence[Item], language: str) -> Iterator[str]:
    for item in found:
        yield from (f"{word.form}\t{word.tag}" for word in realise(item.premise, language))
        yield ""


def _alignments(found: Sequence[Item], language: str) -> Iterator[str]:
    for number, item in enumerate(found):
        row: dict[str, object] = {"row": number}
        for segment, clause in (("premise", item.premise), ("hypothesis", item.hypothesis)):
            source, target = realise(clause, LANGUAGES[0]), realise(clause, language)
            row[segment] = {
                "source": [word.form for word in source],
                "target": [word.form for word in target],
                "alignment": " ".join(f"{i}-{j}" for i, j in links(source, target)),
            }
        yield json.dumps(row, ensure_ascii=False)


def _write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


if __name__ == "__main__":
    for path in write():
        print(f"{path.stat().st_size:>9,} {path.relative_to(DATA)}")
