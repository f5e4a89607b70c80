"""shapiq's exact Shapley values of a small game of attention heads.

`python shapiq_heads.py INPUTS heads RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

from measure import Run

run = Run()
with run.stage("import"):
    import numpy as np
    import shapiq
    from head_game import HeadGame

with run.stage("load"):
    game = HeadGame(run.inputs)


def values(coalitions: np.ndarray) -> np.ndarray:
    return np.array([game.value(coalition) for coalition in coalitions.astype(bool)])


with run.stage("work"):
    players = len(game.heads)
    exact = shapiq.ExactComputer(n_players=players, game=values)("SV")

np.save(run.result.with_suffix(".npy"), np.array([exact[(player,)] for player in range(players)]))
run.report("shapiq")
