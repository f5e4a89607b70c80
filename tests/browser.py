"""The browser of tests: Playwright (a dev extra) and a Chromium of the system."""

from __future__ import annotations

import importlib.util
import shutil

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
"""Its program."""


def why_not() -> str | None:
    """Why there is none on this machine; None where there is."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    return None if CHROMIUM is not None else "no Chromium on this system"
