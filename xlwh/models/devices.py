"""The devices that models run on: which are asked for, which are there, and what each can do.

Numbers do not depend on the device but by rounding, so the setting is no part of a study and enters no fingerprint.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from xlwh.errors import XlwhError

VARIABLE = "XLWH_DEVICE"
"""Environment variable with the setting, which worker processes and Ray's actors are given too."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable of CUDA: the GPUs that a process is to see."""
CPU = "cpu"
_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_GPUS = re.compile(r"cuda:[0-9]{1,3}(,cuda:[0-9]{1,3})*")
_AMPERE = (8, 0)
"""Compute capability from which on there are TF32 and bfloat16."""


@dataclass(frozen=True)
class Devices:
    """The setting: the GPUs that are named, all of them, or none."""

    kind: str
    """`auto` (all GPUs, the CPU where there is none), `cpu`, or `cuda` (GPUs, and an error where there is none)."""
    numbers: tuple[int, ...] = ()
    """Of the GPUs that are named, in torch's order; empty: all."""

    @classmethod
    def parse(cls, text: str) -> Devices:
        """`auto`, `cpu`, `cuda`, or `cuda:N` once or more with commas between; XlwhError for anything else."""
        if text in ("auto", CPU, "cuda"):
            return cls(text)
        numbers = [int(each) for each in re.findall(r"[0-9]+", text)] if _GPUS.fullmatch(text) else []
        if not numbers or len(set(numbers)) < len(numbers):
            raise XlwhError(
                f"--device (or {VARIABLE}) is auto, cpu, cuda, or cuda:N with others behind commas, each once "
                f"(cuda:0,cuda:2), not `{text[:80]}`."
            )
        return cls("cuda", tuple(numbers))

    @classmethod
    def asked(cls) -> Devices:
        """What the environment asks for."""
        return cls.parse(os.environ.get(VARIABLE) or "auto")


@dataclass(frozen=True)
class Card:
    """A device, and what it can do."""

    device: str
    """As torch names it: `cpu`, `cuda:0`."""
    name: str
    free_bytes: int | None
    total_bytes: int | None
    precisions: tuple[str, ...]
    """Kinds of arithmetic: `float32`, `tf32` (float32 with products of 10 bits), `bfloat16`."""


def may_be_there() -> bool:
    """Whether the system has a GPU's driver; imports no torch."""
    return any(Path(file).exists() for file in _FILES)


def chosen() -> tuple[str, ...]:
    """The devices that models run on, the first for what runs in one process. XlwhError where one is absent."""
    asked = Devices.asked()
    count = 0 if asked.kind == CPU else _count()
    if asked.kind == "cuda" and not count:
        raise XlwhError(f"--device {_told(asked)}: {_why_none()}. Without a GPU: --device cpu.")
    there = tuple(f"cuda:{number}" for number in range(count))
    if absent := [number for number in asked.numbers if number >= count]:
        raise XlwhError(
            f"--device {_told(asked)}: there is no GPU {', '.join(map(str, absent))}; there "
            f"{'is' if count == 1 else 'are'} {', '.join(there)}. `xlwh devices` shows them."
        )
    if asked.numbers:
        return tuple(f"cuda:{number}" for number in asked.numbers)
    return there or (CPU,)


def require_there() -> None:
    """XlwhError where GPUs are asked for that are absent; imports torch only where some are asked for."""
    if Devices.asked().kind == "cuda":
        chosen()


def visible_as(device: str) -> str:
    """How CUDA_VISIBLE_DEVICES names a GPU of this process to another one."""
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    number = int(device.partition(":")[2] or 0)
    return named[number] if named else str(number)


def runs_at_once() -> int:
    """How many runs may be at this machine's GPUs at a time.

    Where GPUs are named, runs that name others have room beside this one; else a run takes all of them.
    """
    asked = Devices.asked()
    return max(1, _count() // len(asked.numbers)) if asked.numbers else 1


def overlooked() -> str | None:
    """Where a GPU seems to be here and `auto` takes the CPU nevertheless: why."""
    if Devices.asked().kind != "auto" or not may_be_there() or _count():
        return None
    return f"A GPU's driver is here, but models run on the CPU: {_why_none()}"


def cards() -> list[Card]:
    """The CPU and all GPUs that torch can use."""
    import torch

    found = [Card(CPU, "CPU", None, None, ("float32", "bfloat16"))]
    for number in range(_count()):
        free, total = torch.cuda.mem_get_info(number)
        able = torch.version.cuda is not None and torch.cuda.get_device_capability(number) >= _AMPERE
        found.append(
            Card(
                f"cuda:{number}",
                torch.cuda.get_device_name(number),
                int(free),
                int(total),
                ("float32", "tf32", "bfloat16") if able else ("float32",),
            )
        )
    return found


def build() -> str:
    """The torch that is installed, and the CUDA that it was built for, in words."""
    import torch

    made_for = torch.version.cuda or torch.version.hip
    kind = "CUDA" if torch.version.cuda else "ROCm"
    return f"torch {torch.__version__}, " + (
        f"built for {kind} {made_for}" if made_for else "built without CUDA"
    )


def _count() -> int:
    import torch

    with warnings.catch_warnings():
        # Of a driver that is too old; `_why_none` tells it.
        warnings.simplefilter("ignore")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _why_none() -> str:
    """Why torch has no GPU, without a stop at its end."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"{build()}. Install one with CUDA (in a checkout: make demo TORCH=cuda; else `pip install "
            "--force-reinstall torch` from an index that has it)"
        )
    if os.environ.get(VISIBLE) in ("", "-1"):
        return f"{VISIBLE} is set and hides all GPUs"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError, AssertionError, or what a driver raises
        said = " ".join(str(error).split())[:300].rstrip(".")
        return f"{build()}, finds no GPU that it can use ({said})"
    return f"{build()}, finds no GPU"


def _told(asked: Devices) -> str:
    return ",".join(f"cuda:{number}" for number in asked.numbers) or asked.kind
