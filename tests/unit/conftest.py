"""Tiny random checkpoints of every family, with real tokenizers trained on a few sentences."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from xlwh.digests import HashCache
from xlwh.models import Zoo
from xlwh.study import Study

LABELS = ("entailment", "neutral", "contradiction")
TAGS = ("B-PER", "I-PER", "O")
REVISION = "0123456789abcdef0123456789abcdef01234567"
TEXTS = [
    "The cat doesn't sit on the mat. It's well-known, isn't it?",
    "Der Hund schläft auf dem Sofa; die Katze nicht!",
    "El niño come una manzana roja.",
    "他说，妈妈，我回来了。校车把他放下后，他立即给他妈妈打了电话。",
    "เขาโทรหาแม่ของเขาอย่างรวดเร็ว",
    "वह घर पर है और किताब पढ़ रहा है।",
]
BRACKETED = ("rembert", "albert", "deberta-v2")
"""Architectures whose tokenizers have pieces as in SentencePiece, and special tokens as in BERT."""
DECODERS = (
    *("phi3", "smollm3", "gemma", "gemma2", "gemma3_text", "cohere", "cohere2"),
    *("gpt2", "gpt_neox", "bloom"),
)
HEADS = {"m2m_100": "ForConditionalGeneration", "cohere": "ForCausalLM", "cohere2": "ForCausalLM"}
"""Heads of the architectures of which transformers has no classifier."""
SHAPES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 12},
    "electra": {"embedding_size": 12},
    "rembert": {"input_embedding_size": 12, "output_embedding_size": 20},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
        "max_relative_positions": -1,
    },
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 16},
    "gemma3_text": {"head_dim": 8, "sliding_window": 16},
    "cohere2": {"sliding_window": 16},
}
"""What is added to the shape that all have; unlike the defaults, a short window shows at these lengths."""
RENAMED_SHAPES: dict[str, dict[str, str]] = {
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    },
    "gpt2": {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
    },
    "bloom": {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
}
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")


def _bpe(byte_level: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, byte-level (RoBERTa, Qwen) or with blanks as ▁ (Llama)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"],
        # Real ones have a byte for the line break; without it, the library's offsets go wrong after one.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else ["▁", "\n"],
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel() if byte_level else pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _unigram(special: list[str]) -> list[tuple[str, float]]:
    """Pieces with their log probabilities: every letter, and the most frequent longer pieces.

    Counted here, since the tokenizers' own trainer gives another vocabulary in every process.
    """
    counts = Counter(
        word[start:end]
        for text in TEXTS
        for word in ("▁" + word for word in text.split())
        for start in range(len(word))
        for end in range(start + 1, min(len(word), start + 6) + 1)
    )
    letters = sorted(piece for piece in counts if len(piece) == 1)
    longer = sorted((piece for piece in counts if len(piece) > 1), key=lambda p: (-counts[p] * len(p), p))
    pieces = [*letters, *longer][: 300 - len(special)]
    total = sum(counts[piece] for piece in pieces)
    return [(name, 0.0) for name in special] + [(p, math.log(counts[p] / total)) for p in pieces]


def _wordpiece() -> dict[str, int]:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "hund", "und", "##zt"]
    letters = sorted({letter for text in TEXTS for letter in text if not letter.isspace()})
    pieces = [*words, *letters, *(letter.lower() for letter in letters)]
    pieces += [f"##{letter}" for letter in pieces[len(words) :]]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def _tokenizer(model_type: str, folder: Path) -> Any:
    import transformers as hf

    if model_type in BRACKETED:
        return _templated("unigram", model_type)
    if model_type in ("modernbert", "eurobert", "xlm-roberta-xl", "mpnet", "mbart", "m2m_100", *DECODERS):
        return _templated("unigram" if model_type in ("mbart", "m2m_100") else "bytes", model_type)
    if model_type in ("bert", "electra", "ernie", "distilbert"):
        return hf.BertTokenizer(vocab=_wordpiece(), do_lower_case=False)
    if model_type == "roberta":
        vocab, merges = _bpe(byte_level=True)
        return hf.RobertaTokenizer(vocab=vocab, merges=merges)
    if model_type in ("xlm-roberta", "camembert"):
        return hf.XLMRobertaTokenizer(vocab=_unigram(["<s>", "<pad>", "</s>", "<unk>"]))
    if model_type == "xlm":
        return _xlm_tokenizer(folder)
    if model_type in ("t5", "mt5", "umt5"):
        return hf.T5Tokenizer(vocab=_unigram(["<pad>", "</s>", "<unk>"]), extra_ids=2)
    if model_type in ("llama", "mistral"):
        vocab, merges = _bpe(byte_level=False)
        return hf.LlamaTokenizer(vocab=vocab, merges=merges, pad_token="<pad>")
    vocab, merges = _bpe(byte_level=True)
    return hf.Qwen2Tokenizer(vocab=vocab, merges=merges)


def _templated(kind: str, model_type: str) -> Any:
    """A tokenizer of the library's own class: pieces, and special tokens where the family has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    opening, closing, between = "<s>", "</s>", "</s>"
    names = {"pad_token": "<pad>", "unk_token": "<unk>"}
    if model_type in BRACKETED:
        opening, closing, between = "[CLS]", "[SEP]", "[SEP]"
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    elif model_type in ("mbart", "m2m_100"):
        opening, between = "en_XX", ""
        names |= {"eos_token": "</s>", "sep_token": "</s>", "mask_token": "<mask>"}
    elif model_type in DECODERS:
        closing, between = "", ""
        names |= {"bos_token": "<s>", "eos_token": "</s>"}
    else:
        names |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    if kind == "unigram":
        special = [*dict.fromkeys((*names.values(), opening, closing))]
        pieces = _unigram(special)
        made = Tokenizer(models.Unigram(pieces, unk_id=special.index(names["unk_token"])))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        vocab, merges = _bpe(byte_level=True)
        made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    second = ":1" if model_type in BRACKETED else ""
    used = [token for token in dict.fromkeys((opening, closing, between)) if token]
    pair = [opening, "$A", between, f"$B{second}", closing and closing + second]
    made.post_processor = processors.TemplateProcessing(
        single=" ".join(part for part in (opening, "$A", closing) if part),
        pair=" ".join(part for part in pair if part),
        special_tokens=[(token, made.token_to_id(token)) for token in used],
    )
    types = ["token_type_ids"] if model_type in BRACKETED else []
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_input_names=["input_ids", *types, "attention_mask"], **names
    )


