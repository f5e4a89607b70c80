"""captum's sampled Shapley values of a small game of attention heads: the gates are its input, closed ones the baseline.

`python captum_heads.py INPUTS permutations RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import json

from measure import Run

run = Run()
with run.stage("import"):
    import numpy as np
    import torch
    from captum.attr import ShapleyValueSampling
    from head_game import HeadGame

with run.stage("load"):
    settings = json.loads((run.inputs / "settings.json").read_text())
    game = HeadGame(run.inputs)
    calls = 0


def forward(gates: torch.Tensor) -> torch.Tensor:
    global calls
    calls += len(gates)
    return torch.tensor([game.value(row > 0.5) for row in gates], dtype=torch.float64)


with run.stage("work"):
    torch.manual_seed(0)
    found = ShapleyValueSampling(forward).attribute(
        torch.ones(1, len(game.heads)), baselines=0.0, n_samples=settings["permutations"]
    )

np.save(run.result.with_suffix(".npy"), found[0].numpy())
run.report("captum", note=f"{calls} coalitions")
