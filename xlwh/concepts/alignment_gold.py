"""Gold word alignments as published, and the alignment error rate.

Formats: one line of `i-j` (sure) and `ipj` (possible) links per sentence pair (Pharaoh; awesome-align counts from 1),
the NAACL 2003 form `sentence position_en position_fr S|P` (from 1), JSON lines {src_words, tgt_words, alignment}, and
TSV `source TAB target TAB links` (XL-WA). Positions are counted from 0 here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xlwh.errors import CorpusError
from xlwh.jsons import parsed
from xlwh.texts import whole_number

Link = tuple[int, int]
"""(source position, target position)."""


@dataclass(frozen=True)
class GoldPair:
    """One sentence pair with its manual links; every sure link is possible too."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[Link]
    possible: frozenset[Link]


@dataclass(frozen=True)
class Agreement:
    """How links agree with gold ones, over a whole set of sentence pairs."""

    sure: int
    """|S|"""
    found: int
    """|A|"""
    in_sure: int
    """|A ∩ S|"""
    in_possible: int
    """|A ∩ P|"""

    @property
    def error_rate(self) -> float:
        """AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|), Och and Ney (2003), eq. 33."""
        return 1 - (self.in_sure + self.in_possible) / max(1, self.found + self.sure)

    @property
    def precision(self) -> float:
        """|A ∩ P| / |A|"""
        return self.in_possible / max(1, self.found)

    @property
    def recall(self) -> float:
        """|A ∩ S| / |S|"""
        return self.in_sure / max(1, self.sure)


def agreement(found: Sequence[Iterable[Link]], gold: Sequence[GoldPair]) -> Agreement:
    """Compare the links of sentence pairs with the gold ones of the same pairs, in the same order."""
    totals = [0, 0, 0, 0]
    for links, pair in zip(found, gold, strict=True):
        chosen = set(links)
        parts = (len(pair.sure), len(chosen), len(chosen & pair.sure), len(chosen & pair.possible))
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
    return Agreement(*totals)


def read_pharaoh(sentences: Path, gold: Path, first: int = 0) -> list[GoldPair]:
    """Sentence pairs `source ||| target` and their links, a line each; `first` is the number of the first word.

    Words are separated by plain blanks: other white space may be a word.
    """
    pairs = []
    for number, (text, links) in enumerate(zip(_lines(sentences), _lines(gold), strict=True), start=1):
        sides = text.split("|||")
        if len(sides) != 2:
            raise CorpusError(f"{sentences}, line {number}: `source ||| target` is expected.")
        pairs.append(_pair(gold, number, _words(sides[0]), _words(sides[1]), links.split(), first))
    return pairs


def read_tsv(path: Path) -> list[GoldPair]:
    """`source TAB target TAB i-j i-j ...`, tokenised (XL-WA)."""
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        if len(fields) != 3:
            raise CorpusError(f"{path}, line {number}: `source TAB target TAB links` is expected.")
        pairs.append(_pair(path, number, _words(fields[0]), _words(fields[1]), fields[2].split(), 0))
    return pairs


def read_jsonl(path: Path) -> list[GoldPair]:
    """JSON lines {src_words, tgt_words, alignment: [[i, j]]}: all links count as sure."""
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = parsed(line)
            links = [f"{i}-{j}" for i, j in row["alignment"]]
            words = row["src_words"], row["tgt_words"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{path}, line {number}: no pair of sentences with its links: {error}"
            ) from None
        pairs.append(_pair(path, number, *words, links, 0))
    return pairs


def read_naacl(source: Path, target: Path, links: Path) -> list[GoldPair]:
    """The form of the 2003 shared task: `<s snum=0001> words </s>` a side, `0001 i j S|P` a link, from 1."""
    sentences = [
        [_words(re.sub(r"</?s[^>]*>", "", line)) for line in _lines(side)] for side in (source, target)
    ]
    found: list[list[str]] = [[] for _ in sentences[0]]
    for place, line in enumerate(_lines(links), start=1):
        fields = line.split()
        sentence = whole_number(fields[0], 9) if len(fields) == 4 else None
        if sentence is None or not 1 <= sentence <= len(found):
            raise CorpusError(
                f"{links}, line {place}: `{line[:40]}` is no link of one of {len(found)} sentences; `0001 i j S` is "
                "expected."
            )
        _, i, j, kind = fields
        if i != "0" and j != "0":
            found[sentence - 1].append(f"{i}{'p' if kind == 'P' else '-'}{j}")
    return [
        _pair(links, number, one, other, marks, 1)
        for number, (one, other, marks) in enumerate(zip(*sentences, found, strict=True), start=1)
    ]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word]


def _pair(
    path: Path, number: int, source: Sequence[str], target: Sequence[str], links: Iterable[str], first: int
) -> GoldPair:
    sure, possible = set(), set()
    for mark in links:
        match = re.fullmatch(r"(\d{1,9})([-p])(\d{1,9})", mark)
        if match is None:
            raise CorpusError(f"{path}, line {number}: {mark[:40]!r} is no link; `i-j` or `ipj` is expected.")
        link = (int(match[1]) - first, int(match[3]) - first)
        if not (0 <= link[0] < len(source) and 0 <= link[1] < len(target)):
            raise CorpusError(f"{path}, line {number}: {mark} links a word that is not there.")
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return GoldPair(tuple(source), tuple(target), frozenset(sure), frozenset(possible))
