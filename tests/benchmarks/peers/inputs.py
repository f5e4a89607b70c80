"""Writes what all sides of the comparison read: a folder of JSON, Parquet and NumPy files.

settings.json       the checkpoint, the sizes, and what the methods share
pairs.*             XNLI pairs: as examples, and as token ids with their PAD baseline, predicted and gold class
premises.*          the premises alone, with scores of their tokens that are to be judged
sentences.*         English sentences of PUD, words between blanks
captions.*, t5/     captions with translations, and a small T5 of random weights
points, centroids   hidden states, and where k-means starts
transport.json      word weights of both sides, and cosines
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bench_ccta import cases, corpus
from bench_kmeans import states
from ours import BATCH_TOKENS, LABELS, load, study

from xlwh.attribution.base import Item
from xlwh.attribution.saliency import saliency
from xlwh.corpora import read, sample
from xlwh.faithfulness.selection import rationale_size
from xlwh.models.batches import collate
from xlwh.models.predict import predict
from xlwh.models.scratch import create, unigram
from xlwh.models.tokenize import encode
from xlwh.models.translation import encode_translations
from xlwh.study import InputXGradient, Scratch

STEPS, CAPTUM_BATCH = 50, 64
RATIOS = (0.1, 0.2, 0.3, 0.5, 0.75)
SHAPE = {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 256, "num_layers": 2, "num_decoder_layers": 2}


def write(folder: Path, shared: Path, model: Path, sizes: dict[str, int]) -> None:
    """All of it, for the sizes that `run.py` has."""
    config = json.loads((model / "config.json").read_text())
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    # Spread over all layers: neither side is helped by where they lie.
    spread = [i * layers * heads // sizes["players"] for i in range(sizes["players"])]
    settings = {
        "shared": str(shared.resolve()),
        "model": str(model.resolve()),
        "sizes": sizes,
        "steps": STEPS,
        "batch": CAPTUM_BATCH,
        "ratios": RATIOS,
        "permutations": sizes["permutations"],
        "heads": [divmod(place, heads) for place in spread],
    }
    _dump(folder / "settings.json", settings)
    nli = load(folder, "nli")
    pairs = max(sizes[name] for name in ("lig", "input_x_gradient", "heads"))
    frame = sample(read(study(folder), "xnli", "en").examples, max(pairs, sizes["faithfulness"]), 0)
    _pairs(folder, nli, frame.head(pairs))
    _premises(folder, nli, frame.head(sizes["faithfulness"]).with_columns(text_pair=pl.lit(None, pl.String)))
    _sentences(folder, sizes["extraction"])
    _captions(folder, sizes["written"])
    points = states(shared, sizes["points"], 384)
    np.save(folder / "points.npy", points)
    np.save(folder / "centroids.npy", points[: sizes["clusters"]])
    parts, known = corpus(shared, sizes["transport"])
    every = (case for part in parts for case in cases(part, known))
    names = ("source", "target", "similarity")
    made = [[values.tolist() for values in case] for case in islice(every, sizes["transport"])]
    _dump(folder / "transport.json", [dict(zip(names, case, strict=True)) for case in made])


def _pairs(folder: Path, nli: Any, frame: pl.DataFrame) -> None:
    frame.write_parquet(folder / "pairs.parquet")
    encoded = encode(nli, frame)
    chosen = predict(nli, encoded).argmax(axis=1).tolist()
    made = []
    for row, label in enumerate(frame["label"].to_list()):
        batch = collate(nli, encoded, np.array([row]), int(encoded.lengths[row]))
        ids = batch.input_ids
        baseline = ids.where(batch.special, nli.tokenizer.pad_token_id)
        made.append(
            {
                "inputs": {name: values[0].tolist() for name, values in batch.inputs(nli).items()},
                "baseline": baseline[0].tolist(),
                "target": chosen[row],
                "gold": LABELS.index(label),
            }
        )
    _dump(folder / "pairs.json", made)


def _premises(folder: Path, nli: Any, frame: pl.DataFrame) -> None:
    """Texts ranked by input x gradient and by chance, and how many tokens each ratio of them is.

    Scores are moved above zero, which changes no ranking: ferret takes only positive ones into a rationale, and its
    setting that takes others (`only_pos=False`) fails with numpy 1.25 and later.
    """
    frame.write_parquet(folder / "premises.parquet")
    encoded = encode(nli, frame)
    items = [Item(row, int(logits.argmax())) for row, logits in enumerate(predict(nli, encoded))]
    made = dict(saliency(nli, encoded, items, {"input_x_gradient": InputXGradient()}, BATCH_TOKENS))
    texts = []
    for row, text in enumerate(frame["text"].to_list()):
        span = encoded.row(row)
        scores = made[row]["input_x_gradient"].values
        free = int((~encoded.special[span]).sum())
        texts.append(
            {
                "text": text,
                "tokens": nli.tokenizer.convert_ids_to_tokens(encoded.input_ids[span].tolist()),
                "target": items[row].target,
                "rankings": [
                    (scores - scores.min() + 1).tolist(),
                    (np.random.default_rng(row).random(len(scores)) + 1).tolist(),
                ],
                "sizes": sorted({rationale_size(ratio, free) for ratio in RATIOS}),
            }
        )
    _dump(folder / "premises.json", texts)


def _sentences(folder: Path, count: int) -> None:
    sentences = read(study(folder), "pud", "en").examples.head(count)
    sentences.write_parquet(folder / "sentences.parquet")
    lines = [" ".join(words) for words in sentences["words"].to_list()]
    (folder / "sentences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _captions(folder: Path, count: int) -> None:
    pairs = read(study(folder), "captions", "de").examples
    tokenizer = unigram([*pairs["text"].to_list(), *pairs["text_pair"].to_list()], 2000)
    create(Scratch(dataset="captions", config=SHAPE), tokenizer, folder / "t5")
    tokenizer.save_pretrained(folder / "t5")
    frame = pairs.head(count)
    frame.write_parquet(folder / "captions.parquet")
    encoded = encode_translations(load(folder, "t5"), frame)
    texts = zip(frame["text"].to_list(), frame["text_pair"].to_list(), encoded.forced or (), strict=True)
    made = [
        {
            "text": text,
            "translation": translation,
            "source_ids": encoded.input_ids[encoded.row(row)].tolist(),
            "written_ids": list(ids),
        }
        for row, (text, translation, ids) in enumerate(texts)
    ]
    _dump(folder / "captions.json", made)


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
