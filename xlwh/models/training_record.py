"""What a training recorded beside its model: `training.json`, read with care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat

from xlwh.errors import ModelError
from xlwh.jsons import read_object, typed

TRAINING_FILE = "training.json"


def read_training(folder: Path) -> dict[str, Any]:
    """What `finetune` recorded beside a model: recipe, counts, scores and the learning curve."""
    then = f"Remove the folder {folder} to train that model again."
    record = read_object(folder / TRAINING_FILE, ModelError, then=then)
    try:
        told: _Record = typed(_Record, record)
    except ValueError as error:
        raise ModelError(f"{folder / TRAINING_FILE} is not what a training writes: {error}. {then}") from None
    return {**record, **told.model_dump(exclude={"recipe"})}


class _Recipe(BaseModel):
    dataset: str
    languages: list[str]
    seed: int


class _Record(BaseModel):
    """What is looked up in a record."""

    model: str
    recipe: _Recipe
    train_examples: int
    train_steps: int
    best_step: int
    dev_score: FiniteFloat
    duration_s: FiniteFloat
    stopped_early: bool
