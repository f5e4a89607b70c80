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


def test_every_table_is_laid_out_with_one_number_a_cell(database):
    rows = database.sql("""
        select paper, "table", count(distinct table_row), count(distinct table_column),
            count(distinct (table_row, table_column)) = count(*)
        from published_vs_measured where coalesce(choice, 1) = 1 group by all order by all
    """).fetchall()
    assert rows == [
        ("ccta", "1", 5, 14, True),
        ("ccta", "2", 3, 7, True),
        ("ccta", "3", 4, 12, True),
        ("ccta", "4", 6, 7, True),
        ("ccta", "5", 6, 7, True),
        ("concept-alignment", "1", 6, 4, True),
        ("concept-alignment", "2", 2, 4, True),
        ("faithfulness", "fertility", 60, 3, True),
        ("faithfulness", "hard", 60, 12, True),
        ("faithfulness", "soft", 12, 10, True),
        ("shapley-heads", "2", 10, 15, True),
        ("shapley-heads", "3", 4, 15, True),
    ]


def test_the_published_number_within_the_interval_is_told(database):
    rows = database.sql("""
        select language, measured, low is null, beyond_interval from published_vs_measured
        where "table" = '4' and model = 'ft-en' and language in ('en', 'es', 'overall') order by 1
    """).fetchall()
    # Published .944, .863 and a mean; measured 4 and 6 of 10, whose intervals end at .69 and .83.
    assert rows == [("en", 0.4, False, True), ("es", 0.6, False, True), ("overall", 0.65, True, None)]
    [(low, high)] = database.sql("""
        select low, high from published_vs_measured where "table" = '4' and model = 'ft-en' and language = 'en'
    """).fetchall()
    assert (low, high) == (pytest.approx(0.168, abs=1e-3), pytest.approx(0.687, abs=1e-3))


@pytest.mark.parametrize(("unit", "scale", "last"), [("percent", 1, 0), ("share", 100, 2)])
def test_what_was_rounded_off_in_print_is_not_beyond_the_interval(connect, unit, scale, last):
    # (right of ten, printed in percent with one decimal, whether it is beyond): the intervals are 16.82 to 68.73, 31.27 to 83.18.
    printed = {
        "ar": (6, 83.1, False),
        "bg": (6, 83.2, False),
        "de": (6, 83.3, True),
        "el": (6, 31.3, False),
        "en": (6, 31.2, True),
        "es": (4, 16.8, False),
        "fr": (4, 16.7, True),
        # 69.0 is not 69: its table has a decimal.
        "hi": (4, 69.0, True),
    }
    row = {"paper": "p", "table": "1", "model": "m", "dataset": "pawsx", "source_language": "en"}
    database = connect(
        published_results=[
            {
                **row,
                "language": language,
                "metric": "accuracy",
                "variant": "paper",
                "value": round(value / scale, last + 1),
                "value_unit": unit,
            }
            for language, (_, value, _) in printed.items()
        ],
        models=[{"model": "ft", "published_as": "m", "finetuned_languages": ["en"]}],
        predictions=[
            each
            for language, (right, _, _) in printed.items()
            for each in _predictions("ft", "pawsx", language, right, 10 - right)
        ],
    )
    rows = database.sql("select language, beyond_interval from published_vs_measured order by 1").fetchall()
    assert dict(rows) == {language: beyond for language, (_, _, beyond) in printed.items()}


@pytest.fixture(scope="module")
def translating(warehouse):
    """Models of table 1 of the concept paper: one for each way in which a row of it is measured."""
    made = []
    for dataset, model in (
        ("iwslt_test11_fr", "fr"),
        ("iwslt_test11_de", "fr"),
        ("iwslt_test11_de_en", "de"),
        ("iwslt_test11_fr", "base"),
        ("iwslt_test11_de", "base"),
        ("iwslt_test11_xyz_en_more", "base"),
    ):
        right = 8 if model == "base" and dataset.endswith("fr") else 4 if model == "base" else 10
        made.append(
            {
                "model": model,
                "dataset": dataset,
                "metric": "bleu",
                "signature": "s",
                "statistics": [10, 10, right, 6, 5, 4, 10, 9, 8, 7],
            }
        )
    made = warehouse(
        published_results=load(),
        models=[
            {"model": "fr", "published_as": "mT5 fr-en fine-tuned", "finetuned_languages": ["en"]},
            {"model": "de", "published_as": "mT5 de-en fine-tuned", "finetuned_languages": ["en"]},
            {"model": "base", "published_as": "mT5 *-en base"},
        ],
        translation_statistics=made,
        predictions=[
            {
                **{c: row[c] for c in ("model", "dataset")},
                "task": "translation",
                "label": "a",
                "predicted": "a",
            }
            for row in made
        ],
    )
    with made.connect() as connection:
        yield connection


