"""The join of printed and measured numbers, on a few hand-made measurements."""

from __future__ import annotations

import pytest

from xlwh.published import load

MODELS = [
    {"model": "ft-en", "published_as": "xlm-r base", "finetuned_languages": ["en"]},
    {"model": "ft-de", "published_as": "XLM-R-Base", "finetuned_languages": ["de"]},
    {"model": "hub", "published_as": "mBERT"},
    {"model": "unnamed", "finetuned_languages": ["en"]},
]


def _predictions(model, dataset, language, right, wrong):
    return [
        {
            "model": model,
            "dataset": dataset,
            "split": "test",
            "language": language,
            "example_id": str(i),
            "label": "yes",
            "predicted": "yes" if i < right else "no",
            "logits": [0.0, 0.0],
        }
        for i in range(right + wrong)
    ]


def _pair(model, dataset, source, target, score, **other):
    return {
        "model": model,
        "dataset": dataset,
        "source_language": source,
        "target_language": target,
        "score": score,
        "num_draws": 1,
        **other,
    }


@pytest.fixture(scope="module")
def database(warehouse):
    languages = ("en", "de", "es", "fr", "ko", "zh")
    made = warehouse(
        published_results=load(),
        models=MODELS,
        predictions=[
            row
            for right, language in enumerate(languages, start=4)
            for row in _predictions("ft-en", "PAWSX", language, right, 10 - right)
        ]
        + _predictions("ft-de", "pawsx", "en", 9, 1)
        + _predictions("unnamed", "pawsx", "en", 9, 1)
        + _predictions("hub", "paws-x", "en", 9, 1),
        ccta_pairs=[
            _pair("ft-en", "pawsx", "en", "en", 1.0),
            _pair("ft-en", "pawsx", "en", "de", 0.4),
            _pair("ft-en", "pawsx", "en", "es", 0.5),
            _pair("ft-en", "pawsx", "de", "en", 0.4),
            _pair("ft-en", "pawsx", "en", "de", 0.3, method="random"),
            _pair("hub", "xnli", "en", "ar", 0.2),
        ],
    )
    with made.connect() as connection:
        yield connection


COMPARED = """
    select model, source_language, language, round(published, 3), round(measured, 3), round(difference, 3),
        languages_measured, languages_published
    from published_vs_measured
"""


def test_every_printed_number_has_a_row(database):
    counts = database.sql('select count(*), count(distinct (paper, "table")) from published_vs_measured')
    assert counts.fetchall() == [(load().height, 12)]
    none = database.sql("from published_vs_measured where measured is null and languages_measured <> 0")
    assert none.fetchall() == []


def test_names_match_without_case_and_punctuation(database):
    rows = database.sql(f"""{COMPARED}
        where metric = 'accuracy' and "table" = '4' and measured is not null and language in ('en', 'de')
        order by all""").fetchall()
    assert rows == [
        ("ft-de", "de", "en", 0.936, 0.9, -0.036, 1, 1),
        ("ft-en", "en", "de", 0.868, 0.5, -0.368, 1, 1),
        ("ft-en", "en", "en", 0.944, 0.4, -0.544, 1, 1),
    ]


def test_overall_is_the_mean_of_the_row(database):
    rows = database.sql(f"""{COMPARED}
        where metric = 'accuracy' and "table" = '4' and language = 'overall' and measured is not null
        order by all""").fetchall()
    # ft-en is right in 4 to 9 of 10; ft-de has one of the six languages, so there is no difference to show.
    assert rows == [
        ("ft-de", "de", "overall", 0.86, 0.9, None, 1, 6),
        ("ft-en", "en", "overall", 0.852, 0.65, -0.202, 6, 6),
    ]


def test_consistency_and_its_self_pair(database):
    rows = database.sql(f"""{COMPARED}
        where "table" = '5' and measured is not null order by all""").fetchall()
    # The model trained on English is no measurement of the row trained on German.
    assert rows == [
        ("ft-en", "en", "de", 0.406, 0.4, -0.006, 1, 1),
        ("ft-en", "en", "en", 1.0, 1.0, 0.0, 1, 1),
        ("ft-en", "en", "es", 0.455, 0.5, 0.045, 1, 1),
        ("ft-en", "en", "overall", 0.479, 0.633, None, 3, 6),
    ]


def test_a_model_from_elsewhere_is_compared_in_consistency_only(database):
    rows = database.sql("""
        select metric, language, measured, setting from published_vs_measured
        where model = 'hub' and language <> 'overall'
    """).fetchall()
    assert rows == [("ccta", "ar", 0.2, "dev · strict · lig · source_prediction · vectors · word · abs")]


def test_percentages_become_shares(database):
    row = database.sql("""
        select published from published_vs_measured
        where paper = 'shapley-heads' and dataset = 'xnli' and metric = 'accuracy' and "table" = '2' and language = 'en'
    """).fetchall()
    assert row == [(pytest.approx(0.841),)]


@pytest.fixture(scope="module")
def translated(warehouse):
    """A translation model whose three sentences match in part: sacreBLEU's score of the counts is 66.5."""
    key = {"model": "mt", "dataset": "iwslt-test11", "split": "test", "language": "en", "example_id": "1"}
    published = {
        "paper": "concept-alignment",
        "model": "mT5 fr-en fine-tuned",
        "source_language": "fr",
        "language": "en",
    }
    printed = [
        {
            **published,
            "table": "1",
            "dataset": "iwslt-test11",
            "metric": "bleu",
            "value": 49.0,
            "value_unit": "BLEU",
        },
        {
            **published,
            "table": "x",
            "dataset": "iwslt-test11",
            "metric": "bleu",
            "value": 49.0,
            "value_unit": "percent",
        },
        {
            **published,
            "table": "y",
            "dataset": "iwslt-test11",
            "metric": "bleu",
            "value": 0.49,
            "value_unit": "share",
        },
    ]
    made = warehouse(
        published_results=printed,
        models=[
            {
                "model": "mt",
                "published_as": "mT5 fr-en fine-tuned",
                "finetuned_languages": ["fr"],
                "finetuned_dataset": "x",
            }
        ],
        translation_statistics=[
            {**key, "metric": "bleu", "signature": "s", "statistics": [10, 10, 8, 6, 5, 4, 10, 9, 8, 7]}
        ],
        predictions=[{**key, "task": "translation", "label": "a", "predicted": "a"}],
    )
    with made.connect() as connection:
        yield connection


def test_bleu_is_compared_with_bleu(translated):
    [(share,)] = translated.sql("select value from task_scores where metric = 'bleu'").fetchall()
    rows = translated.sql("""
        select "table", value_unit, published, measured, difference from published_vs_measured order by 1
    """).fetchall()
    assert rows[0] == ("1", "BLEU", 49.0, pytest.approx(100 * share), pytest.approx(100 * share - 49))
    assert 1 < rows[0][3] <= 100
    # What is in another unit is not compared at all.
    assert [row[3:] for row in rows[1:]] == [(None, None)] * 2


def test_a_percentage_is_compared_as_a_share(database):
    units = database.sql(
        "select distinct value_unit from published_vs_measured where measured is not null"
    ).fetchall()
    assert units == [("share",)]
    assert (
        database.sql(
            "from published_vs_measured where value_unit = 'share' and abs(published) > 1"
        ).fetchall()
        == []
    )
