"""Models: what they are exactly (pins), loading them safely, their families' differences, tokens and predictions.

Belongs here: everything that touches a checkpoint or a tokenizer. Does not belong here: metrics, attribution
methods, or the warehouse's tables (the steps write those). Importing this package loads neither torch nor
transformers: a pin, a segmenter or a fresh partition never needs them.
"""

from __future__ import annotations

import os

# Before torch is imported: OpenMP's spinning threads starve each other on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from xlwh.models.loaded import LoadedModel
from xlwh.models.pins import Pin
from xlwh.models.zoo import Zoo

__all__ = ["LoadedModel", "Pin", "Zoo"]
