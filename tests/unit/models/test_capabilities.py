"""The table of docs/models.md: what each architecture can do is what is tried here."""

from __future__ import annotations

from pathlib import Path

import capabilities
import pytest
from architectures import every_architecture
from capabilities import in_page, row_of, table, tried

FEW = ("albert", "bert", "gpt2", "mbart")
"""Those of an ordinary run: shared layers, BERT's layout, projections by rows, two stacks."""


@pytest.mark.parametrize("model_type", every_architecture(FEW))
def test_the_page_says_what_an_architecture_can_do(model_type: str, tmp_path: Path) -> None:
    row = row_of(tried(model_type, tmp_path))
    page = in_page()
    for line in table({model_type: row}).splitlines():
        assert not line or line in page, f"{line}\nRun: python tests/capabilities.py"


def test_the_page_has_a_row_for_each_architecture_and_no_other() -> None:
    rows = [line.split("|")[1].strip() for line in in_page() if line.startswith("|")][2:]
    assert rows == list(capabilities.ALL)


@pytest.mark.parametrize(
    ("entry", "reads_one"), [({"classifier_pooling": "bos"}, True), ({"classifier_pooling": "mean"}, False)]
)
@pytest.mark.parametrize("name", ["classifier_pooling", "clf_pooling"])
def test_pooling_is_read_from_the_configuration(
    entry: dict[str, str], reads_one: bool, name: str, checkpoint, zoo_of, tmp_path: Path
) -> None:
    """By the name that EuroBERT's own code has for it too, which transformers passes over."""
    import json
    import shutil

    from xlwh.selftest.checks import self_test
    from xlwh.selftest.texts import built_in

    folder = shutil.copytree(checkpoint("eurobert", **entry), tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    content[name] = content.pop("classifier_pooling")
    (folder / "config.json").write_text(json.dumps(content))
    loaded = zoo_of(m={"path": str(folder)}).load("m")
    assert loaded.config.classifier_pooling == loaded.model.classifier_pooling == entry["classifier_pooling"]
    results = {result.item: result for result in self_test(loaded, built_in(True))}
    failed = {item for item, result in results.items() if result.status == "failed"}
    assert failed == (set() if reads_one else {"read_position"})


@pytest.mark.parametrize(("pooling", "reads_one"), [("cls", True), ("mean", False)])
def test_modernbert_pools_as_its_configuration_says(
    pooling: str, reads_one: bool, checkpoint, zoo_of
) -> None:
    from xlwh.selftest.checks import self_test
    from xlwh.selftest.texts import built_in

    loaded = zoo_of(m={"path": str(checkpoint("modernbert", classifier_pooling=pooling))}).load("m")
    failed = {result.item for result in self_test(loaded, built_in(True)) if result.status == "failed"}
    assert failed == (set() if reads_one else {"read_position"})
