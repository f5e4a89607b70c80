"""The registry of attribution methods: adding one is a function, a line here and its part of the study.

A method of the user's own needs neither: `[attribution.methods.<name>] function = "module:function"` in the study.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from xlwh.attribution.base import Attribution, Item, Method, SharedPass
from xlwh.errors import StudyError

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded


@dataclass(frozen=True)
class Registered:
    """A method: where its code is, and the version of its numbers.

    Raise the version when the numbers change: what was stored before is then stale.
    """

    function: str
    """`module:function`, imported when it is needed: modules of methods import torch."""
    version: str = "1"
    shared: bool = False
    """Whether the function is a `SharedPass`: methods that name the same one are made together."""
    libraries: tuple[str, ...] = ()
    """Packages whose numbers or random streams it takes, beside torch, transformers and the tokenizers."""


@dataclass(frozen=True)
class Described:
    """A method as far as the numbers of its attributions depend on it."""

    name: str
    version: str
    """Of code of the user's own, its content hash."""
    parameters: Any
    """The method's part of the study; a tolerance that only sets a flag is the default one."""


@dataclass(frozen=True)
class Asked:
    """A method that a study asks for."""

    method: Described
    tolerance: float | None
    """Completeness error up to which it has converged."""
    libraries: tuple[str, ...]
    passed_in: str
    """What those methods share that are made together."""
    make: Callable[[Sequence[str]], SharedPass]
    """What makes some methods of the same pass together."""


_SALIENCY = "xlwh.attribution.saliency:saliency"
_RELEASED = "xlwh.attribution.released:released"

METHODS: dict[str, Registered] = {
    "lig": Registered("xlwh.attribution.lig:lig", "3"),
    "lig_fixed": Registered("xlwh.attribution.lig:lig", "3"),
    "integrated_gradients": Registered("xlwh.attribution.lig:integrated_gradients", "3"),
    "integrated_gradients_mask": Registered("xlwh.attribution.lig:integrated_gradients", "3"),
    "input_x_gradient": Registered(_SALIENCY, shared=True),
    "attention": Registered(_SALIENCY, "2", shared=True),
    "scaled_attention": Registered(_SALIENCY, "2", shared=True),
    "deeplift": Registered("xlwh.attribution.with_captum:deeplift", libraries=("captum",)),
    "gradient_shap": Registered("xlwh.attribution.gradient_shap:gradient_shap", "3", libraries=("scipy",)),
    "occlusion": Registered("xlwh.attribution.occlusion:occlusion"),
    "released_scaled_attention": Registered(_RELEASED, shared=True),
    "released_input_x_gradient": Registered(_RELEASED, shared=True),
    "released_integrated_gradients": Registered(_RELEASED, shared=True),
    "random": Registered("xlwh.attribution.random:random_attribution", "2"),
}
"""Method by the name it has under `[attribution.methods]` in the study."""


def asked(name: str, parameters: Any, folder: Path) -> Asked:
    """A method of a study in `folder`, with its part of the study.

    A fixed quadrature takes its steps whatever is tolerated: its numbers do not depend on the tolerance.
    """
    from xlwh.study import Lig

    entry, reaching = registered(name, parameters, folder), parameters
    if isinstance(parameters, Lig) and parameters.quadrature == "fixed":
        default = Lig.model_fields["tolerance"].default
        reaching = parameters.model_copy(update={"tolerance": default})
    return Asked(
        Described(name, entry.version, reaching),
        getattr(parameters, "tolerance", None),
        entry.libraries,
        f"{entry.function.rpartition(':')[2]} pass" if entry.shared else name,
        partial(shared_pass, entry, folder=folder),
    )


def registered(name: str, parameters: Any, folder: Path) -> Registered:
    """The entry of a method; that of a user's own has the hash of its module's file as the version.

    `folder` is the study's: a module beside the study file goes before one on Python's path. StudyError where the
    module cannot be found. Nothing is imported but the packages that the module is in.
    """
    from xlwh.study import OwnMethod

    if not isinstance(parameters, OwnMethod):
        return METHODS[name]
    file = file_of(parameters.function, folder)
    return Registered(parameters.function, hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest())


def shared_pass(method: Registered, names: Sequence[str], folder: Path) -> SharedPass:
    """The function that makes the methods `names` together; a single method is a pass of one."""
    function = load_function(method.function, folder)
    if method.shared:
        return cast(SharedPass, function)
    (name,) = names
    run = cast(Method, function)

    def alone(
        loaded: LoadedModel,
        encoded: Encoded,
        items: Sequence[Item],
        parameters: Any,
        batch_tokens: int,
    ) -> Iterator[tuple[int, dict[str, Attribution]]]:
        for index, attribution in run(loaded, encoded, items, parameters[name], batch_tokens):
            yield index, {name: attribution}

    return alone


def load_function(function: str, folder: Path) -> Any:
    """What `module:function` names; StudyError if it cannot be imported or is not there."""
    module_name, _, name = function.partition(":")
    beside = _beside(module_name, folder)
    try:
        if beside is None:
            module = importlib.import_module(module_name)
        else:
            spec = importlib.util.spec_from_file_location(module_name, beside)
            if spec is None or spec.loader is None:
                raise ImportError(f"{beside} is not a Python module")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return getattr(module, name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise StudyError(f"The method `{function}` cannot be loaded: {error}") from error


def _beside(module: str, folder: Path) -> Path | None:
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    return file if file.is_file() else None


def file_of(function: str, folder: Path) -> Path:
    """The file of the module that `module:function` is in; StudyError where there is none."""
    module = function.partition(":")[0]
    beside = _beside(module, folder)
    if beside is not None:
        return beside
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise StudyError(
            f"The method `{function}`: there is no module `{module}` on Python's path, and no "
            f"{module.replace('.', '/')}.py in {folder}."
        )
    return Path(spec.origin)
