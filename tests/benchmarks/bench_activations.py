"""Extraction of words' vectors: words per second against one sentence at a time into JSON, and memory against size.

    python tests/benchmarks/bench_activations.py SHARED [--sentences 1000] [--peer-sentences 60]
    python tests/benchmarks/bench_activations.py SHARED --memory 20000 200000

The peer does what NeuroX does: a forward pass per sentence, all layers, the last sub-token of each word, and a line of
JSON with every number written out (`peers/` runs NeuroX itself). Ours is the whole step: counting words, the model,
checked and committed Parquet; in float32, and with the model in bfloat16 (`models.<key>.dtype`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import print_table

from xlwh.corpora import read
from xlwh.models import Zoo
from xlwh.steps import runner
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Study

SHORT = 6
"""Words of a sentence where memory is measured: its bound is that of a window, whatever the sentences' lengths."""
LANGUAGES = ("en", "de", "es", "fr", "ar", "hi", "ru", "zh")


def study(shared: Path, languages: tuple[str, ...], **concepts: Any) -> Study:
    """A study of PUD and mini-x11, in float32 and in bfloat16."""
    path = str(shared / "models" / "mini-x11")
    files = {"file": "*-PUD/{language}_pud-ud-{split}.conllu"}
    return Study.model_validate(
        {
            "name": "bench",
            "languages": languages,
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"pud": {"reader": "conllu", "path": "ud", "split": "test", "options": files}},
            "models": {"m": {"path": path}, "rough": {"path": path, "dtype": "bfloat16"}},
            "concepts": {"datasets": ["pud"], "clusters": 2, **concepts},
        }
    )


def run(shared: Path, sentences: int = 1000, peer_sentences: int = 60) -> list[dict[str, Any]]:
    """Rows of the table: words, seconds, words per second, bytes per word and layer."""
    asked = study(shared, LANGUAGES, min_count=1)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder) / "warehouse", create=True)
        context = Context(asked, warehouse, Zoo(asked, warehouse))
        texts = {language: read(asked, "pud", language).examples[:sentences] for language in LANGUAGES}
        for language, frame in texts.items():
            warehouse.write({_slot(language): frame}, _fingerprint(context, language))
        loaded = context.zoo.load("m")
        layers = loaded.config.num_hidden_layers + 1
        rows = []
        for model, name in (("m", "ours: batches to Parquet"), ("rough", "the same, model in bfloat16")):
            context.zoo.load(model)
            watch = _Watch()
            for language in LANGUAGES:
                runner.run(STEPS["activations"], context, Key(model, language=language))
            watch.stop()
            entries = [e for e in warehouse.entries("activations") if e.slot.keys[0] == model]
            words = sum(entry.rows for entry in entries) // layers
            rows.append(_row(name, words, watch, sum(entry.size_bytes for entry in entries), layers))
        rows[1]["cosine to float32"] = f"{_cosine(warehouse, layers - 1):.4f}"
        few = pl.concat([frame[:peer_sentences] for frame in texts.values()])
        watch = _Watch()
        words = _neurox(loaded, few, Path(folder) / "activations.json")
        watch.stop()
        size = (Path(folder) / "activations.json").stat().st_size
        rows.append(_row("a sentence at a time to JSON", words, watch, size, layers))
    for row in rows:
        row["speed-up"] = round(row["words/s"] / rows[-1]["words/s"], 1)
        row["per CPU second"] = round(row["words/CPU s"] / rows[-1]["words/CPU s"], 1)
    return rows


def _cosine(warehouse: Warehouse, layer: int) -> float:
    """Mean cosine of the words' vectors in both precisions, last layer, first language."""
    both = []
    for model in ("m", "rough"):
        rows = warehouse.scan("activations", model=model, language=LANGUAGES[0]).filter(
            pl.col("layer") == layer
        )
        vectors = rows.sort("example_id", "word_index").select("vector").collect()["vector"]
        both.append(np.array(vectors.to_list(), dtype=np.float64))
    products = (both[0] * both[1]).sum(axis=1)
    return float((products / np.linalg.norm(both[0], axis=1) / np.linalg.norm(both[1], axis=1)).mean())


