"""Logits in the order of the examples, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.predict import predict, softmax
from xlwh.models.tokenize import encode

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Load = Callable[..., LoadedModel]


@pytest.fixture
def load(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> Load:
    def loaded(model_type: str, head: str = "ForSequenceClassification", **options: object) -> LoadedModel:
        return zoo_of(m={"path": str(checkpoint(model_type, head)), **options}).load("m")

    return loaded


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_logits_are_the_models_own_in_the_order_given(
    model_type: str, load: Load, frame: Callable[..., pl.DataFrame], pairs: list[tuple[str, str | None]]
) -> None:
    loaded = load(model_type)
    encoded = encode(loaded, frame(pairs))
    calls: list[tuple[int, int]] = []
    found = predict(loaded, encoded, batch_tokens=256, progress=lambda *call: calls.append(call))
    assert found.shape == (len(pairs), 3)
    assert found.dtype == np.float32
    assert [total for _, total in calls] == [len(pairs)] * len(calls)
    done = [done for done, _ in calls]
    assert done == sorted(done)
    assert done[-1] == len(pairs)
    for index in range(len(pairs)):
        at = encoded.row(index)
        if encoded.special[at].all():
            continue  # an empty input: the padding of a batch is all there is beside it
        plain = {"input_ids": torch.from_numpy(encoded.input_ids[at].astype(np.int64))[None]}
        if encoded.token_type_ids is not None:
            plain["token_type_ids"] = torch.from_numpy(encoded.token_type_ids[at].astype(np.int64))[None]
        with torch.inference_mode():
            alone = loaded.model(**plain).logits[0].numpy()
        np.testing.assert_allclose(found[index], alone, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "qwen2"])
def test_batches_do_not_matter(
    model_type: str, load: Load, frame: Callable[..., pl.DataFrame], pairs: list[tuple[str, str | None]]
) -> None:
    loaded = load(model_type)
    encoded = encode(loaded, frame(pairs))
    one = predict(loaded, encoded, batch_rows=1)
    np.testing.assert_allclose(predict(loaded, encoded), one, atol=1e-5)


def test_a_model_without_a_head_is_refused(load: Load, frame: Callable[..., pl.DataFrame]) -> None:
    loaded = load("bert", "ForMaskedLM")
    with pytest.raises(ModelError, match="`m` has no sequence classification head"):
        predict(loaded, encode(loaded, frame([("cat", None)])))


def test_logits_that_are_not_finite_name_the_example(load: Load, frame: Callable[..., pl.DataFrame]) -> None:
    loaded = load("bert")
    encoded = encode(loaded, frame([("cat", None), ("the", None)]))
    loaded.model.classifier.bias[0] = float("nan")
    with pytest.raises(ModelError, match=r"logits of 2 examples are not finite, the first is `0`.*float32"):
        predict(loaded, encoded)


def test_no_examples_give_no_logits(load: Load, frame: Callable[..., pl.DataFrame]) -> None:
    loaded = load("bert")
    assert predict(loaded, encode(loaded, frame([]))).shape == (0, 3)
    assert softmax(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_bfloat16_is_near_float32_and_returned_as_float32(
    load: Load, frame: Callable[..., pl.DataFrame], pairs: list[tuple[str, str | None]]
) -> None:
    full, half = load("bert"), load("bert", dtype="bfloat16")
    examples = frame(pairs)
    exact, rough = (predict(loaded, encode(loaded, examples)) for loaded in (full, half))
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=0.15)


def test_softmax_sums_to_one_and_does_not_overflow() -> None:
    found = softmax(np.array([[0, 0, np.log(2)], [1e4, -1e4, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.25, 0.25, 0.5], [1, 0, 0]], atol=1e-6)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> None:  # fmt: skip
    zoo = zoo_of(m={"path": str(checkpoint("xlm-roberta"))})
    loaded = zoo.load("m")
    expected = predict(loaded, encode(loaded, frame(pairs)))
    on_gpu = Zoo(zoo._study, zoo._warehouse, device="cuda").load("m")
    np.testing.assert_allclose(predict(on_gpu, encode(on_gpu, frame(pairs))), expected, atol=1e-4)
