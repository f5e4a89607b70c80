"""Consistency of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from released.harness import Case
from xlwh.consistency.transport import consistency


def ccta(cases: Sequence[Case]) -> list[dict[str, Any]]:
    return [
        {
            "score": consistency(
                np.array(c["source_weights"]), np.array(c["target_weights"]), np.array(c["similarity"])
            )
        }
        for c in cases
    ]
