"""COLAP on hand-computed fixtures: units, readings, the published code, sweeps and chance."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.concepts.alignment_matches import languages

NAME = "d.encoder.1.mixed-en+de.k4.s0"


@pytest.fixture
def overlapping(connect):
    """overlapping(concepts): a warehouse of mixed concepts, each a dict of language -> its words' occurrences."""

    def build(concepts, scope=("en", "de"), draws=1, clusters=None):
        members = pl.DataFrame(
            [
                {"concept": number, "language": language, "word": word}
                for number, concept in enumerate(concepts)
                for language, words in concept.items()
                for word in words
            ]
        )
        return connect(
            clusterings=[
                {
                    "model": "m",
                    "clustering": NAME,
                    "scope": "mixed:" + "+".join(scope),
                    "languages": list(scope),
                    "num_clusters": clusters or len(concepts),
                }
            ],
            concept_languages=[
                {"model": "m", "clustering": NAME, **row}
                for row in languages(members, draws=draws, seed=(0,)).to_dicts()
            ],
        )

    return build


def scores(database, columns="score", where="true"):
    rows = database.sql(f"select variant, unit, {columns} from colap where {where}").fetchall()
    return {(variant, unit): value[0] if len(value) == 1 else tuple(value) for variant, unit, *value in rows}


def test_tokens_types_and_the_published_code(overlapping):
    found = scores(
        overlapping(
            [
                {"en": ["a"] * 7, "de": ["b", "c", "d"]},  # tokens exactly .3; types .25 and .75
                {"en": ["a"] * 8, "de": ["b", "c"]},  # tokens .2; types 1/3
                {"en": ["a", "b"], "de": ["c", "d"]},  # both
                {"en": ["a", "b"]},  # one language
            ]
        )
    )
    assert found == {
        ("strict", "tokens"): 0.5,
        ("strict", "types"): 0.5,
        ("paper", "tokens"): 0.5,
        ("paper", "types"): 0.5,
        ("published_code", "tokens"): 0.25,
    }


def test_two_languages_of_three_or_all_of_them(overlapping):
    concepts = [
        {"en": ["a"] * 4, "de": ["b"] * 3, "fr": ["c"] * 3},
        {"en": ["a"] * 5, "de": ["b"] * 4, "fr": ["c"]},
        {"en": ["a"] * 5, "de": ["b"] * 5},
    ]
    database = overlapping(concepts, scope=("en", "de", "fr"))
    found = scores(database, "overlapping, overlapping_all, score_all_languages")
    assert found[("strict", "tokens")] == (3, 1, pytest.approx(1 / 3))
    assert found[("strict", "types")] == (3, 2, pytest.approx(2 / 3))
    assert ("published_code", "tokens") not in found, "it knows two languages only"


def test_empty_concepts_are_concepts(overlapping):
    found = scores(
        overlapping([{"en": ["a"], "de": ["b"]}], clusters=4), "score, score_filled, concepts, filled"
    )
    assert found[("strict", "tokens")] == (0.25, 1.0, 4, 1)


def test_sweep_and_single_setting_agree(overlapping):
    database = overlapping([{"en": ["a"] * (10 - k), "de": ["b"] * k} for k in range(1, 6)])
    sweep = database.sql(
        "select theta, overlapping from colap_sweep(thetas := [0.1, 0.2, 0.3, 0.4, 0.5]) "
        "where variant = 'strict' and unit = 'tokens' order by theta"
    ).fetchall()
    assert sweep == [(0.1, 5), (0.2, 4), (0.3, 3), (0.4, 2), (0.5, 1)]
    single = database.sql("select distinct overlapping from colap_at(0.2) where unit = 'tokens' order by 1")
    assert single.fetchall() == [(3,), (4,)]


def test_chance_is_near_one_for_equal_languages_and_zero_for_unequal(overlapping):
    apart = [{language: [f"{language}{n % 20}" for n in range(100)]} for language in ("en", "de")] * 1
    equal = scores(overlapping(apart, draws=5), "score, null_labels")
    assert equal[("strict", "tokens")] == (0, 1)
    rare = [{"en": [f"en{n}" for n in range(100)]}, {"en": ["x"] * 100, "de": ["y"] * 10}]
    assert scores(overlapping(rare, draws=5), "score, null_labels")[("strict", "tokens")] == (0, 0)


@pytest.mark.parametrize(
    ("tuned", "role"),
    [
        ({"finetuned_languages": ["en", "de"]}, "fine-tuned"),
        ({"finetuned_languages": ["en"]}, "zero-shot"),
        ({"finetuned_languages": ["en"], "translated_from": "fr"}, "zero-shot"),
        # German is what it reads, English what it writes.
        ({"finetuned_languages": ["en"], "translated_from": "de"}, "fine-tuned"),
        ({"kind": "path"}, "base"),
    ],
)
def test_a_model_is_fine_tuned_on_the_language_that_it_translates_from(connect, tuned, role):
    members = pl.DataFrame({"concept": [0, 0], "language": ["en", "de"], "word": ["a", "b"]})
    database = connect(
        clusterings=[
            {
                "model": "m",
                "clustering": NAME,
                "scope": "mixed:en+de",
                "languages": ["en", "de"],
                "num_clusters": 1,
            }
        ],
        concept_languages=[
            {"model": "m", "clustering": NAME, **row}
            for row in languages(members, draws=1, seed=(0,)).to_dicts()
        ],
        models=[{"model": "m", "kind": "finetuned", "source": "base", **tuned}],
    )
    assert database.sql("select distinct role from concept_profiles").fetchall() == [(role,)]
