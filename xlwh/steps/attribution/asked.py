"""The methods that a study asks for, as the steps that attribute see them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from xlwh.attribution.base import SharedPass
from xlwh.attribution.methods import Registered, registered, shared_pass
from xlwh.steps.models.selftests import allowed
from xlwh.steps.planning import Partition
from xlwh.study import Lig

OPTIONS = ("max_length", "dtype", "attention")
"""Options of a model that reach its attributions, whatever the task."""
LIBRARIES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class Method:
    """A method as far as the numbers of its attributions depend on it."""

    name: str
    version: str
    """Of code of the user's own, its content hash."""
    parameters: Any
    """The method's part of the study; a tolerance that only sets a flag is the default one."""


@dataclass(frozen=True)
class Asked:
    """A method that the study asks for."""

    method: Method
    tolerance: float | None
    """Completeness error up to which it has converged."""
    registered: Registered
    make: Callable[[Sequence[str]], SharedPass]
    """What makes some methods of the same pass together."""

    @property
    def passed_in(self) -> str:
        """What those methods share that are made together."""
        return (
            f"{self.registered.function.rpartition(':')[2]} pass"
            if self.registered.shared
            else self.method.name
        )


def asked(partition: Partition, chosen: Container[str] | None = None) -> Iterator[Asked]:
    """The methods of the study that its model is not refused, or the `chosen` ones of them."""
    given = {
        name: parameters
        for name, parameters in partition.study.attribution.methods
        if parameters is not None and (chosen is None or name in chosen)
    }
    folder = partition.study.folder
    for name in allowed(partition, partition.model, given):
        found, tolerance = registered(name, given[name], folder), getattr(given[name], "tolerance", None)
        method = Method(name, found.version, _reaching_rows(given[name]))
        yield Asked(method, tolerance, found, partial(shared_pass, found, folder=folder))


def _reaching_rows(parameters: Any) -> Any:
    """Parameters without those that no number depends on: a fixed quadrature takes its steps whatever is tolerated."""
    if isinstance(parameters, Lig) and parameters.quadrature == "fixed":
        return parameters.model_copy(update={"tolerance": Lig.model_fields["tolerance"].default})
    return parameters
