"""A scheduler that stands in for Slurm: `sbatch`, `srun` and `scontrol` that do what Slurm's would, on this machine.

As there, a script is copied elsewhere before it runs, and `srun` starts a command once on each node that it is given. What runs a
command on a node is a prefix of its command line: nothing, or that of a network namespace.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SCONTROL = """\
#!{python}
import json, os, sys
assert sys.argv[1:3] == ["show", "hostnames"], sys.argv
assert sys.argv[3] == os.environ["SLURM_JOB_NODELIST"]
print(*json.loads(os.environ["STUB_NODES"]), sep="\\n")
"""

_SRUN = """\
#!{python}
import json, os, signal, subprocess, sys
options, command = {{}}, sys.argv[1:]
while command and command[0].startswith("--"):
    name, _, value = command.pop(0).partition("=")
    options[name] = value
nodes = json.loads(os.environ["STUB_NODES"])
if "--nodelist" in options:
    chosen = options.pop("--nodelist").split(",")
else:
    left_out = options.pop("--exclude", "").split(",")
    chosen = [node for node in nodes if node not in left_out]
assert len(chosen) == int(options.pop("--nodes")) == int(options.pop("--ntasks")), (chosen, sys.argv)
assert set(options) <= {{"--overlap"}}, options
environment = {{**os.environ, "SLURM_STEP_ID": "1"}}
steps = [subprocess.Popen([*nodes[node], *command], env=environment, start_new_session=True) for node in chosen]
def stop(*_):
    for step in steps:
        if step.poll() is None:
            os.killpg(step.pid, signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
sys.exit(max(step.wait() for step in steps) and 1)
"""


class Slurm:
    """Nodes, and the folder of the commands."""

    def __init__(self, folder: Path, nodes: Mapping[str, Sequence[str]]) -> None:
        """`nodes`: names, and what runs a command line on each."""
        self._folder, self._nodes, self._jobs = folder, dict(nodes), 0
        (folder / "bin").mkdir(parents=True)
        for name, text in (("scontrol", _SCONTROL), ("srun", _SRUN)):
            path = folder / "bin" / name
            path.write_text(text.format(python=sys.executable), encoding="utf-8")
            path.chmod(0o755)

    def _variables(self, script: Path, options: Sequence[str]) -> dict[str, str]:
        """What Slurm tells a job: of the lines of its script, and of options, which go before."""
        lines = re.findall(r"^#SBATCH --(\S+)$", script.read_text(encoding="utf-8"), re.MULTILINE)
        given = dict(each.removeprefix("--").partition("=")[::2] for each in (*lines, *options))
        self._jobs += 1
        nodes = int(given.get("nodes", "1"))
        assert nodes == len(self._nodes), "the nodes of the stub"
        return {
            "SLURM_JOB_ID": f"{os.getpid()}{self._jobs}",
            "SLURM_JOB_NODELIST": "nodes[…]",
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_CPUS_PER_TASK": given.get("cpus-per-task", "1"),
            "STUB_NODES": json.dumps(self._nodes),
            "PATH": f"{self._folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def start(
        self,
        script: Path,
        environment: Mapping[str, str],
        options: Sequence[str] = (),
        arguments: Sequence[str] = (),
        more: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a job on the first node, where Slurm runs a script."""
        spooled = self._folder / f"slurm_script_{self._jobs}"
        spooled.write_bytes(script.read_bytes())
        variables = self._variables(script, options)
        first = next(iter(self._nodes.values()))
        return subprocess.Popen(
            [*first, "bash", str(spooled), *arguments],
            env={**environment, **variables, "SLURM_SUBMIT_DIR": str(script.parent), **(more or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self,
        script: Path,
        environment: Mapping[str, str],
        options: Sequence[str] = (),
        arguments: Sequence[str] = (),
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Run a job to its end: its exit code, and what it said."""
        job = self.start(script, environment, options, arguments, more)
        said, _ = job.communicate(timeout=900)
        return job.returncode, said

    def array(
        self, script: Path, environment: Mapping[str, str], first: int, last: int
    ) -> list[tuple[int, str]]:
        """Run the tasks of an array, one after the other."""
        return [
            self.run(
                script,
                environment,
                more={
                    "SLURM_ARRAY_TASK_ID": str(task),
                    "SLURM_ARRAY_TASK_MIN": str(first),
                    "SLURM_ARRAY_TASK_COUNT": str(last - first + 1),
                },
            )
            for task in range(first, last + 1)
        ]
