"""A small parallel study for the consistency steps: two models, three languages, everything upstream of them.

Attributions are made up (a function of the position, the method and the class), so that these tests do not depend on
how attributions are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from made_up import parallel, trust_made_up_inputs

from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Study

LABELS = ("entailment", "neutral", "contradiction")
TEXTS: dict[str, list[tuple[str, str]]] = {
    "en": [
        ("The cat sits on the mat.", "The cat is on the mat."),
        ("The dog sleeps.", "The cat sleeps."),
        ("It is cold.", "It isn't warm!"),
        ("A child eats an apple.", "The child eats."),
        ("He is at home.", "He reads a book."),
    ],
    "de": [
        ("Die Katze sitzt auf der Matte.", "Die Katze ist auf der Matte."),
        ("Der Hund schläft.", "Die Katze schläft."),
        ("Es ist kalt.", "Es ist nicht warm!"),
        ("Ein Kind isst einen Apfel.", "Das Kind isst."),
        ("Er ist zu Hause.", "Er liest ein Buch."),
    ],
    "es": [
        ("El gato está en la alfombra.", "El gato está ahí."),
        ("El perro duerme.", "El gato duerme."),
        ("Hace frío.", "No hace calor."),
        ("Un niño come una manzana.", "El niño come."),
        ("Está en casa.", "Lee un libro."),
    ],
}
DICTIONARY = "the\tder\nthe\tdie\ncat\tkatze\ndog\thund\ncold\tkalt\nchild\tkind\napple\tapfel\nbook\tbuch\nhe\ter\nis\tist\n"


@pytest.fixture(autouse=True)
def made_up_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that these tests make up count as up to date."""
    trust_made_up_inputs(monkeypatch)


class World:
    """Builds studies in a folder, and fills their warehouse."""

    labels = LABELS
    texts = TEXTS

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder = folder
        self.checkpoint = checkpoint

    def context(self, space: Mapping[str, Any] | None = None, **sections: Any) -> Context:
        """A study with two models of the same checkpoint, over the warehouse in the folder, its examples read.

        Consistency is measured in a space of input embeddings unless `space` is another one.
        """
        (self.folder / "en-de.txt").write_text(DICTIONARY)
        embeddings = {"kind": "input_embeddings", "pivot": "en", "dictionaries": {"de": "en-de.txt"}}
        study = Study.model_validate(
            {
                "name": "test",
                "languages": ["en", "de", "es"],
                "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
                "models": {m: {"path": str(self.checkpoint), "datasets": ["nli"]} for m in ("a", "b")},
                "spaces": {"space": dict(space or embeddings)},
                "consistency": {"space": "space", "methods": ["lig", "random"], "draws": 3},
                "folder": self.folder,
                **sections,
            }
        )
        warehouse = Warehouse(self.folder / "warehouse", create=True)
        for language, pairs in TEXTS.items():
            slot = Slot("examples", ("nli", language), "dev")
            if warehouse.current(slot) is None:
                warehouse.write({slot: _examples(language, pairs)}, "read")
        if warehouse.current(Slot("parallelism", ("nli",))) is None:
            parallel(warehouse, "nli", TEXTS)
        return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))

    def upstream(self, context: Context, *models: str, vectors: bool = True) -> Context:
        """Tokens, predictions, attributions and, unless told otherwise, word vectors of some models."""
        keys = [Key(model, language=language) for model in models for language in context.study.languages]
        for key in keys:
            run(STEPS["tokens"], context, key)
            run(STEPS["predictions"], context, key)
            for method in ("lig", "random"):
                self.attribute(context, key, method)
        for key in keys if vectors else ():
            run(STEPS["word_vectors"], context, key)
        return context

    def attribute(
        self, context: Context, key: Key, method: str, targets: tuple[str, ...] = LABELS, version: str = "1"
    ) -> None:
        """Made-up attributions of some classes for every example: a function of position, method and class.

        Made up, so that these tests do not depend on how attributions are computed.
        """
        model, language = str(key.model), str(key.language)
        rows = context.warehouse.scan("tokens", model=model, language=language).collect()
        wave = np.sin(np.arange(rows.height) * (1.0 if method == "lig" else 2.0))
        frame = pl.concat(
            rows.with_columns(
                method=pl.lit(method),
                target=pl.lit(target),
                attribution=pl.Series(wave * (LABELS.index(target) + 1) - 0.3),
                attribution_error=None,
            )
            for target in targets
        )
        types = schema("token_attributions")
        typed = frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())
        slot = Slot("token_attributions", (model, language), f"nli.{method}")
        context.warehouse.write({slot: typed.sort("example_id", "target", "position")}, f"made up {version}")


@pytest.fixture
def world(tmp_path: Path, checkpoint: Callable[..., Path]) -> World:
    """Studies for the consistency steps."""
    return World(tmp_path, checkpoint("roberta"))


def _examples(language: str, pairs: list[tuple[str, str]]) -> pl.DataFrame:
    n = len(pairs)
    columns: dict[str, list[Any]] = {
        "dataset": ["nli"] * n,
        "split": ["dev"] * n,
        "language": [language] * n,
        "example_id": [str(i) for i in range(n)],
        "cluster": [str(i) for i in range(n)],
        "task": ["sentence_pair"] * n,
        "text": [first for first, _ in pairs],
        "text_pair": [second for _, second in pairs],
        "label": [*(LABELS[i % 3] for i in range(n - 1)), None],
        "words": [None] * n,
        "word_spans": [None] * n,
        "word_labels": [None] * n,
        "answers": [None] * n,
        "source_file": ["nli.tsv"] * n,
        "row_number": list(range(n)),
    }
    return pl.DataFrame(columns, schema=schema("examples"))