def test_translations_are_found_by_their_source_language(translating):
    rows = translating.sql("""
        select table_row, table_column, model, setting from published_vs_measured
        where measured is not null order by all
    """).fetchall()
    assert rows == [
        ("mT5 *-en base", "iwslt-test11", "base", "mean over source languages · dev · strict"),
        ("mT5 de-en fine-tuned", "iwslt-test11", "de", "iwslt_test11_de_en · dev · strict"),
        ("mT5 de-en zero-shot from fr-en", "iwslt-test11", "fr", "iwslt_test11_de · dev · strict"),
        ("mT5 fr-en fine-tuned", "iwslt-test11", "fr", "iwslt_test11_fr · dev · strict"),
    ]
    [(mean, low)] = translating.sql(
        "select measured, low from published_vs_measured where model = 'base' and measured is not null"
    ).fetchall()
    [(expected,)] = translating.sql("""
        select 100 * avg(value) from task_scores
        where metric = 'bleu' and model = 'base' and dataset in ('iwslt_test11_fr', 'iwslt_test11_de')
    """).fetchall()
    assert (mean, low) == (pytest.approx(expected), None)


@pytest.fixture(scope="module")
def faithful(warehouse):
    """mBERT on SST: attention at twice, deeplift at half the cost of random attributions, by two variants."""
    cells = {"model": "m", "dataset": "SST", "split": "test", "language": "en"}
    ways = (
        {"mode": "hard", "masking": "zero_id", "ratio": 0.5},
        {"mode": "hard", "masking": "mask", "ratio": 0.5},
        {"mode": "soft", "masking": "bernoulli_reversed", "ratio": None},
    )
    cost = {
        "attention": 0.4,
        "deeplift": 0.1,
        "input_x_gradient": 0.1,
        "released_input_x_gradient": 0.2,
        "random": 0.2,
    }
    made = warehouse(
        published_results=load(),
        models=[
            {"model": "m", "published_as": "mBERT", "finetuned_languages": ["en"]},
            {"model": "other", "published_as": "mBERT", "finetuned_languages": ["de"]},
        ],
        perturbations=[
            {
                **cells,
                "model": model,
                "example_id": str(example),
                "method": method,
                "side": "comprehensiveness",
                "importance": importance,
                **way,
                "p_full": 0.9,
                "p_perturbed": 0.9 - lost * (1 + example / 10),
                "p_empty": 0.1,
            }
            for model in ("m", "other")
            for way in ways
            for importance in ("signed", "abs")
            for method, lost in cost.items()
            for example in range(3)
        ],
        tokens=[
            {
                **cells,
                "position": position,
                "word_index": position // 2,
                "word": "w",
                "is_unknown": position == 3,
            }
            for position in range(4)
        ],
        predictions=_predictions("m", "sst", "en", 9, 1),
    )
    with made.connect() as connection:
        yield connection


def test_faithfulness_is_compared_by_the_published_code_first(faithful):
    rows = faithful.sql("""
        select table_row, table_column, choice, setting, round(measured, 6), model from published_vs_measured
        where measured is not null and "table" in ('hard', 'soft') and value_unit = 'ratio'
            and metric like '%attention' order by all
    """).fetchall()
    row = "sst · en · mBERT"
    assert rows[:2] == [
        (row, "comprehensiveness_ratio.attention", 1, "test · published_code · signed · zero_id", 2.0, "m"),
        (row, "comprehensiveness_ratio.attention", 2, "test · published_code · abs · zero_id", 2.0, "m"),
    ]
    assert {r[3].split(" · ")[1] for r in rows[2:6]} == {"strict", "paper"}
    assert {r[1] for r in rows[6:]} == {"soft_comprehensiveness_ratio.attention"}
    # The fine-tune on another language is nobody's row.
    assert {r[5] for r in rows} == {"m"}


