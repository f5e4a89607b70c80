"""Every family that is shipped, padded on either side, against every item; and the table of docs/selftest.md."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from architectures import every_architecture

from xlwh.models import Zoo
from xlwh.selftest import ITEMS
from xlwh.selftest.checks import self_test
from xlwh.selftest.texts import built_in

HEADS = ("ForTokenClassification", "ForQuestionAnswering", "")
INAPPLICABLE: dict[str | None, set[str]] = {
    "sequence_classification": set(),
    "translation": {"read_position", "p_full", "head_engine"},
    None: {"word_vectors", "completeness", "read_position", "p_full", "head_engine"},
}
"""Items that heads have nothing for: not all architectures have a classifier."""
REFUSED = {("eurobert", "read_position"): "failed"}
"""EuroBERT's classifier averages over all positions, unless its configuration says otherwise."""
OF_ALL = {"token_ids", "own_forward", "batched", "attention_weights", "hidden_states", "gates"}


def _helper() -> Any:
    spec = importlib.util.spec_from_file_location("self_test_table", Path(__file__).with_name("table.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


helper = _helper()


@pytest.mark.parametrize("model_type", every_architecture())
def test_every_item_passes_on_the_sides_that_the_family_takes(
    model_type: str, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint(model_type))}).load("m")
    assert loaded.family.padding_side in loaded.family.padding_sides
    lines = []
    for side in helper.SIDES:
        results = helper.tried(loaded, side, self_test)
        lines += helper.table({(model_type, side): results}).splitlines()[2:]
        if results is None:
            continue
        assert [result.item for result in results] == [item.name for item in ITEMS]
        other = {f"padded_{taken}" for taken in helper.SIDES if taken not in loaded.family.padding_sides}
        other |= INAPPLICABLE[loaded.task]
        for result in results:
            # Slow tokenizers may cut otherwise what they are given word by word.
            if result.item == "token_ids" and not loaded.tokenizer.is_fast:
                continue
            expected = "not_applicable" if result.item in other else "passed"
            expected = REFUSED.get((model_type, result.item), expected)
            assert result.status == expected, result
    assert "\n".join(lines) in helper.in_page(), "run: python tests/unit/selftest/table.py"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("model_type", ["bert", "xlm", "t5", "llama"])
def test_other_heads_pass_what_applies_to_them(
    model_type: str, head: str, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint(model_type, head))}).load("m")
    results = self_test(loaded, built_in(pairs=head == "ForQuestionAnswering"))
    for result in results:
        if result.item == "token_ids" and not loaded.tokenizer.is_fast:
            continue
        assert result.status != "failed", result
    passed = {result.item for result in results if result.status == "passed"}
    assert passed >= OF_ALL - ({"token_ids"} if not loaded.tokenizer.is_fast else set())
    assert ("word_vectors" in passed) == ("completeness" in passed) == bool(head)
    assert ("head_engine" in passed) == (head == "ForTokenClassification")
    assert not passed & {"read_position", "p_full"}


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_padding_that_closes_each_text_passes_too(
    model_type: str, closing_checkpoint: Callable[[str], Path], zoo_of: Callable[..., Zoo]
) -> None:
    loaded = zoo_of(m={"path": str(closing_checkpoint(model_type))}).load("m")
    for pairs in (True, False):
        assert not [r for r in self_test(loaded, built_in(pairs)) if r.status == "failed"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_passes_within_its_own_tolerances(
    dtype: str, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("xlm-roberta")), "dtype": dtype}).load("m")
    assert not [r for r in self_test(loaded, built_in(True)) if r.status == "failed"]


def test_a_real_encoder_passes(shared: Path, zoo_of: Callable[..., Zoo]) -> None:
    loaded = zoo_of(m={"path": str(shared / "models" / "mini-x11")}).load("m")
    results = self_test(loaded, built_in(False))
    assert {r.item for r in results if r.status == "passed"} >= OF_ALL
    assert not [r for r in results if r.status == "failed"]
