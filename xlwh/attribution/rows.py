"""Rows of `attribution_runs` and `token_attributions`, from finished attributions and back to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.attribution.base import Attribution
from xlwh.attribution.targets import ON, Placed
from xlwh.errors import MissingDataError
from xlwh.models.answers import Windows

if TYPE_CHECKING:
    import polars as pl

Scores = Callable[[str, str, int], NDArray[np.float64]]
"""scores(example_id, target, length): attributions `[length]`."""


def attribution_rows(
    placed: Placed,
    finished: Sequence[tuple[int, Attribution]],
    model: str,
    method: str,
    parameters: Mapping[str, object],
    tolerance: float | None,
) -> dict[str, pl.DataFrame]:
    """Rows of both tables for some attributions, each with the place of its item.

    `tolerance` is the relative completeness error up to which one has converged.
    """
    import polars as pl

    from xlwh.store import schema

    places, made = [place for place, _ in finished], [attribution for _, attribution in finished]
    keys = placed.keys(places).with_columns(model=pl.lit(model), method=pl.lit(method))
    described = {**parameters, **({} if tolerance is None else {"tolerance": tolerance})}
    values = {
        "f_input": [
            placed.f_input[place] if each.f_input is None else each.f_input for place, each in finished
        ],
        "f_baseline": [each.f_baseline for each in made],
        "convergence_delta": [each.delta for each in made],
        "relative_delta": [each.relative_delta for each in made],
        "stopped": [each.stopped for each in made],
        "ordered_share": [ordered_share(each) for each in made],
        "num_gradient_rows": [each.num_gradient_rows for each in made],
        "num_forward_rows": [each.num_forward_rows for each in made],
        "parameters": [json.dumps({**described, **each.details}, sort_keys=True) for each in made],
    }
    columns = schema("attribution_runs")
    runs = keys.hstack(pl.DataFrame(values, schema={name: columns[name] for name in values}))
    lengths = [len(each.values) for each in made]
    tokens = keys[np.repeat(np.arange(len(made)), lengths).tolist()].with_columns(
        position=pl.Series(np.concatenate([_positions(placed, place) for place in places])),
        attribution=pl.Series(np.concatenate([each.values for each in made])),
        attribution_error=pl.concat(
            [
                pl.Series(each.errors, dtype=pl.Float64)
                if each.errors is not None
                else pl.repeat(None, len(each.values), dtype=pl.Float64, eager=True)
                for each in made
            ]
        ),
    )
    return {"attribution_runs": _flagged(runs, tolerance), "token_attributions": tokens}


def ordered_share(attribution: Attribution) -> float | None:
    """Share of pairs of tokens whose order is known: they differ by more than their errors together.

    Tokens without attribution, such as special ones, are in no pair. None where no errors are estimated, or no pairs are.
    """
    if attribution.errors is None:
        return None
    values, errors = attribution.values, attribution.errors
    counted = (values != 0) | (errors != 0)
    values, errors = values[counted], errors[counted]
    count = len(values)
    if count < 2:
        return None
    apart = np.abs(values[:, None] - values) > errors[:, None] + errors
    return float(apart.sum() / (count * (count - 1)))


def _positions(placed: Placed, place: int) -> NDArray[np.integer]:
    """The positions, as in `tokens`, of the sub-tokens of an item's input."""
    encoded, example = placed.encoded, placed.items[place].example
    if isinstance(encoded, Windows):
        return encoded.position[encoded.row(example)]
    return np.arange(encoded.lengths[example])


def _flagged(runs: pl.DataFrame, tolerance: float | None) -> pl.DataFrame:
    import polars as pl

    within = pl.lit(None) if tolerance is None else pl.col("relative_delta") <= tolerance
    return runs.with_columns(converged=within)


def with_tolerance(runs: pl.DataFrame, tolerance: float) -> pl.DataFrame:
    """Rows of `attribution_runs` as another tolerance has them, of a method whose numbers do not depend on it."""
    import polars as pl

    old = runs["parameters"].unique().to_list()
    new = [json.dumps(json.loads(text) | {"tolerance": tolerance}, sort_keys=True) for text in old]
    parameters = pl.col("parameters").replace_strict(old, new, return_dtype=pl.String)
    return _flagged(runs.with_columns(parameters), tolerance)


def convergence(runs: pl.DataFrame) -> dict[str, object]:
    """How many attributions `attribution_runs` has, and whether they add up."""
    found: dict[str, object] = {"attributions": runs.height}
    if runs["converged"].null_count() < runs.height:
        found["converged"] = runs["converged"].mean()
        found["median relative delta"] = runs["relative_delta"].median()
        found["median gradient rows"] = runs["num_gradient_rows"].median()
    stops = runs["stopped"].drop_nulls()
    if len(stops):
        found["stopped"] = ", ".join(
            f"{reason} {(stops == reason).mean():.1%}" for reason in sorted(set(stops))
        )
        found["median ordered share"] = runs["ordered_share"].median()
    used = {json.loads(text).get("baseline") for text in runs["parameters"].unique()} - {None}
    return found | ({"baseline": ", ".join(sorted(used))} if used else {})


def scores_of(attributions: pl.LazyFrame, targets: pl.DataFrame, name: str) -> Scores:
    """Stored attributions of some targets by one method, out of rows of `token_attributions`.

    MissingDataError, which names the rows by `name`, for a target that has none, or not as many as asked for.
    """
    found = (
        attributions.join(targets.lazy(), on=ON, how="semi")
        .sort(*ON, "position")
        .group_by(ON, maintain_order=True)
        .agg("attribution")
        .collect()
    )
    known = {
        (example, target): np.array(values, dtype=np.float64) for example, target, values in found.iter_rows()
    }

    def scores(example_id: str, target: str, length: int) -> NDArray[np.float64]:
        values = known.get((example_id, target))
        if values is None or len(values) != length:
            raise MissingDataError(
                f"{name}: example `{example_id}` has no attribution of `{target}`, or not one of {length} sub-tokens. "
                "Run: xlwh materialize attributions --force"
            )
        return values

    return scores
