"""The embedded demo: a study of the project's own, small enough to ship and to run on any machine.

Here belong the corpus (`data/`, made by `grammar.py` from `lexicon.toml`), the tiny encoder (`model/`, made by
`train.py`) and the study (`study.toml`) that puts them together. What the study computes is computed by the same code
as for any other study; nothing in this package is used outside the demo.
"""

from __future__ import annotations

from pathlib import Path


def study_path() -> Path:
    """The demo's `study.toml` inside the installed package."""
    return Path(__file__).parent / "study.toml"
