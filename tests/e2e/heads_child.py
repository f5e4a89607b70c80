"""A tiny world whose heads are valued, and a program that samples in it and may be killed at any moment.

As a program: `heads_child.py ROOT SECONDS...` runs the step of `head_samples` for both languages of ROOT, once per
number, in a child that is killed after that many seconds, and tells the rounds that are there then; see `nursery`.
"""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
BASE = runpy.run_path(str(HERE / "finetune_child.py"))
LANGUAGES = ("en", "es")

STUDY = """
name = "tiny"
languages = ["en", "es"]

[datasets.nli]
reader = "xnli"
path = "nli"
split = "train"

[models.m]
path = "model"
datasets = ["nli"]
max_length = 24
labels = ["entailment", "neutral", "contradiction"]

[heads]
datasets.nli = "nli"
max_examples = 20
score = "probability"

# Rounds of the first depend on those before them, rounds of the second do not.
[heads.samplers.adaptive]
antithetic = true
round_permutations = 8
max_rows = 500
delta = 0.9

[heads.samplers.plain]
adaptive = false
round_permutations = 8
max_rows = 250
"""


def make_world(root: Path) -> None:
    """A study file, a random classifier (2 layers x 4 heads) and a warehouse with examples."""
    import polars as pl
    import torch
    from transformers import BertConfig, BertForSequenceClassification
    from transformers.utils import logging

    from xlwh.store import Slot, Warehouse, empty

    root.mkdir()
    BASE["make_base"](root / "model")
    config = BertConfig.from_pretrained(root / "model", num_attention_heads=4, num_labels=3)
    torch.manual_seed(1)
    logging.disable_progress_bar()
    BertForSequenceClassification(config).save_pretrained(root / "model")
    logging.enable_progress_bar()
    (root / "study.toml").write_text(STUDY, encoding="utf-8")
    warehouse = Warehouse(root / "warehouse", create=True)
    for language in LANGUAGES:
        frame = pl.DataFrame(BASE["make_rows"](30, language), schema=empty("examples").schema)
        warehouse.write(
            {Slot("examples", ("nli", language), "train"): frame}, fingerprint=f"examples-{language}"
        )


def rounds(root: Path) -> dict[str, str]:
    """The rounds that can be seen, with a hash of each one's bytes."""
    from xlwh.store import Warehouse

    warehouse = Warehouse(root / "warehouse")
    return {
        str(entry.slot): hashlib.sha256((warehouse.root / entry.file).read_bytes()).hexdigest()
        for entry in warehouse.entries("head_samples")
    }


def main() -> None:
    import torch

    torch.set_num_threads(1)
    # Whatever a child would import: its time is to be spent on sampling.
    import pytest
    import transformers.models.bert.modeling_bert  # noqa: F401
    from nursery import rear

    sys.path.insert(0, str(HERE.parent))
    from made_up import trust_made_up_inputs

    from xlwh.heads import engine, sampler, scores, sequences  # noqa: F401
    from xlwh.models import describe, loading, tokenize  # noqa: F401
    from xlwh.steps.base import Key
    from xlwh.steps.plan import STEPS
    from xlwh.steps.runner import run

    root = Path(sys.argv[1])
    trust_made_up_inputs(pytest.MonkeyPatch())

    def work() -> None:
        context = BASE["context"](root)
        for language in LANGUAGES:
            run(STEPS["head_samples"], context, Key("m", language=language))

    rear(work, map(float, sys.argv[2:]), lambda: {"rounds": rounds(root)})


if __name__ == "__main__":
    main()
