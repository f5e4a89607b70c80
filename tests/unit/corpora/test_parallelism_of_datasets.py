"""The rows of `parallelism` of a whole dataset, and the words in which it is refused."""

from __future__ import annotations

import random

import polars as pl
import pytest

from xlwh.corpora import Reading
from xlwh.corpora.parallelism import Compared, refuse_faults, refuse_joining, refused, verdicts
from xlwh.errors import CorpusError

NUMBERS = [random.Random(0).randrange(10**6) + n for n in range(60)]


def texts(language: str) -> list[str]:
    return [f"{language} {number} {language * (number % 40)}" for number in NUMBERS]


def reading(first: list[str], second: list[str] | None = None, files: int = 1) -> Reading:
    frame = pl.DataFrame(
        {
            "example_id": [f"{n:05d}" for n in range(len(first))],
            "text": first,
            "text_pair": second,
            "label": None,
        },
        schema_overrides={"text_pair": pl.String, "label": pl.String},
    )
    return Reading(frame, pl.DataFrame(), frame.height, files=("f",) * files)


def rows(*readings: Reading, pivot: str | None = None, aligned: str = "checked") -> pl.DataFrame:
    languages = ("en", "de", "es") if pivot is None else ("de", "es")
    compared = Compared("dev", languages[: len(readings)], pivot, True, aligned)
    return verdicts("d", compared, iter(readings))


def test_each_language_is_compared_with_the_first_one():
    found = rows(reading(texts("en")), reading(texts("de")), reading(texts("es")))
    columns = ("dataset", "split", "source_language", "target_language", "joined_by", "source_rows")
    assert found.select(*columns, "verdict", "is_refused").rows() == [
        ("d", "dev", "en", "de", "row", 60, "parallel", False),
        ("d", "dev", "en", "es", "row", 60, "parallel", False),
    ]
    refuse_faults("d", found)
    refuse_joining("d", [])


@pytest.mark.parametrize(("files", "joined_by"), [(1, "pair"), (2, "row")])
def test_halves_of_rows_are_compared(files, joined_by):
    found = rows(reading(texts("en"), texts("de"), files), reading(texts("en"), texts("en")), pivot="en")
    assert found["joined_by"].to_list() == [joined_by, "pair"]
    assert found["verdict"].to_list() == ["parallel", "differs"]
    assert found["reason"].to_list() == [
        None,
        "60 of 60 texts are those of `en`, so it is one language twice",
    ]


def test_faults_are_refused_with_their_place_unless_the_study_lets_them_pass():
    shorter = texts("de")[:23] + texts("de")[24:]
    found = rows(reading(texts("en")), reading(shorter))
    assert refused(found).height == 1
    with pytest.raises(CorpusError, match=r"`de` differs from `en` from row 2[234] on \(id 0002[234]\)"):
        refuse_faults("d", found)
    with pytest.raises(CorpusError, match="would be joined that are not translations"):
        refuse_joining("d", found.iter_rows(named=True))
    passed = rows(reading(texts("en")), reading(shorter), aligned="unchecked")
    assert passed["verdict"].to_list() == ["differs"]
    refuse_faults("d", passed)


def test_a_file_that_all_others_differ_from_is_suspected():
    shorter = texts("en")[:30] + texts("en")[31:]
    found = rows(reading(shorter), reading(texts("de")), reading(texts("es")))
    with pytest.raises(CorpusError, match="All differ from `en` there"):
        refuse_faults("d", found)
