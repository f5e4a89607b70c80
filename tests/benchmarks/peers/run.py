"""xlwh and its peers on the same inputs: seconds, processor seconds, peak memory, and how far results agree.

    python tests/benchmarks/peers/run.py SHARED --model FOLDER [--only lig heads ...] [--lig 12 ...]

FOLDER is a three-class NLI checkpoint (entailment, neutral, contradiction), such as the one that `examples/xnli`
leaves under `warehouse/models/mini-x11-en/`. Every side of every task is one fresh process, once, without warming up;
imports and loading are measured apart from the work. Peers have virtual environments of their own, which the first
run installs into `--environments`. A peer that cannot be installed or fails has a row that says why.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from common import print_table  # noqa: E402
from compare import agreement  # noqa: E402
from environments import NotInstalledError, python_of  # noqa: E402

SIZES = {
    "lig": 12,
    "input_x_gradient": 200,
    "written": 40,
    "faithfulness": 40,
    "extraction": 150,
    "heads": 8,
    "players": 8,
    "permutations": 26,
    "points": 8000,
    "clusters": 100,
    "transport": 100,
}
SECONDS = 900
"""After which a process is given up; `--seconds` gives slow machines longer."""


@dataclass(frozen=True)
class Peer:
    """What another library does of a task: the script that has it do so, in the environment of that name."""

    script: str
    package: str
    environment: str = "current"


@dataclass(frozen=True)
class Task:
    """Something that xlwh and a peer both do; `title` is filled with the sizes."""

    name: str
    title: str
    peer: Peer


TASKS = (
    Task("lig", "layer integrated gradients, 50 steps, {lig} XNLI pairs", Peer("captum_attributions.py", "captum")),
    Task("input_x_gradient", "input x gradient, {input_x_gradient} XNLI pairs", Peer("captum_attributions.py", "captum")),
    Task("written", "input x gradient of each written sub-token, {written} translations, T5", Peer("inseq_outputs.py", "inseq")),
    Task("faithfulness", "comprehensiveness and sufficiency, 2 rankings of {faithfulness} texts", Peer("ferret_faithfulness.py", "ferret-xai", "ferret")),
    Task("extraction", "words' vectors, all layers, {extraction} sentences", Peer("neurox_extraction.py", "neurox")),
    Task("heads", "exact Shapley values of {players} heads, {heads} examples", Peer("shapiq_heads.py", "shapiq")),
    Task("permutations", "the same from {permutations} permutations", Peer("captum_heads.py", "captum")),
    Task("kmeans", "k-means, {points} points, {clusters} clusters, same start", Peer("sklearn_kmeans.py", "scikit-learn")),
    Task("transport", "transport (CCTA), {transport} pairs", Peer("pulp_transport.py", "PuLP")),
)  # fmt: skip


class NotRunError(Exception):
    """A process did not report; the message says why."""


@dataclass(frozen=True)
class Side:
    """What came of one side of a task: its report and where its result is, or the reason why there is none."""

    by: str
    result: Path
    report: dict[str, Any] | None = None
    reason: str = ""


def reported(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """What a measured script reports: the JSON in the last line that it prints. NotRunError if there is none."""
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise NotRunError(f"does not end: given up after {seconds:g} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotRunError(f"does not run: {lines[-1] if lines else f'exit status {done.returncode}'}")
    try:
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise NotRunError("does not report: the last line that it prints is no JSON") from None
    return report


def measured(
    task: Task,
    inputs: Path,
    interpreter: Callable[[str], Path],
    sizes: Mapping[str, int],
    threads: int = 1,
    seconds: float = SECONDS,
) -> list[dict[str, Any]]:
    """Our row and the peer's; those that both sides reported before are kept beside the inputs and not measured again.

    `interpreter` is of a named environment, or raises NotInstalledError.
    """
    (inputs / "results").mkdir(exist_ok=True)
    kept = inputs / "results" / f"{task.name}-rows.json"
    if kept.is_file():
        known: list[dict[str, Any]] = json.loads(kept.read_text())
        return known
    variables = _variables(threads)
    own = variables | {"PYTHONPATH": str(ROOT)}
    ours = _side(task, "xlwh", "ours.py", lambda: Path(sys.executable), inputs, own, seconds)
    peer = task.peer
    theirs = _side(
        task, peer.package, peer.script, lambda: interpreter(peer.environment), inputs, variables, seconds
    )
    title = task.title.format(**sizes)
    rows = [_row(title, side) for side in (ours, theirs)]
    if ours.report is not None and theirs.report is not None:
        processor = [side.report["stages"]["work"][1] for side in (ours, theirs) if side.report]
        rows[1]["times xlwh"] = round(processor[1] / max(processor[0], 1e-6), 1)
        exact = inputs / "results" / "heads-xlwh"
        rows[1]["agreement"] = agreement(task.name, inputs, ours.result, theirs.result, exact)
        kept.write_text(json.dumps(rows))
    return rows


def _side(
    task: Task,
    package: str,
    script: str,
    interpreter: Callable[[], Path],
    inputs: Path,
    variables: Mapping[str, str],
    seconds: float,
) -> Side:
    result = inputs / "results" / f"{task.name}-{package}"
    try:
        command = [str(interpreter()), str(HERE / script), str(inputs), task.name, str(result)]
        report = reported(command, variables, seconds)
    except (NotRunError, NotInstalledError) as error:
        return Side(package, result, reason=str(error).replace("|", "/"))
    return Side(report["by"], result, report)


def _row(title: str, side: Side) -> dict[str, Any]:
    """A line of the table; what could not be measured stays empty and the reason is in the last column."""
    row: dict[str, Any] = {"task": title, "by": side.by}
    stages = {} if side.report is None else side.report["stages"]
    for name in ("import", "load", "work"):
        row[f"{name} s"] = round(stages[name][0], 3) if name in stages else ""
    row["processor s"] = round(stages["work"][1], 3) if stages else ""
    row["times xlwh"] = ""
    row["peak MB"] = "" if side.report is None else round(side.report["peak_mb"])
    row["what it made"] = "" if side.report is None else side.report["note"]
    row["agreement"] = side.reason
    return row


def _variables(threads: int) -> dict[str, str]:
    """The surroundings of a process: its threads, no network, none of our packages."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    counts = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads)
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    quiet = {
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "OMP_WAIT_POLICY": "passive",
    }
    return kept | counts | offline | quiet


