"""Inputs that these tests make up count as up to date."""

from __future__ import annotations

import pytest
from made_up import trust_made_up_inputs


@pytest.fixture(autouse=True)
def made_up_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that these tests make up count as up to date."""
    trust_made_up_inputs(monkeypatch)
