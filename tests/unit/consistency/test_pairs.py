"""From attributions and vectors to rows of `ccta_pairs`, against small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog

from xlwh.consistency.pairs import ccta_pairs, explained, unit_attributions, vectors
from xlwh.consistency.transport import consistency, permutations
from xlwh.draws import key_of
from xlwh.errors import CorpusError

OPTIONS = {"normalizations": ("abs",), "draws": 4, "seed": 0, "workers": 1}


def _units(*rows):
    """Units of example 1 unless a row says otherwise: (unit, attribution[, example, method])."""
    filled = [(*row, *("1", "lig")[len(row) - 2 :]) for row in rows]
    frame = pl.DataFrame(filled, schema=["unit", "attribution", "example_id", "method"], orient="row")
    return frame.with_columns(
        pl.col("attribution").cast(pl.Float64),
        split=pl.lit("dev"),
        target=pl.lit("yes"),
        index=pl.int_range(pl.len(), dtype=pl.Int32).over("example_id", "method"),
    )


def _vectors(**known):
    return vectors(
        pl.DataFrame(
            {"word": list(known), "vector": list(known.values())},
            schema={"word": pl.String, "vector": pl.List(pl.Float32)},
        )
    )


ENGLISH = _vectors(cat=[2, 0, 0], sees=[0, 3, 0], dog=[0, 0, 1])
GERMAN = _vectors(katze=[1, 0, 0], sieht=[0, 1, 0], hund=[0, 0, 5])


def test_a_pair_by_hand():
    source = _units(("cat", 3), ("sees", -1))
    target = _units(("katze", 0.5), ("sieht", 0.5))
    row = ccta_pairs(source, target, ENGLISH, GERMAN, **OPTIONS).row(0, named=True)
    assert row["score"] == pytest.approx(0.75), "min(.75, .5) + min(.25, .5)"
    assert row["null_uniform"] == pytest.approx(1)
    assert row["null_shuffled"] == pytest.approx(0.75), "equal weights cannot be shuffled"
    assert row["null_shuffled_sd"] == pytest.approx(0, abs=1e-12)
    assert (row["source_units"], row["target_units"], row["num_draws"]) == (2, 2, 4)
    assert (row["source_coverage"], row["target_coverage"], row["degenerate"]) == (1, 1, False)
    assert row["normalization"] == "abs"


def test_words_without_vectors_match_nothing_and_lower_the_coverage():
    source = _units(("cat", 1), ("zzz", 3))
    target = _units(("katze", 1), ("zzz", 1))
    row = ccta_pairs(source, target, ENGLISH, GERMAN, **OPTIONS).row(0, named=True)
    assert row["score"] == pytest.approx(0.25)
    assert row["source_coverage"] == pytest.approx(0.25)
    assert row["target_coverage"] == pytest.approx(0.5)


def test_a_language_without_any_vector_scores_0():
    row = ccta_pairs(_units(("cat", 1)), _units(("katze", 1)), ENGLISH, _vectors(), **OPTIONS).row(
        0, named=True
    )
    assert (row["score"], row["source_coverage"], row["target_coverage"]) == (0, 1, 0)


def test_zero_vectors_count_as_none():
    row = ccta_pairs(_units(("a", 1)), _units(("a", 1)), _vectors(a=[0, 0]), _vectors(a=[1, 0]), **OPTIONS)
    assert row["source_coverage"].to_list() == [0]


def test_the_same_text_scores_1_even_without_vectors():
    source = _units(("cat", 1), ("zzz", 2), ("qqq", 4))
    row = ccta_pairs(source, source, ENGLISH, ENGLISH, identical=True, **OPTIONS).row(0, named=True)
    assert (row["score"], row["null_uniform"]) == (1, 1)
    w = np.array([1, 2, 4]) / 7
    orders = permutations(key_of(0, "dev", "1", "lig"), 4, 3)
    expected = [np.minimum(w, w[order]).sum() for order in orders]
    assert row["null_shuffled"] == pytest.approx(np.mean(expected))
    assert row["source_coverage"] == pytest.approx(1 / 7)


def test_degenerate_sides_are_flagged():
    source, target = _units(("cat", -1), ("dog", -2)), _units(("katze", 1), ("hund", 0))
    frame = ccta_pairs(source, target, ENGLISH, GERMAN, **{**OPTIONS, "normalizations": ("relu", "abs")})
    assert frame.select("normalization", "score", "degenerate").rows() == [
        ("relu", 0.5, True),
        ("abs", pytest.approx(1 / 3), False),
    ]


def test_only_what_both_sides_have_is_paired():
    source = _units(("cat", 1, "1"), ("cat", 1, "2"), ("cat", 1, "3", "random"))
    target = _units(("katze", 1, "2"), ("katze", 1, "3", "lig"), ("katze", 1, "4"))
    frame = ccta_pairs(source, target, ENGLISH, GERMAN, **OPTIONS)
    assert frame["example_id"].to_list() == ["2"]


def test_no_pairs_at_all():
    frame = ccta_pairs(_units(("cat", 1, "1")), _units(("katze", 1, "2")), ENGLISH, GERMAN, **OPTIONS)
    full = ccta_pairs(_units(("cat", 1)), _units(("katze", 1)), ENGLISH, GERMAN, **OPTIONS)
    assert frame.height == 0
    assert frame.schema == full.schema


def test_shuffles_are_named_by_the_seed_the_split_the_example_and_the_method():
    """Each of the four changes them, and the normalisation does not."""
    words = [f"w{i}" for i in range(12)]
    known = _vectors(**{word: np.eye(12)[i].tolist() for i, word in enumerate(words)})

    def null(split="dev", example="1", method="lig", **options):
        units = _units(*((word, i + 1, example, method) for i, word in enumerate(words)))
        units = units.with_columns(split=pl.lit(split))
        return ccta_pairs(units, units, known, known, **{**OPTIONS, **options})["null_shuffled"].to_list()

    nulls = [null(), null(split="test"), null(example="2"), null(method="random"), null(seed=1)]
    assert len({value for (value,) in nulls}) == 5
    one, other = null(normalizations=("abs", "relu"))
    assert one == other == nulls[0][0]


def _random_pairs(examples=12):
    generator = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    known = _vectors(**{word: generator.normal(size=6).tolist() for word in words[:25]})
    rows = [
        (words[generator.integers(30)], generator.normal(), str(example), method)
        for example in range(examples)
        for method in ("lig", "random")
        for _ in range(generator.integers(1, 12))
    ]
    other = [(word, generator.normal(), example, method) for word, _, example, method in rows[:-1]]
    return _units(*rows), _units(*other), known


def test_agrees_with_one_pair_at_a_time_and_does_not_depend_on_the_order():
    source, target, known = _random_pairs()
    options = {**OPTIONS, "normalizations": ("abs", "softmax")}
    together = ccta_pairs(source, target, known, known, **options)
    shuffled = ccta_pairs(
        source.sample(fraction=1, shuffle=True, seed=1), target.reverse(), known, known, **options
    )
    assert together.equals(shuffled)
    for (example, method), one in together.group_by("example_id", "method"):
        mine = (pl.col("example_id") == example) & (pl.col("method") == method)
        alone = ccta_pairs(source.filter(mine), target.filter(mine), known, known, **options)
        assert alone.equals(one)
    assert together.height == 2 * 24


def test_methods_on_other_units_do_not_share_similarities():
    source = pl.concat([_units(("cat", 1), ("dog", 1)), _units(("dog", 1, "1", "random"))])
    target = pl.concat([_units(("katze", 1)), _units(("katze", 1, "1", "random"))])
    frame = ccta_pairs(source, target, ENGLISH, GERMAN, **OPTIONS)
    assert frame.select("method", "score", "source_units").rows() == [("lig", 0.5, 2), ("random", 0, 1)]


def test_symmetric_and_consistent_with_the_transport_module():
    source, target, known = _random_pairs()
    there = ccta_pairs(source, target, known, known, **OPTIONS)
    back = ccta_pairs(target, source, known, known, **OPTIONS)
    np.testing.assert_allclose(there["score"], back["score"], rtol=0, atol=1e-9)
    assert there["score"].is_between(0, 1).all()
    first = pl.col("example_id").eq("0") & pl.col("method").eq("lig")
    s, t = source.filter(first).sort("index"), target.filter(first).sort("index")
    rows = dict(known.rows.rows())
    similarity = np.array(
        [
            [known.matrix[rows.get(a, -1)] @ known.matrix[rows.get(b, -1)] for b in t["unit"]]
            for a in s["unit"]
        ]
    )
    weights = [np.abs(x["attribution"]) / np.abs(x["attribution"]).sum() for x in (s, t)]
    expected = consistency(*(w.to_numpy() for w in weights), similarity)
    assert there.filter(first)["score"].item() == pytest.approx(expected, abs=1e-9)


def _program(w_s, w_t, similarity):
    """max sum f sim, with sum_j f_ij <= w_si, sum_i f_ij <= w_tj and f >= 0, by HiGHS."""
    n, m = similarity.shape
    rows = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    return -linprog(-similarity.ravel(), A_ub=rows, b_ub=np.concatenate([w_s, w_t]), method="highs").fun


def test_scores_and_nulls_are_those_of_the_linear_program_in_double_precision():
    """From the stored vectors on: cosines in float64, the nulls' shuffles by seed, split, example and method alone."""
    generator = np.random.default_rng(4)
    words = [f"w{i}" for i in range(40)]
    raw = {word: generator.normal(size=300).astype(np.float32) for word in words}
    known = _vectors(**{word: vector.tolist() for word, vector in raw.items()})
    lengths = {(e, m): generator.integers(3, 9) for e in ("1", "2") for m in ("lig", "random")}
    sides = [
        _units(
            *(
                (words[generator.integers(40)], generator.normal(), *key)
                for key, n in lengths.items()
                for _ in range(n)
            )
        )
        for _ in range(2)
    ]
    options = {**OPTIONS, "normalizations": ("abs", "softmax"), "seed": "3\x1fnli"}
    found = ccta_pairs(*sides, known, known, **options)
    assert found.height == 8
    for row in found.iter_rows(named=True):
        mine = (pl.col("example_id") == row["example_id"]) & (pl.col("method") == row["method"])
        s, t = (side.filter(mine).sort("index") for side in sides)
        a, b = (np.array([raw[word] for word in x["unit"]], dtype=np.float64) for x in (s, t))
        cosines = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
        size = np.abs if row["normalization"] == "abs" else np.exp
        w_s, w_t = (size(x["attribution"].to_numpy()) for x in (s, t))
        w_s, w_t = w_s / w_s.sum(), w_t / w_t.sum()
        orders = permutations(key_of("3\x1fnli", "dev", row["example_id"], row["method"]), 4, len(w_t))
        shuffled = [_program(w_s, w_t[order], cosines) for order in orders]
        expected = {
            "score": _program(w_s, w_t, cosines),
            "null_uniform": _program(
                np.full(len(w_s), 1 / len(w_s)), np.full(len(w_t), 1 / len(w_t)), cosines
            ),
            "null_shuffled": np.mean(shuffled),
            "null_shuffled_sd": np.std(shuffled, ddof=1),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9, rel=0)


