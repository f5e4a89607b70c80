"""The step of models that are fine-tuned here: what it reads, when it is fresh, and the row it writes."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from xlwh.errors import MissingDataError, ModelError, StoreError
from xlwh.models import Zoo
from xlwh.models import finetune as training
from xlwh.models.pins import Pin
from xlwh.selftest import stored
from xlwh.steps import runner
from xlwh.steps.base import Key, StepResult
from xlwh.steps.context import Context
from xlwh.steps.models import models
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import fresh
from xlwh.store import Slot, Warehouse, empty
from xlwh.store.take import take
from xlwh.tables import TABLES
from xlwh.upkeep.survey import surveyed

WORLD_FILE = Path(__file__).parents[2] / "e2e" / "finetune_child.py"
WORLD = runpy.run_path(str(WORLD_FILE))
TUNED = Key(model="tuned")
SLOT = Slot("models", ("tuned",))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which nothing was trained, and beside it one in which `tuned` was."""
    root = tmp_path_factory.mktemp("worlds")
    WORLD["make_world"](root / "new")
    shutil.copytree(root / "new", root / "trained")
    runner.run(STEPS["models"], WORLD["context"](root / "trained"), TUNED)
    return root


@pytest.fixture
def new(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / "new", tmp_path / "world"))


@pytest.fixture
def trained(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / "trained", tmp_path / "world"))


def run(root: Path, **options: Any) -> StepResult:
    context: Context = WORLD["context"](root)
    for name, value in options.items():
        setattr(context, name, value)
    return runner.run(STEPS["models"], context, TUNED)


def edit(root: Path, old: str, new: str) -> None:
    file = root / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def row(root: Path) -> dict[str, Any]:
    frame = WORLD["context"](root).warehouse.scan("models", model="tuned").collect()
    assert frame.height == 1
    return frame.row(0, named=True)


def checkpoints(root: Path) -> list[Path]:
    return sorted((root / "warehouse" / "models" / "tuned").iterdir())


def write(root: Path, dataset: str, language: str, frame: pl.DataFrame, mark: str) -> None:
    WORLD["context"](root).warehouse.write(
        {Slot("examples", (dataset, language), "train"): frame}, fingerprint=mark
    )


def never(*_: object, **__: object) -> None:
    raise AssertionError("it was trained again")


