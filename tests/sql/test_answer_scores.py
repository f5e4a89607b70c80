"""Exact match and F1 of answers: SQuAD's and MLQA's own scripts, re-typed here, are the oracle."""

from __future__ import annotations

import collections
import re
import string
import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# The official functions of evaluate-v1.1.py.


def squad_normalize(answer: str) -> str:
    text = "".join(ch for ch in answer.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction: str, truth: str) -> float:
    one, other = squad_normalize(prediction).split(), squad_normalize(truth).split()
    same = sum((collections.Counter(one) & collections.Counter(other)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(one), same / len(other)
    return 2 * precision * recall / (precision + recall)


CASES = [
    ("en", "The Denver Broncos", "Denver Broncos"),
    ("en", "a theatre of the absurd!", "theatre of absurd"),
    ("en", "an-the", "anthe"),
    ("en", "“the” one", "one"),
    ("en", "twenty four", "twenty-four"),
    ("en", "to be or to be", "to be"),
    ("en", "“quoted”", "quoted"),
    ("en", "U.S.", "us"),
    ("en", "wrong", "right"),
    ("de", "die Universität", "Universität"),
    ("de", "DER Hund", "hund"),
    ("es", "los años 90", "años 90"),
    ("ar", "القاهرة", "قاهرة"),
    ("vi", "của Việt Nam", "Việt Nam"),
    ("ru", "в 1990 году", "1990"),
    ("zh", "北京大学", "北京"),
    ("th", "กรุงเทพ", "กรุง"),
    ("hi", "दिल्ली में", "दिल्ली"),
    ("el", "ο ναός", "ναός"),
    ("tr", "\u00a0on iki\u2003 ", "on iki"),
]


@pytest.fixture
def scores(connect):
    """scores([(language, predicted, [gold, ...])]): rows of answer_scores by (example, variant)."""

    def build(cases):
        shared = {"dataset": "qa", "split": "test", "task": "question_answering"}
        database = connect(
            predictions=[
                {"example_id": str(i), "language": language, "predicted": said, **shared}
                for i, (language, said, _) in enumerate(cases)
            ],
            examples=[
                {
                    "example_id": str(i),
                    "language": language,
                    "answers": [{"text": text, "start": 0} for text in gold],
                    **shared,
                }
                for i, (language, _, gold) in enumerate(cases)
            ],
        )
        rows = database.sql("select * from answer_scores").pl().rows(named=True)
        return {(int(row["example_id"]), row["variant"]): row for row in rows}, database

    return build


def test_paper_variant_is_squads_script(scores):
    found, _ = scores([(language, said, [gold]) for language, said, gold in CASES])
    for i, (_, said, gold) in enumerate(CASES):
        row = found[i, "paper"]
        assert row["exact_match"] == float(squad_normalize(said) == squad_normalize(gold)), (said, gold)
        assert row["f1"] == pytest.approx(squad_f1(said, gold)), (said, gold)


PIECES = (
    "a", "an", "the", "The", "AN", "theatre", "banana", "athe", "U.S.", "don't", "e-mail", "%", "“", "”", "…", "¿", "—",
    "$5", "€5", "_", "__the__", "北京", "กรุงเทพ", "ΟΔΟΣ", "οδος", "οδός", "ΣΑΣ'Σ", "İzmir", "i̇zmir", "izmir", "STRASSE",
    "straße", "1,000", "½", "²", "\u00a0", "\u2003", "\t", "\x1f", "\u200b", "é", "e\u0301", "the\u0301", "a١", "|", "`",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=6).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda between: between.join(pieces))
)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(cases=st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), min_size=30, max_size=30))
def test_any_answer_has_the_scores_of_squads_script(catalogue, cases):
    """Its functions over its best gold answer; a question without one has the empty one."""
    # The engine's tables of letters may be of another version of Unicode than Python's.
    cases = [
        ("".join(filter(known, said)), ["".join(filter(known, gold)) for gold in golds])
        for said, golds in cases
    ]
    rows = [(str(i), said, gold) for i, (said, golds) in enumerate(cases) for gold in golds or [""]]
    catalogue.register("given", pl.DataFrame(rows, schema=["id", "said", "gold"], orient="row").to_arrow())
    found = catalogue.sql(
        "select id, max((squad_words(said) = squad_words(gold))::int), max(squad_f1(squad_words(said), squad_words(gold))) "
        "from given group by id"
    ).fetchall()
    for i, exact, f1 in found:
        said, golds = cases[int(i)]
        expected = max(squad_normalize(said) == squad_normalize(gold) for gold in golds or [""])
        assert exact == expected, (said, golds)
        assert f1 == pytest.approx(max(squad_f1(said, gold) for gold in golds or [""])), (said, golds)


