"""Word alignment of 100,000 sentence pairs, and the error rate on published gold sets beside published ones.

    python tests/benchmarks/bench_alignment.py ../shared [--pairs 100000] [--text-pairs 0]

Time: English-Spanish sentences of Tatoeba (Anki), both directions and their symmetrisation, words in lower case. Error
rates: the gold sentences are aligned together with the training text that the row names. The published rates are of
fast_align trained on other and mostly far more text, so they say what to expect, and are no comparison like for like:
lilt/alignment-scripts (grow-diag-final) and the README of eflomal. Where the command `eflomal-align` is installed it is
run on the same text, as a peer.
"""

from __future__ import annotations

import argparse
import gzip
import resource
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import print_table

from xlwh.concepts.alignment import Directions, align, encode
from xlwh.concepts.alignment_external import align_externally
from xlwh.concepts.alignment_gold import (
    Agreement,
    GoldPair,
    agreement,
    read_jsonl,
    read_naacl,
    read_pharaoh,
    read_tsv,
)
from xlwh.concepts.alignment_symmetry import symmetrised
from xlwh.models.words import segment
from xlwh.study import Aligner

Pair = tuple[list[str], list[str]]

SPEED_PAIRS = 100_000


@dataclass(frozen=True)
class GoldSet:
    """Manually aligned sentences, what else to train on, and what has been published for fast_align on them."""

    name: str
    gold: Callable[[Path], list[GoldPair]]
    text: Callable[[Path], list[Pair]]
    trained_on: str
    published: str


def run_speed(shared: Path, pairs: int = SPEED_PAIRS) -> list[dict[str, Any]]:
    """Seconds of each part for the longest sentences of the corpus."""
    text = _anki(shared)[-pairs:]
    source, target = [a for a, _ in text], [b for _, b in text]
    times = [time.perf_counter()]
    processor = time.process_time()
    bitext = encode(source, target)
    directions = align(bitext)
    times.append(time.perf_counter())
    links = symmetrised(bitext, directions)
    times.append(time.perf_counter())
    return [
        {
            "sentence pairs": len(text),
            "words": len(bitext.source) + len(bitext.target),
            "links": links.height,
            "train both directions s": round(times[1] - times[0], 1),
            "symmetrise s": round(times[2] - times[1], 1),
            "all s": round(times[2] - times[0], 1),
            "processor s": round(time.process_time() - processor, 1),
            "peak MB, text included": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
        }
    ]


def run_error_rates(shared: Path, most: int = 0) -> list[dict[str, Any]]:
    """One row per gold set and way of aligning; `most` limits the training text."""
    rows = []
    for case in GOLD_SETS:
        gold, text = case.gold(shared), case.text(shared)
        text = text[-most:] if most else text
        shared_facts = {
            "gold set": case.name,
            "trained on": f"the gold sentences{' and ' + case.trained_on if text else ''} ({len(gold) + len(text):,} pairs)",
        }
        ways: dict[str, Callable[[list[Pair]], Directions]] = {
            "xlwh": lambda pairs: align(_encoded(pairs)),
            "xlwh, diagonal": lambda pairs: align(_encoded(pairs), Aligner(model="diagonal")),
        }
        if shutil.which("eflomal-align"):
            ways["eflomal"] = _eflomal
        for way, function in ways.items():
            found = _agreement(gold, text, function)
            rows.append(
                {
                    **shared_facts,
                    "aligner": way,
                    "AER": round(found.error_rate, 3),
                    "precision": round(found.precision, 3),
                    "recall": round(found.recall, 3),
                    "published AER of fast_align": case.published,
                }
            )
    return rows


def _encoded(pairs: Sequence[Pair]) -> Any:
    return encode([a for a, _ in pairs], [b for _, b in pairs])


def _agreement(
    gold: list[GoldPair], text: list[Pair], function: Callable[[list[Pair]], Directions]
) -> Agreement:
    pairs = [(_lower(pair.source), _lower(pair.target)) for pair in gold] + text
    links = symmetrised(_encoded(pairs), function(pairs))
    found: list[list[tuple[int, int]]] = [[] for _ in gold]
    for pair, i, j in links.filter(links["pair"] < len(gold)).iter_rows():
        found[pair].append((i, j))
    return agreement(found, gold)


def _eflomal(pairs: list[Pair]) -> Directions:
    """Both directions by the external aligner."""
    return align_externally(_encoded(pairs), "eflomal-align -i {input} -f {forward} -r {reverse}")


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]


