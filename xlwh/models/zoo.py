"""The models of a study: where their files are, what they are exactly, and loading them with care.

`Zoo.pin` is cheap and imports no torch; `Zoo.load` loads and keeps the few models used last.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh import draws
from xlwh.errors import MissingDataError, ModelError
from xlwh.models import devices
from xlwh.models.adapters import pinned
from xlwh.models.loaded import LoadedModel
from xlwh.models.pins import Pin, pin_folder
from xlwh.models.sizes import Size, of_folder, of_scratch

if TYPE_CHECKING:
    import torch

    from xlwh.store import Warehouse
    from xlwh.study import Model, Randomization, Study, Tokenization

KEEP = 3
"""Loaded models kept in memory."""


class Zoo:
    """Models by their key in the study."""

    def __init__(self, study: Study, warehouse: Warehouse, device: str = "auto") -> None:
        self._study = study
        self._warehouse = warehouse
        self._device = device
        self._hashes = warehouse.hashes
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._sizes: dict[str, Size] = {}

    def pin(self, key: str) -> Pin:
        """The identity of a model, without loading it.

        ModelError where its files may not be used, MissingDataError where it is still to be made, StoreError where it was
        made here and is damaged.
        """
        model = self._model(key)
        found = self._pinned(key, model)
        # Other sub-tokens are another tokenizer to all that depends on it, shuffled weights other weights.
        if model.tokenization is not None:
            found = replace(found, tokenizer_hash=_with(found.tokenizer_hash, model.tokenization))
        if model.randomization is not None:
            found = replace(found, weight_hash=_with(found.weight_hash, model.randomization))
        return found

    def _pinned(self, key: str, model: Model) -> Pin:
        if model.weights_of is not None:
            return replace(self.pin(model.weights_of), key=key)
        if model.finetune is not None or model.scratch is not None:
            return self.pin_made(key, self.finetuned_folder(key))
        folder = self._folder(key, model)
        if model.path is not None:
            found = pin_folder(key, "path", model.path, None, folder, self._hashes)
        else:
            found = pin_folder(key, "hub", str(model.hub), model.revision, folder, self._hashes)
        if model.adapter is None:
            return found
        return pinned(found, (self._study.folder / model.adapter).resolve(), self._hashes)

    def _folder(self, key: str, model: Model) -> Path:
        """Folder of a model that is not made here; one of the hub is fetched if need be."""
        if model.path is not None:
            return (self._study.folder / model.path).resolve()
        from xlwh.models.hub import snapshot

        if model.hub is None or model.revision is None:
            raise ModelError(f"Model `{key}`: a hub model needs `hub` and `revision`, a 40-character commit.")
        return snapshot(key, model.hub, model.revision)

    def pin_made(self, key: str, folder: Path) -> Pin:
        """The identity of a model that was made in `folder`, whether or not a row of `models` says so yet."""
        model = self._model(key)
        if model.finetune is not None:
            return pin_folder(key, "finetuned", model.finetune.base, None, folder, self._hashes)
        assert model.scratch is not None
        source = str(model.scratch.tokenizer_of or model.scratch.dataset)
        return pin_folder(key, "scratch", source, None, folder, self._hashes)

    def finetuned_folder(self, key: str) -> Path:
        """Folder of the current checkpoint of a model that is made here, by fine-tuning or from scratch.

        MissingDataError where there is none, StoreError where it has other bytes than were committed.
        """
        from xlwh.store import Slot
        from xlwh.store.checkpoints import bring, checkpoint, checkpoint_of, require_undamaged_checkpoint

        root, hashes = Path(self._warehouse.root), self._hashes
        entry = self._warehouse.current(Slot("models", (key,)))
        folder = None if entry is None else checkpoint_of(root, entry)
        if folder is not None:
            known = self._warehouse.manifest.artefact(("model", key), folder.name)
            bring(root, known)
        if entry is None or folder is None or not folder.is_dir():
            raise MissingDataError(
                f"Model `{key}` has not been made yet. Run: xlwh materialize models --model {key}"
            )
        found = checkpoint(root, key, folder, hashes) if known is None else known
        require_undamaged_checkpoint(root, entry, found, hashes.digest)
        return folder

    def size(self, key: str) -> Size | None:
        """The size of the model that a model is made from in the end, which its own hardly differs from.

        So it is the same before and after a model was made here. None where its files cannot be read: whatever uses
        them says so.
        """
        model = self._model(key)
        while model.scratch is None and model.base is not None:
            key, model = model.base, self._model(model.base)
        if key not in self._sizes:
            try:
                found = (
                    of_folder(self._folder(key, model))
                    if model.scratch is None
                    else of_scratch(model.scratch)
                )
            except (ModelError, OSError, ValueError):
                return None
            # Every partition asks, also those that have nothing to make.
            self._sizes[key] = found
        return self._sizes[key]

    def load(self, key: str) -> LoadedModel:
        """A model in evaluation mode with frozen weights, from memory if it is one of the last few used."""
        pin = self.pin(key)
        kept = self._loaded.get(key)
        if kept is not None and kept.pin == pin:
            self._loaded.move_to_end(key)
            return kept
        from xlwh.models.loading import load_checkpoint

        self._loaded.pop(key, None)
        while len(self._loaded) >= KEEP:
            self._loaded.popitem(last=False)
        options = self._model(key)
        if options.weights_of is not None and options.labels is None:
            options = options.model_copy(update={"labels": self._model(options.weights_of).labels})
        loaded = load_checkpoint(pin, options, self.device())
        self._require_unchanged(pin)
        if options.randomization is not None:
            from xlwh.models.randomize import shuffle_weights

            shuffle_weights(loaded.model, options.randomization)
        self._loaded[key] = loaded = replace(loaded, tokenization=options.tokenization)
        return loaded

    def release(self) -> None:
        """Keep no model in memory, so that another process has room for its own."""
        self._loaded.clear()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def load_made(self, key: str, folder: Path) -> LoadedModel:
        """A model that was made in `folder`, whether or not a row of `models` says so yet; never kept."""
        from xlwh.models.loading import load_checkpoint

        return load_checkpoint(self.pin_made(key, folder), self._model(key), self.device())

    def load_base(
        self,
        key: str,
        num_labels: int,
        labels: tuple[str, ...],
        seed: int,
        head: str = "sequence_classification",
    ) -> LoadedModel:
        """A trainable copy of a model with a head of that kind, drawn from `seed` where it is new.

        In training mode, float32, never kept: the caller owns it.
        """
        from xlwh.models.loading import load_trainable

        if len(labels) != num_labels:
            raise ModelError(
                f"Model `{key}`: {num_labels} classes but {len(labels)} labels ({', '.join(labels)})."
            )
        pin = self.pin(key)
        loaded = load_trainable(pin, self._model(key), self.device(), labels, seed, head)
        self._require_unchanged(pin)
        return loaded

    def _require_unchanged(self, pin: Pin) -> None:
        """ModelError where a file changed between the hashes that were taken and the end of loading."""
        if self.pin(pin.key) != pin:
            raise ModelError(
                f"Model `{pin.key}`: files in {pin.folder} changed while it was being loaded. Run the command again."
            )

    def device(self) -> torch.device:
        """Where this process's models run: the first of `devices`. XlwhError where it is absent."""
        import torch

        return torch.device(self.devices()[0])

    def devices(self) -> tuple[str, ...]:
        """Where models run: the one asked for, or those that the environment asks for. XlwhError where one is absent."""
        return devices.chosen() if self._device == "auto" else (self._device,)

    def _model(self, key: str) -> Model:
        if key not in self._study.models:
            raise ModelError(
                f"No model `{key}` in this study; there are: {', '.join(self._study.models) or 'none'}"
            )
        return self._study.models[key]


def _with(digest: str, options: Tokenization | Randomization) -> str:
    """Hash of what a checkpoint's files become under these options."""
    text = f"{digest} draws {draws.VERSION} {options.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()
