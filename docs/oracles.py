"""Writes oracles.md beside it: which formula is held to whose program, and how well they agree.

python docs/oracles.py            # write it; it runs the project on every case
python docs/oracles.py --check    # exit code 1 if the file is not what the cases say
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The cases and what is run on them belong to the tests.
sys.path.append(str(HERE.parent / "tests"))

from released import ORACLES  # noqa: E402
from released.harness import Oracle, agreement  # noqa: E402

FILE = HERE / "oracles.md"

HEAD = """# Oracles

Every formula that is somebody else's is held to that program: its outputs were computed by the released script at the
commit named, and are stored as numbers with their inputs in `tests/oracles/cases` (none of its code is). `docs/oracles.py`
runs the project on the same inputs and writes this page; a test fails where the two part.

The deviation is the largest of any number over all cases, as the bound that is tested; lists of links, concepts and token
ids must be equal. Cases that differ on purpose are counted apart, with the reason.
"""


def page() -> str:
    """The whole page."""
    rows, remarks = [], []
    for oracle in ORACLES:
        source = oracle.load()["source"]
        found = agreement(oracle)
        at = f"commit {source['commit'][:12]}" if "commit" in source else f"version {source['version']}"
        rows.append(
            f"| [{oracle.metric}]({oracle.page}.md) | {oracle.ours} | {source['repository']}, {at}: `{source['file']}` "
            f"| {found.agreeing} | {_bound(oracle, found.worst)} | {found.differing or ''} |"
        )
        told = [oracle.note] if oracle.note else []
        told += [f"{reason}." for reason in found.reasons]
        remarks.append(f"- **{oracle.name}**: `{source['call']}`." + "".join(f" {text}" for text in told))
    grid = [
        "| metric | ours | source | cases | largest deviation | differ on purpose |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join([HEAD, *grid, "", "## What was run, and where we differ", "", *remarks, ""])


def _bound(oracle: Oracle, worst: float) -> str:
    """What the deviation stays within: the oracle's tolerance, which no machine's last digits move."""
    if worst > oracle.tolerance:
        return f"**{worst:.1g}**, beyond {oracle.tolerance:g}"
    return f"at most {oracle.tolerance:g}" if oracle.tolerance else "none"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    made = page()
    if "--check" in arguments:
        return 0 if FILE.is_file() and FILE.read_text(encoding="utf-8") == made else 1
    FILE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