def test_trains_and_writes_the_row(new: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    result = run(new, progress=lambda *step: seen.append(step))

    assert (result.status, result.rows) == ("written", 1)
    metadata = result.metadata
    assert metadata["train_examples"] == result.examples == 2 * 72
    assert metadata["dev_examples"] == 2 * 18
    assert metadata["labels"] == ["entailment", "neutral", "contradiction"]
    assert metadata["without_gold"] == 0
    assert [point["step"] for point in metadata["curve"]][-1] == metadata["train_steps"]  # type: ignore[attr-defined]
    assert metadata["dev_score"] > 0.6  # type: ignore[operator]
    assert seen[0] == ("fine-tune tuned", 1, 72)
    assert len(seen) == metadata["train_steps"]

    written = row(new)
    assert written["kind"] == "finetuned"
    assert written["source"] == "base"
    assert written["family"] == "bert"
    assert written["task"] == "sequence_classification"
    assert written["labels"] == ["entailment", "neutral", "contradiction"]
    assert written["finetuned_dataset"] == "nli"
    assert written["finetuned_languages"] == ["en", "es"]
    assert written["seed"] == 0
    assert json.loads(written["recipe"])["learning_rate"] == 3e-3
    assert written["dev_score"] == metadata["dev_score"]
    assert written["train_steps"] == metadata["train_steps"]
    assert written["duration_s"] > 0
    (folder,) = checkpoints(new)
    context = WORLD["context"](new)
    assert context.zoo.finetuned_folder("tuned") == folder
    assert list((new / "warehouse" / "staging" / "finetune").iterdir()) == [
        new / "warehouse" / "staging" / "finetune" / "tuned.lock"
    ]
    loaded = context.zoo.load("tuned")
    assert loaded.labels == ("entailment", "neutral", "contradiction")
    assert loaded.pin.weight_hash == written["weight_hash"]


def test_fresh_is_skipped_without_torch(trained: Path) -> None:
    program = (
        "import runpy, sys\n"
        "world = runpy.run_path(sys.argv[1])\n"
        "from pathlib import Path\n"
        "from xlwh.steps.plan import STEPS\n"
        "from xlwh.steps.runner import run\n"
        "from xlwh.steps.base import Key\n"
        "result = run(STEPS['models'], world['context'](Path(sys.argv[2])), Key(model='tuned'))\n"
        "print(result.status, 'torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(WORLD_FILE), str(trained)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.split() == ["fresh", "False", "False"]


def test_probing_never_trains(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "finetune", never)
    step = STEPS["models"]
    result = fresh(step, WORLD["context"](trained), TUNED)
    assert result is not None
    assert result.status == "fresh"
    shutil.rmtree(checkpoints(trained)[0])
    assert fresh(step, WORLD["context"](trained), TUNED) is None
    edit(trained, "epochs = 4", "epochs = 3")
    assert fresh(step, WORLD["context"](trained), TUNED) is None


@pytest.mark.parametrize(
    ("old", "new_text"),
    [
        ("epochs = 4", "epochs = 1"),
        ("finetune.max_length = 24", "finetune.max_length = 24\nfinetune.epochs = 1\nfinetune.seed = 5"),
    ],
)
def test_another_recipe_is_another_checkpoint(trained: Path, old: str, new_text: str) -> None:
    if "seed" in new_text:
        edit(trained, "finetune.epochs = 4\n", "")
    before = row(trained)
    edit(trained, old, new_text)
    assert run(trained).status == "written"
    assert len(checkpoints(trained)) == 2
    assert row(trained)["weight_hash"] != before["weight_hash"]


def test_other_examples_or_another_base_are_stale(trained: Path) -> None:
    edit(trained, "epochs = 4", "epochs = 1")
    run(trained)
    assert run(trained).status == "fresh"
    frame = pl.DataFrame(WORLD["make_rows"](60, "es"), schema=empty("examples").schema)
    write(trained, "nli", "es", frame, "other")
    assert run(trained).status == "written"

    import torch
    from safetensors.torch import load_file, save_file

    file = trained / "base" / "model.safetensors"
    save_file(
        {k: v + torch.tensor(0.01) for k, v in load_file(file).items()}, file, metadata={"format": "pt"}
    )
    assert run(trained).status == "written"
    assert len(checkpoints(trained)) == 4


def test_what_is_beside_the_recipe_needs_no_training(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = row(trained)
    monkeypatch.setattr(training, "finetune", never)
    edit(trained, "[models.tuned]", '[models.tuned]\npublished_as = "mBERT"\ndtype = "bfloat16"')
    result = run(trained)
    assert (result.status, result.reason) == ("written", "its checkpoint was there")
    after = row(trained)
    # Another number format is another self-test.
    assert after.pop("self_test") != before.pop("self_test")
    assert after == {**before, "published_as": "mBERT", "dtype": "bfloat16"}
    assert run(trained).status == "fresh"


def test_row_lost_between_publishing_and_writing(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = row(trained)
    WORLD["context"](trained).warehouse.drop([SLOT])
    monkeypatch.setattr(training, "_Run", never)
    assert run(trained).status == "written"
    assert row(trained) == before


def test_removed_checkpoint_is_trained_again(trained: Path) -> None:
    before = row(trained)
    shutil.rmtree(checkpoints(trained)[0])
    assert run(trained).status == "written"
    assert row(trained)["weight_hash"] == before["weight_hash"]


def test_a_damaged_checkpoint_is_trained_again(trained: Path) -> None:
    """Never taken for sound because its folder is there: what was committed of it says."""
    before, weights = row(trained), checkpoints(trained)[0] / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    assert fresh(STEPS["models"], WORLD["context"](trained), TUNED) is None
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    WORLD["context"](trained).warehouse.drop([SLOT])
    reason = run(trained).reason
    assert "its bytes are not those that were written" in reason
    assert "it was made again" in reason
    assert row(trained)["weight_hash"] == before["weight_hash"]
    assert run(trained).status == "fresh"


def test_nothing_is_planned_or_loaded_with_a_damaged_checkpoint(trained: Path, tmp_path: Path) -> None:
    """What was computed with it would be taken for that of another model."""
    sound = WORLD["context"](trained).zoo.pin("tuned")
    (folder,) = checkpoints(trained)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 4])):
            path.write_bytes(damaged)
            context: Context = WORLD["context"](trained)
            for use in (context.zoo.pin, context.zoo.load, context.planner.pin):
                with pytest.raises(
                    StoreError, match=f"{path.name} of model `tuned` is damaged: .* xlwh repair"
                ):
                    use("tuned")
            with surveyed(
                context.study, trained / "warehouse", {STEPS["models"]: [TUNED]}, force=True
            ) as survey:
                # Whatever is made from it will be made from what is trained again.
                assert survey.planner.pin("tuned").weight_hash != sound.weight_hash
        path.write_bytes(content)
    context = WORLD["context"](trained)
    assert context.zoo.pin("tuned") == sound
    with sqlite3.connect(context.warehouse.manifest.path) as manifest:
        manifest.execute("delete from artefacts")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 4]))
    with pytest.raises(StoreError, match="has other weights than its row says"):
        WORLD["context"](trained).zoo.pin("tuned")


