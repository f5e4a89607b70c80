"""Every analysis of every family runs on a GPU as on the CPU, as far as a pretended one can tell."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from analyses import ANALYSES, World, apart, result_of
from pretend_gpu import pretend_gpu

import xlwh

CLASSIFIERS = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
OFTEN = ("xlm-roberta", "mt5", "llama")
"""One of each layout: the others differ from them in little, and are tried in the slow tests."""
FAMILIES = {
    "ForSequenceClassification": CLASSIFIERS,
    "ForTokenClassification": ("bert", "roberta", "xlm-roberta", "xlm", "mt5"),
    "ForQuestionAnswering": ("bert", "roberta", "xlm-roberta", "xlm"),
    "ForConditionalGeneration": ("t5", "mt5"),
}
PRODUCT = [
    pytest.param(
        family,
        head,
        name,
        id=f"{family}-{head.removeprefix('For')}-{name}",
        marks=() if family in OFTEN else pytest.mark.slow,
    )
    for head, analyses in ANALYSES.items()
    for family in FAMILIES[head]
    for name in analyses
]


@pytest.mark.parametrize(("family", "head", "name"), PRODUCT)
def test_numbers_are_those_of_the_cpu(
    family: str, head: str, name: str, world_of: Callable[..., World]
) -> None:
    analysis = ANALYSES[head][name]
    expected = result_of(analysis, world_of(family, head, "cpu"))
    if family == "xlm-roberta":
        assert not isinstance(expected, str), expected
    with pretend_gpu() as log:
        world = world_of(family, head, "cuda")
        assert all(parameter.is_cuda for parameter in world.loaded.model.parameters())
        log.reset()
        found = result_of(analysis, world)
    assert not apart(expected, found), "\n".join(apart(expected, found)[:10])


NOT_HERE = {
    "xlwh/attribution/lig.py": "asks how much memory is free; xlwh/attribution/path.py computes",
    "xlwh/concepts/clusterings.py": "passes it on to k-means",
    "xlwh/concepts/kmeans.py": "passes it on to the assigners",
    "xlwh/models/loaded.py": "says which it is",
    "xlwh/models/zoo.py": "chooses it",
    "xlwh/steps/work.py": "passes it on to steps",
}
"""Modules that name a device and launch no kernel of their own."""


def _on_devices() -> Iterator[str]:
    """Modules that import torch and upload a batch, make a tensor on a device, or ask where one is."""
    root = Path(xlwh.__file__).parent
    for file in sorted(root.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        imports = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        if names & {"collate", "to_device"} or ("torch" in imports and "device" in attributes):
            yield file.relative_to(root.parent).as_posix()


def test_no_module_that_computes_on_the_device_is_left_out(world_of: Callable[..., World]) -> None:
    seen = set(NOT_HERE)
    with pretend_gpu() as log:
        for family, head, names in (
            ("xlm-roberta", "ForSequenceClassification", ANALYSES["ForSequenceClassification"]),
            ("bert", "ForSequenceClassification", ("predictions",)),
            ("llama", "ForSequenceClassification", ("heads",)),
            ("mt5", "ForConditionalGeneration", ("predictions",)),
        ):
            for name in names:
                result_of(ANALYSES[head][name], world_of(family, head, "cuda"))
    seen |= log.files
    left_out = set(_on_devices()) - seen
    assert not left_out, "\n".join(sorted(left_out))
    assert set(NOT_HERE) <= set(_on_devices())