def _xlm_tokenizer(folder: Path) -> Any:
    import transformers as hf

    specials = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10))]
    letters = sorted({letter for text in TEXTS for letter in text.lower() if not letter.isspace()})
    pieces = [*specials, *letters, *(f"{letter}</w>" for letter in letters), "th", "the</w>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = folder / "source-vocab.json", folder / "source-merges.txt"
    vocab.write_text(json.dumps({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}))
    merges.write_text("t h 9\nth e</w> 8\n")
    return hf.XLMTokenizer(str(vocab), str(merges), do_lowercase_and_remove_accent=True)


def _config(model_type: str, tokenizer: Any, **extra: Any) -> Any:
    from transformers import AutoConfig

    size = max(tokenizer.get_vocab().values()) + 1
    common = {"vocab_size": size, "pad_token_id": tokenizer.pad_token_id, **extra}
    if model_type == "xlm":
        shape = {"emb_dim": 24, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64, "n_langs": 1}
        return AutoConfig.for_model("xlm", **shape, pad_index=tokenizer.pad_token_id, **common)
    if model_type in ("mbart", "m2m_100"):
        shape = {
            f"{stack}_{name}": value
            for name, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 32))
            for stack in ("encoder", "decoder")
        } | {"decoder_layers": 1, "d_model": 24, "max_position_embeddings": 64}
        eos = tokenizer.eos_token_id
        return AutoConfig.for_model(
            model_type, **shape, eos_token_id=eos, decoder_start_token_id=eos, **common
        )
    if model_type in ("t5", "mt5", "umt5"):
        shape = {
            "d_model": 24,
            "d_kv": 6,
            "d_ff": 32,
            "num_layers": 2,
            "num_decoder_layers": 1,
            "num_heads": 4,
        }
        eos = tokenizer.eos_token_id
        return AutoConfig.for_model(
            model_type, **shape, decoder_start_token_id=common["pad_token_id"], eos_token_id=eos, **common
        )
    shape = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    if model_type in ("llama", "mistral", "qwen2", "qwen3", *DECODERS[:-3]):
        shape["num_key_value_heads"] = 2
    if model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet"):
        shape |= {"max_position_embeddings": 66, "type_vocab_size": 1}
    if model_type not in ("bert", "roberta", "xlm-roberta", "camembert"):
        ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
        if model_type in ("modernbert", "eurobert"):
            ids |= {
                name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id", "mask_token_id")
            }
        common = ids | common
    shape |= SHAPES.get(model_type, {})
    renamed = RENAMED_SHAPES.get(model_type, {})
    shape = {renamed.get(name, name): value for name, value in shape.items()}
    return AutoConfig.for_model(model_type, **shape, **common)


