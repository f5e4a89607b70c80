"""One parallel example, read back from the stored facts: what the model saw, where it looked, what travelled where.

The plan is solved anew from the stored attributions and word vectors, as the stored score was: they must agree, and
the page shows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.consistency.pairs import Unit, unit_attributions, vectors
from xlwh.consistency.transport import Normalization, plan, weights
from xlwh.errors import MissingDataError

PAIR = (
    "model", "dataset", "split", "method", "target_policy", "space", "unit", "normalization",
    "source_language", "target_language", "example_id",
)  # fmt: skip
"""What names one pair; pairs of answers are two rows, told apart by `target` as well."""


@dataclass(frozen=True)
class Side:
    """One language's half."""

    language: str
    text: str
    text_pair: str | None
    label: str | None
    predicted: str
    probability: float | None
    """Of the predicted class; None where there are no classes."""
    target: str
    """The class whose attributions these are, or `start` or `end` of an answer."""
    tokens: pl.DataFrame
    """position, segment, word_index, word, token, char_start, char_end, is_special, attribution."""
    units: pl.DataFrame
    """index, unit, attribution, weight, covered."""


@dataclass(frozen=True)
class Pair:
    """One row of `ccta_pairs`, with both sides and the plan between them."""

    row: Mapping[str, Any]
    """The stored row."""
    source: Side
    target: Side
    plan: NDArray[np.float64]
    """`[n_s, n_t]`, mass."""
    similarity: NDArray[np.float64]
    """`[n_s, n_t]`, cosines."""

    @property
    def score(self) -> float:
        """C(s, t) of the plan that is shown."""
        return float((self.plan * np.clip(self.similarity, 0.0, 1.0)).sum())


def load(connection: duckdb.DuckDBPyConnection, names: Mapping[str, str]) -> Pair:
    """Read a pair; `MissingDataError` if a part of it is not stored."""
    named = [*PAIR, *(["target"] if "target" in names else [])]
    conditions = " and ".join(f'"{column}" = ?' for column in named)
    found = connection.execute(
        f"select * from ccta_pairs where {conditions} order by target desc limit 1",
        [names[column] for column in named],
    )
    columns = [column[0] for column in found.description]
    rows = found.fetchall()
    if not rows:
        raise MissingDataError(
            f"There is no pair of example {names['example_id']} from {names['source_language']} to "
            f"{names['target_language']} with these settings. Run: xlwh materialize ccta_pairs --model {names['model']}"
        )
    row = dict(zip(columns, rows[0], strict=True))
    source = _side(connection, row, row["source_language"], False)
    own = row["target_policy"] == "own_prediction" and row["target_language"] != row["source_language"]
    target = _side(connection, row, row["target_language"], own)
    similarity = source[1] @ target[1].T if source[1].shape[1] == target[1].shape[1] else None
    cosines = np.zeros((len(source[1]), len(target[1]))) if similarity is None else similarity
    if row["source_language"] == row["target_language"]:
        np.fill_diagonal(cosines, 1.0)
    sides = source[0], target[0]
    mass = plan(sides[0].units["weight"].to_numpy(), sides[1].units["weight"].to_numpy(), cosines)
    return Pair(row, sides[0], sides[1], mass, cosines)