def run(
    shared: Path,
    model: Path,
    environments: Path,
    only: Sequence[str],
    sizes: dict[str, int],
    threads: int,
    seconds: float,
    keep: Path | None = None,
) -> list[dict[str, Any]]:
    """Rows of the table: ours and the peer's of each task."""
    from inputs import write

    def interpreter(environment: str) -> Path:
        return python_of(environments, HERE / "requirements" / f"{environment}.txt")

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        asked = json.dumps([str(model.resolve()), sizes, threads]).encode()
        folder = (keep or Path(temporary)) / hashlib.blake2b(asked, digest_size=4).hexdigest()
        if not (folder / "written").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, shared, model, sizes)
            (folder / "written").touch()
        for task in TASKS:
            if not only or task.name in only:
                rows += measured(task, folder, interpreter, sizes, threads, seconds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--environments", type=Path, default=Path("~/.cache/xlwh-peers"))
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], default=())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which a process is given up")
    parser.add_argument(
        "--keep", type=Path, help="folder for inputs and results: a run that was stopped goes on from there"
    )
    for name, size in SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size, metavar="N")
    asked = parser.parse_args()
    sizes = {name: getattr(asked, name) for name in SIZES}
    rows = run(
        asked.shared,
        asked.model,
        asked.environments,
        asked.only,
        sizes,
        asked.threads,
        asked.seconds,
        asked.keep,
    )
    print_table(f"Peers, {asked.threads} thread" + "s" * (asked.threads > 1), rows)


if __name__ == "__main__":
    main()
