"""How far a count has come, shown while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xlwh.cli.render import console, shown

_REDRAWN_S = 0.1
_TOLD_S = 10.0


@contextmanager
def counting(what: str, number: Callable[[int], str] = shown) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of how many are done, as `number` writes them: a bar on a terminal, a line now and then elsewhere.

    What it gives may be called any number of times.
    """
    seen = console(stderr=True)
    if not seen.is_terminal:
        yield _every(_TOLD_S, lambda done, total: seen.print(f"{what}: {number(done)} of {number(total)}"))
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(what), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn()
    with Progress(*columns, console=seen, transient=True) as bar:
        task = bar.add_task(what, total=None, told="")

        def draw(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, told=f"{number(done)} of {number(total)}")

        yield _every(_REDRAWN_S, draw)


def _every(seconds: float, tell: Callable[[int, int], object]) -> Callable[[int, int], None]:
    """The same, but at most that often: telling takes longer than to look at a file."""
    last = time.monotonic()

    def now_and_then(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(done, total)

    return now_and_then