class _Watch:
    """Seconds by the clock and of the processor: on a busy machine only the latter say much."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall = time.perf_counter() - self._start[0]
        self.cpu = time.process_time() - self._start[1]


def _row(name: str, words: int, watch: _Watch, size: int, layers: int) -> dict[str, Any]:
    return {
        "extraction": name,
        "words": words,
        "seconds": round(watch.wall, 1),
        "words/s": round(words / watch.wall),
        "words/CPU s": round(words / watch.cpu),
        "bytes per vector": round(size / (words * layers)),
    }


def _neurox(loaded: Any, examples: pl.DataFrame, path: Path) -> int:
    """One sentence at a time, as NeuroX's transformers_extractor and its JSON writer do; the number of words."""
    import torch

    written = 0
    with path.open("w", encoding="utf-8") as out, torch.inference_mode():
        for number, words in enumerate(examples["words"].to_list()):
            encoded = loaded.tokenizer(
                words, is_split_into_words=True, return_tensors="pt", truncation=True, max_length=256
            )
            ids = encoded.word_ids(0)
            states = loaded.model(**encoded, output_hidden_states=True).hidden_states
            stacked = np.stack([state[0].numpy() for state in states])
            last = {word: column for column, word in enumerate(ids) if word is not None}
            features = [
                {
                    "token": words[word],
                    "layers": [
                        {
                            "index": layer,
                            "values": [round(value.item(), 8) for value in stacked[layer, column]],
                        }
                        for layer in range(len(stacked))
                    ],
                }
                for word, column in last.items()
            ]
            out.write(json.dumps({"linex_index": number, "features": features}) + "\n")
            written += len(features)
    return written


def memory(shared: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """Rows of the table: peak memory of extraction above the loaded model, each size in a process of its own."""
    rows = []
    for size in sizes:
        child = subprocess.run(
            [sys.executable, __file__, str(shared), "--child", str(size)],
            check=True,
            capture_output=True,
            text=True,
        )
        rows.append(json.loads(child.stdout.splitlines()[-1]))
    return rows


def _child(shared: Path, sentences: int) -> dict[str, Any]:
    """Extract from `sentences` beginnings of PUD's sentences, repeated under new ids with new words mixed in."""
    import resource

    asked = study(shared, ("en",), min_count=10, max_occurrences=20)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder) / "warehouse", create=True)
        context = Context(asked, warehouse, Zoo(asked, warehouse))
        _corpus(asked, warehouse, sentences, _fingerprint(context, "en"))
        context.zoo.load("m")
        before = _resident()
        start = time.perf_counter()
        result = runner.run(STEPS["activations"], context, Key("m", language="en"))
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "sentences": f"{sentences:,}",
        "vectors stored": f"{result.rows:,}",
        "seconds": round(seconds, 1),
        "MB before": round(before),
        "peak MB": round(peak),
        "MB above": round(peak - before),
    }


def _slot(language: str) -> Slot:
    return Slot("examples", ("pud", language), "test")


def _fingerprint(context: Context, language: str) -> str:
    """What examples have that are up to date: other rows stand for those of the files."""
    (planned,) = context.planner.jobs(STEPS["examples"], Key(dataset="pud", language=language))
    return planned.fingerprint


def _corpus(asked: Study, warehouse: Warehouse, sentences: int, fingerprint: str) -> None:
    """Write the repeated corpus in a process that ends before memory is looked at, so that its peak does not count."""
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(
        target=_write_corpus, args=(asked, warehouse.root, sentences, fingerprint)
    )
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the corpus could not be written")


def _write_corpus(asked: Study, root: Path, sentences: int, fingerprint: str) -> None:
    base = read(asked, "pud", "en").examples
    copies = []
    for copy in range(-(-sentences // base.height)):
        ids = pl.col("example_id") + f".{copy:05d}"
        # Names grow with a corpus: one new word in every sentence.
        words = pl.col("words").list.head(SHORT).list.concat(pl.lit(f"name{copy}"))
        # The new word stands at the text's end; what was cut off the words is passed over.
        end = pl.col("text").str.len_chars().cast(pl.Int32)
        added = pl.struct(start=end + 1, end=end + 1 + len(f"name{copy}"))
        copies.append(
            base.with_columns(
                example_id=ids,
                text=pl.col("text") + f" name{copy}",
                words=words,
                word_spans=pl.col("word_spans")
                .list.head(SHORT)
                .list.concat(added.cast(schema("examples")["word_spans"].inner)),
                word_labels=pl.lit(None, schema("examples")["word_labels"]),
            )
        )
    frame = pl.concat(copies)[:sentences].with_columns(row_number=pl.int_range(sentences, dtype=pl.Int64))
    Warehouse(root).write({_slot("en"): frame}, fingerprint)


def _resident() -> float:
    """Resident memory now, MB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--sentences", type=int, default=1000, help="per language")
    parser.add_argument("--peer-sentences", type=int, default=60, help="per language, for the peer")
    parser.add_argument("--memory", type=int, nargs="+", help="sizes to measure memory at, instead of speed")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        print(json.dumps(_child(a.shared, a.child)))
    elif a.memory:
        print_table("Memory of extraction against the size of the corpus", memory(a.shared, a.memory))
    else:
        print_table(
            f"Extraction, mini-x11, all layers, PUD in {len(LANGUAGES)} languages",
            run(a.shared, a.sentences, a.peer_sentences),
        )


if __name__ == "__main__":
    main()