def test_spaces_of_other_width_are_refused():
    with pytest.raises(CorpusError, match="3 and 2 dimensions"):
        ccta_pairs(_units(("cat", 1)), _units(("a", 1)), ENGLISH, _vectors(a=[1, 2]), **OPTIONS)
    with pytest.raises(CorpusError, match="different lengths: 1, 2"):
        _vectors(a=[1], b=[1, 2])


def _tokens(*rows):
    frame = pl.DataFrame(rows, schema=["position", "word_index", "word", "token", "is_special"], orient="row")
    return frame.with_columns(
        pl.col("word").cast(pl.String), split=pl.lit("dev"), example_id=pl.lit("1")
    ).lazy()


TOKENS = _tokens(
    (0, None, None, "<s>", True),
    (1, 0, "katze", "▁kat", False),
    (2, 0, "katze", "ze", False),
    (3, None, None, "▁", False),
    (4, 1, "sieht", "sieht", False),
    (5, None, None, "</s>", True),
)
ATTRIBUTIONS = pl.DataFrame(
    {
        "split": "dev",
        "example_id": "1",
        "position": list(range(6)) * 2,
        "method": ["lig"] * 12,
        "target": ["yes"] * 6 + ["no"] * 6,
        "attribution": [9.0, 1.0, -0.25, 9.0, 0.5, 9.0, 9.0, 0.0, 2.0, 9.0, -1.0, 9.0],
    },
    schema_overrides={"attribution": pl.Float32},
).lazy()


