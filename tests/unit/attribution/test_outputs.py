"""Every method over outputs that are one number per sub-token: tags and answers, on tiny checkpoints of every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.attribution.methods import METHODS, shared_pass
from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.predict import predict_tokens
from xlwh.models.tokenize import Encoded, encode
from xlwh.study import Lig, Methods

FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Case = tuple[LoadedModel, Encoded, list[Item], list[float]]


@pytest.fixture
def case_of(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> Callable[[str, str], Case]:
    """case_of(family, head): items of several outputs of inputs of several lengths, and F of each."""

    def build(family: str, head: str) -> Case:
        loaded = zoo_of(m={"path": str(checkpoint(family, head))}).load("m")
        encoded = encode(loaded, frame([pairs[1], ("cat", "the"), pairs[0]]))
        outputs = ("logits",) if head == "ForTokenClassification" else ("start_logits", "end_logits")
        values = dict(zip(outputs, predict_tokens(loaded, encoded, outputs), strict=True))
        items, f = [], []
        for row in range(len(encoded)):
            place = int(encoded.lengths[row]) - 2 - row
            for output in outputs:
                target = row % 3 if output == "logits" else 0
                items.append(Item(row, target, place, output))
                here = values[output][encoded.row(row).start + place]
                f.append(float(here[target] if output == "logits" else here))
        return loaded, encoded, items, f

    return build


@pytest.mark.parametrize("head", ["ForTokenClassification", "ForQuestionAnswering"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attributions_add_up_to_the_change_of_the_output(
    family: str, head: str, case_of: Callable[[str, str], Case]
) -> None:
    loaded, encoded, items, f = case_of(family, head)
    results = dict(lig(loaded, encoded, items, Lig(tolerance=0.02), 512))
    assert sorted(results) == list(range(len(items)))
    for index, item in enumerate(items):
        result = results[index]
        assert result.f_input == pytest.approx(f[index], abs=1e-4)
        assert result.relative_delta is not None
        assert result.relative_delta <= 0.02 or abs(result.delta or 0) < 1e-5
        assert len(result.values) == encoded.lengths[item.example]


@pytest.mark.parametrize("head", ["ForTokenClassification", "ForQuestionAnswering"])
@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_explains_the_output_whatever_the_batch(
    method: str, family: str, head: str, case_of: Callable[[str, str], Case], tmp_path: Path
) -> None:
    loaded, encoded, items, f = case_of(family, head)
    if method in ("attention", "scaled_attention", "released_scaled_attention"):
        loaded.model.set_attn_implementation("eager")
    annotation = next(a for a in _members(Methods.model_fields[method].annotation) if a is not type(None))
    parameters = {method: annotation()}
    if method in ("lig", "lig_fixed", "integrated_gradients", "integrated_gradients_mask"):
        parameters = {method: annotation(quadrature="fixed", steps=3)}
    make = shared_pass(METHODS[method], [method], tmp_path)
    if method in ("released_integrated_gradients", "released_scaled_attention") and family != "bert":
        with pytest.raises(ModelError, match=r"Model `m`.*does not normalise a sum.*attribution.methods"):
            next(make(loaded, encoded, items, parameters, 4096))
        return
    together = {i: made[method] for i, made in make(loaded, encoded, items, parameters, 4096)}
    assert sorted(together) == list(range(len(items)))
    for index, item in enumerate(items):
        ((_, alone),) = make(loaded, encoded, [item], parameters, 4096)
        np.testing.assert_allclose(alone[method].values, together[index].values, atol=2e-4, rtol=1e-3)
        if method != "random":
            assert together[index].f_input == pytest.approx(f[index], abs=1e-4)


def test_gradients_are_those_of_the_chosen_sub_token(case_of: Callable[[str, str], Case]) -> None:
    loaded, encoded, items, _ = case_of("bert", "ForTokenClassification")
    make = shared_pass(METHODS["input_x_gradient"], ["input_x_gradient"], Path())
    parameters: dict[str, Any] = {"input_x_gradient": Methods(input_x_gradient={}).input_x_gradient}
    item = items[0]
    ((_, made),) = make(loaded, encoded, [item], parameters, 4096)
    row = encoded.row(item.example)
    ids = torch.from_numpy(encoded.input_ids[row].astype(np.int64))[None]
    types = torch.from_numpy(encoded.token_type_ids[row].astype(np.int64))[None]
    vectors = loaded.family.word_embedding(loaded.model)(ids).detach().requires_grad_(True)
    logits = loaded.model(inputs_embeds=vectors, token_type_ids=types).logits
    (gradient,) = torch.autograd.grad(logits[0, item.position, item.target], vectors)
    expected = (gradient * vectors).sum(-1)[0].detach().numpy()
    np.testing.assert_allclose(made["input_x_gradient"].values, expected, atol=1e-5)


def _members(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,))
