"""BLEU and chrF out of stored counts, against sacreBLEU on the whole corpus."""

from __future__ import annotations

import polars as pl
import pytest
from sacrebleu.metrics import BLEU, CHRF

from xlwh.models.translation_statistics import statistics

PAIRS = [
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("A dog runs through the high grass", "A dog is running through the tall grass."),
    ("Two men", "Two young men are standing outside near many bushes."),
    ("", "Somebody cooks."),
    (
        "A man in a green shirt holds a guitar, and sings.",
        "A man wearing a green shirt holds a guitar and sings.",
    ),
]
LOW = [("a b c d", "a x b y"), ("e f", "g h i"), ("a", "a")]
CHINESE = [("他说，妈妈，我回来了。", "他说：妈妈，我回来了！"), ("校车把他放下", "校车把他放下后")]


def rows(pairs: list[tuple[str, str]], language: str) -> list[dict[str, object]]:
    keys = pl.DataFrame(
        {
            "model": "m",
            "dataset": "d",
            "split": "dev",
            "language": language,
            "example_id": [str(i) for i in range(len(pairs))],
        }
    )
    outputs, references = ([pair[side] for pair in pairs] for side in (0, 1))
    return statistics(keys, outputs, references).to_dicts()


@pytest.mark.parametrize(
    ("pairs", "language", "tokenizer"),
    [
        (PAIRS, "en", "13a"),
        (PAIRS[:1], "en", "13a"),
        (LOW, "de", "13a"),
        ([("x", "y")], "de", "13a"),
        ([("", "y")], "de", "13a"),
        (CHINESE, "zh", "zh"),
    ],
)
def test_scores_are_sacrebleus(connect, pairs, language, tokenizer):
    database = connect(
        translation_statistics=rows(pairs, language),
        predictions=[
            {"example_id": str(i), "language": language, "task": "translation", "label": reference}
            for i, (_, reference) in enumerate(pairs)
        ],
    )
    found = dict(database.sql("select metric, value from task_scores where task = 'translation'").fetchall())
    outputs, references = ([pair[side] for pair in pairs] for side in (0, 1))
    bleu = BLEU(tokenize=tokenizer).corpus_score(outputs, [references]).score
    chrf = CHRF().corpus_score(outputs, [references]).score
    assert found == {"bleu": pytest.approx(bleu / 100, abs=1e-9), "chrf": pytest.approx(chrf / 100, abs=1e-9)}


def test_the_interval_holds_the_score_and_the_signature_is_shown(connect):
    database = connect(
        translation_statistics=rows(PAIRS * 20, "en"),
        predictions=[
            {"example_id": str(i), "task": "translation", "label": "x", "num_truncated": int(i == 0)}
            for i in range(100)
        ],
    )
    for metric, value, low, high, error, n, cut, signature in database.sql(
        "select metric, value, ci_low, ci_high, standard_error, n, num_truncated, signature from translation_scores"
    ).fetchall():
        assert low < value < high
        assert 0 < error < high - low
        assert (n, cut) == (100, 1)
        assert signature.startswith("nrefs:1|case:mixed|eff:")
        assert ("tok:13a" in signature) == (metric == "bleu")


def test_outputs_that_were_cut_are_counted(connect):
    database = connect(
        translation_statistics=rows(PAIRS, "en"),
        predictions=[
            *({"example_id": str(i), "task": "translation", "label": "x"} for i in range(len(PAIRS))),
            {"example_id": "class", "dataset": "nli", "label": "yes", "predicted": "yes", "logits": [1.0]},
        ],
        translations=[
            # The last one has no reference, so it is not scored.
            {"example_id": example_id, "num_written": 5, "max_tokens": 5, "is_cut": is_cut}
            for example_id, is_cut in (
                ("0", True),
                ("1", False),
                ("2", True),
                ("3", False),
                ("4", False),
                ("5", True),
            )
        ],
    )
    counted = (
        "select metric, num_cut_outputs from {} where metric in ('bleu', 'chrf', 'accuracy') order by all"
    )
    assert database.sql(counted.format("translation_scores")).fetchall() == [("bleu", 2), ("chrf", 2)]
    assert database.sql(counted.format("task_scores")).fetchall() == [
        ("accuracy", None),
        ("bleu", 2),
        ("chrf", 2),
    ]
    assert database.sql("select sum(is_cut::int), max(num_written) from translations").fetchall() == [(3, 5)]


def test_references_may_be_withheld(connect):
    database = connect(
        predictions=[{"example_id": "1", "task": "translation", "label": None, "predicted": "text"}]
    )
    assert database.sql("from task_scores").fetchall() == []
