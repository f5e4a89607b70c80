"""Languages that are joined by row: planted faults are found with their row, and whole data raise no alarm."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from xlwh import corpora
from xlwh.corpora.parallelism import FAULTS, Audit, Side, audit, halves, sides, units_of

from .conftest import study_of

Rows = list[tuple[tuple[str | None, ...], str | None]]

XNLI = ("ar", "de", "es", "fr", "hi", "ru", "sw", "th", "tr", "zh")
PAWSX = ("de", "es", "fr", "ja", "ko", "zh")
NEAR = 3
"""Rows by which the place that is told may be off."""


# Faults


def delete(rows: Rows, rng: random.Random) -> Rows:
    at = rng.randrange(len(rows))
    return rows[:at] + rows[at + 1 :]


def delete_some(rows: Rows, rng: random.Random) -> Rows:
    n = rng.randint(2, max(2, min(25, len(rows) // 4)))
    at = rng.randrange(len(rows) - n)
    return rows[:at] + rows[at + n :]


def insert(rows: Rows, rng: random.Random) -> Rows:
    at = rng.randrange(len(rows))
    return [*rows[:at], rng.choice(rows), *rows[at:]]


def duplicate(rows: Rows, rng: random.Random) -> Rows:
    at = rng.randrange(len(rows))
    return [*rows[: at + 1], *rows[at:]]


def truncate(rows: Rows, rng: random.Random) -> Rows:
    return rows[: len(rows) - rng.randint(1, max(1, len(rows) // 10))]


def move_one(rows: Rows, rng: random.Random) -> Rows:
    at, n = rng.randrange(len(rows)), len(rows)
    left = rows[:at] + rows[at + 1 :]
    to = (at + rng.randint(n // 4, 3 * n // 4)) % n
    return [*left[:to], rows[at], *left[to:]]


def move_some(rows: Rows, rng: random.Random) -> Rows:
    n = rng.randint(2, max(2, min(80, len(rows) // 5)))
    at = rng.randrange(len(rows) - n)
    left = rows[:at] + rows[at + n :]
    to = rng.choice([place for place in range(len(left)) if place != at])
    return left[:to] + rows[at : at + n] + left[to:]


def rotate(rows: Rows, rng: random.Random) -> Rows:
    return rows[1:] + rows[:1]


def shuffle(rows: Rows, rng: random.Random) -> Rows:
    return rng.sample(rows, len(rows))


def shuffle_some(rows: Rows, rng: random.Random) -> Rows:
    n = max(8, len(rows) // 10)
    at = rng.randrange(len(rows) - n)
    return rows[:at] + rng.sample(rows[at : at + n], n) + rows[at + n :]


def swap(rows: Rows, rng: random.Random) -> Rows:
    one, n = rng.randrange(len(rows)), len(rows)
    return _exchanged(rows, one, (one + rng.randint(n // 4, 3 * n // 4)) % n)


def swap_neighbours(rows: Rows, rng: random.Random) -> Rows:
    one = rng.randrange(len(rows) - 1)
    return _exchanged(rows, one, one + 1)


def _exchanged(rows: Rows, one: int, other: int) -> Rows:
    new = list(rows)
    new[one], new[other] = new[other], new[one]
    return new


EXCHANGES = (swap, swap_neighbours)
FAULTY = (
    delete, delete_some, insert, duplicate, truncate, move_one, move_some, rotate, shuffle, shuffle_some, *EXCHANGES
)  # fmt: skip


# Data


@pytest.fixture(scope="session")
def rows_of(shared: Path) -> Callable[[str, str], Rows]:
    """All rows of one language of real data."""

    @cache
    def rows_of(name: str, language: str) -> Rows:
        study = study_of(shared / "data", [language], reader=name, path=f"{name}/{'xtreme'}")
        reading = corpora.read_all(study, "d", language)
        side, _, _, by_id = sides(reading.examples, reading.examples, (reading.records, reading.records))
        assert not by_id
        return list(zip(zip(*side.texts, strict=True), side.labels, strict=True))

    return rows_of


def side_of(rows: Rows) -> Side:
    return Side(tuple(zip(*(texts for texts, _ in rows), strict=True)), tuple(label for _, label in rows))


def parallel(
    rows_of: Callable[[str, str], Rows], rng: random.Random, n: int | None
) -> tuple[Rows, Rows, str]:
    """The same rows of English and another language: all, or `n` that follow one another."""
    name = rng.choice(["xnli", "pawsx"])
    language = rng.choice(XNLI if name == "xnli" else PAWSX)
    one, other = rows_of(name, "en"), rows_of(name, language)
    if n is not None:
        begin = rng.randrange(0, len(one) - n, 3)
        one, other = one[begin : begin + n], other[begin : begin + n]
    return one, other, f"{name} {language}"


def planted(
    rows_of: Callable[[str, str], Rows], count: int, n: int | None, kinds=FAULTY
) -> Iterator[tuple[str, int, Audit]]:
    """Faults of all kinds in turn, in random languages at random places: what it is, its first row, what was found."""
    for number in range(count):
        kind = kinds[number % len(kinds)]
        rng = random.Random(f"{kind.__name__} {number} {n}")
        one, other, what = parallel(rows_of, rng, n)
        in_english = rng.random() < 0.3
        whole = one if in_english else other
        faulty = kind(whole, rng)
        first = next(
            (i for i, (a, b) in enumerate(zip(whole, faulty, strict=False)) if a != b),
            min(len(whole), len(faulty)),
        )
        if len(faulty) == len(whole) and first == len(whole):
            continue  # two rows that say the same have changed places
        if in_english:
            one = faulty
        else:
            other = faulty
        yield f"{kind.__name__} {number} of {what}", first, audit(side_of(one), side_of(other))


def missed(found: Iterator[tuple[str, int, Audit]]) -> tuple[list[str], int]:
    """Faults that were not found, or not where they begin; and how many there were."""
    wrong, count = [], 0
    for what, first, told in found:
        count += 1
        if told.verdict not in FAULTS:
            wrong.append(f"{what}: {told.verdict}, row {first}")
        elif told.first_divergence is None or abs(told.first_divergence - first) > NEAR:
            wrong.append(f"{what}: row {first}, told {told.first_divergence}: {told.reason}")
    return wrong, count


@pytest.mark.slow
def test_a_hundred_planted_faults_are_all_found_with_their_row(rows_of):
    wrong, count = missed(planted(rows_of, 108, None))
    assert count >= 100
    assert wrong == []


def test_planted_faults_of_each_kind(rows_of):
    wrong, count = missed(planted(rows_of, len(FAULTY), None))
    assert count == len(FAULTY)
    assert wrong == []


@pytest.mark.parametrize("n", [20, 60])
def test_faults_in_small_files(rows_of, n):
    """Where rows are many or missing all are found; of two that change places, nearly all: few words to tell by."""
    wrong, count = missed(
        planted(rows_of, 50, n, [kind for kind in FAULTY if kind not in (*EXCHANGES, shuffle_some)])
    )
    assert count == 50
    assert len(wrong) <= 2, wrong
    wrong, count = missed(planted(rows_of, 40, n, (*EXCHANGES, shuffle_some)))
    assert len(wrong) <= count // 8, wrong


@pytest.mark.parametrize("n", [20, 40, 150])
def test_whole_parts_raise_no_alarm(rows_of, n):
    for number in range(40):
        one, other, what = parallel(rows_of, random.Random(f"{number} {n}"), n)
        found = audit(side_of(one), side_of(other))
        assert found.verdict in ("parallel", "undecided"), (what, found)
        assert n < 40 or found.verdict == "parallel", (what, found)


def test_whole_files_raise_no_alarm(rows_of):
    for name, language in (("xnli", "th"), ("xnli", "fr"), ("pawsx", "de"), ("pawsx", "zh")):
        found = audit(side_of(rows_of(name, "en")), side_of(rows_of(name, language)))
        assert (found.verdict, found.label_agreement) == ("parallel", 1.0), (language, found)


# What is no fault


def lines(n: int, seed: int, first: str) -> Side:
    rng = np.random.default_rng(seed)
    return Side((tuple(f"{first} " + "word " * int(k) for k in rng.integers(2, 30, n)),), (None,) * n)


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")


def _aligned_pairs(shared: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Sentence pairs of the gold word alignments, one after the other: name, source, target."""
    folder = shared / "data" / "wordalign"
    for path in sorted(folder.glob("hansards_enfr/**/*.e")):
        yield str(path), _lines(path), _lines(path.with_suffix(".f"))
    for path in sorted(folder.glob("xlwa/*/*.tsv")):
        rows = [line.split("\t") for line in _lines(path)]
        yield str(path), [row[0] for row in rows], [row[1] for row in rows]
    for path in sorted(folder.glob("awesome_align/*.src-tgt")):
        rows = [line.split(" ||| ") for line in _lines(path)]
        yield str(path), [row[0] for row in rows], [row[1] for row in rows]
    for path in sorted(folder.glob("golden_collection/**/*.jsonl")):
        rows = [json.loads(line) for line in _lines(path)]
        yield (
            str(path),
            [" ".join(row["src_words"]) for row in rows],
            [" ".join(row["tgt_words"]) for row in rows],
        )
    rows = json.loads((folder / "enar_gold" / "gold_test.json").read_text("utf-8"))
    yield "enar_gold", [row["en"] for row in rows], [row["ar"] for row in rows]


