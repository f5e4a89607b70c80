"""xlwh's side of every task, in a fresh process as the peers' are.

`python ours.py INPUTS TASK RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Run

LABELS = ("entailment", "neutral", "contradiction")
BATCH_TOKENS = 2048


def study(inputs: Path) -> Any:
    """A study of the corpora and models that the inputs are from."""
    from xlwh.study import Study

    settings = json.loads((inputs / "settings.json").read_text())
    shared = Path(settings["shared"])
    return Study.model_validate(
        {
            "name": "peers",
            "languages": ["en", "de"],
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {
                "xnli": {"reader": "xnli", "path": "xnli/xtreme"},
                "pud": {
                    "reader": "conllu",
                    "path": "ud",
                    "split": "test",
                    "options": {"file": "*-PUD/{language}_pud-ud-{split}.conllu"},
                },
                "captions": {
                    "reader": "parallel",
                    "path": "parallel/multi30k",
                    "split": "dev",
                    "options": {"file": "val.{side}.gz", "source": "en"},
                },
            },
            "models": {
                "nli": {"path": settings["model"], "labels": LABELS, "datasets": ["xnli"]},
                "t5": {"path": str(inputs / "t5"), "datasets": ["captions"]},
            },
            "concepts": {"datasets": ["pud"], "clusters": 2, "min_count": 1},
        }
    )


def load(inputs: Path, model: str) -> Any:
    """One of the two models."""
    from xlwh.models import Zoo
    from xlwh.store import Warehouse

    with tempfile.TemporaryDirectory() as folder:
        return Zoo(study(inputs), Warehouse(folder, create=True)).load(model)


def examples(inputs: Path, name: str, count: int | None = None) -> Any:
    """The first of some stored examples."""
    import polars as pl

    frame = pl.read_parquet(inputs / f"{name}.parquet")
    return frame if count is None else frame.head(count)


def attributions(run: Run) -> tuple[np.ndarray, str]:
    """Integrated gradients of fixed steps, or input x gradient."""
    with run.stage("import"):
        from xlwh.attribution.base import Item
        from xlwh.attribution.lig import lig
        from xlwh.attribution.saliency import saliency
        from xlwh.models.tokenize import encode
        from xlwh.study import InputXGradient, Lig
    with run.stage("load"):
        settings = json.loads((run.inputs / "settings.json").read_text())
        count = settings["sizes"][run.task]
        loaded = load(run.inputs, "nli")
        cases = json.loads((run.inputs / "pairs.json").read_text())[:count]
        frame = examples(run.inputs, "pairs", count)
    with run.stage("work"):
        encoded = encode(loaded, frame)
        items = [Item(row, case["target"]) for row, case in enumerate(cases)]
        if run.task == "lig":
            parameters = Lig(quadrature="fixed", steps=settings["steps"])
            made = dict(lig(loaded, encoded, items, parameters, BATCH_TOKENS))
        else:
            asked = {"input_x_gradient": InputXGradient()}
            shared = saliency(loaded, encoded, items, asked, BATCH_TOKENS)
            made = {index: found["input_x_gradient"] for index, found in shared}
    return np.concatenate([made[index].values for index in range(len(items))]), ""


def written(run: Run) -> tuple[np.ndarray, str]:
    """Input x gradient of every sub-token of given translations."""
    with run.stage("import"):
        from xlwh.attribution.base import Item
        from xlwh.attribution.saliency import saliency
        from xlwh.models.translation import encode_translations
        from xlwh.study import InputXGradient
    with run.stage("load"):
        loaded = load(run.inputs, "t5")
        frame = examples(run.inputs, "captions")
    with run.stage("work"):
        encoded = encode_translations(loaded, frame)
        items = [
            Item(row, token, position=place)
            for row, tokens in enumerate(encoded.forced or ())
            for place, token in enumerate(tokens)
        ]
        asked = {"input_x_gradient": InputXGradient()}
        made = dict(saliency(loaded, encoded, items, asked, BATCH_TOKENS))
    values = [made[index]["input_x_gradient"].values for index in range(len(items))]
    return np.concatenate(values), f"{len(items)} sub-tokens explained"


def faithfulness(run: Run) -> tuple[np.ndarray, str]:
    """Mean loss of probability, comprehensiveness then sufficiency, of every text's rankings."""
    with run.stage("import"):
        from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
        from xlwh.models.tokenize import encode
        from xlwh.study import Faithfulness
    with run.stage("load"):
        settings = json.loads((run.inputs / "settings.json").read_text())
        loaded = load(run.inputs, "nli")
        texts = json.loads((run.inputs / "premises.json").read_text())
        frame = examples(run.inputs, "premises")
    with run.stage("work"):
        encoded = encode(loaded, frame)
        subjects = [
            Subject(
                row,
                text["target"],
                tuple(Ranking(str(i), 0, np.array(scores)) for i, scores in enumerate(text["rankings"])),
            )
            for row, text in enumerate(texts)
        ]
        asked = Faithfulness(ratios=settings["ratios"], masking=("delete",), soft_draws=0, random_draws=1)
        made = perturb(loaded, encoded, subjects, asked)
        # Ratios that come to the same number of tokens count once, as they do for ferret.
        drops = {
            (row.subject, row.method, row.side, row.k): row.p_full - row.p_perturbed for row in made.rows
        }
        means = [
            np.mean([drops[row, str(method), side, size] for size in text["sizes"]])
            for row, text in enumerate(texts)
            for method in range(len(text["rankings"]))
            for side in ("comprehensiveness", "sufficiency")
        ]
    return np.array(means), f"{made.num_evaluated} inputs"


