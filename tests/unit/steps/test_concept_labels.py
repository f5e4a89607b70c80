"""The step concept_labels: labels are stored, and refused where their concept is not there."""

from __future__ import annotations

import pytest

from xlwh.errors import CorpusError
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run

KEY = Key("a")
CONCEPTS = {"datasets": ["nli"], "min_count": 1, "clusters": 3, "layers": [2], "monolingual": ["en"]}


def test_labels_are_stored(world, tmp_path):
    assert run(STEPS["concept_labels"], world.context(concepts=CONCEPTS), KEY).status == "not_applicable"
    context = world.context(concepts={**CONCEPTS, "labels": "names.csv"})
    run(STEPS["activations"], context, Key("a", language="en"))
    run(STEPS["concepts"], context, KEY)
    name = "nli.encoder.2.monolingual-en.k3.s0"
    header = "model,clustering,concept,label,author\n"
    (context.study.folder / "names.csv").write_text(f"{header}a,{name},1,function words,me\nb,x,1,other,me\n")
    assert run(STEPS["concept_labels"], context, KEY).rows == 1
    assert run(STEPS["concept_labels"], context, KEY).status == "fresh"
    [row] = context.warehouse.scan("concept_labels").collect().to_dicts()
    assert (row["clustering"], row["concept"], row["label"]) == (name, 1, "function words")
    (context.study.folder / "names.csv").write_text(f"{header}a,{name},3,too many,me\n")
    with pytest.raises(
        CorpusError, match=r"1 labels are of concepts that `a` does not have, the first \"too many\""
    ):
        run(STEPS["concept_labels"], context, KEY)
