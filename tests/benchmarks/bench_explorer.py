"""The explorer on a generated warehouse of 20 M attribution rows: first paint, interactions, memory.

    python tests/benchmarks/bench_explorer.py [--rows 20000000] [--rounds 5] [--warehouse FOLDER]

A headless Chromium of the system (Playwright, a dev extra) opens each page of a running `xlwh explore` and does what a
person would; `ms` is the median over rounds from the click to the last changed pixel's frame, `first_ms` the first
time. First paint is the browser's own first-contentful-paint. Memory is the server's peak resident set. `goal` is what
the explorer is held to; there is no peer that shows these figures.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import print_table
from explorer_data import LETTERS, build

from xlwh.store import Warehouse
from xlwh.store.catalogue import NAME, read_info
from xlwh.store.connect import KEPT

ROOT = Path(__file__).resolve().parents[2]
PAINT_GOAL_MS, INTERACTION_GOAL_MS, MEMORY_GOAL_MB = 2000, 300, 1000
_FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
    const found = list.getEntriesByName("first-contentful-paint");
    if (found.length) done(found[0].startTime);
}).observe({ type: "paint", buffered: true }))"""


def run(rows: int = 20_000_000, rounds: int = 5, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per page and interaction. `folder`: a warehouse made before, or where to make it."""
    with tempfile.TemporaryDirectory() as scratch:
        root = folder or Path(scratch) / "warehouse"
        if not (root / "manifest.sqlite").exists():
            # About 41 sub-tokens an example, two models, ten languages, two methods.
            build(
                root,
                languages=tuple(LETTERS),
                examples=max(2, rows // 1640),
                words=24,
                vocabulary=5000,
                solve=False,
            )
        Warehouse(root).build_catalogue()
        stored = sum(entry.rows for entry in Warehouse(root).entries("token_attributions"))
        shutil.rmtree(root / KEPT, ignore_errors=True)
        found = [{"what": "attribution rows", "value": f"{stored:,}"}]
        with _server(root) as (address, process):
            began = time.perf_counter()
            found += _cold(address)
            _wait_until_warm(root, address)
            found.append(
                {
                    "what": "all figures' views computed, first start only",
                    "value": f"{time.perf_counter() - began:.1f} s",
                }
            )
        with _server(root) as (address, process):
            found += _browse(address, rounds)
            found.append(_memory(process.pid))
        return found


@contextmanager
def _server(root: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "explore", "--port", str(port), "--warehouse", str(root)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/static/icon.svg", timeout=60).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield address, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _memory(pid: int) -> dict[str, Any]:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    peak = int(line.split()[1]) / 1024
    return {
        "what": "memory of the server, peak",
        "value": f"{peak:.0f} MB",
        "goal": f"{MEMORY_GOAL_MB} MB",
        "met": peak < MEMORY_GOAL_MB,
    }


def _wait_until_warm(root: Path, address: str) -> None:
    from xlwh.report.figures import all_figures

    views = Warehouse(root).definitions().views
    shown = {view for figure in all_figures().values() for view in figure.views}
    names = {name for name in shown if views[name].by is not None}
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        info = read_info(root / NAME)
        kept = set() if info is None else set(info.kept)
        if names <= kept:
            return
        time.sleep(0.5)
    raise RuntimeError(f"these views were not computed in 15 minutes: {sorted(names - kept)}")


@contextmanager
def _page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = next(
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        # The browser's own start is not the explorer's.
        page.goto("about:blank")
        yield page
        browser.close()


def _cold(address: str) -> list[dict[str, Any]]:
    """The first page ever, while nothing is computed yet."""
    with _page() as page:
        page.goto(f"{address}/", wait_until="load")
        return [
            _row(
                "first paint of the overview, nothing computed yet",
                [page.evaluate(_FIRST_PAINT)],
                PAINT_GOAL_MS,
            )
        ]


def _browse(address: str, rounds: int) -> list[dict[str, Any]]:
    """Every page and interaction, with the views computed."""
    found = []
    with _page() as page:
        for name, path in (
            ("overview", "/"),
            ("consistency", "/paper/ccta"),
            ("scores and tokenization", "/paper/scores"),
            ("parallel examples", "/examples"),
            ("tables", "/tables"),
            ("SQL", "/sql"),
        ):
            times = []
            for _ in range(rounds):
                page.goto(address + path, wait_until="load")
                times.append(page.evaluate(_FIRST_PAINT))
            found.append(_row(f"first paint: {name}", times, PAINT_GOAL_MS))
        page.goto(f"{address}/paper/ccta")
        select = page.locator("section[data-figure=ccta_excess] select[name=model]")
        found.append(
            _timed(page, "filter a figure", rounds, lambda n: select.select_option(("beta", "alpha")[n % 2]))
        )
        page.goto(f"{address}/examples")
        languages = [option for option in LETTERS if option != "en"]
        target = page.locator("select[name=target_language]")
        found.append(
            _timed(
                page,
                "pairs of another language",
                rounds,
                lambda n: target.select_option(languages[n % len(languages)]),
            )
        )
        order = page.locator("select[name=order]")
        orders = ("lowest score", "highest score")
        found.append(
            _timed(page, "pairs in another order", rounds, lambda n: order.select_option(orders[n % 2]))
        )
        found.append(
            _timed(
                page,
                "search the texts (after 120 ms of typing pause)",
                rounds,
                lambda n: page.locator("input[name=text]").fill("ab" if n % 2 else "cd"),
            )
        )
        page.goto(f"{address}/examples")
        links = page.locator("tbody a").evaluate_all("all => all.map(a => a.href)")
        found.append(_opened(page, "open one example with its plan", rounds, links))
        for table in ("token_attributions", "tokens", "ccta"):
            found.append(
                _opened(page, f"first rows of {table}", rounds, [f"{address}/table/{table}"] * rounds)
            )
        page.goto(f"{address}/sql")
        statement = "select * from token_attributions where example_id = '{:06d}' and model = 'beta' and language = 'th'"
        found.append(
            _timed(
                page,
                "SQL: one example's attributions",
                rounds,
                lambda n: _ask(page, statement.format(n + 100)),
            )
        )
    return found


def _ask(page: Any, statement: str) -> None:
    page.locator("#sql").fill(statement)
    page.locator("#run").click()


def _timed(page: Any, name: str, rounds: int, act: Callable[[int], object]) -> dict[str, Any]:
    """Milliseconds from an act until the part that it changes was swapped and drawn."""
    times = []
    for number in range(rounds + 1):
        page.evaluate(
            """() => { window.changed = new Promise((done) => {
                const start = performance.now();
                new MutationObserver((records, observer) => {
                    if (!records.some((r) => r.addedNodes.length && r.target.id !== "tip" && r.target.id !== "complete")) return;
                    observer.disconnect();
                    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
                }).observe(document.querySelector("main"), { childList: true, subtree: true });
            }); }"""
        )
        act(number)
        times.append(page.evaluate("() => window.changed"))
    return _row(name, times, INTERACTION_GOAL_MS)


def _opened(page: Any, name: str, rounds: int, links: list[str]) -> dict[str, Any]:
    """Milliseconds from asking for a page until it and the parts that come later are there."""
    times = []
    for link in links[: rounds + 1]:
        began = time.perf_counter()
        page.goto(link, wait_until="load")
        page.wait_for_selector("[aria-busy=true]", state="detached")
        times.append(1000 * (time.perf_counter() - began))
    return _row(name, times, INTERACTION_GOAL_MS)


def _row(name: str, times: list[float], goal: int) -> dict[str, Any]:
    middle = statistics.median(times)
    return {
        "what": name,
        "value": f"{middle:.0f} ms",
        "first": f"{times[0]:.0f} ms",
        "slowest": f"{max(times):.0f} ms",
        "goal": f"{goal} ms",
        "met": max(times) < goal,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warehouse", type=Path, help="generated before, or to be generated and kept here")
    arguments = parser.parse_args()
    print_table("Explorer", run(arguments.rows, arguments.rounds, arguments.warehouse))
