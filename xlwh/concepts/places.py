"""Where vectors are taken in a model: layers of its stacks and, in decoders, a convention. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xlwh.errors import ModelError
from xlwh.jsons import read_object
from xlwh.models.families import family_of

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models.families import Stack
    from xlwh.models.pins import Pin
    from xlwh.study import Concepts

Convention = Literal["consumed", "predicting"]

_ENCODERS = ("ForTokenClassification", "EncoderModel")
"""Ends of the architectures that keep only the encoder of an encoder-decoder."""


@dataclass(frozen=True, order=True)
class Place:
    """A layer of a stack, 0 what enters it; in decoders with a convention."""

    stack: Stack
    layer: int
    convention: Convention | None = None

    def __str__(self) -> str:
        return ".".join(str(x) for x in (self.stack, self.convention, self.layer) if x is not None)

    @property
    def columns(self) -> dict[str, pl.Expr]:
        """The columns `stack`, `convention`, `layer` of tables with a row or more per place."""
        import polars as pl

        return {
            "stack": pl.lit(self.stack),
            "convention": pl.lit(self.convention, pl.String),
            "layer": pl.lit(self.layer),
        }


def states_of(pin: Pin) -> dict[Stack, int]:
    """Hidden states of each stack of a model: its layers and one more, read from its config.json."""
    file = pin.folder / "config.json"
    config = read_object(file, ModelError, f"Model `{pin.key}`: ")
    try:
        return _states(pin, config)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            f"Model `{pin.key}`: {file} does not say how many layers there are: {error}."
        ) from None


def _states(pin: Pin, config: Mapping[str, Any]) -> dict[Stack, int]:
    depths = family_of(pin.model_type).depths(config.get)
    if "encoder" in depths and (pin.architecture or "").endswith(_ENCODERS):
        depths.pop("decoder", None)
    return {stack: depth + 1 for stack, depth in depths.items()}


def places_of(pin: Pin, settings: Concepts) -> tuple[Place, ...]:
    """The places that the study asks for in a model, in the order of its forward pass.

    Stacks that the model does not have are passed over; ModelError for a layer that a stack does not have.
    """
    found: list[Place] = []
    for stack, count in states_of(pin).items():
        if stack in settings.stacks:
            conventions: Sequence[Convention | None] = settings.conventions if stack == "decoder" else (None,)
            found += [
                Place(stack, layer, convention)
                for convention in conventions
                for layer in _layers(pin, stack, count, settings)
            ]
    return tuple(found)


def _layers(pin: Pin, stack: Stack, count: int, settings: Concepts) -> list[int]:
    if settings.layers == "all":
        return list(range(count))
    for layer in settings.layers:
        if not -count <= layer < count:
            raise ModelError(
                f"Model `{pin.key}` has no layer {layer} in its {stack}: 0 (embeddings) to {count - 1}. Change "
                "`concepts.layers`."
            )
    return sorted({layer % count for layer in settings.layers})