def test_pairs_of_gold_alignments_raise_no_alarm(shared):
    names = []
    for name, first, second in _aligned_pairs(shared):
        names.append(name)
        a, b = (
            Side((tuple(text.strip() or None for text in side),), (None,) * len(side))
            for side in (first, second)
        )
        found = audit(a, b)
        assert found.verdict in ("parallel", "undecided"), (name, found)
    assert len(names) >= 15


def test_languages_that_have_nothing_to_do_with_each_other():
    one, other = lines(300, 1, "one"), lines(300, 2, "other")
    assert audit(one, other, translations=False).verdict == "unrelated"
    assert audit(one, other).verdict == "not_parallel"


def test_a_few_rows_are_too_little_to_tell_by():
    side = Side((("x1", "x2", "x3"),), (None,) * 3)
    assert audit(side, Side((("y1", "y2", "y3"),), (None,) * 3)).verdict in ("undecided", "parallel")
    assert audit(side, Side((("y1", "y2"),), (None,) * 2)).verdict == "differs"
    assert audit(side, Side((("y1", "y2"),), (None,) * 2), translations=False).verdict == "undecided"
    empty = Side(((None, None, None),), (None,) * 3)
    assert audit(side, empty).pairs == 0
    assert audit(Side(((),), ()), Side(((),), ())).verdict == "undecided"


