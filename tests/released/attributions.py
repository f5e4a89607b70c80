"""Attributions and what removing tokens does, in a tiny BERT whose weights are written down: the released code and ours run it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from released.harness import CASES, Case, warehouse
from xlwh.digests import HashCache

HERE = Path(__file__).resolve().parent


@contextmanager
def tiny_bert() -> Iterator[Any]:
    """The model of `cases/tiny_bert.json` as a `LoadedModel`; word number i is the letter of token 5 + i."""
    import torch
    import transformers as hf

    from xlwh.models import Zoo
    from xlwh.study import Study

    made = json.loads((CASES / "tiny_bert.json").read_text(encoding="utf-8"))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = hf.BertForSequenceClassification(hf.BertConfig(**made["config"]))
        model.load_state_dict({name: torch.tensor(value) for name, value in made["weights"].items()})
        model.save_pretrained(root / "model")
        hf.BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)}).save_pretrained(
            root / "model"
        )
        study = Study.model_validate(
            {
                "name": "oracles",
                "languages": ["en"],
                "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
                "models": {"m": {"path": str(root / "model"), "datasets": ["nli"]}},
                "folder": root,
            }
        )
        place: Any = SimpleNamespace(root=root / "warehouse", hashes=HashCache.of(root / "warehouse"))
        yield Zoo(study, place, device="cpu").load("m")


def _encoded(loaded: Any, cases: Sequence[Case]) -> Any:
    from xlwh.models.tokenize import encode as tokenised
    from xlwh.store import schema

    def text(ids: Sequence[int] | None) -> str | None:
        return None if ids is None else " ".join("abcdefghij"[i - 5] for i in ids)

    n = len(cases)
    columns = {
        **{name: [None] * n for name in schema("examples")},
        "dataset": ["nli"] * n,
        "split": ["dev"] * n,
        "language": ["en"] * n,
        "example_id": [str(i) for i in range(n)],
        "task": ["sequence_classification"] * n,
        "text": [text(c["first"]) for c in cases],
        "text_pair": [text(c["second"]) for c in cases],
        "label": ["LABEL_0"] * n,
        "source_file": ["f"] * n,
        "row_number": list(range(n)),
    }
    return tokenised(loaded, pl.DataFrame(columns, schema=schema("examples")))


def released_faithfulness(cases: Sequence[Case]) -> list[dict[str, Any]]:
    from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
    from xlwh.faithfulness.selection import order, released, reversed_probability
    from xlwh.models.predict import predict
    from xlwh.study import Faithfulness

    ratios = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    settings = Faithfulness(
        ratios=ratios, masking=("zero_id",), soft_masking=("bernoulli_reversed",), soft_draws=1
    )
    found: list[dict[str, Any]] = []
    with tiny_bert() as loaded, warehouse() as database:
        encoded = _encoded(loaded, cases)
        targets = predict(loaded, encoded).argmax(-1)
        subjects = []
        for index, case in enumerate(cases):
            scores = np.array(case["scores"])
            sharp = np.where(np.arange(len(scores)) % 2 == 1, 1.0, -1.0)
            rankings = (Ranking("hard", 0, scores), Ranking("soft", 0, sharp))
            subjects.append(Subject(index, int(targets[index]), rankings))
        rows = perturb(loaded, encoded, subjects, settings).rows
        for index, case in enumerate(cases):
            ids = encoded.input_ids[encoded.row(index)]
            assert ids.tolist() == case["ids"]
            scores = np.array(case["scores"])
            cut = released(encoded, index, 3, keep_query=True)
            mine = {
                (row.side, row.ratio): row for row in rows if row.subject == index and row.method == row.mode
            }
            hard = []
            for ratio in ratios:
                output: dict[str, Any] = {"ratio": ratio}
                for side in ("sufficiency", "comprehensiveness"):
                    keep = cut.kept(order(scores, cut.rankable), cut.size(ratio), side)
                    row = mine[side, ratio]
                    output[f"ids_{side}"] = np.where(keep, ids, 0).tolist()
                    output[f"p_{side}"] = row.p_perturbed
                    output[side] = database.execute(
                        "select normalized_faithfulness(?, ?, ?, ?, slack := 1e-4)",
                        [side, row.p_full, row.p_perturbed, row.p_empty],
                    ).fetchall()[0][0]
                hard.append(output)
            soft = {side: mine[side, None] for side in ("sufficiency", "comprehensiveness")}
            assert soft["sufficiency"].p_empty == mine["sufficiency", 1.0].p_empty
            found.append(
                {
                    "target": int(targets[index]),
                    "p_full": soft["sufficiency"].p_full,
                    "p_empty": soft["sufficiency"].p_empty,
                    "hard": hard,
                    "importance": reversed_probability(scores, cut.rankable, "comprehensiveness").tolist(),
                    "soft_p_sufficiency": soft["sufficiency"].p_perturbed,
                    "soft_p_comprehensiveness": soft["comprehensiveness"].p_perturbed,
                }
            )
    return found


def released_attributions(cases: Sequence[Case]) -> list[dict[str, Any]]:
    from xlwh.attribution.base import Item
    from xlwh.attribution.methods import METHODS, shared_pass
    from xlwh.faithfulness.selection import released
    from xlwh.models.predict import predict

    names = (
        "attention",
        "released_scaled_attention",
        "released_input_x_gradient",
        "released_integrated_gradients",
    )
    with tiny_bert() as loaded:
        encoded = _encoded(loaded, cases)
        targets = predict(loaded, encoded).argmax(-1)
        found: list[dict[str, Any]] = [{"target": int(target)} for target in targets]
        items = [Item(index, int(target)) for index, target in enumerate(targets)]
        for name in names:
            make = shared_pass(METHODS[name], [name], HERE)
            for index, made in make(loaded, encoded, items, {name: None}, 512):
                # The released code leaves out what it does not rank.
                ranked = released(encoded, index, 3, keep_query=True).rankable
                values = made[name].values.tolist()
                found[index][name] = [v if r else None for v, r in zip(values, ranked, strict=True)]
    return found


def captum(cases: Sequence[Case]) -> list[dict[str, Any]]:
    from xlwh.attribution.base import Item
    from xlwh.attribution.lig import lig
    from xlwh.models.predict import predict
    from xlwh.study import Lig

    with tiny_bert() as loaded:
        encoded = _encoded(loaded, cases)
        targets = predict(loaded, encoded).argmax(-1)
        items = [Item(index, int(target)) for index, target in enumerate(targets)]
        made = dict(lig(loaded, encoded, items, Lig(quadrature="fixed", steps=cases[0]["steps"]), 2048))
    return [
        {"target": int(target), "attributions": made[index].values.tolist()}
        for index, target in enumerate(targets)
    ]