def known(letter: str) -> bool:
    """Not among the letters of alphabets that Unicode got after the engine's version (its names end here)."""
    return ord(letter) < 0x1123F and letter != "\x00"


def test_an_answer_of_punctuation_alone_scores_nothing_and_breaks_nothing(scores):
    """Wrong where there is an answer, and the same as a gold answer of which nothing is left."""
    found, database = scores(
        [
            ("en", "%", ["the dollar"]),
            ("en", "Paris", ["Paris"]),
            ("en", "%", ["%"]),
            ("en", "the", ["an"]),
            ("en", "", []),
        ]
    )
    values = [(row["exact_match"], row["f1"]) for row in (found[i, "paper"] for i in range(5))]
    assert values == [(0, 0), (1, 1), (1, 0), (1, 0), (1, 0)]
    values = [(row["exact_match"], row["f1"]) for row in (found[i, "strict"] for i in range(5))]
    assert values == [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1)]
    rows = database.sql("select variant, metric, value, n from task_scores order by all").fetchall()
    assert rows == [
        ("paper", "exact_match", 0.8, 5), ("paper", "f1", 0.2, 5), ("strict", "exact_match", 0.8, 5), ("strict", "f1", 0.8, 5),
    ]  # fmt: skip


def test_strict_variant_knows_other_languages(scores):
    found, _ = scores([(language, said, [gold]) for language, said, gold in CASES])
    exact = {i for i in range(len(CASES)) if found[i, "strict"]["exact_match"] == 1}
    by_text = {CASES[i][1] for i in exact}
    assert {
        "die Universität", "DER Hund", "los años 90", "القاهرة", "của Việt Nam", "“quoted”", "U.S.",
    } <= by_text  # fmt: skip
    assert "ο ναός" not in by_text
    f1 = {said: found[i, "strict"]["f1"] for i, (_, said, _) in enumerate(CASES)}
    assert f1["北京大学"] == pytest.approx(2 * 2 / (4 + 2))
    assert f1["กรุงเทพ"] == pytest.approx(2 * 4 / (7 + 4))
    assert f1["to be or to be"] == pytest.approx(2 * 2 / (5 + 2))


def test_the_best_gold_answer_counts(scores):
    found, database = scores([("en", "Denver", ["Carolina", "Denver Broncos", "Denver"]), ("en", "x", [])])
    assert found[0, "strict"]["exact_match"] == 1
    assert found[1, "strict"]["exact_match"] == found[1, "strict"]["f1"] == 0
    rows = database.sql(
        "select metric, value, n, num_classes, chance, interval from task_scores where variant = 'strict' order by metric"
    ).fetchall()
    assert rows == [("exact_match", 0.5, 2, None, None, "wilson"), ("f1", 0.5, 2, None, None, "jackknife")]


def test_composed_and_decomposed_spellings_are_one(scores):
    found, _ = scores([("vi", unicodedata.normalize("NFD", "Việt"), ["Việt"])])
    assert found[0, "strict"]["exact_match"] == 1
    assert found[0, "paper"]["exact_match"] == 0


def test_nothing_left_after_normalisation(scores):
    found, _ = scores([("en", "the", ["a"]), ("en", "the", ["dog"]), ("en", "?", ["dog"])])
    assert [found[i, "strict"]["f1"] for i in range(3)] == [1, 0, 0]
