"""Rounds of one sampler on one game, one after the other: what each measures, its rows, the evidence so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.heads.players import players_in
from xlwh.heads.sampler import WHOLE_SET, Marginals, sample_round
from xlwh.heads.sequences import Evidence

if TYPE_CHECKING:
    import polars as pl

    from xlwh.heads.engine import Engine
    from xlwh.study import Sampler


@dataclass
class Rounds:
    """A game that rounds are drawn from, and the evidence of those so far."""

    engine: Engine
    sampler: Sampler
    seed: int
    examples: pl.DataFrame
    """Those of the engine: dataset, split, language, example_id."""
    evidence: Evidence = field(init=False)
    observed: int = 0
    """Rounds in `evidence`; it is only looked at in adaptive samplers."""

    def __post_init__(self) -> None:
        self.evidence = Evidence(len(self.engine.players))

    @property
    def measured(self) -> NDArray[np.bool_]:
        """The players that the next round measures, with adaptive samplers those not decided yet: `[players]`."""
        undecided = ~self.evidence.decided(self.sampler.delta)
        return undecided if self.sampler.adaptive else np.ones_like(undecided)

    @property
    def undecided(self) -> int:
        """How many players are still measured; 0 where values are exact."""
        return 0 if self.sampler.estimator == "exact" else int(self.measured.sum())

    def observe(self, marginals: Marginals) -> None:
        """Add a round to the evidence."""
        marginals.observe(self.evidence, self.sampler.antithetic)
        self.observed += 1

    def observe_rows(self, rows: pl.DataFrame) -> None:
        """Add an earlier round to the evidence, from its rows of `head_samples`."""
        index = {player: place for place, player in enumerate(self.engine.players.names)}
        player = np.array([index[player] for player in players_in(rows)], dtype=np.int64)
        # Evidence asks neither for the example nor for the coalition.
        every = np.full(rows.height, WHOLE_SET, dtype=np.int64)
        numbers, values = rows["permutation"].to_numpy(), rows["marginal"].to_numpy()
        self.observe(Marginals(numbers, every, player, every, values, 0))

    def draw(self, number: int, done: int, progress: Callable[[int, int], None]) -> Marginals:
        """Make round `number` and observe it; `done`: rows that were evaluated before, of the sampler's `max_rows`."""
        most = self.sampler.max_rows

        def report(rows: int) -> None:
            nonlocal done
            done += rows
            progress(min(done, most), most)

        ids = self.examples["example_id"].to_list()
        marginals = sample_round(self.engine, self.sampler, self.seed, number, self.measured, ids, report)
        self.observe(marginals)
        return marginals

    def rows(self, marginals: Marginals) -> pl.DataFrame:
        """The rows of `head_samples`, by key, but for the columns model and sampler."""
        import polars as pl

        # The last one stands for the whole set, whose index is -1.
        ids = pl.Series([*self.examples["example_id"], "*"])
        frame = pl.DataFrame(
            {
                "permutation": marginals.permutation,
                "example_id": ids[marginals.example],
                "remaining": pl.Series(marginals.remaining).replace(-1, None),
                "marginal": marginals.value,
            }
        ).hstack(pl.DataFrame(list(self.engine.players.names))[marginals.player])
        keys = self.examples.select("dataset", "split", "language").row(0, named=True)
        estimator = "antithetic" if self.sampler.antithetic else self.sampler.estimator
        return frame.with_columns(
            estimator=pl.lit(estimator), **{k: pl.lit(v) for k, v in keys.items()}
        ).sort("permutation", "example_id", "unit", "layer", "head")
