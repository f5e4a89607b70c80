"""A GPU that is not there: tensors carry a mark "on cuda:0" while their numbers stay on the CPU.

    with pretend_gpu() as log:
        model.to("cuda")            # marked, and so is everything computed from it
        model(ids.to("cuda")).logits.cpu().numpy()
    print(log.table())

What a CUDA build of torch refuses is refused here: operators over tensors of two devices (DeviceMixError), and NumPy
without `.cpu()` (TypeError). What costs time on a GPU is counted: kernels, bytes, copies, and every place where the
host waits for the device, by the file and line that made it wait. Memory is accounted for: beyond `capacity` an
allocation raises torch.OutOfMemoryError, as CUDA's does. Numbers are those of the CPU.

It works on a CPU-only build, where torch's own FakeTensorMode refuses CUDA. It sees the thread that entered it. It
does not see what one operator allocates on the way, and counts a fused operator as one kernel.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent

UPLOAD = "upload"
"""From pinned memory and not waited for."""
BLOCKING_UPLOAD = "blocking upload"
"""From pageable memory, or waited for: the host stands until all that was launched is done."""
DOWNLOAD, READ, SHAPE, SYNCHRONIZE = "download", "read", "shape", "synchronize"
"""`.cpu()`; a number read by `item`, `bool` and the like; a size that depends on values; `synchronize()`."""
COPY = "copy to the host"
"""A download that is not waited for: what arrives may be read behind a `synchronize()`."""

# Views and allocations: no kernel is launched for them.
_FREE = (
    "view",
    "expand",
    "select.",
    "slice.",
    "transpose",
    "permute",
    "squeeze",
    "detach",
    "alias",
    "split",
    "aten.t.",
    "as_strided",
    "unbind",
    "_reshape_alias",
    "empty",
    "chunk",
    "lift_fresh",
    "set_",
    "resize",
    "unfold",
    "diagonal",
)
# The size of what they return depends on values, which the host must know.
_SHAPED = (
    "aten.nonzero",
    "aten.masked_select",
    "aten._unique",
    "aten.unique",
    "aten.bincount",
    "aten.repeat_interleave.Tensor",
    "aten.repeat_interleave.self_Tensor",
)
_READ = ("aten._local_scalar_dense", "aten.equal", "aten.is_nonzero", "aten.item")
_COPIES = ("aten.copy_", "aten._to_copy", "aten.set_", "aten.lift_fresh")
_INDEXED = ("aten.index.Tensor", "aten.index_put", "aten._index_put_impl_", "aten._unsafe_index")


class DeviceMixError(RuntimeError):
    """An operator met tensors of two devices."""


class UnfinishedCopyError(RuntimeError):
    """A copy from the device was read before anyone waited for it."""


Place = tuple[str, int]
"""A file, relative to the project, and a line."""


@dataclass
class Log:
    """What happened on the pretended GPU."""

    kernels: int = 0
    files: set[str] = field(default_factory=set)
    """Files of the project that launched a kernel."""
    upload_bytes: int = 0
    download_bytes: int = 0
    live_bytes: int = 0
    """Of the tensors that are on it now."""
    peak_bytes: int = 0
    capacity: int | None = None
    refused: int = 0
    """Allocations beyond the capacity."""
    events: Counter[tuple[str, Place]] = field(default_factory=Counter)
    """(kind, file and line of the project that made it happen) -> how often."""
    through: dict[tuple[str, Place], Place] = field(default_factory=dict)
    """The same key -> the innermost line outside torch, in a library perhaps."""

    @property
    def waits(self) -> int:
        """How often the host waited for the device."""
        return sum(count for (kind, _), count in self.events.items() if kind not in (UPLOAD, COPY))

    def count(self, *kinds: str) -> int:
        """How many events of some kinds there were."""
        return sum(count for (kind, _), count in self.events.items() if kind in kinds)

    def waits_in(self, file: str) -> Counter[int]:
        """Line of a file -> waits there; `file` as a path ends."""
        found: Counter[int] = Counter()
        for (kind, (name, line)), count in self.events.items():
            if kind not in (UPLOAD, COPY) and name.endswith(file):
                found[line] += count
        return found

    def reset(self) -> None:
        """Forget what was counted; memory stays as it is."""
        self.kernels = self.upload_bytes = self.download_bytes = 0
        self.peak_bytes = self.live_bytes
        self.refused = 0
        self.files.clear()
        self.events.clear()
        self.through.clear()

    def table(self, most: int = 12) -> str:
        """The commonest events, one a line: what a failed budget shows."""
        lines = []
        for key, count in self.events.most_common(most):
            kind, (name, line) = key
            within, at = self.through[key]
            lines.append(
                f"{count:6d} {kind:16s} {name}:{line}" + (f" (in {within}:{at})" if within != name else "")
            )
        return "\n".join([f"{self.kernels} kernels, {self.waits} waits", *lines])


@contextmanager
def visible_gpus(
    count: int, capability: tuple[int, int] = (9, 0), build: str | None = "13.0"
) -> Iterator[None]:
    """Inside, torch says that it sees so many GPUs, and the system that it has a driver; nothing runs on them.

    `build`: the CUDA that torch was built for, None for a build without.
    """
    from xlwh.models import devices

    def refused() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system. Please check")

    answers: dict[tuple[Any, str], Any] = {
        (torch.cuda, "is_available"): lambda: count > 0,
        (torch.cuda, "device_count"): lambda: count,
        (torch.cuda, "get_device_name"): lambda number: f"Pretended {number}",
        (torch.cuda, "get_device_capability"): lambda number: capability,
        (torch.cuda, "mem_get_info"): lambda number: ((number + 1) * 10**9, 80 * 10**9),
        (torch.cuda, "init"): refused,
        (torch.version, "cuda"): build,
        (devices, "_FILES"): (__file__,),
    }
    saved = [(module, name, getattr(module, name)) for module, name in answers]
    for (module, name), answer in answers.items():
        setattr(module, name, answer)
    try:
        yield
    finally:
        for module, name, value in saved:
            setattr(module, name, value)


@contextmanager
def pretend_gpu(capacity: int | None = None, root: Path = ROOT) -> Iterator[Log]:
    """Inside, `cuda` is a device; `capacity` bytes of memory (None: endless).

    Events are counted at the innermost line of a file under `root` that is no test helper.
    """
    log = Log(capacity=capacity)
    state = _State(log, root)
    with _cuda_module(state), _Dispatch(state), _Function(state):
        yield log


class _State:
    def __init__(self, log: Log, root: Path) -> None:
        self.log = log
        self._root = f"{root}/"
        self.inside_backward = 0
        """The autograd engine's own zeros and ones lie where the gradients do."""
        self.made_on: list[torch.device] = []
        """Device of what is made now, where a caller said so."""
        self.in_flight: weakref.WeakSet[Any] = weakref.WeakSet()
        """Storages of the host that a copy is on its way to."""

    def on(self, tensor: torch.Tensor) -> bool:
        return getattr(_storage(tensor), "_pretended", None) is self

    def mark(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = _storage(tensor)
        if getattr(storage, "_pretended", None) is self:
            return tensor
        log, size = self.log, storage.nbytes()
        if log.capacity is not None and log.live_bytes + size > log.capacity:
            log.refused += 1
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes. GPU 0 has a total capacity of {log.capacity} "
                f"bytes of which {log.capacity - log.live_bytes} bytes is free."
            )
        storage._pretended = self
        log.live_bytes += size
        log.peak_bytes = max(log.peak_bytes, log.live_bytes)

        def freed() -> None:
            log.live_bytes -= size

        weakref.finalize(storage, freed)
        return tensor

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        _storage(tensor)._pinned = True
        return tensor

    def pinned(self, tensor: torch.Tensor) -> bool:
        return getattr(_storage(tensor), "_pinned", False)

    def event(self, kind: str) -> None:
        place, innermost = self.places()
        self.log.events[kind, place] += 1
        self.log.through.setdefault((kind, place), innermost)

    def places(self) -> tuple[Place, Place]:
        """The innermost line of the project that is running, and the innermost outside torch."""
        frame = sys._getframe(1)
        own: Place | None = None
        innermost: Place | None = None
        outermost: Place = ("?", 0)
        while frame is not None:
            name = frame.f_code.co_filename
            if name != __file__ and not name.startswith("<"):
                outermost = (name, frame.f_lineno)
                if innermost is None and "/torch/" not in name:
                    innermost = (self._short(name), frame.f_lineno)
                # An environment may lie inside the checkout.
                if name.startswith(self._root) and "site-packages" not in name:
                    own = (self._short(name), frame.f_lineno)
                    break
            frame = frame.f_back  # type: ignore[assignment]
        innermost = innermost or outermost
        return own or innermost, innermost

    def _short(self, name: str) -> str:
        return name.removeprefix(self._root).rpartition("site-packages/")[2]

    @contextmanager
    def making(self, device: torch.device) -> Iterator[None]:
        self.made_on.append(device)
        try:
            yield
        finally:
            self.made_on.pop()