def test_a_model_that_is_taken_from_elsewhere_is_not_trained_again(
    new: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "finetune", never)
    shutil.rmtree(new / "warehouse")
    taken = take(Warehouse(new / "warehouse", create=True), pristine / "trained" / "warehouse")
    assert (taken.refused, [artefact.address for artefact in taken.artefacts]) == ([], [("model", "tuned")])
    context: Context = WORLD["context"](new)
    for language in ("en", "es"):
        assert runner.run(STEPS["examples"], context, Key(dataset="nli", language=language)).status == "fresh"
    assert runner.run(STEPS["models"], context, TUNED).status == "fresh"
    assert context.zoo.load("tuned").pin.weight_hash == row(new)["weight_hash"]


def test_force_trains_again(trained: Path) -> None:
    before, stamp = row(trained), (checkpoints(trained)[0] / "training.json").stat().st_mtime_ns
    assert run(trained, force=True).status == "written"
    assert row(trained)["weight_hash"] == before["weight_hash"]
    assert (checkpoints(trained)[0] / "training.json").stat().st_mtime_ns > stamp


def test_missing_examples_name_the_command(new: Path) -> None:
    WORLD["context"](new).warehouse.drop([Slot("examples", ("nli", "es"), "train")])
    message = r"no examples/dataset=nli/language=es/train yet\. Run: xlwh materialize examples --dataset nli --language es"
    with pytest.raises(MissingDataError, match=message):
        run(new)


def test_examples_without_gold_are_left_out_and_counted(new: Path) -> None:
    edit(new, "epochs = 4", "epochs = 1")
    frame = pl.DataFrame(WORLD["make_rows"](60, "es"), schema=empty("examples").schema)
    label = pl.when(pl.col("row_number") < 30).then(pl.lit(None, pl.String)).otherwise("label").alias("label")
    write(new, "nli", "es", frame.with_columns(label), "withheld")
    metadata = run(new).metadata
    assert metadata["without_gold"] == 30
    assert metadata["train_examples"] + metadata["dev_examples"] == 90 + 30  # type: ignore[operator]


def test_development_dataset_in_the_languages_trained_on(new: Path) -> None:
    edit(
        new,
        "[models.base]",
        '[datasets.dev]\nreader = "xnli"\npath = "dev"\nsplit = "train"\nlanguages = ["es", "de"]\n\n[models.base]',
    )
    edit(new, "finetune.epochs = 4", 'finetune.epochs = 1\nfinetune.dev_dataset = "dev"')
    rows = WORLD["make_rows"](24, "es", "dev", seed=7)
    rows[0]["label"] = None
    write(new, "dev", "es", pl.DataFrame(rows, schema=empty("examples").schema), "dev")
    metadata = run(new).metadata
    assert metadata["dev_languages"] == ["es"]
    assert (metadata["train_examples"], metadata["dev_examples"]) == (180, 23)
    assert metadata["dev_without_gold"] == 1

    edit(new, 'languages = ["es", "de"]', 'languages = ["de"]')
    with pytest.raises(ModelError, match=r"dev_dataset: `dev` is read in none of .* \(en, es\).* in: de"):
        run(new)


