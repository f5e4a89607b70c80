"""Heads that choose one of several classes, and classes that go by the dataset's names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlwh.errors import ModelError
from xlwh.models import Zoo
from xlwh.models.labels import require_known, require_tags

ZooOf = Callable[..., Zoo]


@pytest.fixture
def configured(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """configured(head, ...): a checkpoint as path `model` whose configuration says something else of its labels."""

    def build(head: str = "ForSequenceClassification", **changes: Any) -> None:
        folder = Path(shutil.copytree(checkpoint("bert", head), tmp_path / "model"))
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return build


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification"])
@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_heads_for_other_problems_are_refused_but_as_a_base(
    head: str, kind: str, configured: Callable[..., None], zoo_of: ZooOf
) -> None:
    configured(head, problem_type=kind)
    zoo = zoo_of(m={"path": "model"}, named={"path": "model", "labels": ["a", "b", "c"]})
    for key in ("m", "named"):
        with pytest.raises(
            ModelError, match=rf"`{key}`: its head is for {kind.replace('_', ' ')} \(`problem_type`"
        ):
            zoo.load(key)
    assert zoo.load_base("m", 2, ("a", "b"), 0).labels == ("a", "b")


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "mt5", "qwen2"])
def test_a_head_with_one_output_is_refused_but_as_a_base(
    model_type: str, checkpoint: Callable[..., Path], tmp_path: Path, zoo_of: ZooOf
) -> None:
    """Its softmax is 1 whatever the text."""
    import transformers

    source = checkpoint(model_type)
    shutil.copytree(source, tmp_path / "model")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=1, ignore_mismatched_sizes=True
    )
    model.save_pretrained(tmp_path / "model")
    zoo = zoo_of(m={"path": "model"}, named={"path": "model", "labels": ["yes"]})
    for key in ("m", "named"):
        with pytest.raises(ModelError, match=rf"`{key}`: its head has one output"):
            zoo.load(key)
    assert zoo.load_base("m", 2, ("a", "b"), 0).labels == ("a", "b")


NAMES = {"0": "a", "1": "b", "2": "c"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"id2label": {"0": "a", "1": "a", "2": "c"}, "label2id": {"a": 1, "c": 2}},
            "which class is which|`a` twice",
        ),
        ({"id2label": {"0": "a", "1": "b", "2": "b"}, "label2id": {}}, "has `b` twice"),
        ({"id2label": NAMES, "label2id": {"a": 2, "b": 1, "c": 0}}, "does not say which class is which"),
        ({"id2label": {"1": "a", "2": "b", "3": "c"}, "label2id": {}}, "does not say which class is which"),
    ],
)
def test_a_configuration_that_names_no_class_for_each_logit_is_refused(
    changes: dict[str, Any], message: str, configured: Callable[..., None], zoo_of: ZooOf
) -> None:
    configured(**changes)
    zoo = zoo_of(m={"path": "model"}, named={"path": "model", "labels": ["x", "y", "z"]})
    with pytest.raises(ModelError, match=message):
        zoo.load("m")
    assert zoo.load("named").labels == ("x", "y", "z")


def test_labels_of_the_study_name_each_class_once(checkpoint: Callable[..., Path], zoo_of: ZooOf) -> None:
    with pytest.raises(ModelError, match="has `x` twice"):
        zoo_of(m={"path": str(checkpoint("bert")), "labels": ["x", "y", "x"]}).load("m")


NLI = {"entailment", "neutral", "contradiction"}


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1", "LABEL_2"),
        ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"),
        ("Entailment", "neutral", "contradiction"),
        ("entailment", "neutral", "contradictory"),
        ("e", "n", "c"),
    ],
)
def test_classes_by_other_names_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(
        ModelError, match=r"Model `m` has the labels .*; dataset `nli` has contradiction, entailment"
    ):
        require_known("m", labels, NLI, "dataset `nli`")


def test_other_spellings_are_suggested_in_the_order_of_the_logits() -> None:
    with pytest.raises(ModelError, match=r'`labels = \["contradiction", "neutral", "entailment"\]` under'):
        require_known("m", ("CONTRADICTION", "Neutral", "ENTAILMENT "), NLI, "dataset `nli`")


def test_part_of_the_classes_is_enough() -> None:
    require_known("m", ("a", "b", "c"), {"a", "c"}, "dataset `nli`")
    require_known("m", ("a", "b", "c"), set(), "dataset `nli`")


TAGS = ("B-PER", "I-PER", "B-LOC", "I-LOC", "O")


@pytest.mark.parametrize(
    "gold",
    [
        {"b-per", "i-per", "O"},
        {"B_PER", "I_PER", "B-LOC", "I-LOC", "O"},
        {"LABEL_1", "LABEL_2", "O"},
        {"NOUN", "VERB"},
        {"B-PERSON", "I-PERSON", "O"},
        {"B-PER", "i-per", "O"},
    ],
)
def test_tags_by_other_names_are_refused_although_o_is_shared(gold: set[str]) -> None:
    with pytest.raises(ModelError, match="dataset `ner` has others: "):
        require_tags("m", TAGS, gold, "dataset `ner`")


@pytest.mark.parametrize("gold", [{"O"}, set(), {"B-PER", "O", "B-MISC"}, set(TAGS)])
def test_tags_that_the_training_data_lacked_are_no_fault(gold: set[str]) -> None:
    require_tags("m", TAGS, gold, "dataset `ner`")


def test_a_dataset_of_another_task_is_told_from_another_spelling() -> None:
    with pytest.raises(ModelError, match="trained for another task, take the dataset out of its `datasets`"):
        require_known("m", ("contradiction", "entailment", "neutral"), ("0", "1"), "dataset `paws`")
    with pytest.raises(ModelError) as caught:
        require_known("m", ("YES", "NO"), ("yes", "no"), "dataset `qa`")
    assert "another task" not in str(caught.value)
