"""Vectors of words over every family, against transformers' hidden states taken one sentence at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.concepts.activations import find_words, word_vectors
from xlwh.concepts.places import Place, places_of, states_of
from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.segments import words_of
from xlwh.models.tokenize import Encoded, encode
from xlwh.study.concepts import Concepts

TEXTS = [
    "The cat doesn't sit on the mat.",
    "Der Hund schläft auf dem Sofa; die Katze nicht!",
    "他说，妈妈，我回来了。",
    "",
    "cat",
]


@pytest.fixture
def load(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> Callable[..., LoadedModel]:
    def build(model_type: str, head: str = "ForSequenceClassification", **options: Any) -> LoadedModel:
        return zoo_of(m={"path": str(checkpoint(model_type, head)), **options}).load("m")

    return build


def every_word(encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(i, w) for i, words in enumerate(encoded.words) for w in range(len(words))]
    examples, words = np.array(pairs, dtype=np.int64).T
    return examples, words


def reference(loaded: LoadedModel, encoded: Encoded, example: int) -> dict[tuple[str, int], np.ndarray]:
    """Hidden states of one example alone, without padding."""
    ids = torch.from_numpy(encoded.input_ids[encoded.row(example)].astype(np.int64))[None]
    types = encoded.token_type_ids
    kinds = None if types is None else torch.from_numpy(types[encoded.row(example)].astype(np.int64))[None]
    mask = torch.ones_like(ids)
    inputs = loaded.family.model_inputs(loaded.model, ids, mask, kinds)
    if loaded.config.is_encoder_decoder:
        start = torch.full((1, 1), loaded.config.decoder_start_token_id)
        inputs |= {"decoder_input_ids": torch.cat([start, ids[:, :-1]], 1), "decoder_attention_mask": mask}
    with torch.inference_mode():
        output = loaded.model(**inputs, output_hidden_states=True)
    if loaded.config.is_encoder_decoder:
        stacks = {"encoder": output.encoder_hidden_states, "decoder": output.decoder_hidden_states}
    else:
        stack = "decoder" if loaded.family.name == "decoder" else "encoder"
        stacks = {stack: output.hidden_states}
    return {(s, i): state[0].numpy() for s, states in stacks.items() for i, state in enumerate(states)}


@pytest.mark.parametrize("aggregation", ["last", "first", "mean"])
@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("bert", ""),
        ("xlm-roberta", "ForSequenceClassification"),
        ("xlm", "ForSequenceClassification"),
        ("mt5", "ForConditionalGeneration"),
        ("mt5", "ForSequenceClassification"),
        ("llama", "ForCausalLM"),
        ("qwen2", "ForSequenceClassification"),
    ],
)
def test_vectors_are_the_models_own(
    load: Callable[..., LoadedModel],
    frame: Callable[..., pl.DataFrame],
    model_type: str,
    head: str,
    aggregation: Any,
) -> None:
    loaded = load(model_type, head)
    encoded = encode(loaded, frame([(text, None) for text in TEXTS]))
    examples, words = every_word(encoded)
    spans = find_words(encoded, examples, words)
    settings = Concepts(datasets=("nli",), conventions=("consumed", "predicting"))
    places = places_of(loaded.pin, settings)
    found = word_vectors(loaded, encoded, spans, places, aggregation, batch_tokens=64)
    assert set(found) == set(places)
    states = [reference(loaded, encoded, example) for example in range(len(TEXTS))]
    late = 1 if loaded.config.is_encoder_decoder else 0
    checked = 0
    for place, vectors in found.items():
        shift = {None: 0, "consumed": late, "predicting": late - 1}[place.convention]
        for at, (example, word) in enumerate(zip(examples, words, strict=True)):
            columns = np.flatnonzero(encoded.word_index[encoded.row(example)] == word) + shift
            if not len(columns):
                assert vectors.reason[at] == "no_tokens"
                continue
            if columns[0] < 0:
                assert vectors.reason[at] == "no_state"
                continue
            state = states[example][place.stack, place.layer][columns]
            expected = {"last": state[-1], "first": state[0], "mean": state.mean(axis=0)}[aggregation]
            assert vectors.reason[at] is None
            assert np.allclose(vectors.values[at], expected, rtol=2e-3, atol=5e-3)
            assert vectors.norm[at] == pytest.approx(np.linalg.norm(expected), rel=1e-3)
            checked += 1
        for example, state in enumerate(states):
            columns = np.flatnonzero(~encoded.special[encoded.row(example)]) + shift
            columns = columns[columns >= 0]
            assert vectors.averaged[example] == len(columns)
            if len(columns):
                expected = state[place.stack, place.layer][columns].mean(axis=0)
                assert np.allclose(vectors.sentences[example], expected, rtol=2e-3, atol=5e-3)
    assert checked > len(places) * 15


def test_spans_know_positions(load: Callable[..., LoadedModel], frame: Callable[..., pl.DataFrame]) -> None:
    loaded = load("bert")
    encoded = encode(loaded, frame([("The cat!", "cat"), ("mat", None)]))
    spans = find_words(encoded, np.array([0, 0, 0]), np.array([1, 2, 3]))
    words = [encoded.words[0][index] for index in (1, 2, 3)]
    assert words == ["cat", "!", "cat"]
    tokens = loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids[encoded.row(0)].tolist())
    assert [tokens[position] for position in spans.first] == ["cat", "!", "cat"]
    places = [encoded.occurrences[0][index] for index in (1, 2, 3)]
    assert places == [("cat", 0, 4, 7), ("!", 0, 7, 8), ("cat", 1, 0, 3)]
    assert spans.count.tolist() == [1, 1, 1]


def test_what_is_cut_off_is_truncated(
    load: Callable[..., LoadedModel], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load("bert", max_length=12)
    encoded = encode(loaded, frame([("cat the mat sits and sits on it", None), ("cat", None)]))
    examples, words = every_word(encoded)
    spans = find_words(encoded, examples, words)
    seen = set(encoded.word_index[encoded.row(0)].tolist())
    assert encoded.num_truncated[0] > 0
    reasons = spans.reason.tolist()
    assert reasons[-1] is None
    last = max(seen)
    assert reasons[:last] == [None] * last
    assert reasons[last + 1 : -1] == ["truncated"] * (len(reasons) - last - 2)
    # The last word that is seen is cut as well, unless all its characters are there.
    ends = encoded.char_end[encoded.row(0)][encoded.word_index[encoded.row(0)] == last]
    whole = ends.max() == encoded.occurrences[0][last].end
    assert reasons[last] == (None if whole else "truncated")


def test_numbers_that_half_precision_cannot_hold(
    load: Callable[..., LoadedModel], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load("bert")
    encoded = encode(loaded, frame([("cat the", None)]))
    spans = find_words(encoded, np.array([0, 0]), np.array([0, 1]))
    layer = Place("encoder", 1)
    module = loaded.family.layers(loaded.model)[0].module

    def spoil(_: Any, __: Any, output: Any) -> Any:
        state = (output[0] if isinstance(output, tuple) else output).clone()
        state[0, spans.first[0], 3] = 1e5
        state[0, spans.first[1], 3] = float("nan")
        return (state, *output[1:]) if isinstance(output, tuple) else state

    # Hooks run in the order of registration, so the recording one sees what this one returns.
    handle = module.register_forward_hook(spoil)
    try:
        found = word_vectors(loaded, encoded, spans, [layer])[layer]
    finally:
        handle.remove()
    assert found.reason.tolist() == ["overflow", "not_finite"]
    assert not found.values.any()


def test_places_follow_the_study(load: Callable[..., LoadedModel]) -> None:
    pin = load("mt5", "ForConditionalGeneration").pin
    assert states_of(pin) == {"encoder": 3, "decoder": 2}
    last = Concepts(datasets=("d",), layers=(0, -1), conventions=("consumed", "predicting"))
    assert [str(place) for place in places_of(pin, last)] == [
        "encoder.0",
        "encoder.2",
        "decoder.consumed.0",
        "decoder.consumed.1",
        "decoder.predicting.0",
        "decoder.predicting.1",
    ]
    assert places_of(load("bert").pin, Concepts(datasets=("d",), stacks=("decoder",))) == ()
    with pytest.raises(ModelError, match=r"no layer 2 in its decoder: 0 \(embeddings\) to 1"):
        places_of(pin, Concepts(datasets=("d",), layers=(2,)))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm", "t5", "llama"])
def test_the_configuration_knows_the_depth(load: Callable[..., LoadedModel], model_type: str) -> None:
    from xlwh.models.hidden import places

    loaded = load(model_type)
    counted: dict[str, int] = {}
    for stack, _ in places(loaded.model):
        counted[stack] = counted.get(stack, 0) + 1
    assert states_of(loaded.pin) == counted


def test_words_are_numbered_as_the_tokens_number_them(
    load: Callable[..., LoadedModel], frame: Callable[..., pl.DataFrame]
) -> None:
    examples = frame(
        [("The cat.", "Der Hund!"), ("don 't", None)], words=[None, ["don", "'t"]], language="en"
    )
    assert words_of(examples) == list(encode(load("bert"), examples).words)
