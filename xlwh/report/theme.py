"""Colours: named once, as CSS variables where a page draws them and as plain values where a file is exported.

The series colours are Okabe and Ito's, told apart by people with any common colour blindness, darkened or lightened
to 3:1 against their background.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Mode = Literal["light", "dark"]

COLOURS: dict[Mode, dict[str, str]] = {
    "light": {
        "bg": "#f7f7f5",
        "panel": "#ffffff",
        "raised": "#f0f1f3",
        "ink": "#1b1f24",
        "muted": "#565d66",
        "line": "#d9dce0",
        "grid": "#e7e9ec",
        "accent": "#0b5cad",
        "on-accent": "#ffffff",
        "good": "#147243",
        "warn": "#9a5b00",
        "bad": "#b3261e",
        "s1": "#0b6fb8",
        "s2": "#c65a00",
        "s3": "#00866a",
        "s4": "#a8488a",
        "s5": "#8a6d00",
        "s6": "#3d86b8",
        "s7": "#5b5fc7",
        "s8": "#6b7280",
        "lo": "#f3f7fb",
        "hi": "#0a4f94",
        "on-hi": "#ffffff",
        "neg": "#b8490a",
        "mid": "#f6f6f4",
        "pos": "#0b66b0",
    },
    "dark": {
        "bg": "#14171a",
        "panel": "#1c2024",
        "raised": "#262b31",
        "ink": "#e9ecef",
        "muted": "#a7afb8",
        "line": "#3a4149",
        "grid": "#2c3239",
        "accent": "#7cb8f2",
        "on-accent": "#0d1a26",
        "good": "#62c492",
        "warn": "#e0a64a",
        "bad": "#f28b82",
        "s1": "#5db1ee",
        "s2": "#f09a4e",
        "s3": "#3ec7a4",
        "s4": "#dd8fc4",
        "s5": "#dcc24a",
        "s6": "#9ccdea",
        "s7": "#a3a6f5",
        "s8": "#a3acb7",
        "lo": "#232a31",
        "hi": "#79bdf7",
        "on-hi": "#0c1620",
        "neg": "#ee8a45",
        "mid": "#262b30",
        "pos": "#5aaef0",
    },
}

SERIES = 8

_VARIABLE = re.compile(r"var\(--([a-z0-9-]+)\)")
_MIX = re.compile(r"color-mix\(in srgb, (#[0-9a-f]{6}) ([0-9.]+)%, (#[0-9a-f]{6})\)")


def colour(name: str) -> str:
    """A colour of the theme, as a page writes it."""
    return f"var(--{name})"


def series(number: int) -> str:
    """Colour of the so many-th series, counted from 0; after the last they repeat."""
    return colour(f"s{number % SERIES + 1}")


def mix(share: float, high: str, low: str) -> str:
    """`share` in [0, 1] of the colour named `high`, the rest of `low`."""
    return f"color-mix(in srgb, {colour(high)} {100 * min(1.0, max(0.0, share)):.0f}%, {colour(low)})"


def plain(markup: str, mode: Mode) -> str:
    """The same drawing with plain colours, for programs that know no CSS variables."""
    return _MIX.sub(_mixed, _VARIABLE.sub(lambda match: COLOURS[mode][match[1]], markup))


def _mixed(match: re.Match[str]) -> str:
    share = float(match[2]) / 100
    channels = [
        round(share * int(match[1][at : at + 2], 16) + (1 - share) * int(match[3][at : at + 2], 16))
        for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def stylesheet() -> str:
    """The variables: light, dark where the system asks for it, and either where the page says so."""
    light, dark = (_declared(COLOURS[mode]) for mode in ("light", "dark"))
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=light]{{color-scheme:light;{light}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def _declared(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
