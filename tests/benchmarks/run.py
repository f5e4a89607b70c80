"""Runs benchmarks one after the other and puts what each prints into its section of benchmarks.md.

    python tests/benchmarks/run.py                              # all, hours on two cores
    python tests/benchmarks/run.py store calign                 # these; the other sections stay as they are
    python tests/benchmarks/run.py lig --model FOLDER -- --pairs 50

FOLDER is a checkpoint fine-tuned on three-class NLI, for those that need one (`xlwh materialize models` in
examples/xnli makes one); without it they are left out, which is said. What follows `--` goes to every script that is
run. Each script can also be run by itself: it prints the same.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
HEAD = """# Benchmarks

Every table was printed by the command above it; peers ran in the same run, on the machine and under the load that is
named. Read ratios, not seconds. `python tests/benchmarks/run.py NAME` measures a section again.
"""


@dataclass(frozen=True)
class Benchmark:
    """One script and what it needs."""

    name: str
    shared: bool = True
    model: bool = False
    script: str = ""
    """Where it is not `bench_<name>.py`."""

    def command(self, shared: Path, model: Path | None, rest: list[str]) -> list[str]:
        """The arguments behind the interpreter."""
        arguments = [f"tests/benchmarks/{self.script or f'bench_{self.name}.py'}"]
        arguments += [str(shared)] if self.shared else []
        arguments += ["--model", str(model)] if self.model else []
        return arguments + rest


BENCHMARKS = (
    Benchmark("lig", model=True),
    Benchmark("ccta"),
    Benchmark("store", shared=False),
    Benchmark("planning", shared=False),
    Benchmark("integrity", shared=False),
    Benchmark("manifest", shared=False),
    Benchmark("finetune"),
    Benchmark("predict", model=True),
    Benchmark("faithfulness", model=True),
    Benchmark("activations"),
    Benchmark("kmeans"),
    Benchmark("calign", shared=False),
    Benchmark("alignment"),
    Benchmark("heads", model=True),
    Benchmark("host_time", shared=False),
    Benchmark("explorer", shared=False),
    Benchmark("views", shared=False),
    Benchmark("start", shared=False),
    Benchmark("peers", model=True, script="peers/run.py"),
)


def replaced(page: str, name: str, section: str) -> str:
    """The page with the section of one benchmark in its place, behind the others where it has none yet."""
    marked = f"<!-- {name} -->\n{section.strip()}\n<!-- end of {name} -->"
    pattern = rf"<!-- {name} -->\n.*?<!-- end of {name} -->"
    if re.search(pattern, page, re.DOTALL):
        return re.sub(pattern, lambda _: marked, page, flags=re.DOTALL)
    return f"{page.rstrip()}\n\n{marked}\n"


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, rest = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", type=Path, help="checkpoint of three-class NLI")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks.md")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = []
    for benchmark in BENCHMARKS:
        if asked.names and benchmark.name not in asked.names:
            continue
        if benchmark.model and asked.model is None:
            print(f"{benchmark.name}: left out, it needs --model", flush=True)
            continue
        command = benchmark.command(asked.shared, asked.model, rest)
        print(f"python {' '.join(command)}", flush=True)
        ran = subprocess.run(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
        )
        print(ran.stdout, flush=True)
        if ran.returncode:
            failed.append(benchmark.name)
            continue
        shown = " ".join("FOLDER" if part == str(asked.model) else part for part in command)
        page = asked.output.read_text(encoding="utf-8") if asked.output.is_file() else HEAD
        section = ran.stdout[ran.stdout.index("## ") :].strip()
        title, _, body = section.partition("\n")
        page = replaced(page, benchmark.name, f"{title}\n\n`python {shown}`\n{body}")
        asked.output.write_text(page, encoding="utf-8")
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
