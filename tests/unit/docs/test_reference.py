"""docs/reference.md says what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_reference_is_what_the_code_says():
    page = runpy.run_path(str(DOCS / "reference.py"))["reference"]()
    written = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert page == written, "Run: python docs/reference.py"
