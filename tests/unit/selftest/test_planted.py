"""For each item a model or an adapter that is broken in a way that the item must catch, and what is refused then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xlwh.faithfulness.inputs as inputs
import xlwh.models.gates as gates
import xlwh.selftest.case as case
import xlwh.selftest.checks as checks
from xlwh.errors import ModelError
from xlwh.heads.stack import Layered
from xlwh.models import LoadedModel, Zoo
from xlwh.models.families import Family
from xlwh.selftest import CAPABILITIES, ITEMS, capability_of, refusal
from xlwh.selftest.texts import built_in

Patch = pytest.MonkeyPatch


def other_ids(loaded: LoadedModel, patch: Patch) -> None:
    """A tokenizer that is followed word by word loses a piece here and there."""
    encode = case.encode

    def wrong(*arguments: Any) -> Any:
        encoded = encode(*arguments)
        encoded.input_ids[int(encoded.bounds[0]) + 1] += 1
        return encoded

    patch.setattr(case, "encode", wrong)


def _inputs_changed(patch: Patch, **changed: Callable[[torch.Tensor], torch.Tensor]) -> None:
    original: Any = Family.model_inputs

    def wrong(self: Any, *arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        found = original(self, *arguments, **named)
        return found | {name: change(found[name]) for name, change in changed.items()}

    patch.setattr(Family, "model_inputs", wrong)


def positions_from_zero(loaded: LoadedModel, patch: Patch) -> None:
    """RoBERTa's positions begin at its padding id + 1."""
    _inputs_changed(patch, position_ids=lambda ids: (ids - 2).clamp(min=0))


def padding_attended_to(loaded: LoadedModel, patch: Patch) -> None:
    _inputs_changed(patch, attention_mask=torch.ones_like)


def left_is_claimed(loaded: LoadedModel, patch: Patch) -> None:
    patch.setitem(vars(loaded.family), "padding_sides", ("left", "right"))


def last_column_read(loaded: LoadedModel, patch: Patch) -> None:
    """A head that does not know which token pads reads whatever stands last."""
    patch.setattr(loaded.model.config, "pad_token_id", -1)


def embedding_never_called(loaded: LoadedModel, patch: Patch) -> None:
    patch.setattr(Family, "word_embedding", lambda self, model: model.transformer.shared)


def steps_instead_of_slopes(loaded: LoadedModel, patch: Patch) -> None:
    """An input that is rounded has no gradient, so the path adds up to nothing."""
    norm: Any = loaded.model.base_model.embeddings.LayerNorm
    forward = norm.forward
    patch.setattr(norm, "forward", lambda hidden: (forward(hidden) * 4).round() / 4)


def weights_of_keys(loaded: LoadedModel, patch: Patch) -> None:
    patch.setattr(Family, "attention_weights", lambda self, output, site: output.attentions[site.layer].mT)


def last_column_summarised(loaded: LoadedModel, patch: Patch) -> None:
    """`summary_type = "last"` in the configuration of XLM: alone the last token, in a batch padding."""
    patch.setattr(loaded.model.sequence_summary, "summary_type", "last")


def padding_averaged(loaded: LoadedModel, patch: Patch) -> None:
    patch.setattr(loaded.model.sequence_summary, "summary_type", "mean")


def mean_pooling(loaded: LoadedModel, patch: Patch) -> None:
    pooler: Any = loaded.model.base_model.pooler
    forward = pooler.forward
    patch.setattr(pooler, "forward", lambda hidden: forward(hidden.mean(dim=1, keepdim=True)))


def padding_hidden_from_the_head(loaded: LoadedModel, patch: Patch) -> None:
    """Perturbed inputs whose ids have no PAD are read at the last token, predictions are not."""

    def logits(
        loaded: LoadedModel, batch: Any, embedding: Any, shown: Any, vectors: torch.Tensor
    ) -> torch.Tensor:
        given = batch.inputs(loaded)
        pads = (batch.input_ids == loaded.tokenizer.pad_token_id) & batch.attention_mask.bool()
        given["input_ids"] = torch.where(pads, 7, batch.input_ids)
        handle = embedding.register_forward_hook(lambda *_: vectors)
        try:
            return loaded.model(**given).logits
        finally:
            handle.remove()

    patch.setattr(inputs, "_logits", logits)


