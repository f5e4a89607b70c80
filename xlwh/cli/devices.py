"""The command that shows what models would run on."""

from __future__ import annotations

import click

from xlwh.cli.app import command
from xlwh.cli.options import device_option
from xlwh.cli.render import grid


@command()
@device_option
def devices() -> int:
    """Show the devices that models would run on.

    For each device that torch can use: its memory, how much of it is free, the kinds of arithmetic, and whether models
    would run on it. The exit code is 1 where --device names one that is absent.
    """
    from xlwh.models import devices as found
    from xlwh.models import threads
    from xlwh.store.files import size

    used, here = found.chosen(), found.cards()
    click.echo(f"{found.build()}; {threads.cores()} processor cores")
    if (why := found.overlooked()) is not None:
        click.echo(f"{why}.", err=True)
    rows = [
        [
            card.device,
            card.name,
            "" if card.free_bytes is None else size(card.free_bytes),
            "" if card.total_bytes is None else size(card.total_bytes),
            ", ".join(card.precisions),
            "yes" if card.device in used else "no",
        ]
        for card in here
    ]
    grid(["device", "name", "free", "memory", "arithmetic", "used"], rows)
    each = "one worker process on each" if len(used) > 1 else "one process"
    click.echo(f"Models run on {', '.join(used)}: {each}.")
    return 0