def test_attributions_of_the_released_code_come_first(faithful):
    rows = faithful.sql("""
        select choice, setting, round(measured, 6) from published_vs_measured
        where metric = 'comprehensiveness_ratio.input_x_gradient' and choice <= 2 and measured is not null order by all
    """).fetchall()
    way = "test · published_code · signed · zero_id"
    assert rows == [(1, f"{way} · released", 1.0), (2, way, 0.5)]


def test_a_ratio_has_the_interval_of_the_view(faithful):
    rows = faithful.sql("""
        select p.low = f.ratio_low, p.high = f.ratio_high, p.beyond_interval, p.measured from published_vs_measured p
        join faithfulness f on f.method = 'deeplift' and f.variant = 'published_code' and f.importance = 'signed'
            and f.mode = 'hard' and f.model = 'm'
        where p.metric = 'comprehensiveness_ratio.deeplift' and p.choice = 1
    """).fetchall()
    # All examples have the same ratio: what interval there is, is not known.
    assert rows == [(None, None, None, pytest.approx(0.5))]


def test_tokenization_and_scores_of_the_faithfulness_paper(faithful):
    rows = faithful.sql("""
        select metric, measured, setting from published_vs_measured
        where measured is not null and value_unit <> 'ratio' order by all
    """).fetchall()
    assert rows == [
        ("accuracy", 0.9, "test · strict"),
        ("f1", pytest.approx(9 / 19), "test · strict"),
        ("fertility", 2.0, "test"),
        ("unknown_ratio", 0.25, "test"),
        ("unknown_tokens", 1.0, "test"),
    ]


EVALUATED = {
    # (ranking, mask language, draw, selection, removed, language): right of ten
    ("none", "en", 0, "none", 0, "en"): 6,
    ("none", "de", 0, "none", 0, "de"): 5,
    ("shapley.rows", "en", 0, "paper", 2, "en"): 8,
    ("shapley.rows", "en", 0, "strict", 1, "en"): 7,
    ("shapley.rows", "en", 0, "paper", 2, "de"): 6,
    ("shapley.rows", "de", 0, "paper", 0, "de"): 5,
    ("gradient", "en", 0, "same_size", 2, "en"): 4,
    ("gradient", "en", 0, "curve", 2, "en"): 1,
    ("random", "en", 0, "same_size", 2, "en"): 2,
    ("random", "en", 1, "same_size", 2, "en"): 4,
    ("random", "en", 0, "same_size", 1, "en"): 9,
    ("random", "en", 0, "same_size", 2, "de"): 3,
}


@pytest.fixture(scope="module")
def pruned(warehouse):
    def mask(ranking, mask_language, draw, selection, removed, language):
        return {
            "model": "x",
            "dataset": "XNLI",
            "split": "test",
            "language": language,
            "ranking": ranking,
            "mask_language": mask_language,
            "draw": draw,
            "selection": selection,
            "num_removed": removed,
        }

    made = warehouse(
        published_results=load(),
        models=[{"model": "x", "published_as": "XLM-R-Base", "finetuned_languages": ["en"]}],
        pruning_tests=[
            {**mask(*key), "num_examples": 10, "resamples": 1000} for key in EVALUATED if key[0] != "none"
        ],
        pruning_evaluations=[
            {**mask(*key), "example_id": str(i), "score": float(i < right), "weight": 1}
            for key, right in EVALUATED.items()
            for i in range(10)
        ],
    )
    with made.connect() as connection:
        yield connection


