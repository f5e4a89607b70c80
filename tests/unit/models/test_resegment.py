"""Texts cut into other sub-tokens: pieces of the vocabulary, the same text, by the published distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from xlwh.draws import Stream
from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.resegment import _bpe, _unigram, _wordpiece
from xlwh.models.tokenize import NONE, encode, tokens_frame


def test_unigram_pieces_come_with_their_probability() -> None:
    scores = {"▁": -3.0, "a": -2.0, "b": -2.5, "c": -1.0, "▁a": -2.0, "ab": -1.5, "bc": -2.0, "abc": -3.0}
    word, alpha = "▁abc", 0.5
    weights = {}
    for count in range(4):
        for cuts in combinations((1, 2, 3), count):
            ends = (0, *cuts, 4)
            pieces = tuple(word[i:j] for i, j in pairwise(ends))
            if all(piece in scores for piece in pieces):
                weights[pieces] = np.exp(alpha * sum(scores[piece] for piece in pieces))
    total = sum(weights.values())
    cut, rng = _unigram(scores, 1.0, alpha), Stream(0)
    drawn = Counter(tuple(cut(word, rng) or ()) for _ in range(4000))
    assert set(drawn) == set(weights)
    for pieces, weight in weights.items():
        assert drawn[pieces] / 4000 == pytest.approx(weight / total, abs=0.03)
    sometimes = _unigram(scores, 0.3, alpha)
    assert np.mean([sometimes(word, rng) is not None for _ in range(2000)]) == pytest.approx(0.3, abs=0.04)
    assert cut("xyz", rng) is None


def test_bpe_dropout_at_its_ends_is_bpe_and_letters() -> None:
    merges = {("l", "o"): 0, ("lo", "w"): 1, ("e", "r"): 2, ("low", "er"): 3}
    vocabulary = dict.fromkeys(["l", "o", "w", "e", "r", "lo", "low", "er", "lower"], 0)
    assert _bpe(merges, vocabulary, 0.0)("lower", Stream(0)) == ["lower"]
    assert _bpe(merges, vocabulary, 1.0)("lower", Stream(0)) == list("lower")
    half, rng = _bpe(merges, vocabulary, 0.5), Stream(1)
    drawn = {tuple(half("lower", rng) or ()) for _ in range(300)}
    assert {("lower",), ("low", "er"), ("lo", "w", "er")} <= drawn
    # `low` is only reached through `lo`.
    assert not any("ow" in pieces for pieces in drawn)
    # A lone merge is left out as often as the rate says.
    alone = [half("er", rng) == ["e", "r"] for _ in range(2000)]
    assert np.mean(alone) == pytest.approx(0.5, abs=0.04)


def test_wordpiece_passes_matches_over() -> None:
    vocabulary = dict.fromkeys(["un", "##able", "##a", "##b", "##l", "##e", "u", "##n", "unable"], 0)
    assert _wordpiece(vocabulary, "##", 0.0)("unable", Stream(0)) == ["unable"]
    assert _wordpiece(vocabulary, "##", 1.0)("unable", Stream(0)) == ["u", "##n", "##a", "##b", "##l", "##e"]
    assert _wordpiece(vocabulary, "##", 1.0)("zoo", Stream(0)) is None


def model(folder: Path, rate: float | None, **more: Any) -> dict[str, Any]:
    return {"path": str(folder), **({} if rate is None else {"tokenization": {"sampling": rate}}), **more}


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "mt5", "llama", "qwen2"])
def test_the_text_stays_and_the_pieces_shrink(
    family: str,
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> None:
    folder = checkpoint(family)
    zoo = zoo_of(plain=model(folder, None, max_length=64), cut=model(folder, 0.9, max_length=64))
    examples = frame([pairs[0], ("The cat doesn't sit", "Der Hund schläft auf"), ("", "Hund"), pairs[3]])
    plain, cut = encode(zoo.load("plain"), examples), encode(zoo.load("cut"), examples)
    again = encode(zoo.load("cut"), examples[[1, 0]])
    assert (cut.input_ids[cut.row(1)] == again.input_ids[again.row(0)]).all()
    # The tiny Unigram models hold little but letters.
    assert cut.lengths[1] > plain.lengths[1] - (family in ("xlm-roberta", "mt5"))
    assert (cut.lengths <= 64).all()
    one, other = (tokens_frame(zoo.load(name), made) for name, made in (("plain", plain), ("cut", cut)))
    for example in ("1",):
        before, after = (
            rows.filter((pl.col("example_id") == example) & ~pl.col("is_special")) for rows in (one, other)
        )
        letters = ["".join(rows["token"].to_list()).replace("##", "") for rows in (before, after)]
        assert letters[0] == letters[1]
        # Every word still has its tokens, in order, and characters of its own.
        words = [rows["word"].drop_nulls().unique(maintain_order=True).to_list() for rows in (before, after)]
        assert words[0] == words[1]
        assert after["segment"].is_sorted()
        assert (after["char_end"] >= after["char_start"]).all()
    assert cut.special.sum() == plain.special.sum()
    assert (cut.word_index[cut.special] == NONE).all()


def test_another_tokenization_is_another_tokenizer_of_the_same_weights(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    zoo = zoo_of(
        one={"path": str(checkpoint("roberta"))},
        two={"weights_of": "one", "tokenization": {"sampling": 0.2}},
        three={"weights_of": "one", "tokenization": {"sampling": 0.2, "seed": 1}},
        four={"weights_of": "one"},
    )
    pins = {key: zoo.pin(key) for key in ("one", "two", "three", "four")}
    assert len({pin.weight_hash for pin in pins.values()}) == 1
    assert len({pin.tokenizer_hash for pin in pins.values()}) == 3
    assert pins["four"].tokenizer_hash == pins["one"].tokenizer_hash
    assert zoo.load("two").labels == zoo.load("one").labels
    assert zoo.load("two").key == "two"


def test_slow_tokenizers_and_trained_models_are_refused(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(m=model(checkpoint("xlm"), 0.1)).load("m")
    with pytest.raises(ModelError, match="needs a fast tokenizer"):
        encode(loaded, frame([("the cat", None)]))
    recipe = {"base": "m", "dataset": "nli", "languages": ["en"]}
    with pytest.raises(ValueError, match="give it to one with `weights_of` this one"):
        zoo_of(m={"path": "x"}, t={"finetune": recipe, "tokenization": {"sampling": 0.1}})
    with pytest.raises(ValueError, match=r"models.a.weights_of: a -> b -> a is a cycle"):
        zoo_of(a={"weights_of": "b"}, b={"weights_of": "a"})


def test_a_real_tokenizer_cuts_more_the_higher_the_rate(
    shared: Path, zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    folder = str(shared / "models" / "mini-x11")
    rates = (None, 0.2, 0.6, 1.0)
    zoo = zoo_of(**{f"m{place}": model(Path(folder), rate) for place, rate in enumerate(rates)})
    text = "Although the committee had promised a decision, the representatives disagreed about the consequences."
    counts = []
    for place in range(len(rates)):
        loaded = zoo.load(f"m{place}")
        encoded = encode(loaded, frame([(text, None)] * 4))
        counts.append(int((~encoded.special).sum()))
        letters = "".join(
            loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids[1 : encoded.lengths[0] - 1].tolist())
        )
        assert letters.replace("▁", " ").strip() == text
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[3]