def test_development_examples_of_languages_that_are_not_trained_on(new: Path) -> None:
    edit(
        new,
        "[models.base]",
        '[datasets.dev]\nreader = "xnli"\npath = "dev"\nsplit = "train"\nlanguages = ["es", "de"]\n\n[models.base]',
    )
    edit(
        new,
        "finetune.epochs = 4",
        'finetune.epochs = 1\nfinetune.dev_dataset = "dev"\nfinetune.dev_languages = ["es", "de"]',
    )
    for language, count in (("es", 24), ("de", 20)):
        rows = WORLD["make_rows"](count, language, "dev", seed=7)
        write(new, "dev", language, pl.DataFrame(rows, schema=empty("examples").schema), "dev")
    metadata = run(new).metadata
    assert metadata["dev_languages"] == ["es", "de"]
    assert metadata["dev_examples"] == 44


def test_base_that_was_fine_tuned_here(trained: Path) -> None:
    edit(
        trained,
        "[models.tuned]",
        '[models.twice]\nfinetune = { base = "tuned", dataset = "nli", languages = ["en"], epochs = 1, '
        "max_length = 24 }\n\n[models.tuned]",
    )
    context = WORLD["context"](trained)
    result = runner.run(STEPS["models"], context, Key(model="twice"))
    assert result.status == "written"
    # The head came along: one epoch at a small rate does not lose what the base knows.
    assert result.metadata["curve"][0]["dev_score"] > 0.5  # type: ignore[index]
    context.warehouse.drop([SLOT])
    with pytest.raises(MissingDataError, match="xlwh materialize models --model tuned"):
        runner.run(STEPS["models"], WORLD["context"](trained), Key(model="twice"))


def test_labels_of_the_study_give_the_order(new: Path) -> None:
    edit(new, "finetune.epochs = 4", "finetune.epochs = 1")
    edit(new, "[models.tuned]", '[models.tuned]\nlabels = ["neutral", "contradiction", "entailment"]')
    run(new)
    assert row(new)["labels"] == ["neutral", "contradiction", "entailment"]
    edit(new, '"contradiction", "entailment"', '"contradiction"')
    with pytest.raises(ModelError, match=r"models\.tuned\.labels: neutral, contradiction lacks entailment"):
        run(new)


def test_data_of_no_or_several_tasks(new: Path) -> None:
    for language in ("en", "es"):
        write(new, "nli", language, empty("examples"), f"nothing-{language}")
    with pytest.raises(ModelError, match="dataset `nli` has no examples"):
        run(new)
    rows = WORLD["make_rows"](4, "en")
    rows[0]["task"] = "translation"
    write(new, "nli", "en", pl.DataFrame(rows, schema=empty("examples").schema), "mixed")
    with pytest.raises(ModelError, match="several tasks: sentence_pair, translation"):
        run(new)


def test_metadata_is_json(trained: Path) -> None:
    WORLD["context"](trained).warehouse.drop([SLOT])
    text = json.dumps(dict(run(trained).metadata))
    assert re.search(r'"curve": \[\{"step": ', text)


