"""Tiny random checkpoints of the architectures that the papers' models have, with tokenizers of the same kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from papers.text import sentence

LANGUAGES = ("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ko", "ru", "sw", "th", "tr", "ur", "vi", "zh")
_VOCABULARY = 700
_POSITIONS = 514


@dataclass(frozen=True)
class Made:
    """How a checkpoint is made."""

    kind: str
    """bert, roberta, xlmr, xlm or mt5."""
    lowercase: bool = False


MADE = {
    "google-bert/bert-base-multilingual-cased": Made("bert"),
    "google-bert/bert-base-multilingual-uncased": Made("bert", lowercase=True),
    "google-bert/bert-base-uncased": Made("bert", lowercase=True),
    "google-bert/bert-base-chinese": Made("bert"),
    "hfl/chinese-roberta-wwm-ext": Made("bert"),
    "dccuchile/bert-base-spanish-wwm-uncased": Made("bert", lowercase=True),
    "dbmdz/bert-base-french-europeana-cased": Made("bert"),
    "l3cube-pune/hindi-bert-scratch": Made("bert"),
    "FacebookAI/roberta-base": Made("roberta"),
    "PlanTL-GOB-ES/roberta-base-bne": Made("roberta"),
    "ClassCat/roberta-base-french": Made("roberta"),
    "flax-community/roberta-hindi": Made("roberta"),
    "FacebookAI/xlm-roberta-base": Made("xlmr"),
    "FacebookAI/xlm-roberta-large": Made("xlmr"),
    "FacebookAI/xlm-mlm-tlm-xnli15-1024": Made("xlm", lowercase=True),
    "FacebookAI/xlm-mlm-100-1280": Made("xlm"),
    "google/mt5-base": Made("mt5"),
}
"""The hub's ids -> how their stand-ins are made."""


def checkpoint(hub: str, folder: Path, layers: int = 2, heads: int = 2, size: int = 16) -> Path:
    """Write the stand-in of a hub model, with a language-modelling head as on the hub; random by its id."""
    import torch

    made = MADE[hub]
    torch.manual_seed(sum(hub.encode()))
    tokenizer = _TOKENIZERS[made.kind](made.lowercase, folder)
    _model(made, tokenizer, layers, heads, size).save_pretrained(folder)
    return folder


def _model(made: Made, tokenizer: Any, layers: int, heads: int, size: int) -> Any:
    import transformers

    if made.kind == "xlm":
        config = transformers.XLMConfig(
            vocab_size=len(tokenizer),
            emb_dim=size,
            n_layers=layers,
            n_heads=heads,
            max_position_embeddings=512,
            n_langs=15,
            use_lang_emb=made.lowercase,
            lang2id={name: number for number, name in enumerate(LANGUAGES[:15])},
            id2lang=dict(enumerate(LANGUAGES[:15])),
            embed_init_std=0.3,
            init_std=0.3,
        )
        return transformers.XLMWithLMHeadModel(config)
    if made.kind == "mt5":
        config = transformers.MT5Config(
            vocab_size=len(tokenizer),
            d_model=size,
            d_kv=size // heads,
            num_heads=heads,
            d_ff=2 * size,
            num_layers=layers,
            num_decoder_layers=layers,
            decoder_start_token_id=0,
        )
        return transformers.MT5ForConditionalGeneration(config)
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * size,
        "max_position_embeddings": 512 if made.kind == "bert" else _POSITIONS,
        "initializer_range": 0.3,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if made.kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**common))
    common |= {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "type_vocab_size": 1,
    }
    if made.kind == "roberta":
        return transformers.RobertaForMaskedLM(transformers.RobertaConfig(**common))
    return transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**common))


def _texts() -> Iterator[str]:
    for language in LANGUAGES:
        for number in range(160):
            yield sentence(number, language).text


@cache
def _bert(lowercase: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        _texts(), trainers.WordPieceTrainer(vocab_size=_VOCABULARY, special_tokens=special)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return made


def _bert_tokenizer(lowercase: bool, folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bert(lowercase),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=512,
    )
    return _saved(tokenizer, folder, "BertTokenizer", do_lower_case=lowercase)


@cache
def _pieces(kind: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if kind == "roberta":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=2 * _VOCABULARY, special_tokens=special, unk_token="<unk>"
        )
    made.train_from_iterator(_texts(), trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, made.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return made


def _roberta_tokenizer(kind: str, folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_pieces(kind),
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=512,
    )
    return _saved(tokenizer, folder, "RobertaTokenizer" if kind == "roberta" else "XLMRobertaTokenizer")


def _saved(tokenizer: Any, folder: Path, kind: str, **said: Any) -> Any:
    """Save a tokenizer under the class that the hub's configuration names."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"tokenizer_class": kind} | said), encoding="utf-8")
    return tokenizer


@cache
def _merges(lowercase: bool) -> tuple[dict[str, int], list[Any]]:
    """Words into XLM's pieces: the end of a word is marked with </w>."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    if lowercase:
        made.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), normalizers.NFD(), normalizers.StripAccents()]
        )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{number}>" for number in range(10))]
    made.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(vocab_size=2 * _VOCABULARY, special_tokens=special, end_of_word_suffix="</w>"),
    )
    content = json.loads(made.to_str())["model"]
    return content["vocab"], content["merges"]


def _xlm_tokenizer(lowercase: bool, folder: Path) -> Any:
    from transformers import XLMTokenizer

    vocab, merges = _merges(lowercase)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = [f"{one} {other} {len(merges) - rank}\n" for rank, (one, other) in enumerate(merges)]
    (folder / "merges.txt").write_text("".join(lines), encoding="utf-8")
    said = {
        "tokenizer_class": "XLMTokenizer",
        "do_lowercase_and_remove_accent": lowercase,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    return XLMTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


@cache
def _sentencepiece() -> bytes:
    import io

    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_texts(),
        model_writer=written,
        vocab_size=2 * _VOCABULARY,
        model_type="unigram",
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return written.getvalue()


def _mt5_tokenizer(_lowercase: bool, folder: Path) -> Any:
    """As on the hub: SentencePiece's file alone."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(_sentencepiece())
    said = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": 0,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "mt5"}), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


_TOKENIZERS = {
    "bert": _bert_tokenizer,
    "roberta": lambda _lowercase, folder: _roberta_tokenizer("roberta", folder),
    "xlmr": lambda _lowercase, folder: _roberta_tokenizer("xlmr", folder),
    "xlm": _xlm_tokenizer,
    "mt5": _mt5_tokenizer,
}