def _storage(tensor: torch.Tensor) -> Any:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _named(value: Any) -> str | None:
    """`cuda` or `cpu`, of what names a device."""
    if isinstance(value, torch.device):
        return value.type
    if isinstance(value, str) and value.partition(":")[0] in ("cuda", "cpu"):
        return value.partition(":")[0]
    return None


class _Function(TorchFunctionMode):
    """Torch's Python functions: what names a device, moves between devices or leaves torch."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state = state

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        state, given = self.state, dict(kwargs or {})
        name = getattr(func, "__name__", "")
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        on_gpu = first is not None and state.on(first)
        if name == "__get__" and first is not None:
            return self._attribute(func, on_gpu, args, given)
        if func is torch.device or name == "_parse_to":
            return func(*args, **given)
        if on_gpu and name in ("numpy", "__array__") and not given.get("force"):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        reads = name in ("numpy", "__array__", "tolist") and first is not None
        if reads and _storage(first) in state.in_flight:
            raise UnfinishedCopyError(f"{name}() before the stream was synchronized")
        if name == "get_device" and on_gpu:
            return 0
        if name == "tolist" and on_gpu:
            state.event(READ)
            with torch._C.DisableTorchFunction():
                return _unmarked(first).tolist()
        if name == "is_pinned" and first is not None:
            return not on_gpu and state.pinned(first)
        if name == "pin_memory" and first is not None:
            if on_gpu:
                raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
            with torch._C.DisableTorchFunction():
                return state.pin(first.clone())
        if name in ("to", "cpu", "cuda", "type_as") and first is not None:
            return self._moved(name, first, on_gpu, args, given)
        if name in ("grad", "backward"):
            state.inside_backward += 1
            try:
                return func(*args, **given)
            finally:
                state.inside_backward -= 1
        return self._made(func, name, on_gpu, args, given)

    def _attribute(self, func: Any, on_gpu: bool, args: Sequence[Any], given: dict[str, Any]) -> Any:
        asked = getattr(getattr(func, "__self__", None), "__name__", "")
        if asked == "device" and on_gpu:
            return CUDA
        if asked in ("is_cuda", "is_cpu"):
            return on_gpu == (asked == "is_cuda")
        return func(*args, **given)

    def _made(self, func: Any, name: str, on_gpu: bool, args: Sequence[Any], given: dict[str, Any]) -> Any:
        state = self.state
        values = [*args, *given.values()]
        if name not in ("Generator", "autocast") and any(_named(value) == "cuda" for value in values):
            args = tuple(CPU if _named(value) == "cuda" else value for value in args)
            given = {key: CPU if _named(value) == "cuda" else value for key, value in given.items()}
            with state.making(CUDA):
                made = func(*args, **given)
            if name in ("tensor", "as_tensor", "asarray"):
                state.event(BLOCKING_UPLOAD)
                state.log.upload_bytes += _bytes(made)
            return tree_map(lambda x: state.mark(x) if isinstance(x, torch.Tensor) else x, made)
        if on_gpu and _named(given.get("device")) == "cpu":
            with state.making(CPU):
                return func(*args, **given)
        return func(*args, **given)

    def _moved(
        self, name: str, tensor: torch.Tensor, on_gpu: bool, args: Sequence[Any], given: dict[str, Any]
    ) -> torch.Tensor:
        """`to`, `cpu`, `cuda` and `type_as`, with what they do to dtype and layout."""
        state, rest = self.state, list(args[1:])
        target: str | None = {"cpu": "cpu", "cuda": "cuda"}.get(name)
        if name == "cuda":
            rest = []
        for place, value in enumerate(rest):
            if isinstance(value, torch.Tensor):
                target, rest[place] = "cuda" if state.on(value) else "cpu", value.dtype
            elif _named(value):
                target, rest[place] = _named(value), None
        target = _named(given.pop("device", None)) or target
        waits = not (given.pop("non_blocking", False) or True in [x for x in rest if isinstance(x, bool)])
        rest = [value for value in rest if value is not None and not isinstance(value, bool)]
        with torch._C.DisableTorchFunction(), state.making(CUDA if on_gpu else CPU):
            # The other side's dtype is made where the numbers are.
            made = torch.Tensor.to(tensor, *rest, **given) if rest or given else tensor
        if target == "cuda" and not on_gpu:
            state.log.upload_bytes += _bytes(made)
            state.event(BLOCKING_UPLOAD if waits or not state.pinned(tensor) else UPLOAD)
            shares = _storage(made) is _storage(tensor)
            with state.making(CUDA):
                return state.mark(made.clone() if shares else made)
        if target == "cpu" and on_gpu:
            state.log.download_bytes += _bytes(made)
            state.event(DOWNLOAD if waits else COPY)
            with state.making(CPU), torch._C.DisableTorchFunction():
                arriving = torch.ops.aten.clone.default(made)
            if not waits:
                state.in_flight.add(_storage(arriving))
            return arriving
        return made


def _unmarked(tensor: Any) -> torch.Tensor:
    """A copy that no mode looks at."""
    with torch.utils._python_dispatch._disable_current_modes():
        return tensor.detach().clone()


class _Dispatch(TorchDispatchMode):
    """Torch's operators: who may meet whom, where results lie, and what the host must wait for."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state = state

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        state, given, name = self.state, dict(kwargs or {}), str(func)
        tensors = [x for x in tree_flatten((args, given))[0] if isinstance(x, torch.Tensor)]
        on = [state.on(tensor) for tensor in tensors]
        if any(on) and not state.made_on:
            self._judge(name, tensors, on, args)
        if _named(given.get("device")) == "cuda":
            given["device"] = CPU
        made = func(*args, **given)
        if state.made_on:
            on_gpu = state.made_on[-1].type == "cuda"
        elif not tensors:
            on_gpu = state.inside_backward > 0
        else:
            on_gpu = on[0] if name.startswith("aten.copy_") else any(on)
        if on_gpu:
            for tensor in tree_flatten(made)[0]:
                if isinstance(tensor, torch.Tensor):
                    state.mark(tensor)
            if not any(part in name for part in _FREE):
                state.log.kernels += 1
                state.log.files.add(state.places()[0][0])
        return made

    def _judge(self, name: str, tensors: list[torch.Tensor], on: list[bool], args: Sequence[Any]) -> None:
        state = self.state
        if name.startswith("aten.copy_"):
            if on[0] != on[1]:
                state.event(DOWNLOAD if on[1] else BLOCKING_UPLOAD)
            return
        if name.startswith(_INDEXED):
            self._judge_index(name, args)
            return
        if name.startswith(_READ):
            state.event(READ)
        elif name.startswith(_SHAPED):
            state.event(SHAPE)
        # A single number of the host may go into any operator.
        odd = [tensor for tensor, tagged in zip(tensors, on, strict=True) if not tagged and tensor.dim()]
        if odd and not name.startswith(_COPIES):
            self._refuse(name, tensors, on)

    def _judge_index(self, name: str, args: Sequence[Any]) -> None:
        """`x[index]` and `x[index] = values`: indices of the host are copied, a mask's size is waited for."""
        state, values = self.state, args[0]
        indices = [index for index in args[1] if isinstance(index, torch.Tensor)]
        on = [state.on(index) for index in indices]
        if any(on) and not state.on(values):
            raise DeviceMixError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
        if not state.on(values):
            self._refuse(name, [values, *args[2:3]], [False, True])
        for _ in range(len(on) - sum(on)):
            state.event(BLOCKING_UPLOAD)
        put = args[2] if len(args) > 2 and isinstance(args[2], torch.Tensor) else None
        if put is not None and not state.on(put) and put.dim():
            self._refuse(name, [values, put], [True, False])
        masked = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        # One number put under a mask is filled in without knowing how many there are.
        if masked and (put is None or put.numel() > 1):
            state.event(SHAPE)

    def _refuse(self, name: str, tensors: Sequence[torch.Tensor], on: Sequence[bool]) -> None:
        found = [
            ("cuda:0" if tagged else "cpu", tuple(x.shape)) for x, tagged in zip(tensors, on, strict=True)
        ]
        raise DeviceMixError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({name}: {found})"
        )


