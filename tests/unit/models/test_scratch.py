"""Models with random weights and their tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf

from xlwh.demo.grammar import DATA
from xlwh.errors import ModelError
from xlwh.models.scratch import create, unigram
from xlwh.study import Scratch

TEXTS = [
    "A cat sleeps on the mat.",
    "Eine Katze schläft auf der Matte.",
    "Two dogs play.",
    "Zwei Hunde spielen.",
]
SHAPE = {"d_model": 16, "d_kv": 4, "num_heads": 2, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 1}


def test_a_tokenizer_learns_its_texts_and_gives_them_back() -> None:
    tokenizer = unigram(TEXTS, 120)
    assert len(tokenizer.get_vocab()) <= 120
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert unigram(TEXTS, 120).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(ModelError, match="no texts to train a tokenizer on"):
        unigram(["", " "], 120)


def test_a_tokenizer_is_the_same_each_time_it_is_trained() -> None:
    # Some letters are in one word only, which becomes a piece: training leaves them out, and the library adds them again.
    texts = [
        line.split("\t")[0]
        for language in ("en", "es")
        for line in (DATA / f"train-{language}.tsv").read_text(encoding="utf-8").splitlines()[:800]
    ]
    vocabularies = {unigram(texts, 500).backend_tokenizer.to_str() for _ in range(5)}
    assert len(vocabularies) == 1


def test_the_seed_is_the_weights(tmp_path: Path) -> None:
    tokenizer = unigram(TEXTS, 120)
    state = torch.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        create(Scratch(dataset="d", config=SHAPE, seed=seed), tokenizer, tmp_path / name)
    assert torch.equal(torch.get_rng_state(), state)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    model = hf.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "a")
    assert model.config.vocab_size == len(tokenizer.get_vocab())
    tokenizer.save_pretrained(tmp_path / "a")
    assert hf.AutoTokenizer.from_pretrained(tmp_path / "a")(TEXTS[0]) == tokenizer(TEXTS[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 9}, "vocab_size: follows from the tokenizer"),
        ({"d_modell": 9}, "d_modell: no value of a `t5` configuration"),
        ({"feed_forward_proj": "none-of-it"}, "makes no `t5` model"),
    ],
)
def test_what_makes_no_model_is_refused(tmp_path: Path, config: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create(Scratch(dataset="d", config=config), unigram(TEXTS, 120), tmp_path / "m")