def test_a_base_that_fails_its_self_test_is_not_trained(new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, before anything is trained on what the base would see otherwise than alone."""
    context: Context = WORLD["context"](new)
    runner.run(STEPS["models"], context, Key("base"))
    (file,) = (new / "warehouse" / "cache" / "self-tests").iterdir()
    results = json.loads(file.read_text())
    for result in results:
        if result["item"] == "batched":
            result |= {"status": "failed", "detail": "planted."}
    file.write_text(json.dumps(results))
    monkeypatch.setattr(training, "_Run", never)
    with pytest.raises(ModelError, match=r"Model `base`: predictions are refused: .*`batched` failed"):
        run(new)


def test_a_row_by_another_self_test_is_tested_again_and_not_trained(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "finetune", never)
    before = row(trained)
    with monkeypatch.context() as patch:
        patch.setattr(models, "tested_with", lambda: "another version")
        patch.setattr(stored, "tested_with", lambda: "another version")
        assert run(trained).reason == "its checkpoint was there"
        assert row(trained)["self_tested_with"] == "another version"
    assert run(trained).status == "written"
    assert row(trained) == before
    assert run(trained).status == "fresh"


def test_another_contract_is_no_reason_to_train_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "finetune", never)
    for table in ("models", "examples", "rejected_rows"):
        monkeypatch.setattr(TABLES[table], "version", TABLES[table].version + 1)
    with pytest.raises(MissingDataError, match="was made from other inputs or settings than now"):
        run(trained)
    for language in ("en", "es"):
        key = Key(dataset="nli", language=language)
        assert runner.run(STEPS["examples"], WORLD["context"](trained), key).status == "written"
    assert run(trained).reason == "its checkpoint was there"
    assert len(checkpoints(trained)) == 1


def test_a_checkpoint_of_an_earlier_version_is_found(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows were written under the training's own digest, and said nothing of their checkpoint."""
    monkeypatch.setattr(training, "finetune", never)
    context: Context = WORLD["context"](trained)
    frame, (folder,) = context.warehouse.scan("models", model="tuned").collect(), checkpoints(trained)
    context.warehouse.write({SLOT: frame}, folder.name + "0" * 16)
    assert context.zoo.finetuned_folder("tuned") == folder
    assert run(trained).reason == "its checkpoint was there"
    assert context.zoo.finetuned_folder("tuned") == folder
    assert row(trained) == frame.row(0, named=True)


FIXED = """
name = "fixed"
languages = ["en", "es"]
seed = 3

[datasets.nli]
reader = "xnli"
path = "nli"
split = "train"
max_examples = 2

[datasets.dev]
reader = "xnli"
path = "nli"
split = "dev"
languages = ["en"]

[models.base]
path = "base"
attention = "eager"

[models.tuned]
labels = ["neutral", "entailment", "contradiction"]
doc_stride = 64
finetune = { base = "base", dataset = "nli", languages = ["en", "es"], dev_dataset = "dev" }

[models.held]
finetune = { base = "base", dataset = "dev", languages = ["en"], seed = 2 }

[models.blank]
scratch = { dataset = "nli", vocab_size = 100 }

[models.other]
scratch = { tokenizer_of = "base", seed = 1 }
"""
ROWS = "one\ttwo\tneutral\nthree\tfour\tentailment\nfive\tsix\tcontradiction\n"
FOLDERS = {
    "tuned": "51201b60d620aa92",
    "held": "f8e0575138970525",
    "blank": "635f717dfd96c30f",
    "other": "ca5210464c25e800",
}
"""As version 0.1 computed them."""


def test_folders_are_named_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained by earlier versions is found: a change here is a training again for everybody."""
    (tmp_path / "nli").mkdir()
    for name in ("train-en", "train-es", "dev-en"):
        (tmp_path / "nli" / f"{name}.tsv").write_text(ROWS.replace("one", name), encoding="utf-8")
    (tmp_path / "study.toml").write_text(FIXED, encoding="utf-8")
    Warehouse(tmp_path / "warehouse", create=True)
    pin = Pin("base", "path", "base", None, "bert", None, "a" * 64, "b" * 64, "c" * 64, tmp_path)
    monkeypatch.setattr(Zoo, "pin", lambda self, key: pin)
    context: Context = WORLD["context"](tmp_path)
    for dataset, language in (("nli", "en"), ("nli", "es"), ("dev", "en")):
        runner.run(STEPS["examples"], context, Key(dataset=dataset, language=language))
    context.planner.refresh()
    found = {}
    for model in FOLDERS:
        (planned,) = context.planner.jobs(STEPS["models"], Key(model))
        assert planned.job.folder is not None
        found[model] = planned.job.folder.name
    assert found == FOLDERS
