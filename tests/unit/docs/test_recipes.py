"""The recipes run as they stand, and their answers are those that the rows of `recipe_rows` must give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import recipe_rows
from scipy import stats

from xlwh.store import Warehouse
from xlwh.store.query import checked

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"\*\*(\d+)\. .*?```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with recipe_rows.build(tmp_path_factory.mktemp("filled")).connect() as opened:
        yield opened


def test_they_are_numbered():
    assert [int(number) for number, _ in RECIPES] == list(range(1, len(RECIPES) + 1))
    assert len(RECIPES) >= 20


ACCURACY = {language: right / 4 for language, right in recipe_rows.RIGHT.items()}
TARGETS = list(recipe_rows.CONSISTENCY)
# Of four languages in the same order twice: two of 24 orders are as far from none, that and the reverse.
LEAST_P = 2 / 24
EXPECTED = {
    1: (10, {"model": "m", "language": "de", "metric": "accuracy", "value": 0.5, "n": 4}),
    2: (4, {"target_language": "sw", "source_score": 1.0, "target_score": 0.0, "transfer_gap": 1.0}),
    3: (10, {"example_id": "3", "in_english": "yes", "language": "de", "predicted": "no", "label": "yes", "text": "de 3"}),
    4: (3, {"language": "de", "fertility": 3.0, "splitting_ratio": 1.0, "accuracy": 0.5}),
    5: (1, {"dataset": "xnli", "language": "de", "reason": "no text", "rows": 2, "example": "\t"}),
    6: (4, {"method": "lig", "target_language": "es", "score": 0.7, "excess_shuffled": 0.6, "n": 4, "num_unconverged": 0}),
    7: (6, {
        "model": "m", "measure": "score", "languages": 4, "spearman": 1.0, "p": LEAST_P,
        "pearson": stats.pearsonr(list(recipe_rows.CONSISTENCY.values()), [ACCURACY[x] for x in TARGETS]).statistic,
    }),
    8: (6, {"example_id": "1", "target_language": "fr", "score": 0.3, "null_shuffled": 0.1, "predicted": "yes"}),
    9: (1, {"language": "en", "word": "w", "occurrences": 5, "mean_size": 0.5, "mean": -0.5}),
    10: (1, {"model": "base", "examples": 2, "converged": 0.5, "median_error": 0.155, "gradient_rows": 30}),
    11: (8, {"model": "m", "language": "de", "method": "lig", "side": "comprehensiveness", "ratio": 1.5, "n": 1}),
    12: (2, {"multilingual_model": "base", "method": "lig", "n": 2, "disparity": 0.375, "p_value": 2 * stats.t.sf(3, 1)}),
    13: (24, {"origin": "measured", "multilingual_model": "m", "measure": "fertility", "n": 2}),
    14: (1, {"layer": 1, "source_language": "en", "target_language": "de", "score": 0.5, "null_lexicon": 0, "null_labels": 0}),
    15: (12, {"theta": 0.9, "n_best": 5, "min_types": 5, "score": 0.5}),
    16: (1, {"source_word": "cat", "target_word": "Katze", "rank": 1, "probability": 0.9, "matched": 6, "source_types": 6}),
    17: (1, {"base_model": "base", "role": "zero-shot", "metric": "calign", "languages": "en-de", "score": 0.5, "change": None}),
    18: (1, {"model": "m", "layer": 0, "head": 0, "languages": ["de", "en"], "mean_value": -1.0}),
    19: (1, {"mask_language": "en", "language": "de", "effect": 0.02, "effect_low": -0.1, "holm_p": 0.04}),
    20: (1, {"source_language": "de", "target_language": "en", "rho": 1.0, "rho_low": None, "rho_apart": 1.0, "ceiling": 1.0}),
    21: (2, {"language": "de", "head": 2, "n": 8, "value": 0.005}),
    22: (4, {"metric_a": "ccta", "metric_b": "transfer_gap", "n": 4, "spearman": -1.0, "p": LEAST_P, "holm_p": 4 * LEAST_P}),
    23: (5, {"target_language": "es", "transfer_gap": 0.25, "ccta_excess": 0.6, "calign_best": None}),
    24: (None, {"paper": "ccta", "table": "1", "language": "de", "published": 0.27, "measured": 0.5, "difference": 0.23}),
    25: (3, {"model": "m", "kind": "finetuned", "source": "base", "finetuned_languages": ["en"]}),
}  # fmt: skip
"""Of each recipe how many rows there are, and columns of one of them; None where it depends on the papers' tables."""


def matches(found, expected):
    return found == (pytest.approx(expected, abs=1e-9) if isinstance(expected, int | float) else expected)


@pytest.mark.parametrize(("number", "sql"), RECIPES)
def test_a_recipe_gives_the_rows_that_it_must(database, number, sql):
    rows = database.sql(checked(sql)).pl().rows(named=True)
    count, row = EXPECTED[int(number)]
    assert len(rows) == (count or len(rows))
    found = [each for each in rows if all(matches(each[name], value) for name, value in row.items())]
    assert found, (row, rows[:5])


def test_a_view_of_ones_own_is_one(tmp_path):
    [sql] = re.findall(r"```text\n(-- Share.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "agreement.sql").write_text(sql)
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    warehouse.adopt_sql(folder)
    assert warehouse.definitions().views["agreement"].key == ("model", "source_language", "target_language")
    assert warehouse.scan("agreement").collect().is_empty()