def test_pruned_models_are_compared_by_ranking(pruned):
    rows = pruned.sql("""
        select "table", table_row, table_column, metric, measured, setting, choice from published_vs_measured
        where measured is not null and paper = 'shapley-heads' order by all
    """).fetchall()
    paper, strict, heads = "test · paper · rows", "test · strict · rows", "test · heads"
    assert rows == [
        ("2", "xnli · all heads", "de", "accuracy", 0.5, heads, 1),
        ("2", "xnli · all heads", "en", "accuracy", 0.6, heads, 1),
        ("2", "xnli · heads pruned", "de", "pruned_heads_targeted.shapley", 0.0, paper, 1),
        ("2", "xnli · heads pruned", "en", "pruned_heads_targeted.shapley", 1.0, strict, 2),
        ("2", "xnli · heads pruned", "en", "pruned_heads_targeted.shapley", 2.0, paper, 1),
        # German has no harmful heads: as many by another ranking leave the whole model.
        ("2", "xnli · michel", "de", "accuracy_targeted.michel", 0.5, paper, 1),
        ("2", "xnli · michel", "en", "accuracy_targeted.michel", 0.4, paper, 1),
        ("2", "xnli · random", "de", "accuracy_targeted.random", 0.5, paper, 1),
        ("2", "xnli · random", "en", "accuracy_targeted.random", pytest.approx(0.3), paper, 1),
        ("2", "xnli · random", "en", "accuracy_targeted.random", 0.9, strict, 2),
        ("2", "xnli · shapley", "de", "accuracy_targeted.shapley", 0.5, paper, 1),
        ("2", "xnli · shapley", "en", "accuracy_targeted.shapley", 0.7, strict, 2),
        ("2", "xnli · shapley", "en", "accuracy_targeted.shapley", 0.8, paper, 1),
        ("3", "xnli · all heads", "de", "accuracy", 0.5, heads, 1),
        ("3", "xnli · all heads", "en", "accuracy", 0.6, heads, 1),
        ("3", "xnli · michel", "en", "accuracy_zero_shot.michel", 0.4, paper, 1),
        ("3", "xnli · random", "de", "accuracy_zero_shot.random", pytest.approx(0.3), paper, 1),
        ("3", "xnli · random", "en", "accuracy_zero_shot.random", pytest.approx(0.3), paper, 1),
        ("3", "xnli · random", "en", "accuracy_zero_shot.random", 0.9, strict, 2),
        ("3", "xnli · shapley", "de", "accuracy_zero_shot.shapley", 0.6, paper, 1),
        ("3", "xnli · shapley", "en", "accuracy_zero_shot.shapley", 0.7, strict, 2),
        ("3", "xnli · shapley", "en", "accuracy_zero_shot.shapley", 0.8, paper, 1),
    ]


def test_intervals_of_pruned_models_are_wilsons(pruned):
    [(low, high)] = pruned.sql("""
        select low, high from published_vs_measured
        where metric = 'accuracy_targeted.shapley' and language = 'en' and choice = 1
    """).fetchall()
    # 8 of 10 with the variance of a sample, whose effective number is 9.
    [expected] = pruned.sql("select wilson_low(7.2, 9), wilson_high(7.2, 9)").fetchall()
    assert (low, high) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
    # The draws of random masks are averaged by example: two right in both, two in one, six in none.
    values = [1, 1, 0.5, 0.5, 0, 0, 0, 0, 0, 0]
    variance = sum((v - 0.3) ** 2 for v in values) / 90
    n = 0.3 * 0.7 / variance
    [found] = pruned.sql("""
        select low, high from published_vs_measured
        where metric = 'accuracy_targeted.random' and language = 'en' and choice = 1
    """).fetchall()
    [expected] = pruned.sql(f"select wilson_low({0.3 * n}, {n}), wilson_high({0.3 * n}, {n})").fetchall()
    assert found == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_consistency_is_compared_by_the_paper_s_quadrature_first(connect):
    """A fixed number of steps and every pair, then adaptive steps; pairs that did not converge count in the first alone."""
    pair = {"model": "m", "dataset": "xnli", "target_language": "ar", "num_draws": 1}
    methods = {"lig": (0.2, True), "lig_fixed": (0.3, False), "deeplift": (0.4, True), "random": (0.5, True)}
    database = connect(
        published_results=load(),
        models=[{"model": "m", "published_as": "mBERT", "finetuned_languages": ["en"]}],
        ccta_pairs=[{**pair, "method": method, "score": score} for method, (score, _) in methods.items()],
        attribution_runs=[
            {"model": "m", "dataset": "xnli", "method": method, "language": language, "converged": converged}
            for method, (_, converged) in methods.items()
            for language in ("en", "ar")
        ],
    )
    rows = database.sql("""
        select choice, measured, split_part(setting, ' · ', 2), split_part(setting, ' · ', 3) from published_vs_measured
        where language = 'ar' and measured is not null order by choice
    """).fetchall()
    assert rows == [(1, 0.3, "paper", "lig_fixed"), (2, 0.2, "strict", "lig"), (3, 0.4, "strict", "deeplift")]
    none = database.sql(
        "select count(*) from published_vs_measured where measured is null and choice is not null"
    )
    assert none.fetchall() == [(0,)]
