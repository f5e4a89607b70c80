"""The committed encoder and tokenizer: load offline, cover the corpus, keep offsets, know their translations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from xlwh.demo import lexicon
from xlwh.demo.grammar import DATA, clauses, realise
from xlwh.demo.languages import text
from xlwh.demo.lexicon import LANGUAGES
from xlwh.demo.pretraining import PretrainingText, edited, said
from xlwh.demo.sampling import Dice
from xlwh.demo.tokenizer import SPECIALS, train_tokenizer
from xlwh.demo.train import MODEL, Recipe, cooccurrence_vectors, train

LIMIT = 64


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL, local_files_only=True)
    return found


def pairs(language: str) -> list[list[str]]:
    lines = (DATA / f"dev-{language}.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    return [line.split("\t")[:2] for line in lines]


def test_folder_holds_safetensors_only() -> None:
    names = {path.name for path in MODEL.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 3_000_000


def test_model_loads_offline_and_runs(tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModel.from_pretrained(MODEL, local_files_only=True, dtype=torch.float32)
    assert model.config.num_hidden_layers == Recipe.layers
    assert model.config.vocab_size == len(tokenizer)
    inputs = tokenizer(*pairs("hi")[0], return_tensors="pt")
    with torch.inference_mode():
        assert model(**inputs).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_unknown_pieces_and_exact_offsets(tokenizer: PreTrainedTokenizerBase, language: str) -> None:
    fertility, blank = [], tokenizer.convert_tokens_to_ids("▁")
    for premise, hypothesis in pairs(language):
        encoded = tokenizer(premise, hypothesis, return_offsets_mapping=True)
        assert tokenizer.unk_token_id not in encoded["input_ids"]
        assert len(encoded["input_ids"]) <= LIMIT
        segments = encoded.encodings[0].sequence_ids
        for segment, string in enumerate((premise, hypothesis)):
            parts = zip(encoded["input_ids"], encoded["offset_mapping"], segments, strict=True)
            spans = [span for piece, span, side in parts if side == segment and piece != blank]
            assert "".join(string[a:b] for a, b in spans).replace(" ", "") == string.replace(" ", "")
            assert spans == sorted(spans)
            fertility.append(len(spans) / max(1, len(string.split())))
        assert tokenizer.decode(encoded["input_ids"], skip_special_tokens=True).replace(" ", "") == (
            premise + hypothesis
        ).replace(" ", "")
    if language != "zh":
        assert 1.0 <= np.mean(fertility) < 1.6


def test_pair_template(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = tokenizer("a dog", "a cat")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert [token for token in tokens if token in SPECIALS] == ["<s>", "</s>", "</s>", "</s>"]
    middle = tokens.index("</s>") + 1
    assert encoded["token_type_ids"] == [0] * middle + [1] * (len(tokens) - middle)
    assert [tokenizer.convert_tokens_to_ids(token) for token in SPECIALS] == list(range(5))


def test_no_piece_spans_two_chinese_words(tokenizer: PreTrainedTokenizerBase) -> None:
    for clause in clauses("spans", 300):
        words = realise(clause, "zh")
        ends = set(np.cumsum([len(word.form) for word in words]).tolist())
        spans = tokenizer(text(words, "zh"), add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        inside = [(a, b) for a, b in spans if any(a < end < b for end in ends)]
        assert not inside


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_translations_are_near_in_the_input_embeddings(
    tokenizer: PreTrainedTokenizerBase, language: str
) -> None:
    """Dictionary words of one piece: the nearest word of the other language is, for most, a translation."""
    model = AutoModel.from_pretrained(MODEL, local_files_only=True, dtype=torch.float32)
    weight = torch.nn.functional.normalize(model.embeddings.word_embeddings.weight.detach(), dim=1)
    vocabulary, blank = tokenizer.get_vocab(), "" if language == "zh" else "▁"
    lines = (DATA / "dictionaries" / f"en-{language}.txt").read_text(encoding="utf-8").split("\n")[:-1]
    entries = {
        (vocabulary["▁" + a], vocabulary[blank + b])
        for a, b in (line.split("\t") for line in lines)
        if "▁" + a in vocabulary and blank + b in vocabulary
    }
    source, target = (sorted({pair[side] for pair in entries}) for side in (0, 1))
    nearest = (weight[source] @ weight[target].T).argmax(dim=1).tolist()
    hits = [(word, target[index]) in entries for word, index in zip(source, nearest, strict=True)]
    assert len(hits) > 50
    assert np.mean(hits) > 0.85


def test_said_sees_content_and_not_form() -> None:
    words, dice = lexicon.load(), Dice("said")
    for clause in clauses("said", 300):
        other = edited(dice, words, clause)
        slots = {word.slots[0] for word in realise(clause, "en")}
        assert all(said(clause, slot) == said(clause, slot) for slot in slots)
        if clause.verb != other.verb:
            assert said(clause, "verb") != said(other, "verb.aux")
        if clause.subject.noun != other.subject.noun:
            assert said(clause, "subject") != said(other, "subject")


def test_batches_are_well_formed() -> None:
    words = lexicon.load()
    sentences = ((x, realise(clause, x)) for clause in clauses("batches", 200) for x in LANGUAGES)
    tokenizer = train_tokenizer(sentences, LIMIT, vocabulary=900)
    source = PretrainingText(tokenizer, words, pairs=40, seed=0)
    batch = next(source.batches(16, seed=0))
    again = next(source.batches(16, seed=0))
    assert all(np.array_equal(a, b) for a, b in zip(vars(batch).values(), vars(again).values(), strict=True))
    special = np.isin(batch.gold_ids, (0, 1, 2))
    assert not (batch.masked & special).any()
    assert not (batch.inner & special).any()
    assert (batch.attention_mask == (batch.gold_ids != 1)).all()
    assert (batch.gold_ids == batch.input_ids)[~batch.masked].all()
    assert not batch.changed[special].any()
    vectors = cooccurrence_vectors(source, len(tokenizer), 16)
    norms = np.linalg.norm(vectors, axis=1)
    assert vectors.shape == (900, 16)
    assert norms.max() < 1 + 1e-5
    assert np.mean(norms > 1 - 1e-5) > 0.4


@pytest.mark.slow
def test_training_writes_a_loadable_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("model")
    train(Recipe(pairs=200, steps=4, rows=8, layers=1), folder, threads=1)
    assert AutoModel.from_pretrained(folder, local_files_only=True).config.num_hidden_layers == 1
    assert {path.name for path in folder.iterdir()} == {path.name for path in MODEL.iterdir()}
