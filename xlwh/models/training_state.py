"""The folder of an unfinished fine-tuning: who holds it, where it stands, and how its result is published.

    <workspace>/checkpoint.safetensors    weights and optimiser moments; the position as JSON in the header
    <workspace>/best-<step>.safetensors   weights of the best evaluation so far
    <workspace>/final/                    the model folder while it is written

A checkpoint is one file that is replaced by one rename, so weights, moments and position always belong together.
Nothing is pickled. The lock lies beside the folder, one per model; whoever holds it sweeps what a killed process
left half-written, and what was begun under former recipes of that model.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from xlwh.errors import ModelError
from xlwh.jsons import parsed, typed
from xlwh.store.files import make_folder, publish, size, sync
from xlwh.store.locks import FileLock

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Position:
    """Where a run stands. With the recipe's seed it fixes all that follows, dropout and data order included."""

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int = 0
    best_score: float = -1.0
    best_loss: float = 0.0
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    sessions: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def unique_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; of tied ones, the first name only."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


class Workspace:
    """A fine-tuning's folder, `<key>-<16 hex digits>`, held by one process at a time: use as a context manager."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self.position = Position()
        self._lock = FileLock(folder.parent / f"{key}.lock", f"The fine-tuning of model `{key}`")

    def __enter__(self) -> Workspace:
        """Take the lock and sweep leftovers; `StoreError` names the process that holds it."""
        with self._writing(self.folder):
            self._lock.acquire()
            try:
                self._sweep()
            except BaseException:
                self._lock.release()
                raise
        return self

    def _sweep(self) -> None:
        make_folder(self.folder)
        for other in self.folder.parent.iterdir():
            if other != self.folder and re.fullmatch(re.escape(self.key) + "-[0-9a-f]{16}", other.name):
                shutil.rmtree(other)
        for leftover in self.folder.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif leftover.name != CHECKPOINT and not leftover.match("best-*.safetensors"):
                leftover.unlink()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """Bring model and optimiser to the last checkpoint; False where there is none.

        Raises `ModelError` when the file is not a checkpoint of this model.
        """
        path = self.folder / CHECKPOINT
        if path.exists():
            try:
                with safe_open(path, framework="pt") as file:
                    self.position = typed(Position, parsed(file.metadata()["position"]))
                _set(model, optimizer, load_file(path))
                if self.position.best_step and not self._best_path.is_file():
                    raise FileNotFoundError(f"{self._best_path.name} is missing")
            except (
                SafetensorError,
                KeyError,
                TypeError,
                ValueError,
                RuntimeError,
                FileNotFoundError,
            ) as error:
                raise ModelError(
                    f"The checkpoint {path} of model `{self.key}` cannot be read: {error}. "
                    f"Remove the folder {self.folder} to start that fine-tuning again."
                ) from None
        self._drop_other_best()
        return path.exists()

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Replace the checkpoint, then drop the best weights that only the former one named."""
        tensors = {f"model.{name}": tensor for name, tensor in unique_tensors(model).items()}
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for parameter, state in optimizer.state.items():
            for kind, tensor in state.items():
                tensors[f"{kind}.{names[id(parameter)]}"] = tensor
        self._write(CHECKPOINT, tensors, {"position": json.dumps(asdict(self.position))})
        self._drop_other_best()

    def save_best(self, model: torch.nn.Module) -> None:
        """Keep the present weights as the best ones; counts only once `save` has named them."""
        self._write(self._best_path.name, unique_tensors(model), {})

    def restore_best(self, model: torch.nn.Module) -> None:
        """Give the model the weights of the best evaluation."""
        try:
            _copy(unique_tensors(model), load_file(self._best_path))
        except (SafetensorError, ValueError, OSError) as error:
            raise ModelError(
                f"The best weights {self._best_path} of model `{self.key}` cannot be read: {error}. "
                f"Remove the folder {self.folder} to start that fine-tuning again."
            ) from None

    def _drop_other_best(self) -> None:
        for other in self.folder.glob("best-*.safetensors"):
            if other != self._best_path:
                other.unlink()

    @property
    def _best_path(self) -> Path:
        return self.folder / f"best-{self.position.best_step}.safetensors"

    def publish(self, fill: Callable[[Path], None], destination: Path) -> None:
        """Let `fill` write the model folder, make it durable, move it to `destination` in one rename, clean up.

        A folder that is there already (a forced repetition) is moved away first.
        """
        final = self.folder / "final"
        with self._writing(final):
            final.mkdir()
            fill(final)
            usual = final.stat().st_mode & 0o666
            for path in final.rglob("*"):
                if path.is_file():
                    path.chmod(usual)  # safetensors lets nobody but the owner read
                sync(path)
            make_folder(destination.parent)
            if destination.exists():
                destination.rename(self.folder / "replaced")
            publish(final, destination)
        self.discard()

    def discard(self) -> None:
        """Remove the folder with all partial work."""
        shutil.rmtree(self.folder)

    def require_space(self, size_bytes: int) -> None:
        """Refuse to begin what so many bytes of free space could not finish."""
        free = shutil.disk_usage(self.folder).free
        if free < size_bytes:
            raise ModelError(
                f"Fine-tuning `{self.key}` needs {size(size_bytes)} for its checkpoints in {self.folder}, but only "
                f"{size(free)} are free. Free some space, or move the warehouse to a larger disk."
            )

    def _write(self, name: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        path = self.folder / name
        partial = path.with_suffix(".partial")
        with self._writing(path):
            try:
                save_file(
                    {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
                    partial,
                    metadata={"format": "pt", **metadata},
                )
                publish(partial, path)
            finally:
                partial.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Turn a failed write into an error that says what to do; the last checkpoint stays as it is."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC or f"(os error {errno.ENOSPC})" in str(error)
            advice = (
                "The disk is full: free some space, then run the same command again"
                if full
                else "Mend that, then run the same command again"
            )
            raise ModelError(
                f"Fine-tuning `{self.key}` could not write {path}: {error}. {advice}: "
                "it goes on from its last checkpoint. No model was published."
            ) from error


def _set(model: torch.nn.Module, optimizer: torch.optim.Optimizer, stored: dict[str, Tensor]) -> None:
    weights = {name[6:]: tensor for name, tensor in stored.items() if name.startswith("model.")}
    _copy(unique_tensors(model), weights)
    parameters = dict(model.named_parameters())
    for name, tensor in stored.items():
        kind, _, of = name.partition(".")
        if kind == "model":
            continue
        parameter = parameters[of]
        if tensor.numel() > 1 and tensor.shape != parameter.shape:
            raise ValueError(f"`{name}` has the shape {list(tensor.shape)}, not {list(parameter.shape)}")
        optimizer.state[parameter][kind] = tensor.to(parameter.device, copy=True)


def _copy(into: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    if into.keys() != weights.keys():
        odd = sorted(into.keys() ^ weights.keys())
        raise ValueError(f"its tensors are not this model's, for example {odd[0]}")
    for name, tensor in into.items():
        # `copy_` would repeat a smaller tensor.
        if tensor.shape != weights[name].shape:
            raise ValueError(f"`{name}` has the shape {list(weights[name].shape)}, not {list(tensor.shape)}")
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(weights[name])
