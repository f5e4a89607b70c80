"""A study of every step over a handful of the demo's sentences, and a warehouse that is filled without computing.

What decides which jobs there are is made for real: examples, their audit, models. Every other table is written empty,
under the fingerprint that its step plans, so that a whole study is up to date in seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xlwh.demo.grammar import DATA
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, Step, partitions
from xlwh.steps.planning import NotApplicable, definition_of
from xlwh.steps.runner import run
from xlwh.store import Warehouse, empty
from xlwh.study import Study

MADE = ("published_results", "examples", "parallelism", "models")
"""Steps that are run; the others are written empty."""

_QUICK = {"epochs": 1, "batch_size": 8, "max_length": 32, "evaluations_per_epoch": 1}
_TINY = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 1}


def settings(folder: Path) -> dict[str, Any]:
    """A study of three languages, all tasks and all sections, as its file would say it."""
    _write_questions(folder)
    for name in ("en", "de", "es"):
        words = ["the", "der", "el"]
        (folder / f"{name}.vec").write_text(
            f"{len(words)} 2\n" + "".join(f"{word} {i} 1\n" for i, word in enumerate(words))
        )
    (folder / "labels.csv").write_text("model,clustering,concept,label\n")
    (folder / "en-de.txt").write_text("the der\n" * 3)
    nli = {"reader": "xnli", "path": str(DATA)}
    pairs = {"reader": "parallel", "path": str(DATA), "languages": ["es"]}
    side = {"layout": "tsv", "source": "en", "target_column": 0}
    questions = {
        "reader": "xquad",
        "path": str(folder),
        "languages": ["en"],
        "options": {"file": "questions.json"},
    }
    tuned = {"languages": ["en"], **_QUICK}
    return {
        "name": "small",
        "languages": ["en", "de", "es"],
        "seed": 3,
        "folder": folder,
        "data_root": folder,
        "datasets": {
            "nli_train": {**nli, "split": "train", "languages": ["en", "es"], "max_examples": 24},
            "nli": {**nli, "max_examples": 12},
            "tags_train": {
                "reader": "udpos",
                "path": str(DATA / "tags"),
                "languages": ["en"],
                "max_examples": 16,
            },
            "tags": {"reader": "udpos", "path": str(DATA / "tags"), "skip_examples": 16, "max_examples": 8},
            "pairs_train": {
                **pairs,
                "split": "train",
                "max_examples": 64,
                "options": {"file": "train-{side}.tsv", **side},
            },
            "pairs": {**pairs, "max_examples": 6, "options": {"file": "dev-{side}.tsv", **side}},
            "questions": questions,
        },
        "models": {
            "base": {"path": str(DATA.parent / "model")},
            "nli_en": {
                "datasets": ["nli"],
                "max_length": 48,
                "finetune": {"base": "base", "dataset": "nli_train", **tuned},
            },
            "pos": {
                "datasets": ["tags"],
                "max_length": 48,
                "finetune": {"base": "base", "dataset": "tags_train", **tuned},
            },
            "qa": {
                "datasets": ["questions"],
                "max_length": 48,
                "doc_stride": 8,
                "finetune": {"base": "base", "dataset": "questions", **tuned},
            },
            "blank": {"scratch": {"dataset": "pairs_train", "vocab_size": 128, "config": _TINY}},
            "mt": {
                "datasets": ["pairs"],
                "max_length": 40,
                "finetune": {"base": "blank", "dataset": "pairs_train", **tuned, "languages": ["es"]},
            },
            "pieces": {"weights_of": "nli_en", "datasets": ["nli"], "tokenization": {"sampling": 0.1}},
            "twin": {"weights_of": "nli_en", "datasets": ["nli"], "randomization": {"seed": 6}},
        },
        "attribution": {
            "max_examples": 6,
            "methods": {
                "lig": {},
                "lig_fixed": {},
                "integrated_gradients": {},
                "integrated_gradients_mask": {},
                "input_x_gradient": {},
                "attention": {},
                "scaled_attention": {},
                "deeplift": {},
                "gradient_shap": {},
                "occlusion": {},
                "random": {},
            },
            "probes": {
                "models": ["nli_en", "pos"],
                "datasets": ["nli", "tags"],
                "max_examples": 4,
                "draws": 2,
            },
        },
        "spaces": {
            "embeddings": {"kind": "input_embeddings", "pivot": "en", "dictionaries": {"de": "en-de.txt"}},
            "vectors": {"kind": "vec", "files": {name: f"{name}.vec" for name in ("en", "de", "es")}},
        },
        "consistency": {
            "space": "embeddings",
            "models": ["nli_en", "pos", "twin"],
            "methods": ["lig", "random"],
            "draws": 2,
        },
        "faithfulness": {"max_examples": 4, "random_draws": 2, "soft_draws": 1},
        "heads": {
            "datasets": {"nli": "nli", "tags": "tags"},
            "models": ["nli_en", "pos"],
            "max_examples": 6,
            "random_masks": 1,
            "curve": [1],
            "samplers": {
                "rows": {"max_rows": 40, "adaptive": True},
                "fixed": {"max_rows": 40, "adaptive": False},
            },
        },
        "concepts": {
            "datasets": ["nli"],
            "models": ["base", "nli_en"],
            "layers": [0, 1],
            "min_count": 2,
            "max_occurrences": 5,
            "clusters": 2,
            "mixed": [["en", "de"]],
            "labels": "labels.csv",
        },
        "lexica": {
            "aligned": {
                "datasets": ["nli"],
                "pairs": [["en", "de"], ["en", "es"]],
                "aligner": {"iterations": 1},
            },
            "given": {"files": [{"source": "en", "target": "de", "path": "en-de.txt"}]},
        },
        "concept_alignment": {"draws": 2},
    }


def context(settings: dict[str, Any], root: Path) -> Context:
    """A study over the warehouse at `root`."""
    study, warehouse = Study.model_validate(settings), Warehouse(root, create=True)
    return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))


def fill(context: Context) -> None:
    """Bring the whole study up to date."""
    for step in STEPS.values():
        for key in partitions(context.study, step):
            if step.name in MADE:
                run(step, context, key)
            else:
                write_empty(context, step, key)


def write_empty(context: Context, step: Step, key: Key) -> None:
    """Write empty files of what a partition plans, until it plans nothing more."""
    enough = {"xlwh.evaluated_rows": str(10**9), "xlwh.undecided_players": "0"}
    planner = context.planner
    while True:
        planner.refresh()
        try:
            jobs = planner.jobs(step, key, again=True)
        except NotApplicable:
            return
        stale = [planned for planned in jobs if not planner.is_fresh(planned)]
        for planned in stale:
            frames = {slot: empty(table) for table, slot in planned.job.slots.items()}
            context.warehouse.write(frames, planned.fingerprint, enough)
        if not stale or not definition_of(step).goes_on:
            return


def _write_questions(folder: Path) -> None:
    texts = ["The black cat sits on the mat.", "A dog sleeps in the garden.", "The child eats an apple."]
    paragraphs = []
    for number in range(12):
        text = texts[number % 3]
        answer = text.split()[1]
        asked = {
            "id": str(number),
            "question": f"Who is number {number}?",
            "answers": [{"text": answer, "answer_start": text.index(answer)}],
        }
        paragraphs.append({"context": text, "qas": [asked]})
    content = {"data": [{"title": "few", "paragraphs": paragraphs}]}
    (folder / "questions.json").write_text(json.dumps(content), encoding="utf-8")
