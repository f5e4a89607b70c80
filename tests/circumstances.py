"""Every command under hard circumstances: media that may only be read, another user's files, a full disk.

    python tests/circumstances.py CIRCUMSTANCE WAREHOUSE STUDY WORK

runs the commands on a copy of a warehouse in WORK and prints a JSON array with a row per command. It calls itself in
a mount namespace of its own, so that nothing is left mounted. File modes prove nothing where root runs the tests: the
circumstances are real mounts and another user.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import webbrowser
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

CIRCUMSTANCES = ("read-only", "moved read-only", "another user's", "full disk")
READING = {
    "sql": ("sql", "select count(*) from examples"),
    "sql --everything": ("sql", "select count(*) from examples", "--everything"),
    "sql --parquet": ("sql", "select * from examples", "--parquet", "{out}/rows.parquet"),
    "tables": ("tables", "--count"),
    "describe": ("describe", "examples"),
    "check": ("check",),
    "report": ("report", "{out}/report.html"),
    "explore": ("explore", "--port", "0", "--open"),
    "take (from it)": ("take", "{root}", "examples", "--warehouse", "{out}/taken"),
    "plan": ("plan", "--no-probe", "--study", "{study}"),
    "recover --dry-run": ("recover", "--dry-run", "--force"),
    "repair --dry-run": ("repair", "--dry-run", "--study", "{study}"),
    "drop --dry-run": ("drop", "--dry-run", "--study", "{study}"),
}
WRITING = {
    "materialize": ("materialize", "--study", "{study}"),
    "materialize --force": ("materialize", "examples", "--force", "--study", "{study}"),
    "take (into it)": ("take", "{out}/taken", "examples"),
    "catalogue": ("catalogue",),
    "gc": ("gc", "--grace", "0s"),
}
_ELSEWHERE = ("take (from it)",)
"""Commands that name their warehouse themselves."""
_USER = "65534"
_READS = "+dac_read_search"
"""What lets another user read this Python, wherever it is; it gives no right to write."""


def namespace() -> list[str] | None:
    """How a program is started that may mount; None where that is not possible here."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
            return command
    return None


def another_user() -> list[str] | None:
    """How a program is started as another user; None where that is not possible here."""
    ids = (f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups")
    command = ["setpriv", *ids, f"--inh-caps={_READS}", f"--ambient-caps={_READS}"]
    if shutil.which("setpriv") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return None


def rows(
    circumstance: str, warehouse: Path, study: Path, work: Path, *commands: str
) -> list[dict[str, object]]:
    """What became of the commands (by default of all) on a copy of a warehouse, in a process of its own."""
    starting = namespace()
    assert starting is not None
    place = work / "place"
    place.mkdir(parents=True)
    (work / "out").mkdir(mode=0o777)
    (work / "out").chmod(0o777)
    script = [sys.executable, __file__, circumstance, str(warehouse), str(study), str(work), *commands]
    ran = subprocess.run([*starting, *script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found: list[dict[str, object]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _prepare(circumstance: str, warehouse: Path, work: Path) -> Path:
    """The warehouse under its circumstance, in this process's mounts."""
    place = work / "place"
    if circumstance == "full disk":
        room = sum(file.stat().st_size + 4096 for file in warehouse.rglob("*")) + 2_000_000
        _mount("-t", "tmpfs", "-o", f"size={room}", "tmpfs", place)
    root = place / "warehouse"
    shutil.copytree(warehouse, root)
    if circumstance == "full disk":
        fill(place)
        return root
    if circumstance == "another user's":
        subprocess.run(["chmod", "-R", "go-w", str(root)], check=True)
        return root
    if circumstance == "read-only":
        # A catalogue that was built for this very place.
        from xlwh.store import Warehouse

        Warehouse(root).build_catalogue()
    _mount("--bind", place, place)
    _mount("-o", "remount,bind,ro", place)
    return root


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def fill(place: Path) -> Path:
    """Take all room that is left on a file system; the file that does it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def state(root: Path) -> dict[str, str]:
    """Every file and folder of a warehouse: times, and digests of contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "folder"
        found[str(path.relative_to(root))] = f"{digest} {path.stat().st_mtime_ns}"
    return found


def run(arguments: list[str]) -> tuple[object, str, str]:
    """A command line in this process: exit code, output and messages. Of `explore`, one page is asked for."""
    from xlwh.cli import main

    out, told = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(told):
        try:
            code = main(arguments)
        except BaseException as error:  # what no command may do
            code = f"{type(error).__name__}: {error}"
            import traceback

            traceback.print_exc()
    return code, out.getvalue(), told.getvalue()


def _browse(url: str) -> bool:
    """A browser that reads the first page and is content: the server is stopped."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            print(answer.status, len(answer.read()) > 1000)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
    return True


def _other(root: Path, place: Path) -> None:
    """Make another warehouse, with a partition of its own to take."""
    import polars as pl

    from xlwh.store import Slot, Warehouse

    entry = Warehouse(root).entries("examples")[0]
    frame = pl.read_parquet(root / entry.file, hive_partitioning=False, glob=False)
    slot = Slot("examples", ("other", entry.slot.keys[1]), entry.slot.part)
    Warehouse(place, create=True).write({slot: frame.with_columns(dataset=pl.lit("other"))}, "f" * 32)


def main() -> None:
    """Run the commands that are named, or all, under a circumstance."""
    circumstance, warehouse, study, work, *named = sys.argv[1:]
    if os.environ.get("XLWH_CIRCUMSTANCE") is None:
        root = _prepare(circumstance, Path(warehouse), Path(work))
        os.environ["XLWH_CIRCUMSTANCE"] = str(root)
        if circumstance == "another user's":
            starting = another_user()
            assert starting is not None
            os.environ["HOME"] = "/nonexistent"
            os.execvp(starting[0], [*starting, sys.executable, *sys.argv])
    root, out = Path(os.environ["XLWH_CIRCUMSTANCE"]), Path(work) / "out"
    os.chdir(out)
    _other(root, out / "taken")
    webbrowser.open = _browse
    found = []
    for name, arguments in {**READING, **WRITING}.items():
        if named and name not in named:
            continue
        filled = [each.format(root=root, out=out, study=study) for each in arguments]
        if name not in _ELSEWHERE:
            filled += ["--warehouse", str(root)]
        before, began = state(root), time.monotonic()
        code, printed, told = run(filled)
        row = {
            "command": name,
            "code": code,
            "told": told.strip() or printed.strip()[-300:],
            "seconds": time.monotonic() - began,
        }
        after = state(root)
        row["changed"] = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
        found.append(row)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
