"""The lexicon as a lexicon: how many words it covers, and how often its best translations are those of dictionaries.

    python tests/benchmarks/bench_lexicon.py ../shared

Text: the 1,000 sentences of PUD and the 2,490 pairs of XNLI dev (each premise once), English with German and Spanish,
words in lower case. A word counts where the dictionaries (MUSE's test words, XLing-Eval) have it and some sentence pair
holds both it and a translation of it, so that an aligner could have found one. `far` are those of them whose
translations are all spelled otherwise (Dice of letter pairs at most .5). A word that the lexicon lacks counts as wrong.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
from bench_alignment import Pair, _words
from common import print_table

from xlwh.concepts.lexicon import from_alignment
from xlwh.study import Aligner

LANGUAGES = {"de": "German", "es": "Spanish"}
EFLOMAL = "eflomal-align -i {input} -f {forward} -r {reverse}"


def run(shared: Path) -> list[dict[str, Any]]:
    """One row per language and aligner."""
    ways = {"xlwh": Aligner(), "xlwh, diagonal": Aligner(model="diagonal")}
    if shutil.which("eflomal-align"):
        ways["eflomal"] = Aligner(command=EFLOMAL)
    rows = []
    for language in LANGUAGES:
        text, gold = _text(shared / "data", language), _dictionary(shared / "data" / "dictionaries", language)
        for way, aligner in ways.items():
            start = time.process_time()
            lexicon = from_alignment(text, aligner, n_best=10)
            rows.append(
                {
                    "language": language,
                    "sentence pairs": len(text),
                    "aligner": way,
                    **_scores(text, gold, lexicon.frame),
                    "processor s": round(time.process_time() - start, 1),
                }
            )
    return rows


def _scores(text: list[Pair], gold: dict[str, set[str]], lexicon: pl.DataFrame) -> dict[str, Any]:
    types = {word for source, _ in text for word in source if word.isalpha()}
    reachable = {
        word
        for source, target in text
        for word in source
        if word in gold and not gold[word].isdisjoint(target)
    }
    far = {word for word in reachable if max(dice(word, each) for each in gold[word]) <= 0.5}
    best: dict[str, list[str]] = defaultdict(list)
    for source, target in (
        lexicon.sort("source_word", "rank").select("source_word", "target_word").iter_rows()
    ):
        best[source].append(target)

    def precision(words: set[str], n: int) -> float:
        right = sum(not gold[word].isdisjoint(best.get(word, [])[:n]) for word in words)
        return round(right / max(1, len(words)), 3)

    return {
        "types": len(types),
        "coverage": round(sum(word in best for word in types) / len(types), 3),
        "reachable": len(reachable),
        "P@1": precision(reachable, 1),
        "P@10": precision(reachable, 10),
        "far": len(far),
        "far P@1": precision(far, 1),
        "far P@10": precision(far, 10),
    }


def dice(one: str, other: str) -> float:
    """Dice coefficient of the letter pairs of two words, ends included."""
    sides = [{word[at : at + 2] for at in range(len(word) - 1)} for word in (f"^{one}$", f"^{other}$")]
    return 2 * len(sides[0] & sides[1]) / (len(sides[0]) + len(sides[1]))


def _text(data: Path, language: str) -> list[Pair]:
    treebanks = [_treebank(data / "ud" / f"UD_{name}-PUD") for name in ("English", LANGUAGES[language])]
    items = [_items(data / "xnli" / "xtreme" / f"dev-{code}.tsv") for code in ("en", language)]
    sides = [one + other for one, other in zip(treebanks, items, strict=True)]
    pairs = list(dict.fromkeys(zip(*sides, strict=True)))
    return [(_words(source, "en"), _words(target, language)) for source, target in pairs]


def _treebank(folder: Path) -> list[str]:
    (path,) = folder.glob("*.conllu")
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.removeprefix("# text = ").strip() for line in lines if line.startswith("# text = ")]


def _items(path: Path) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [text for line in lines for text in line.split("\t")[:2]]


def _dictionary(folder: Path, language: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    # `nw` are the pairs that MUSE's readers found wrong.
    muse = [path for path in folder.glob(f"muse_pos/en-{language}.*.txt") if ".nw." not in path.name]
    for path in [*muse, *folder.glob(f"xling_eval/*en-{language}.tsv")]:
        for line in path.read_text(encoding="utf-8").split("\n"):
            source, _, target = line.lower().partition("\t")
            if target:
                found[source].add(target)
    return found


def main() -> None:
    """Print the table of benchmarks.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path, help="the shared folder")
    print_table("Lexica from aligned text", run(parser.parse_args().shared))


if __name__ == "__main__":
    main()