def _side(
    connection: duckdb.DuckDBPyConnection, row: Mapping[str, Any], language: str, own: bool
) -> tuple[Side, NDArray[np.float64]]:
    at = [row["model"], language, row["dataset"], row["split"], row["example_id"]]
    where = "model = ? and language = ? and dataset = ? and split = ? and example_id = ?"
    predictions = connection.execute(
        f"select predicted, label, list_max(probabilities), task from predictions where {where}", at
    ).fetchall()
    texts = connection.execute(
        "select text, text_pair from examples where dataset = ? and language = ? and split = ? and example_id = ?",
        [at[2], at[1], at[3], at[4]],
    ).fetchall()
    if not predictions or not texts:
        raise MissingDataError(
            f"The text or the prediction of example {row['example_id']} in {language} is gone. Run: xlwh repair"
        )
    predicted, label, probability, task = predictions[0]
    # The two ends of an answer have the same names on both sides, whatever each side answered.
    target = predicted if own and task != "question_answering" else row["target"]
    tokens: pl.DataFrame = connection.sql(
        f"select * from tokens where {where} order by position", params=at
    ).pl()
    attributions: pl.DataFrame = connection.sql(
        f"select split, example_id, position, method, target, attribution from token_attributions where {where} "
        "and method = ? and target = ?",
        params=[*at, row["method"], target],
    ).pl()
    if tokens.is_empty() or attributions.is_empty():
        raise MissingDataError(
            f"The attributions of example {row['example_id']} in {language} for class {target} are gone. "
            f"Run: xlwh materialize token_attributions --model {row['model']} --language {language}"
        )
    units = unit_attributions(tokens.lazy(), attributions.lazy(), cast(Unit, row["unit"])).sort("index")
    weight, _ = weights(units["attribution"].to_numpy(), cast(Normalization, row["normalization"]))
    matrix, covered = _vectors(connection, row, language, units["unit"].to_list())
    side = Side(
        language,
        texts[0][0],
        texts[0][1],
        label,
        predicted,
        None if probability is None else float(probability),
        target,
        tokens.join(attributions.select("position", "attribution"), on="position", how="left"),
        units.select(
            "index", "unit", "attribution", pl.Series("weight", weight), pl.Series("covered", covered)
        ),
    )
    return side, matrix


def _vectors(
    connection: duckdb.DuckDBPyConnection, row: Mapping[str, Any], language: str, words: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`[n, d]` vectors of length 1, zero for words without one, and which have one."""
    # A space made of a model's own embeddings is stored under the model's name.
    spaces = [f"{row['model']}.{row['space']}", row["space"]]
    frame: pl.DataFrame = connection.sql(
        "select word, vector, space from word_vectors where language = ? and list_contains(?::varchar[], space) "
        "and list_contains(?::varchar[], word)",
        params=[language, spaces, list(dict.fromkeys(words))],
    ).pl()
    own = frame.filter(pl.col("space") == spaces[0])
    known = vectors((own if own.height else frame).select("word", "vector"))
    rows = dict(known.rows.select("unit", "row").iter_rows())
    places = np.array([rows.get(word, -1) for word in words], dtype=np.int64)
    return known.matrix[places], places >= 0


def listed(
    connection: duckdb.DuckDBPyConnection,
    names: Mapping[str, str],
    order: str,
    text: str,
    start: int,
    count: int,
) -> tuple[pl.DataFrame, int]:
    """Some of the pairs with these settings, with the source's text; and how many there are.

    `order` is one of `ORDERS`; `text` is looked for in the source's texts and the ids.
    """
    columns = [column for column in PAIR if column != "example_id"]
    conditions = " and ".join(f'p."{column}" = ?' for column in columns)
    parameters = [names[column] for column in columns]
    searched = ""
    if text:
        searched = (
            "and (contains(lower(e.text), lower(?)) or contains(lower(coalesce(e.text_pair, '')), lower(?)) "
            "or p.example_id = ?)"
        )
        parameters += [text, text, text]
    found: pl.DataFrame = connection.sql(
        "select p.example_id, p.score, p.null_shuffled, p.score - p.null_shuffled as excess, p.target, "
        "e.text, e.text_pair, count(*) over () as total "
        "from ccta_pairs p join examples e on e.dataset = p.dataset and e.split = p.split "
        "and e.language = p.source_language and e.example_id = p.example_id "
        f"where {conditions} {searched} order by {ORDERS[order]}, p.example_id limit {int(count)} offset {int(start)}",
        params=parameters,
    ).pl()
    total = int(found["total"][0]) if found.height else 0
    return found.drop("total"), total


ORDERS = {
    "highest excess": "excess desc",
    "lowest excess": "excess",
    "highest score": "p.score desc",
    "lowest score": "p.score",
    "id": "p.example_id",
}
