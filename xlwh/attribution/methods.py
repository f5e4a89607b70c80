"""The registry of attribution methods: adding one is a module and a line here."""

from __future__ import annotations

from xlwh.attribution.base import Method
from xlwh.attribution.lig import lig
from xlwh.attribution.random import random_attribution

METHODS: dict[str, Method] = {"lig": lig, "random": random_attribution}
"""Method by the name it has under `[attribution.methods]` in the study."""