def test_words_are_sums_of_their_sub_tokens():
    units = unit_attributions(TOKENS, ATTRIBUTIONS, "word").sort("target", "index")
    assert units.select("target", "index", "unit", "attribution").rows() == [
        ("no", 0, "katze", 2.0),
        ("no", 1, "sieht", -1.0),
        ("yes", 0, "katze", 0.75),
        ("yes", 1, "sieht", 0.5),
    ]


def test_sub_tokens_as_units():
    units = unit_attributions(TOKENS, ATTRIBUTIONS, "token").filter(pl.col("target") == "yes").sort("index")
    assert units.select("index", "unit", "attribution").rows() == [
        (1, "▁kat", 1.0),
        (2, "ze", -0.25),
        (4, "sieht", 0.5),
    ]


def test_only_the_explained_class_is_kept_under_the_pairs_name():
    units = unit_attributions(TOKENS, ATTRIBUTIONS, "word")
    classes = pl.DataFrame({"split": ["dev"], "example_id": ["1"], "target": ["yes"], "explained": ["no"]})
    kept = explained(units, classes)
    assert kept["target"].to_list() == ["yes", "yes"]
    assert kept.sort("index")["attribution"].to_list() == [2.0, -1.0]
    assert explained(units, classes.with_columns(example_id=pl.lit("2"))).is_empty()