def _words(text: str, language: str) -> list[str]:
    return [text[start:end].lower() for start, end in segment(text, language)]


def _anki(shared: Path) -> list[Pair]:
    """English and Spanish sentences of Tatoeba, shortest first."""
    with zipfile.ZipFile(shared / "data" / "parallel" / "anki_spa-eng" / "spa-eng.zip") as archive:
        lines = archive.read("spa-eng/spa.txt").decode().split("\n")
    sides = [line.split("\t")[:2] for line in lines if line]
    return [(_words(a, "en"), _words(b, "es")) for a, b in sides]


def _captions(shared: Path, language: str) -> list[Pair]:
    """English image captions of Multi30k and their translations."""
    folder = shared / "data" / "parallel" / "multi30k"
    sides = [
        gzip.decompress((folder / f"train.{code}.gz").read_bytes()).decode().split("\n")
        for code in ("en", language)
    ]
    return [(_words(a, "en"), _words(b, language)) for a, b in zip(*sides, strict=True) if a]


def _debates(shared: Path) -> list[Pair]:
    """The 729 training sentences of the Hansards that there are."""
    folder = shared / "data" / "wordalign" / "hansards_enfr" / "training"
    pairs: list[Pair] = []
    for number in ("001", "002"):
        stem = folder / f"hansard.36.1.house.debates.{number}"
        sides = [Path(f"{stem}.{side}").read_bytes().decode("latin-1").split("\n") for side in "ef"]
        pairs += [(_lower(a.split()), _lower(b.split())) for a, b in zip(*sides, strict=True) if a.strip()]
    return pairs


def _hansards(shared: Path) -> list[GoldPair]:
    folder = shared / "data" / "wordalign" / "hansards_enfr" / "test"
    return read_naacl(folder / "test.e", folder / "test.f", folder / "test.wa.nonullalign")


def _awesome(name: str) -> Callable[[Path], list[GoldPair]]:
    def read(shared: Path) -> list[GoldPair]:
        folder = shared / "data" / "wordalign" / "awesome_align"
        return read_pharaoh(folder / f"{name}.src-tgt", folder / f"{name}.gold", first=1)

    return read


def _golden(language: str) -> Callable[[Path], list[GoldPair]]:
    def read(shared: Path) -> list[GoldPair]:
        folder = shared / "data" / "wordalign" / "golden_collection"
        name = f"en-{language}/{language}_golden.jsonl"
        return read_jsonl(folder / "train" / name) + read_jsonl(folder / "valid" / name)

    return read


GOLD_SETS = (
    GoldSet(
        "Hansards en-fr (447)",
        _hansards,
        lambda shared: _captions(shared, "fr") + _debates(shared),
        "29,000 Multi30k captions, 729 sentences of the Hansards",
        ".121 (lilt), .153 (eflomal's README); 1,130,000 Hansards pairs",
    ),
    GoldSet(
        "Golden Collection en-fr (100)",
        _golden("fr"),
        lambda shared: _captions(shared, "fr") + _debates(shared),
        "29,000 Multi30k captions, 729 sentences of the Hansards",
        "",
    ),
    GoldSet(
        "XL-WA en-es test (245)",
        lambda shared: read_tsv(shared / "data" / "wordalign" / "xlwa" / "es" / "test.tsv"),
        _anki,
        "118,964 Tatoeba pairs",
        "",
    ),
    GoldSet("Golden Collection en-es (100)", _golden("es"), _anki, "118,964 Tatoeba pairs", ""),
    GoldSet(
        "ro-en (248)",
        _awesome("roen"),
        lambda shared: [],
        "",
        ".322 (lilt), .325 (eflomal's README; 48,681 pairs)",
    ),
    GoldSet("zh-en (450)", _awesome("zhen"), lambda shared: [], "", ""),
)


def main() -> None:
    """Print the tables of benchmarks.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path, help="the shared folder")
    parser.add_argument("--pairs", type=int, default=SPEED_PAIRS)
    parser.add_argument(
        "--text-pairs", type=int, default=0, help="training text of the error rates; 0 for all"
    )
    asked = parser.parse_args()
    print_table(f"Word alignment of {asked.pairs:,} sentence pairs", run_speed(asked.shared, asked.pairs))
    print()
    print_table("Alignment error rates", run_error_rates(asked.shared, asked.text_pairs))


if __name__ == "__main__":
    main()