def no_final_norm(loaded: LoadedModel, patch: Patch) -> None:
    patch.setattr(Family, "final_module", lambda self, model, stack: None)


def heads_in_another_order(loaded: LoadedModel, patch: Patch) -> None:
    original = gates.gate
    patch.setattr(gates, "gate", lambda site, open_: original(site, open_.roll(1, dims=-1)))


def columns_of_another_width(loaded: LoadedModel, patch: Patch) -> None:
    """Qwen3 states the width of its heads; hidden size by heads is another number."""
    patch.setattr(
        Family, "head_size", lambda self, config: self.hidden_size(config) // self.num_heads(config)
    )


def residual_left_out(loaded: LoadedModel, patch: Patch) -> None:
    original: Any = Layered.finish
    patch.setattr(
        Layered, "finish", lambda self, layer, entered, *rest: original(self, layer, entered * 0.9, *rest)
    )


PLANTED: list[tuple[str, str, Callable[[LoadedModel, Patch], None]]] = [
    ("token_ids", "bert", other_ids),
    ("own_forward", "roberta", positions_from_zero),
    ("batched", "bert", padding_attended_to),
    ("padded_left", "bert", left_is_claimed),
    ("padded_right", "llama", last_column_read),
    ("word_vectors", "t5", embedding_never_called),
    ("completeness", "bert", steps_instead_of_slopes),
    ("attention_weights", "bert", weights_of_keys),
    ("read_position", "bert", mean_pooling),
    ("own_forward", "bert", mean_pooling),
    ("batched", "xlm", last_column_summarised),
    ("read_position", "xlm", padding_averaged),
    ("p_full", "closing", padding_hidden_from_the_head),
    ("hidden_states", "llama", no_final_norm),
    ("gates", "bert", heads_in_another_order),
    ("gates", "qwen3", columns_of_another_width),
    ("head_engine", "roberta", residual_left_out),
]
"""Item, model, fault."""

ALONE = {"token_ids", "padded_left", "padded_right", "completeness", "p_full", "head_engine", "hidden_states"}
"""Items whose fault here is seen by no other item that passes without it."""