def closing_tokenizer(closing: str, opening: str = "") -> Any:
    """A tokenizer whose padding token also closes each text, as those of decoders that embed texts do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab, merges = _bpe(byte_level=True)
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    named = [token for token in (opening, closing) if token]
    made.post_processor = processors.TemplateProcessing(
        single=f"{opening} $A {closing}".strip(),
        pair=f"{opening} $A {closing} $B {closing}".strip(),
        special_tokens=[(token, vocab[token]) for token in named],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=closing,
        **({"bos_token": opening} if opening else {}),
        model_input_names=["input_ids", "attention_mask"],
    )


def make_checkpoint(
    model_type: str,
    folder: Path,
    head: str | None = None,
    seed: int = 0,
    tokenizer: Any = None,
    **entries: Any,
) -> Path:
    """Save a tiny random model with its tokenizer. Weights are wide, so that every part of it matters.

    None makes the head that the architecture has: a classifier wherever there is one. `entries` go to the configuration.
    """
    import torch
    import transformers as hf

    if head is None:
        head = HEADS.get(model_type, "ForSequenceClassification")
    tokenizer = tokenizer or _tokenizer(model_type, folder / "source")
    labels = {"ForSequenceClassification": LABELS, "ForTokenClassification": TAGS}.get(head)
    extra: dict[str, Any] = {} if labels is None else {"id2label": dict(enumerate(labels))}
    if labels is not None:
        extra["label2id"] = {label: i for i, label in enumerate(labels)}
    config = _config(model_type, tokenizer, **extra, **entries)
    auto = {
        "ForSequenceClassification": hf.AutoModelForSequenceClassification,
        "ForTokenClassification": hf.AutoModelForTokenClassification,
        "ForQuestionAnswering": hf.AutoModelForQuestionAnswering,
        "ForMaskedLM": hf.AutoModelForMaskedLM,
        "ForCausalLM": hf.AutoModelForCausalLM,
        "ForConditionalGeneration": hf.AutoModelForSeq2SeqLM,
        "": hf.AutoModel,
    }[head]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.3)
                elif "norm" not in name.lower() and ".ln_" not in name:
                    parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.rmtree(folder / "source", ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """checkpoint(model_type, head, ...entries of its configuration): folder of a tiny model, made once a session; copy it before changing it."""
    root = tmp_path_factory.mktemp("checkpoints")

    def folder(model_type: str, head: str | None = None, **entries: Any) -> Path:
        named = "-".join(f"{name}-{value}" for name, value in sorted(entries.items()))
        made = root / f"{model_type}-{'default' if head is None else head or 'bare'}{named and '-' + named}"
        return made if made.is_dir() else make_checkpoint(model_type, made, head, **entries)

    return folder


@pytest.fixture(scope="session")
def closing_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """closing_checkpoint(model_type): a decoder whose padding token closes each text; llama's also opens them."""
    root = tmp_path_factory.mktemp("closing")

    def folder(model_type: str) -> Path:
        made = root / model_type
        tokenizer = (
            closing_tokenizer("</s>", "<s>") if model_type == "llama" else closing_tokenizer("<|endoftext|>")
        )
        return made if made.is_dir() else make_checkpoint(model_type, made, tokenizer=tokenizer)

    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], Path]:
    """hub_cache(checkpoint, "org/name"): lay a checkpoint out as an offline hub cache at REVISION; its snapshot."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def lay_out(checkpoint: Path, repository: str) -> Path:
        root = cache / f"models--{repository.replace('/', '--')}"
        blobs, snapshot = root / "blobs", root / "snapshots" / REVISION
        for folder in (blobs, snapshot, root / "refs"):
            folder.mkdir(parents=True)
        (root / "refs" / "main").write_text(REVISION)
        for number, file in enumerate(sorted(checkpoint.iterdir())):
            shutil.copy(file, blobs / f"{number:040x}")
            (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
        return snapshot

    return lay_out


@pytest.fixture
def study_of(tmp_path: Path) -> Callable[..., Study]:
    """study_of(key={...model entry...}): a study with these models."""

    def build(languages: tuple[str, ...] = ("en", "zh"), **models: dict[str, Any]) -> Study:
        return Study.model_validate(
            {
                "name": "test",
                "languages": languages,
                "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
                "models": {key: {"datasets": ["nli"], **model} for key, model in models.items()},
                "folder": tmp_path,
            }
        )

    return build


@pytest.fixture
def zoo_of(study_of: Callable[..., Study], tmp_path: Path) -> Callable[..., Zoo]:
    """zoo_of(key={...model entry...}): a zoo for a study with these models, on the CPU or the device named first."""

    def build(device: str = "cpu", /, **models: dict[str, Any]) -> Zoo:
        root = tmp_path / "warehouse"
        warehouse: Any = SimpleNamespace(root=root, hashes=HashCache.of(root))
        return Zoo(study_of(**models), warehouse, device=device)

    return build


def joined_spans(words: list[str]) -> list[dict[str, int]]:
    """`examples.word_spans` of words that are joined by blanks."""
    spans, at = [], 0
    for word in words:
        spans.append({"start": at, "end": at + len(word)})
        at += len(word) + 1
    return spans


def examples_frame(
    pairs: list[tuple[str, str | None]],
    language: str = "en",
    labels: list[str | None] | None = None,
    words: list[list[str] | None] | None = None,
    spans: list[list[dict[str, int]] | None] | None = None,
) -> pl.DataFrame:
    """Rows of the `examples` table; words stand in their texts as if joined by blanks, unless `spans` says where."""
    from xlwh.store import schema

    n = len(pairs)
    columns = {
        "dataset": ["nli"] * n,
        "split": ["dev"] * n,
        "language": [language] * n,
        "example_id": [str(i) for i in range(n)],
        "cluster": [str(i) for i in range(n)],
        "task": ["sentence_pair" if n and pairs[0][1] is not None else "sequence_classification"] * n,
        "text": [first for first, _ in pairs],
        "text_pair": [second for _, second in pairs],
        "label": labels or [LABELS[i % 3] for i in range(n)],
        "words": words or [None] * n,
        "word_spans": spans or [own and joined_spans(own) for own in words or [None] * n],
        "word_labels": [None] * n,
        "answers": [None] * n,
        "source_file": ["nli.tsv"] * n,
        "row_number": list(range(n)),
    }
    return pl.DataFrame(columns, schema=schema("examples"))


@pytest.fixture
def frame() -> Callable[..., pl.DataFrame]:
    """frame(pairs, language, ...): rows of the `examples` table."""
    return examples_frame


@pytest.fixture
def pairs() -> list[tuple[str, str | None]]:
    """Sentence pairs of various lengths and scripts."""
    order = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 0)]
    return [(TEXTS[a], TEXTS[b]) for a, b in order] + [("cat", "the"), ("", "Hund"), ("", "")]
