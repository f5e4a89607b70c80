"""Exact match and F1 of answers: SQuAD's and MLQA's own scripts, re-typed here, are the oracle."""

from __future__ import annotations

import collections
import re
import string
import unicodedata

import pytest

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
    assert rows == [("exact_match", 0.5, 2, None, None, "wilson"), ("f1", 0.5, 2, None, None, "bootstrap")]


def test_composed_and_decomposed_spellings_are_one(scores):
    found, _ = scores([("vi", unicodedata.normalize("NFD", "Việt"), ["Việt"])])
    assert found[0, "strict"]["exact_match"] == 1
    assert found[0, "paper"]["exact_match"] == 0


def test_nothing_left_after_normalisation(scores):
    found, _ = scores([("en", "the", ["a"]), ("en", "the", ["dog"]), ("en", "?", ["dog"])])
    assert [found[i, "strict"]["f1"] for i in range(3)] == [1, 0, 0]