@contextmanager
def _cuda_module(state: _State) -> Iterator[None]:
    """What of `torch.cuda` is asked for without a tensor."""
    log = state.log

    def free(*_: Any) -> tuple[int, int]:
        total = 2**36 if log.capacity is None else log.capacity
        return total - log.live_bytes, total

    def reset_peak(*_: Any) -> None:
        log.peak_bytes = log.live_bytes

    def synchronize(*_: Any) -> None:
        state.event(SYNCHRONIZE)
        state.in_flight.clear()

    answers: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_, **__: None,
        "manual_seed_all": lambda *_: None,
        "synchronize": synchronize,
        "current_stream": lambda *_: SimpleNamespace(synchronize=synchronize),
        "empty_cache": lambda: None,
        "mem_get_info": free,
        "reset_peak_memory_stats": reset_peak,
        "memory_allocated": lambda *_: log.live_bytes,
        "memory_reserved": lambda *_: log.live_bytes,
        "max_memory_allocated": lambda *_: log.peak_bytes,
    }
    genuine = torch.autocast

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        # The numbers are on the CPU, whose autocast is the one that takes hold of them.
        return genuine("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    patched = [(torch.cuda, name, answer) for name, answer in answers.items()]
    patched.append((torch, "autocast", autocast))
    saved = [(module, name, getattr(module, name)) for module, name, _ in patched]
    for module, name, answer in patched:
        setattr(module, name, answer)
    try:
        yield
    finally:
        for module, name, value in saved:
            setattr(module, name, value)