def test_labels_that_differ_now_and_then_are_no_fault(rows_of):
    one, other = rows_of("pawsx", "en"), list(rows_of("pawsx", "de"))
    rng = random.Random(0)
    for at in rng.sample(range(len(other)), 32):
        texts, label = other[at]
        other[at] = texts, {"0": "1", "1": "0", None: None}[label]
    found = audit(side_of(one), side_of(other))
    assert found.verdict == "parallel"
    assert found.label_agreement == pytest.approx(1 - 32 / found.pairs, abs=0.002)


def test_a_few_mistakes_where_the_source_joins_the_rows_are_only_noted(rows_of):
    one, other = rows_of("xnli", "en")[::3], list(rows_of("xnli", "de")[::3])
    other[100], other[101], other[500] = other[101], other[500], other[100]
    assert audit(side_of(one), side_of(other)).verdict == "differs"
    found = audit(side_of(one), side_of(other), by_id=True)
    assert found.verdict == "parallel"
    assert found.odd_rows == 3
    assert "100, 101, 500" in found.reason


def test_ids_that_lie(rows_of):
    one, other = rows_of("xnli", "en"), rows_of("xnli", "de")
    shifted = other[:1000] + other[1001:] + other[1000:1001]
    found = audit(side_of(one), side_of(shifted), by_id=True)
    assert found.verdict == "differs"
    assert abs((found.first_divergence or 0) - 1000) <= NEAR


# From frames to sides


def frame(ids: list[str], **columns: list) -> pl.DataFrame:
    n = len(ids)
    return pl.DataFrame(
        {
            "example_id": ids,
            "text": [f"t{i}" for i in ids],
            "text_pair": [None] * n,
            "label": [None] * n,
            **columns,
        },
        schema=dict.fromkeys(("example_id", "text", "text_pair", "label"), pl.String),
    )


def test_rows_keep_their_places():
    a, b, ids, by_id = sides(frame(["00000", "00002"]), frame(["00001", "00002"]), (3, 4))
    assert not by_id
    assert a.texts == (("t00000", None, "t00002"),)
    assert b.texts == ((None, "t00001", "t00002", None),)
    assert ids[2] == "00002"


def test_ids_join_wherever_they_stand():
    _, b, ids, by_id = sides(frame(["x", "y", "z"]), frame(["z", "q", "x"]), (3, 3))
    assert by_id
    assert ids == ["x", "y", "z"]
    assert b.texts == (("tx", None, "tz"),)
    # A number that is no row of the file is an id.
    assert sides(frame(["70000"]), frame(["70000"]), (1, 1))[3]


def test_translations_in_one_row():
    a, b, ids = halves(frame(["a"], text_pair=["Text"]))
    assert (a.texts, b.texts, ids) == ((("ta",),), (("Text",),), ["a"])


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("In 1984, Orwell's", ["in", "#1984", "orwell"]),
        ("१९८४ ١٩٨٤", ["#1984", "#1984"]),
        ("Müller", ["muller"]),
        ("東京都", ["東京", "京都"]),
        ("한국", ["한국"]),
    ],
)
def test_units(text, units):
    assert list(units_of(text)) == units
