"""Examples to sub-tokens, and sub-tokens to characters and words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from xlwh.models import LoadedModel, Zoo
from xlwh.models.tokenize import NONE, SOURCE_WORDS, Encoded, encode, tokens_frame, words_of_offsets
from xlwh.models.words import segment, segmenter_name
from xlwh.store import Slot
from xlwh.store.contract import checked

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Frame = Callable[..., pl.DataFrame]
Load = Callable[..., LoadedModel]


@pytest.fixture
def load(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> Load:
    def loaded(model_type: str, **options: object) -> LoadedModel:
        return zoo_of(m={"path": str(checkpoint(model_type)), **options}).load("m")

    return loaded


def rows_of(encoded: Encoded, index: int) -> list[tuple[int, int, int, int]]:
    """(segment, start, end, word) of each token of an example."""
    at = encoded.row(index)
    columns = (encoded.segment[at], encoded.char_start[at], encoded.char_end[at], encoded.word_index[at])
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_ids_are_those_of_the_tokenizer(
    model_type: str, load: Load, frame: Frame, pairs: list[tuple[str, str | None]]
) -> None:
    loaded = load(model_type)
    encoded = encode(loaded, frame(pairs))
    for index, (first, second) in enumerate(pairs):
        at = encoded.row(index)
        # As lists of one: transformers takes a bare "" for no second segment at all.
        expected = loaded.tokenizer(
            [first],
            [loaded.family.pair_separator + (second or "")],
            truncation=True,
            max_length=loaded.max_length,
        )
        if expected["input_ids"][0]:
            assert encoded.input_ids[at].tolist() == expected["input_ids"][0]
            assert (encoded.token_type_ids is None) == ("token_type_ids" not in expected)
            if encoded.token_type_ids is not None:
                assert encoded.token_type_ids[at].tolist() == expected["token_type_ids"][0]
    assert encoded.lengths.max() <= loaded.max_length
    assert encoded.lengths.min() >= 1


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_token_lies_in_its_word_and_is_a_valid_row(
    model_type: str, load: Load, frame: Frame, pairs: list[tuple[str, str | None]]
) -> None:
    loaded = load(model_type)
    examples = frame(pairs, language="zh")
    encoded = encode(loaded, examples)
    rows = tokens_frame(loaded, encoded)
    checked(Slot("tokens", ("m", "zh"), "nli"), rows)
    assert rows.height == len(encoded.input_ids)
    assert rows["segmenter"].unique().to_list() == [segmenter_name("zh")]
    assert rows.filter(pl.col("is_special"))["segment"].null_count() == rows["is_special"].sum()
    texts = examples.select("example_id", "text", "text_pair")
    for row in rows.join(texts, on="example_id").iter_rows(named=True):
        text = row["text"] if row["segment"] == 0 else row["text_pair"]
        if row["is_special"]:
            assert row["word_index"] is row["char_start"] is row["char_end"] is row["segment"] is None
            continue
        covered = text[row["char_start"] : row["char_end"]]
        if row["word_index"] is None:
            assert not covered.strip()
        else:
            assert covered.strip() == covered != ""
            assert set(row["word"]) & set(covered)
    # Positions count from 0 in every example, in the order of the examples.
    assert rows["example_id"].unique(maintain_order=True).to_list() == [str(i) for i in range(len(pairs))]
    positions = rows.group_by("example_id").agg(pl.col("position")).get_column("position")
    assert all(values.to_list() == list(range(len(values))) for values in positions)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "xlm", "qwen2"])
def test_words_count_over_both_segments(model_type: str, load: Load, frame: Frame) -> None:
    encoded = encode(load(model_type), frame([("The cat", "cat, it")]))
    assert encoded.words == (("The", "cat", "cat", ",", "it"),)
    tokens = rows_of(encoded, 0)
    assert {word for side, _, _, word in tokens if side == 0} - {NONE} == {0, 1}
    assert {word for side, _, _, word in tokens if side == 1} - {NONE} == {2, 3, 4}


def test_offsets_leave_out_the_blank_that_some_tokenizers_count_as_part_of_a_word(
    load: Load, frame: Frame
) -> None:
    text = "The cat doesn't"
    for model_type in ("roberta", "qwen2"):
        tokens = [row for row in rows_of(encode(load(model_type), frame([(text, None)])), 0) if row[0] == 0]
        assert [(start, end) for _, start, end, _ in tokens] == [(0, 3), (4, 7), (8, 13), (13, 15)]
        assert [word for *_, word in tokens] == [0, 1, 2, 2]


def test_a_lone_blank_belongs_to_no_word(load: Load, frame: Frame) -> None:
    loaded = load("xlm-roberta")
    encoded = encode(loaded, frame([("Zoo", None)]))
    pieces = loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())
    assert pieces[1] == "▁"
    # It was put before the text, and is no character of it.
    assert rows_of(encoded, 0)[1] == (0, 0, 0, NONE)
    assert rows_of(encoded, 0)[2][3] == 0


def test_pieces_of_slow_tokenizers_have_their_own_characters(load: Load, frame: Frame) -> None:
    loaded = load("xlm")
    assert not loaded.tokenizer.is_fast
    text = "The cat isn't well-known."
    encoded = encode(loaded, frame([(text, "it")]))
    covered: dict[int, str] = {}
    for side, start, end, word in rows_of(encoded, 0):
        if side == 0:
            covered[word] = covered.get(word, "") + text[start:end]
    assert list(covered.values()) == [text[start:end] for start, end in segment(text, "en")]
    assert encoded.words[0][:2] == ("The", "cat")
    assert encoded.special.sum() == 3


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_longer_segment_is_cut_first_and_counted(model_type: str, load: Load, frame: Frame) -> None:
    long, short = "cat on the mat " * 8, "the cat"
    whole = encode(load(model_type, max_length=512), frame([(long, short), (short, long), (long, None)]))
    limit = 24
    loaded = replace(load(model_type), max_length=limit)
    cut = encode(loaded, frame([(long, short), (short, long), (long, None)]))
    assert cut.lengths.tolist() == [limit] * 3
    # Positions end at 64 for most: what the first call cut itself is counted there.
    assert (cut.lengths + cut.num_truncated).tolist() == (whole.lengths + whole.num_truncated).tolist()
    for index, kept in ((0, 1), (1, 0)):
        at = cut.row(index)
        full = whole.row(index)
        assert (cut.segment[at] == kept).sum() == (whole.segment[full] == kept).sum()
    # Words of the second segment keep their numbers when the first is cut.
    second = cut.word_index[cut.row(0)][cut.segment[cut.row(0)] == 1]
    assert second[second != NONE].min() == len(segment(long, "en"))


def test_pretokenised_examples_use_their_own_words(load: Load, frame: Frame) -> None:
    words = ["vámonos", "al", "mar", "New York"]
    spans = [[{"start": a, "end": b} for a, b in ((0, 7), (8, 10), (11, 14), (16, 24))]]
    examples = frame([("vámonos al mar, New York", None)], words=[words], spans=spans)
    for model_type in ("bert", "roberta", "xlm"):
        encoded = encode(load(model_type), examples)
        assert encoded.words == (tuple(words),)
        assert encoded.segmenters == (SOURCE_WORDS,)
        tokens = [row for row in rows_of(encoded, 0) if row[0] == 0]
        assert {word for *_, word in tokens} - {NONE} == {0, 1, 2, 3}
        # Offsets are those of the text as it was written, with its comma.
        text = examples["text"][0]
        last = [(start, end) for _, start, end, word in tokens if word == 3]
        assert text[min(start for start, _ in last) : max(end for _, end in last)] == "New York"


def test_words_of_a_multiword_token_have_its_characters(load: Load, frame: Frame) -> None:
    words = ["de", "el", "mar"]  # a contraction taken apart: "del mar"
    spans = [[{"start": 0, "end": 3}, {"start": 0, "end": 3}, {"start": 4, "end": 7}]]
    encoded = encode(load("bert"), frame([("del mar", None)], words=[words], spans=spans))
    tokens = [row for row in rows_of(encoded, 0) if row[0] == 0]
    assert {(start, end) for _, start, end, word in tokens if word in (0, 1)} == {(0, 3)}
    assert [(start, end) for _, start, end, word in tokens if word == 2] == [(4, 5), (5, 6), (6, 7)]
    assert encoded.occurrences == ((("de", 0, 0, 3), ("el", 0, 0, 3), ("mar", 0, 4, 7)),)


def test_special_tokens_in_a_text_are_text(load: Load, frame: Frame) -> None:
    for model_type in ("bert", "xlm-roberta", "t5", "qwen2"):
        loaded = load(model_type)
        names = [loaded.tokenizer.pad_token, loaded.tokenizer.eos_token or "[SEP]"]
        text = f"cat {names[0]} on {names[1]} mat"
        encoded = encode(loaded, frame([(text, None)]))
        inside = set(encoded.input_ids[~encoded.special].tolist())
        assert not inside & loaded.family.special_ids(loaded.tokenizer)


def test_unknown_pieces_are_marked(load: Load, frame: Frame) -> None:
    loaded = load("bert")
    rows = tokens_frame(loaded, encode(loaded, frame([("cat ☃", None)])))
    assert rows["is_unknown"].to_list() == [False, False, True, False]
    assert rows["token"].to_list() == ["[CLS]", "cat", "[UNK]", "[SEP]"]
    assert rows["word"].to_list() == [None, "cat", "☃", None]


def test_an_empty_text_still_is_an_input(load: Load, frame: Frame) -> None:
    for model_type in MODEL_TYPES:
        loaded = load(model_type)
        encoded = encode(loaded, frame([("", None), ("", "")]))
        assert (encoded.lengths >= 1).all()
        assert encoded.special.all()
        assert encoded.words == ((), ())


def test_no_examples_give_no_rows(load: Load, frame: Frame) -> None:
    for model_type in ("bert", "xlm"):
        loaded = load(model_type)
        encoded = encode(loaded, frame([]))
        assert len(encoded) == 0
        rows = tokens_frame(loaded, encoded)
        assert rows.height == 0
        checked(Slot("tokens", ("m", "en"), "nli"), rows)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 3), (3, 4), (4, 7)], [0, NONE, 1]),
        ([(0, 4), (3, 7)], [0, 1]),
        ([(0, 7)], [0]),
        ([(2, 7)], [1]),
        ([(8, 8), (7, 8)], [2, NONE]),
        ([(9, 12)], [NONE]),
    ],
)
def test_the_word_with_most_characters_wins(spans: list[tuple[int, int]], expected: list[int]) -> None:
    words = [(0, 3), (4, 7), (8, 9)]
    assert words_of_offsets(np.array(spans, dtype=np.int32), words).tolist() == expected
    assert words_of_offsets(np.array(spans, dtype=np.int32), []).tolist() == [NONE] * len(spans)


def test_real_text_in_every_language_keeps_the_contract_quickly(
    shared: Path, zoo_of: Callable[..., Zoo], frame: Frame
) -> None:
    loaded = zoo_of(mini={"path": str(shared / "models" / "mini-x11")}).load("mini")
    seconds = 0.0
    for language in ("en", "zh", "th", "hi", "ar"):
        text = (shared / "data" / "xnli" / "xtreme" / f"dev-{language}.tsv").read_text(encoding="utf-8")
        rows = [line.split("\t") for line in text.split("\n") if line]
        examples = frame([(first, second) for first, second, _ in rows], language)
        start = time.process_time()
        encoded = encode(loaded, examples)
        tokens = tokens_frame(loaded, encoded)
        seconds += time.process_time() - start
        checked(Slot("tokens", ("mini", language), "nli"), tokens)
        assert tokens["example_id"].n_unique() == len(rows) == 2490
        inside = tokens.filter(~pl.col("is_special"))
        # Blanks apart, almost every piece belongs to a word: what does not are control characters.
        real = inside.filter(pl.col("token") != "▁")
        assert real["word_index"].null_count() / real.height < 0.001
        words = sum(map(len, encoded.words))
        found = inside.drop_nulls("word_index").select("example_id", "word_index").n_unique()
        # The others lie inside a piece that their neighbour has the larger part of (Unigram, Thai).
        assert found / words > 0.85
    # 5 x 2490 pairs: about 4 s on one free core.
    assert seconds < 20


@pytest.mark.parametrize(
    ("model_type", "file", "shift"),
    [("t5", "spiece.model", 0), ("xlm-roberta", "sentencepiece.bpe.model", 1)],
)
def test_sentencepiece_files_alone_are_enough(
    model_type: str,
    file: str,
    shift: int,
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    zoo_of: Callable[..., Zoo],
    frame: Frame,
) -> None:
    """Older checkpoints (mT5's) have no tokenizer.json."""
    pytest.importorskip("sentencepiece")
    folder = Path(shutil.copytree(checkpoint(model_type), tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": {"t5": "T5Tokenizer"}.get(model_type, "XLMRobertaTokenizer"), "extra_ids": 0}
        )
    )
    text = "the new cat often sits"
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if shift == 0 else {}
    # In a process of its own: beside torch, its native processor can crash.
    script = f"""
import json, sentencepiece
lines = [f"the {{a}} cat {{b}} sits on a mat" for a in ("old", "big", "new", "red") for b in ("never", "often")]
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines * 5), model_prefix={str(tmp_path / "sp")!r}, vocab_size=60,
    hard_vocab_limit=False, minloglevel=2, **{special})
print(json.dumps(sentencepiece.SentencePieceProcessor(model_file={str(tmp_path / "sp.model")!r}).encode({text!r})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    own = json.loads(done.stdout)
    shutil.copy(tmp_path / "sp.model", folder / file)
    loaded = zoo_of(m={"path": "model"}).load("m")
    encoded = encode(loaded, frame([(text, None)]))
    inside = encoded.input_ids[~encoded.special].tolist()
    assert inside == [piece + shift for piece in own]
    assert encoded.word_index.max() == 4


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3"])
def test_decoders_see_a_line_break_between_the_segments(model_type: str, load: Load, frame: Frame) -> None:
    loaded = load(model_type)
    pairs = [("The cat", "Der Hund"), ("The cat", ""), ("The cat", None)]
    encoded = encode(loaded, frame(pairs))
    separators = []
    for index, (_, second) in enumerate(pairs):
        row = encoded.row(index)
        inner = encoded.special[row].copy()
        real = np.flatnonzero(~inner)
        inner[: real[0]] = False
        separators.append(int(inner.sum()))
        starts, ends = encoded.char_start[row], encoded.char_end[row]
        of_second = encoded.segment[row] == 1
        if second:
            assert starts[of_second].min() == 0
            assert ends[of_second].max() == len(second)
            words = {encoded.words[index][w] for w in encoded.word_index[row][of_second] if w >= 0}
            assert words == {"Der", "Hund"}
        else:
            assert not of_second.any()
    assert separators[0] == separators[1] >= 1
    assert separators[2] == 0
    # The same two texts cut elsewhere are another input.
    glued = encode(loaded, frame([("The catDer", " Hund")]))
    assert glued.input_ids.tolist() != encoded.input_ids[encoded.row(0)].tolist()