def extraction(run: Run) -> tuple[np.ndarray, str]:
    """The whole step: counting words, all layers' vectors, checked and committed Parquet."""
    with run.stage("import"):
        from xlwh.models import Zoo
        from xlwh.steps.base import Key
        from xlwh.steps.context import Context
        from xlwh.steps.plan import STEPS
        from xlwh.store import Warehouse
    with tempfile.TemporaryDirectory() as folder:
        with run.stage("load"):
            asked, warehouse = study(run.inputs), Warehouse(folder, create=True)
            context = Context(asked, warehouse, Zoo(asked, warehouse))
            (planned,) = context.planner.jobs(STEPS["examples"], Key(dataset="pud", language="en"))
            slot = planned.job.slots["examples"]
            warehouse.write({slot: examples(run.inputs, "sentences")}, planned.fingerprint)
            context.zoo.load("nli")
        with run.stage("work"):
            run(STEPS["activations"], context, Key("nli", language="en"))
        size = sum(entry.size_bytes for entry in warehouse.entries("activations"))
        rows = examples(run.inputs, "sentences").select("example_id", "row_number")
        found = (
            warehouse.scan("activations")
            .collect()
            .join(rows, on="example_id")
            .sort("row_number", "word_index", "layer")
        )
    layers = found["layer"].n_unique()
    vectors = np.array(found["vector"].to_list(), dtype=np.float32)
    return vectors.reshape(-1, layers, vectors.shape[-1]), f"{size / 1e6:.1f} MB of Parquet"


def heads(run: Run) -> tuple[np.ndarray, str]:
    """Shapley values of a small game of heads: exactly, or from permutations of whole sets."""
    with run.stage("import"):
        from xlwh.heads.engine import Engine
        from xlwh.heads.exact import coalition_table, exact_values
        from xlwh.heads.players import players_of
        from xlwh.heads.sampler import sample_round
        from xlwh.heads.scores import gold_of
        from xlwh.models.tokenize import encode
        from xlwh.study import Sampler
    with run.stage("load"):
        settings = json.loads((run.inputs / "settings.json").read_text())
        loaded = load(run.inputs, "nli")
        frame = examples(run.inputs, "pairs", settings["sizes"]["heads"])
    with run.stage("work"):
        encoded = encode(loaded, frame)
        sites = loaded.family.attention_sites(loaded.model)
        groups = [[f"{layer}.{head}"] for layer, head in settings["heads"]]
        players = players_of(("group",), len(sites), sites[0].num_heads, groups)
        engine = Engine(loaded, encoded, players, gold_of(loaded, encoded, frame), "probability")
        if run.task == "heads":
            table = coalition_table(engine, np.arange(len(encoded)))
            values, rows = exact_values(table, len(players)).mean(axis=0), table.size
        else:
            size = settings["permutations"]
            sampler = Sampler(
                estimator="whole_set", players=("group",), truncation=0, round_permutations=size, adaptive=False
            )  # fmt: skip
            everyone = np.ones(len(players), dtype=bool)
            made = sample_round(engine, sampler, 0, 0, everyone, frame["example_id"].to_list())
            values = np.bincount(made.player, made.value) / np.bincount(made.player)
            rows = made.rows
    return values, f"{rows // len(encoded)} coalitions"


def kmeans(run: Run) -> tuple[np.ndarray, str]:
    """Lloyd's iterations from given centroids, until nothing moves."""
    with run.stage("import"):
        import torch  # noqa: F401

        from xlwh.concepts.assign import assigner
        from xlwh.concepts.kmeans import lloyd
        from xlwh.concepts.points import from_array
    with run.stage("load"):
        points, start = np.load(run.inputs / "points.npy"), np.load(run.inputs / "centroids.npy")
    with run.stage("work"):
        gathered = from_array(points)
        fit = lloyd(gathered, start - gathered.mean, assigner("torch"), 300, tolerance=0)
    return fit.labels, f"{fit.iterations} iterations"


def transport(run: Run) -> tuple[np.ndarray, str]:
    """The score of each pair."""
    with run.stage("import"):
        # The solver is otherwise imported with the first pair, by the same rule: without torch.
        os.environ["POT_BACKEND_DISABLE_PYTORCH"] = "1"
        import ot.lp.emd_wrap  # noqa: F401

        from xlwh.consistency.transport import consistency
    with run.stage("load"):
        read = json.loads((run.inputs / "transport.json").read_text())
        cases = [{name: np.array(values) for name, values in case.items()} for case in read]
    with run.stage("work"):
        found = [consistency(case["source"], case["target"], case["similarity"]) for case in cases]
    return np.array(found), ""


TASKS: dict[str, Callable[[Run], tuple[np.ndarray, str]]] = {
    "lig": attributions,
    "input_x_gradient": attributions,
    "written": written,
    "faithfulness": faithfulness,
    "extraction": extraction,
    "heads": heads,
    "permutations": heads,
    "kmeans": kmeans,
    "transport": transport,
}


def main() -> None:
    run = Run()
    values, note = TASKS[run.task](run)
    np.save(run.result.with_suffix(".npy"), values)
    run.report("xlwh", note=note)


if __name__ == "__main__":
    sys.exit(main())
