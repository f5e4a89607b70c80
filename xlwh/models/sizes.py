"""How large a model is, found without loading it: from the study, or from the headers of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlwh.digests import FileMemo
from xlwh.jsons import parsed

if TYPE_CHECKING:
    from xlwh.study import Scratch

_T5: Mapping[str, Any] = {"d_model": 512, "d_kv": 64, "num_heads": 8, "d_ff": 2048, "num_layers": 6}
"""Values of a T5's configuration where `scratch.config` does not say them."""


@dataclass(frozen=True)
class Size:
    """Parameters of a model."""

    parameters: int
    """All of them."""
    layers: int
    """Those outside tables of word embeddings: what a sub-token is multiplied with."""


def of_folder(folder: Path) -> Size:
    """The size of a checkpoint, from the shapes that its files name.

    OSError or ValueError where they cannot be read.
    """
    config = parsed((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = config.get("vocab_size", config.get("n_words"))
    parameters = layers = 0
    for file in sorted(folder.glob("*.safetensors")):
        own = _KNOWN.get(file, partial(_shapes, file))
        parameters += sum(map(prod, own))
        layers += sum(prod(shape) for shape in own if not (len(shape) == 2 and shape[0] == vocabulary))
    return Size(parameters, layers)


def of_scratch(scratch: Scratch) -> Size:
    """The size of a model with random weights, before it is made: what its matrices have, which is nearly all."""
    config = {**_T5, **scratch.config}
    width, inner = int(config["d_model"]), int(config["num_heads"]) * int(config["d_kv"])
    attention = 4 * width * inner
    gated = str(config.get("feed_forward_proj", "gated-gelu" if scratch.family == "mt5" else "relu"))
    between = (3 if gated.startswith("gated") else 2) * width * int(config["d_ff"])
    encoder = int(config["num_layers"])
    decoder = int(config.get("num_decoder_layers", encoder))
    layers = encoder * (attention + between) + decoder * (2 * attention + between)
    return Size(layers + scratch.vocab_size * width, layers)


def _shapes(file: Path) -> list[list[int]]:
    """Shapes of the tensors in a safetensors file: its header is JSON behind 8 bytes that say how long it is."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"{file} is no safetensors file.")
        header = parsed(stream.read(length).decode())
    return [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]


_KNOWN = FileMemo[list[list[int]]](256)
