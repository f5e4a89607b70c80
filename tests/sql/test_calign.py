"""CALIGN on hand-computed fixtures: the published code's cases, both denominators, sweeps, evidence and baselines."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.concepts.alignment_matches import covered, matches, translations_of, types_of

SOURCE, TARGET = "d.encoder.1.monolingual-en.k2.s0", "d.encoder.1.monolingual-de.k2.s0"
PAIR = {"model": "m", "lexicon": "x", "source_clustering": SOURCE, "target_clustering": TARGET}


@pytest.fixture
def aligned(connect):
    """aligned(source concepts, target concepts, lexicon): a warehouse with what the step stores of them.

    Concepts are lists of words; the lexicon maps a word to its translations, best first, in both orders.
    """

    def build(source, target, lexicon, floor=0.0, draws=1, file_order=None, max_rank=20):
        sides = [
            pl.DataFrame(
                [{"concept": number, "word": word} for number, words in enumerate(side) for word in words],
                schema={"concept": pl.Int32, "word": pl.String},
            )
            for side in (source, target)
        ]
        types = [types_of(side, len(words)) for side, words in zip(sides, (source, target), strict=True)]
        in_file = {w: list(t) for w, t in (file_order or lexicon).items()}
        rows = [
            {
                "source_word": word,
                "target_word": translation,
                "rank": rank,
                "file_rank": in_file[word].index(translation) + 1,
            }
            for word, translations in lexicon.items()
            for rank, translation in enumerate(translations, start=1)
        ]
        translations = translations_of(pl.DataFrame(rows), *types, max_rank)
        found = matches(*types, translations, floor=floor, draws=draws, seed=(0,))
        clusterings = [
            {
                "model": "m",
                "clustering": name,
                "scope": f"monolingual:{language}",
                "languages": [language],
                "num_clusters": len(words),
            }
            for name, language, words in ((SOURCE, "en", source), (TARGET, "de", target))
        ]
        return connect(
            clusterings=clusterings,
            concepts=[
                {"model": "m", "clustering": c["clustering"], "concept": n, "num_types": len(set(words))}
                for c, side in zip(clusterings, (source, target), strict=True)
                for n, words in enumerate(side)
            ],
            concept_members=[
                {
                    "model": "m",
                    "clustering": c["clustering"],
                    "scope": c["scope"],
                    "language": c["languages"][0],
                    "concept": n,
                    "word": word,
                    "example_id": f"{n}.{at}",
                }
                for c, side in zip(clusterings, (source, target), strict=True)
                for n, words in enumerate(side)
                for at, word in enumerate(words)
            ],
            lexicon=[{"lexicon": "x", **row} for row in rows],
            concept_pairings=[
                {
                    **PAIR,
                    "max_rank": max_rank,
                    "floor": floor,
                    "num_draws": draws,
                    "source_concepts": len(source),
                    "source_types": len(types[0].vocabulary),
                    "source_types_covered": covered(translations),
                }
            ],
            concept_matches=[{**PAIR, **row} for row in found.to_dicts()],
        )

    return build


def words(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def scores(database, where: str = "true") -> dict[str, float]:
    return dict(database.sql(f"select variant, score from calign where {where}").fetchall())


def partly(matched: int, source: int = 10, target: int = 10):
    """One concept each; `matched` of the source words have their translation in the target concept."""
    lexicon = {f"s{n}": [f"t{n % target}"] if n < matched else ["elsewhere"] for n in range(source)}
    return [words("s", source)], [words("t", target)], lexicon


@pytest.mark.parametrize(
    ("matched", "source", "target", "published", "strict"),
    [
        (8, 10, 10, 0, 1),
        (9, 10, 10, 1, 1),
        (10, 10, 1, 1, 0),
        (10, 10, 16, 1, 1),
        (10, 10, 17, 0, 0),
        (10, 16, 10, 0, 0),
        (5, 5, 5, 0, 0),
        (6, 6, 6, 1, 1),
        (6, 6, 10, 0, 1),
        (12, 15, 15, 0, 1),
    ],
    ids=[
        "8 of 10",
        "9 of 10",
        "10 types against 1",
        "10 and 16",
        "10 and 17",
        "10 of 16",
        "5 types",
        "6 types",
        "exactly .6",
        "12 of 15 is exactly .8",
    ],
)
def test_cases(aligned, matched, source, target, published, strict):
    found = scores(aligned(*partly(matched, source, target)))
    assert found == {"strict": strict, "paper": strict, "published_code": published}


def test_case_counts(aligned):
    upper = [["S0", *words("s", 10)[1:]]], [words("t", 10)], {f"s{n}": [f"t{n}"] for n in range(10)}
    assert scores(aligned(*upper))["published_code"] == 1
    upper = [[w.upper() for w in words("s", 10)]], *upper[1:]
    assert set(scores(aligned(*upper)).values()) == {0}


def test_the_eleventh_translation_does_not_count(aligned):
    lexicon = {f"s{n}": [*words("other", 9), f"t{n}"] for n in range(10)}
    assert set(scores(aligned([words("s", 10)], [words("t", 10)], lexicon)).values()) == {1}
    lexicon = {f"s{n}": [*words("other", 10), f"t{n}"] for n in range(10)}
    assert set(scores(aligned([words("s", 10)], [words("t", 10)], lexicon)).values()) == {0}


def test_published_code_goes_by_the_order_of_the_file(aligned):
    best = {f"s{n}": [f"t{n}", *words("other", 10)] for n in range(10)}
    in_file = {word: translations[::-1] for word, translations in best.items()}
    found = scores(aligned([words("s", 10)], [words("t", 10)], best, file_order=in_file))
    assert found == {"strict": 1, "paper": 1, "published_code": 0}


def test_both_denominators_and_the_interval(aligned):
    source = [words("s", 10), words("u", 6), ["v"], []]
    lexicon = {word: [f"t{word[1:]}"] for word in words("s", 10)}
    row = aligned(source, [words("t", 10), []], lexicon).sql(
        "select concepts, eligible, aligned, score, score_eligible, score_low, score_high, coverage, layer, source_language "
        "from calign where variant = 'strict'"
    )
    concepts, eligible, found, score, score_eligible, low, high, coverage, layer, language = row.fetchall()[0]
    assert (concepts, eligible, found, score, score_eligible) == (4, 2, 1, 0.25, 0.5)
    # Wilson, 1 of 4: (1 + 1.92) / (4 + 3.84) -/+ 1.96 / 7.84 * sqrt(.75 + .96)
    assert (low, high) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert (coverage, layer, language) == (pytest.approx(10 / 17), 1, "en")


def test_words_may_match_in_several_concepts(aligned):
    """A translation in any concept counts; the same word in two source concepts counts for both."""
    source = [words("s", 10), words("s", 10)]
    target = [words("t", 10), [*words("t", 9), "z"]]
    database = aligned(source, target, {f"s{n}": [f"t{n}"] for n in range(10)})
    assert scores(database)["strict"] == 1
    pairs = database.sql(
        "select source_concept, target_concept, matched, count(*) from calign_matches where variant = 'strict' "
        "group by all order by all"
    )
    assert pairs.fetchall() == [(0, 0, 10, 10), (0, 1, 9, 9), (1, 0, 10, 10), (1, 1, 9, 9)]


def test_evidence_names_words_ranks_and_translations(aligned):
    lexicon = {f"s{n}": ["nothing", f"t{n}"] for n in range(8)}
    database = aligned([[*words("s", 10), "s0"]], [words("t", 10)], lexicon)
    row = database.sql(
        "select source_word, target_word, rank, file_rank, source_occurrences, source_types, matched, source_language, corpus "
        "from calign_matches where variant = 'strict' order by source_word limit 1"
    )
    assert row.fetchall() == [("s0", "t0", 2, 2, 2, 10, 8, "en", "d")]
    variants = database.sql("select distinct variant from calign_matches order by 1").fetchall()
    assert variants == [("paper",), ("strict",)]
    more = database.sql(
        "select count(*) from calign_evidence(at_least := 0.7) where variant = 'published_code'"
    )
    assert more.fetchall() == [(8,)]


def test_sweep_is_what_each_setting_gives(aligned):
    lexicon = {f"s{n}": [*words("other", n), f"t{n}"] for n in range(10)}
    database = aligned([words("s", 10), words("s", 4)], [words("t", 10), words("t", 4)], lexicon)
    sweep = database.sql(
        "select theta, n_best, min_types, aligned, eligible from calign_sweep("
        "thetas := [0.5, 0.7, 0.8, 0.9], n_bests := [5, 8, 10, 20], min_sizes := [0, 3, 5]) where variant = 'strict'"
    ).fetchall()
    assert len(sweep) == 4 * 4 * 3
    for theta, n_best, min_types, found, eligible in sweep:
        expected = (min(n_best, 10) / 10 >= theta) + (min_types < 4)
        assert found == expected, (theta, n_best, min_types)
        assert eligible == 1 + (min_types < 4)
        single = database.sql(
            f"select aligned from calign_at({theta}, n_best := {n_best}, min_types := {min_types}) where variant = 'strict'"
        )
        assert single.fetchall() == [(expected,)]


def test_beyond_what_is_stored_nothing_is_known(aligned):
    database = aligned(*partly(10), floor=0.75, max_rank=10)
    assert scores(database)["strict"] == 1
    below = database.sql("select aligned, score, score_low, null_lexicon from calign_at(0.7)").fetchall()
    assert below == [(None, None, None, None)] * 3
    deeper = database.sql("select aligned from calign_at(0.8, n_best := 11)").fetchall()
    assert deeper == [(None,)] * 3


def test_no_match_at_all_is_a_zero_and_no_missing_row(aligned):
    source, target, _ = partly(0)
    assert scores(aligned(source, target, {"s0": ["elsewhere"]}, floor=0.5)) == {
        "strict": 0,
        "paper": 0,
        "published_code": 0,
    }


def test_baselines_are_near_zero_where_concepts_really_match(aligned):
    source = [words(f"s{k}.", 10) for k in range(20)]
    target = [words(f"t{k}.", 10) for k in range(20)]
    lexicon = {word: [f"t{word[1:]}"] for concept in source for word in concept}
    row = aligned(source, target, lexicon, floor=0.5, draws=5).sql(
        "select score, null_lexicon, null_labels from calign where variant = 'strict'"
    )
    assert row.fetchall() == [(1, 0, 0)]


def test_thresholds_are_changed_one_at_a_time(aligned):
    # The concept's n-th word has its translation at rank n + 1: theta .7, .8, .9 need 7, 8, 9 of the best.
    lexicon = {f"s{n}": [*words("other", n), f"t{n}"] for n in range(8)} | {"s8": ["x"], "s9": ["x"]}
    database = aligned([words("s", 10)], [words("t", 10)], lexicon)
    rows = database.sql(
        "select theta, n_best, aligned from calign_thresholds where variant = 'strict' order by all"
    ).fetchall()
    assert rows == [(0.7, 10, 1), (0.8, 5, 0), (0.8, 10, 1), (0.8, 20, 1), (0.9, 10, 0)]


def test_matched_concepts_have_their_words_the_most_frequent_first(aligned):
    lexicon = {f"s{n}": ["nothing", f"t{n}", f"t{(n + 1) % 10}"] for n in range(8)}
    database = aligned([[*words("s", 10), "s3", "s3", "s1"]], [words("t", 10)], lexicon)
    [row] = database.sql("""
        select matched, source_types, share, source_words, target_words from matched_concepts where variant = 'strict'
    """).fetchall()
    order = [3, 1, 0, 2, 4, 5, 6, 7]
    assert row == (8, 10, 0.8, [f"s{n}" for n in order], [f"t{n}" for n in order])


def test_few_of_many_matched_concepts_are_listed(aligned):
    count = 25
    source = [[f"s{c}.{n}" for n in range(14)] for c in range(count)]
    lexicon = {
        word: [f"t{word[1:]}"] if int(word.split(".")[1]) < 13 else ["x"] for c in source for word in c
    }
    target = [[f"t{word[1:]}" for word in concept] for concept in source]
    rows = (
        aligned(source, target, lexicon)
        .sql(
            "select matched, len(source_words), source_concept from matched_concepts where variant = 'strict'"
        )
        .fetchall()
    )
    assert sorted(rows) == [(13, 12, concept) for concept in range(20)]
