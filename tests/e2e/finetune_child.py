"""A tiny world for fine-tuning tests, and a program that fine-tunes in it and may be killed at any moment.

As a program: `finetune_child.py ROOT SECONDS...` fine-tunes in ROOT once per number, in a child that is killed after
that many seconds, and tells the files of the models that are published then; see `nursery`.
"""

from __future__ import annotations

import functools
import random
import sys
from pathlib import Path

WORDS = [f"w{i}" for i in range(40)]
LABELS = ("entailment", "neutral", "contradiction")
CUES = {"entailment": ("yes", "so"), "neutral": ("maybe", "perhaps"), "contradiction": ("no", "never")}


def make_base(folder: Path) -> Path:
    """A random BERT with dropout (2 layers x 2 heads, width 32) and a word tokenizer with `<pad>`, `[SEP]`."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *(w for cue in CUES.values() for w in cue)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        initializer_range=0.1,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        pad_token_id=0,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)
    logging.enable_progress_bar()
    return folder


def make_rows(
    count: int, language: str = "en", dataset: str = "nli", seed: int = 0
) -> list[dict[str, object]]:
    """Rows of `examples`: pairs of random words whose label shows in one cue word of the second text."""
    generator = random.Random(f"{seed} {language}")
    rows = []
    for number in range(count):
        label = LABELS[number % 3]
        text = " ".join(generator.choices(WORDS, k=generator.randint(2, 9)))
        pair = [*generator.choices(WORDS, k=generator.randint(1, 7)), generator.choice(CUES[label])]
        generator.shuffle(pair)
        rows.append(
            {
                "dataset": dataset,
                "split": "train",
                "language": language,
                "example_id": f"{number:05d}",
                "task": "sentence_pair",
                "text": text,
                "text_pair": " ".join(pair),
                "label": label,
                "words": None,
                "word_spans": None,
                "word_labels": None,
                "answers": None,
                "source_file": f"{language}.tsv",
                "row_number": number,
            }
        )
    return rows


def make_world(root: Path) -> None:
    """A study file and a warehouse with examples, ready to fine-tune model `tuned`."""
    root.mkdir()
    make_base(root / "base")
    (root / "study.toml").write_text(STUDY, encoding="utf-8")
    read_examples(root, 90)


def read_examples(root: Path, count: int) -> None:
    """Files of `make_rows` in English and Spanish, read into the warehouse of a study that is there."""
    from xlwh.steps.base import Key
    from xlwh.steps.plan import STEPS
    from xlwh.steps.runner import run
    from xlwh.store import Warehouse

    (root / "nli").mkdir()
    Warehouse(root / "warehouse", create=True)
    for language in ("en", "es"):
        rows = make_rows(count, language)
        lines = ["\t".join(str(row[name]) for name in ("text", "text_pair", "label")) + "\n" for row in rows]
        (root / "nli" / f"train-{language}.tsv").write_text("".join(lines), encoding="utf-8")
        run(STEPS["examples"], context(root), Key(dataset="nli", language=language))  # type: ignore[arg-type]


STUDY = """
name = "tiny"
languages = ["en", "es"]

[datasets.nli]
reader = "xnli"
path = "nli"
split = "train"

[models.base]
path = "base"

[models.tuned]
datasets = ["nli"]
finetune.base = "base"
finetune.dataset = "nli"
finetune.languages = ["en", "es"]
finetune.epochs = 4
finetune.batch_size = 8
finetune.learning_rate = 3e-3
finetune.dev_fraction = 0.2
finetune.max_length = 24
"""


def context(root: Path) -> object:
    """The context in which a step runs in such a world."""
    from xlwh.models import Zoo
    from xlwh.steps.context import Context
    from xlwh.store import Warehouse
    from xlwh.study import load

    study, warehouse = load(root / "study.toml"), Warehouse(root / "warehouse")
    return Context(study=study, warehouse=warehouse, zoo=Zoo(study, warehouse, device="cpu"))


def main() -> None:
    import torch

    torch.set_num_threads(1)
    # Whatever a child would import: its time is to be spent on training.
    import transformers.models.bert.modeling_bert  # noqa: F401
    from nursery import rear

    from xlwh.models import describe, finetune, loading  # noqa: F401
    from xlwh.steps.base import Key
    from xlwh.steps.plan import STEPS
    from xlwh.steps.runner import run

    # A checkpoint after each step, so that few of the kills find nothing to go on from.
    finetune.finetune = functools.partial(finetune.finetune, checkpoint_every_s=0)
    root = Path(sys.argv[1])

    def about() -> dict[str, object]:
        folders = (root / "warehouse" / "models" / "tuned").glob("*")
        return {"published": [sorted(path.name for path in folder.iterdir()) for folder in folders]}

    rear(lambda: run(STEPS["models"], context(root), Key(model="tuned")), map(float, sys.argv[2:]), about)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
