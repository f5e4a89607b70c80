"""One concept, read back from the stored facts: its words, where they stand, what it is aligned with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from xlwh.errors import MissingDataError

SENTENCES = 10


@dataclass(frozen=True)
class Concept:
    """One cluster of word occurrences."""

    clustering: Mapping[str, Any]
    """The row of `clusterings`."""
    row: Mapping[str, Any]
    """The row of `concepts`, without the centroid."""
    words: pl.DataFrame
    """language, word, occurrences, distance: the mean distance to the centroid; commonest first."""
    sentences: pl.DataFrame
    """language, example_id, text, char_start, char_end, word, distance: the members closest to the centroid, one an
    example. `text` is the segment that the word stands in."""


def load(connection: duckdb.DuckDBPyConnection, model: str, clustering: str, concept: int) -> Concept:
    """Read a concept; `MissingDataError` if there is none of that number."""
    known = _row(
        connection, "select * from clusterings where model = ? and clustering = ?", [model, clustering]
    )
    found = _row(
        connection,
        "select * exclude (centroid) from concepts where model = ? and clustering = ? and concept = ?",
        [model, clustering, concept],
    )
    if known is None or found is None:
        raise MissingDataError(
            f"There is no concept {concept} in the clustering {clustering} of {model}. "
            f"Run: xlwh materialize concepts --model {model}"
        )
    at = [model, clustering, concept]
    members = "from concept_members where model = ? and clustering = ? and concept = ?"
    words: pl.DataFrame = connection.sql(
        f"select language, word, count(*) as occurrences, avg(distance) as distance {members} "
        "group by all order by occurrences desc, distance limit 400",
        params=at,
    ).pl()
    sentences: pl.DataFrame = connection.sql(
        f"""
        with closest as (
            select dataset, split, language, example_id, word, segment, char_start, char_end, distance {members}
            qualify row_number() over (partition by dataset, split, language, example_id order by distance, word_index) = 1
            order by distance, language, dataset, split, example_id
            limit {SENTENCES}
        )
        select
            c.language, c.example_id, c.word, c.distance, c.segment, c.char_start, c.char_end,
            segment_text(e.text, e.text_pair, c.segment) as text
        from closest c
        join example_texts e using (dataset, split, language, example_id)
        order by c.distance, c.language, c.dataset, c.split, c.example_id
        """,
        params=at,
    ).pl()
    return Concept(known, found, words, sentences)


def _row(
    connection: duckdb.DuckDBPyConnection, statement: str, parameters: list[Any]
) -> dict[str, Any] | None:
    answer = connection.execute(statement, parameters)
    columns = [column[0] for column in answer.description]
    rows = answer.fetchall()
    return dict(zip(columns, rows[0], strict=True)) if rows else None


def listed(
    connection: duckdb.DuckDBPyConnection, model: str, clustering: str, text: str, start: int, count: int
) -> tuple[pl.DataFrame, int]:
    """Some concepts of a clustering with their commonest words, largest first; and how many there are.

    `text` is looked for at the beginning of their words.
    """
    having = "having count_if(starts_with(lower(word), lower(?))) > 0" if text else ""
    found: pl.DataFrame = connection.sql(
        f"""
        with counted as (
            select concept, language, word, count(*) as n
            from concept_members where model = ? and clustering = ? group by all
        )
        select concept, sum(n)::bigint as occurrences, count(*) as types,
            array_to_string(list_sort(list(distinct language)), ' ') as languages,
            arg_max(word, n, 8) as words,
            count(*) over () as total
        from counted group by concept {having}
        order by occurrences desc, concept limit {int(count)} offset {int(start)}
        """,
        params=[model, clustering, *([text] if text else [])],
    ).pl()
    total = int(found["total"][0]) if found.height else 0
    return found.drop("total"), total


def evidence(
    connection: duckdb.DuckDBPyConnection, model: str, clustering: str, concept: int
) -> pl.DataFrame:
    """Which words matched through which translations, by the strict reading; empty where it is aligned with nothing."""
    found: pl.DataFrame = connection.sql(
        "select lexicon, target_language, target_concept, source_word, target_word, rank, probability "
        "from calign_matches where model = ? and source_clustering = ? and source_concept = ? and variant = 'strict' "
        "order by target_language, target_concept, source_word, rank limit 300",
        params=[model, clustering, concept],
    ).pl()
    return found