@pytest.mark.parametrize(("item", "model", "plant"), PLANTED, ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_planted_fault_is_caught_and_refuses_what_depends_on_it(
    item: str,
    model: str,
    plant: Callable[[LoadedModel, Patch], None],
    checkpoint: Callable[..., Path],
    closing_checkpoint: Callable[[str], Path],
    zoo_of: Callable[..., Zoo],
    monkeypatch: Patch,
) -> None:
    path = closing_checkpoint("qwen2") if model == "closing" else checkpoint(model)
    loaded = zoo_of(m={"path": str(path)}).load("m")
    before = {r.item for r in checks.self_test(loaded, built_in(True)) if r.status == "failed"}
    assert item not in before
    assert before <= {"token_ids"} - ({"token_ids"} if loaded.tokenizer.is_fast else set())
    plant(loaded, monkeypatch)
    results = checks.self_test(loaded, built_in(True))
    failed = {result.item: result for result in results if result.status == "failed"}
    assert item in failed, {result.item: result.deviation for result in results}
    if item in ALONE:
        assert set(failed) == {item}
    found = failed[item]
    reason = refusal("m", results, found.capability)
    assert reason is not None
    assert reason.startswith(f"Model `m`: {found.capability.replace('_', ' ')} are refused: ")
    assert f"self-test item `{item}` failed" in reason
    assert found.detail in reason
    # Nothing else is refused than what is built on what failed.
    broken = {result.capability for result in failed.values()}
    for capability in CAPABILITIES:
        assert (refusal("m", results, capability) is None) == (not _needs(capability) & broken)


def _needs(capability: str) -> set[str]:
    return {capability}.union(*(_needs(inner) for inner in CAPABILITIES[capability]))  # type: ignore[index]


def test_every_item_has_a_planted_fault_and_every_capability_an_item() -> None:
    assert {item for item, *_ in PLANTED} == {item.name for item in ITEMS}
    assert {item.capability for item in ITEMS} | {"lig"} == set(CAPABILITIES)
    assert set(checks.CHECKS) == {item.name for item in ITEMS}


def test_an_item_that_is_not_a_number_has_failed(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    loaded.model.classifier.weight.data[0, 0] = float("nan")
    results = {result.item: result for result in checks.self_test(loaded, built_in(True))}
    for item in ("own_forward", "batched", "padded_right", "completeness", "p_full", "gates", "head_engine"):
        assert results[item].status == "failed", item
    assert results["hidden_states"].status == "passed"
    assert results["token_ids"].status == "passed"


def test_the_model_is_left_as_it_was(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> None:
    for model_type in ("bert", "qwen3"):
        loaded = zoo_of(m={"path": str(checkpoint(model_type))}).load("m")
        # transformers puts hooks of its own on a model that is asked for its hidden states or attention.
        checks.self_test(loaded, built_in(True))
        hooks = _hooks(loaded)
        before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
        attention = loaded.config._attn_implementation
        checks.self_test(loaded, built_in(True))
        assert loaded.config._attn_implementation == attention
        assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
        assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
        assert _hooks(loaded) == hooks


def _hooks(loaded: LoadedModel) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in loaded.model.modules()
    )


@pytest.mark.parametrize("row", [0, 1, -1])
def test_one_example_without_numbers_is_enough(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], row: int, monkeypatch: Patch
) -> None:
    """Wherever it stands: `max` passes over NaN that is not the first."""
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    outputs = checks.Case.rows

    def broken(self: Any, output: Any, batch: Any) -> Any:
        found = outputs(self, output, batch)
        return [torch.full_like(value, torch.nan) if value is found[row] else value for value in found]

    tried = checks.Case(loaded, built_in(True))
    assert tried.alone
    monkeypatch.setattr(checks.Case, "rows", broken)
    for item in ("batched", "padded_right", "attention_weights", "gates", "head_engine"):
        assert not checks.CHECKS[item](tried).passed, item


def test_an_attribution_without_numbers_is_not_complete(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], monkeypatch: Patch
) -> None:
    loaded, lig = zoo_of(m={"path": str(checkpoint("bert"))}).load("m"), checks.lig

    def broken(*arguments: Any) -> Any:
        for index, attribution in lig(*arguments):
            yield index, replace(attribution, values=attribution.values * np.nan) if index else attribution

    monkeypatch.setattr(checks, "lig", broken)
    assert not checks.completeness(checks.Case(loaded, built_in(True))).passed


def test_a_baseline_that_is_refused_refuses_lig_alone(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], monkeypatch: Patch
) -> None:
    def refusing(*_: Any) -> Any:
        raise ModelError("no path begins anywhere.")

    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    with monkeypatch.context() as patch:
        patch.setattr(checks, "first_regular", refusing)
        results = checks.self_test(loaded, built_in(True))
    assert [(r.item, r.capability, r.detail) for r in results if r.status == "failed"] == [
        ("completeness", "lig", "no path begins anywhere.")
    ]
    refused = [name for name in CAPABILITIES if refusal("m", results, name)]
    assert refused == ["lig"]
    assert (capability_of("lig"), capability_of("integrated_gradients")) == ("lig", "integrated_gradients")


@pytest.mark.parametrize("singular", [False, True])
def test_what_else_goes_wrong_on_the_path_refuses_all_integrated_gradients(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], monkeypatch: Patch, singular: bool
) -> None:
    def refusing(*_: Any) -> Any:
        raise ModelError("not finite.")

    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    if singular:
        monkeypatch.setattr(checks, "first_regular", refusing)
    monkeypatch.setattr(checks, "integrated_gradients" if singular else "lig", refusing)
    results = checks.self_test(loaded, built_in(True))
    assert [(r.item, r.capability) for r in results if r.status == "failed"] == [
        ("completeness", "integrated_gradients")
    ]
