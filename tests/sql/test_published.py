"""What follows from the papers' own numbers, worked out in SQL over `published_results`."""

from __future__ import annotations

import pytest

from xlwh.published import load


@pytest.fixture(scope="module")
def database(warehouse):
    with warehouse(published_results=load()).connect() as connection:
        yield connection


OVERALLS = """
    with overalls as (
        select "table", source_language, metric,
            any_value(value) filter (language = 'overall') as overall,
            avg(value) filter (language <> 'overall') as with_self,
            avg(value) filter (language not in ('overall', source_language)) as without_self
        from published_results
        where paper = 'ccta'
        group by "table", model, dataset, source_language, metric
    )
"""


def test_overall_consistency_includes_the_self_pair(database):
    rows = database.sql(f"""
        {OVERALLS} select overall, with_self, without_self from overalls where metric like 'ccta%'
    """).fetchall()
    assert len(rows) == 5 + 3 + 4 + 6
    for overall, with_self, without_self in rows:
        assert overall == pytest.approx(with_self, abs=0.0005 + 1e-9)
        assert overall > without_self + 0.04


def test_overall_accuracy_is_the_mean_of_its_row_but_for_one(database):
    rows = database.sql(f"""
        {OVERALLS} select source_language, overall, with_self from overalls where metric = 'accuracy'
    """).fetchall()
    assert len(rows) == 6
    off = [row for row in rows if row[1] != pytest.approx(row[2], abs=0.0005 + 1e-9)]
    assert off == [("zh", 0.86, pytest.approx(0.856))]


GRID = """
    with grid as (
        select consistency.source_language, consistency.language,
            accuracy.value as accuracy, consistency.value as consistency
        from published_results as accuracy
        join published_results as consistency
            using (paper, model, dataset, source_language, language)
        where paper = 'ccta' and accuracy."table" = '4' and consistency."table" = '5' and language <> 'overall'
    )
"""


@pytest.mark.parametrize(
    ("cells", "count", "pearson"),
    [("true", 36, 0.29), ("source_language <> language", 30, 0.43), ("source_language = 'en'", 6, 0.79)],
)
def test_accuracy_and_consistency_correlate_as_the_two_grids_say(database, cells, count, pearson):
    n, r = database.sql(
        f"{GRID} select count(*), corr(accuracy, consistency) from grid where {cells}"
    ).fetchall()[0]
    assert n == count
    assert r == pytest.approx(pearson, abs=0.005)


def test_the_published_consistency_is_nearly_symmetric(database):
    largest = database.sql(f"""
        {GRID}
        select max(abs(one.consistency - other.consistency))
        from grid as one
        join grid as other on one.source_language = other.language and one.language = other.source_language
    """).fetchall()[0][0]
    assert largest == pytest.approx(0.004, abs=1e-9)


GAINS = """
    with gains as (
        select full_model.dataset, language, pruned.value - full_model.value as gain, heads.value as heads
        from published_results as full_model
        join published_results as pruned using (paper, "table", model, dataset, source_language, language)
        join published_results as heads using (paper, "table", model, dataset, source_language, language)
        where paper = 'shapley-heads' and "table" = '2' and full_model.metric = 'accuracy'
            and pruned.metric = 'accuracy_targeted.shapley' and heads.metric = 'pruned_heads_targeted.shapley'
    )
"""


def test_shapley_pruning_on_xnli(database):
    row = database.sql(f"{GAINS} select count(*), avg(gain), avg(heads) from gains where dataset = 'xnli'")
    count, gain, heads = row.fetchall()[0]
    assert count == 15
    assert gain == pytest.approx(1.59, abs=0.005)
    assert heads == pytest.approx(5.67, abs=0.005)


def test_shapley_pruning_on_udpos(database):
    row = database.sql(f"{GAINS} select count(*), avg(gain) from gains where dataset = 'udpos' and gain > 0")
    count, gain = row.fetchall()[0]
    assert count == 6
    assert gain == pytest.approx(3.40, abs=0.005)


@pytest.mark.parametrize(
    ("family", "side", "disparity"),
    [
        ("bert", "sufficiency", 0.072),
        ("bert", "comprehensiveness", 0.100),
        ("roberta", "sufficiency", -0.100),
        ("roberta", "comprehensiveness", -0.226),
    ],
)
def test_faithfulness_disparity(database, family, side, disparity):
    """Multilingual minus monolingual, mean over tasks and methods; `roberta` is XLM-R base against RoBERTa."""
    count, mean = database.sql(f"""
        with scores as (
            select dataset, language, metric, value,
                split_part(note, ', ', 1) as kind, split_part(note, ', ', 2) as family
            from published_results
            where paper = 'faithfulness' and "table" = 'hard' and metric like '{side}_ratio.%'
        ),
        cells as (
            select any_value(value) filter (kind = 'multilingual')
                - any_value(value) filter (kind = 'monolingual') as disparity
            from scores
            where family = '{family}'
            group by dataset, language, metric
        )
        select count(*), avg(disparity) from cells
    """).fetchall()[0]
    assert count == 15 * 5
    assert mean == pytest.approx(disparity, abs=0.0006)
