"""Lexica from aligned sentences and from files: probabilities, ranks, ties, case and the order of a file."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import xlwh.demo
from xlwh.concepts.lexicon import from_alignment, from_file, parallel_words, sentence_pairs
from xlwh.study import Aligner

SETTINGS = Aligner()


def rows(ranked, word):
    return ranked.frame.filter(pl.col("source_word") == word).drop("source_word").rows()


def test_relative_frequency_ranks_and_ties():
    source = [["House"]] * 2 + [["house"]] * 4
    target = [["Haus"], ["Bau"], ["Haus"], ["Haus"], ["bau"], ["Bau"]]
    made = from_alignment(list(zip(source, target, strict=True)), SETTINGS, n_best=2)
    assert (made.sentence_pairs, made.links, made.provenance) == (6, 6, "alignment of sentence pairs")
    assert rows(made, "House") == [("Bau", 0.5, 1, 1, 1), ("Haus", 0.5, 1, 2, 2)]
    # Two of three are kept; of the two with one link the first of the alphabet.
    assert rows(made, "house") == [("Haus", 0.5, 2, 1, 1), ("Bau", 0.25, 1, 2, 2)]


def test_least_count_comes_after_the_probability():
    made = from_alignment([(["a"], [each]) for each in "xxy"], SETTINGS, n_best=5, min_count=2)
    assert rows(made, "a") == [("x", pytest.approx(2 / 3), 2, 1, 1)]


def test_long_and_empty_sentences_are_left_out():
    made = from_alignment([(one, ["x"]) for one in (["a"], [], ["a"] * 5)], Aligner(max_words=3), n_best=5)
    assert made.sentence_pairs == 1
    assert from_alignment([], SETTINGS, n_best=5).frame.is_empty()


def test_case_of_the_alignment_and_of_the_words(tmp_path):
    source = [["The", "dog"], ["the", "dog"], ["THE", "cat"]]
    target = [["Der", "Hund"], ["der", "Hund"], ["DIE", "Katze"]]
    made = from_alignment(list(zip(source, target, strict=True)), SETTINGS, n_best=5)
    assert rows(made, "The")[0][0] == "Der"
    assert rows(made, "dog") == [("Hund", 1.0, 2, 1, 1)]


def test_file_without_numbers_is_in_its_own_order(tmp_path):
    (tmp_path / "d.txt").write_text("a\tz\na\ty\nb\tx\na\tz\na\tx\n")
    made = from_file(tmp_path / "d.txt", n_best=2)
    assert made.frame.rows() == [
        ("a", "z", None, None, 1, 1),
        ("a", "y", None, None, 2, 2),
        ("b", "x", None, None, 1, 1),
    ]
    assert made.provenance == "d.txt"


def test_file_with_numbers_has_two_orders(tmp_path):
    lines = [("x", 0.1, 1), ("z", 0.45, 3), ("y", 0.45, 4), ("w", 0.0, 0)]
    text = "".join(f"a -> {word}: Probability = {p}, Count = {c}\n" for word, p, c in lines)
    (tmp_path / "d.txt").write_text(text)
    made = from_file(tmp_path / "d.txt", n_best=1)
    # The best by probability (and count), and the first of the file.
    assert [row[1:] for row in made.frame.rows()] == [("y", 0.45, 4, 1, 3), ("x", 0.1, 1, 3, 1)]
    assert from_file(tmp_path / "d.txt", n_best=9, min_count=3).frame["target_word"].to_list() == ["y", "z"]
    swapped = from_file(tmp_path / "d.txt", n_best=9, swapped=True).frame
    assert swapped.filter(pl.col("source_word") == "z").rows() == [("z", "a", None, 3, 1, 1)]


def test_words_of_examples():
    frame = pl.DataFrame(
        {
            "language": ["en", "en", "zh"],
            "text": ["It isn't.", "a b", "我在家"],
            "text_pair": ["Yes!", None, None],
            "words": [None, ["a", "b c"], None],
            "word_spans": [None, [{"start": 0, "end": 1}, {"start": 2, "end": 3}], None],
        },
        schema={
            "language": pl.String,
            "text": pl.String,
            "text_pair": pl.String,
            "words": pl.List(pl.String),
            "word_spans": pl.List(pl.Struct({"start": pl.Int32, "end": pl.Int32})),
        },
    )
    *spaced, chinese = parallel_words(frame)
    assert spaced == [["It", "isn't", "."], ["Yes", "!"], ["a", "b c"]]
    assert "".join(chinese) == "我在家"
    assert len(chinese) > 1


@pytest.mark.parametrize(
    ("language", "least"), [("es", 0.9), ("de", 0.9), ("zh", 0.9), ("hi", 0.9), ("ar", 0.6)]
)
def test_best_translations_on_the_demo_are_those_of_its_dictionary(language, least):
    """Of words with five links or more; the dictionary is the grammar's own."""
    data = Path(xlwh.demo.__file__).parent / "data"
    rows = (data / "alignments" / f"dev.en-{language}.jsonl").read_text(encoding="utf-8").splitlines()
    sides = [side for row in map(json.loads, rows) for side in (row["premise"], row["hypothesis"])]
    made = from_alignment([(side["source"], side["target"]) for side in sides], Aligner(), n_best=10)
    gold = {
        tuple(line.split("\t"))
        for line in (data / "dictionaries" / f"en-{language}.txt").read_text(encoding="utf-8").splitlines()
    }
    best = made.frame.filter((pl.col("rank") == 1) & (pl.col("count") >= 5))
    right = [pair in gold for pair in best.select("source_word", "target_word").rows()]
    assert len(right) > 100
    assert sum(right) / len(right) > least


def test_sentences_that_translate_each_other():
    rows = [
        ("en", "1", "a cat", "a dog"),
        ("en", "2", "no pair", None),
        ("en", "3", "here", None),
        ("de", "3", "hier", None),
        ("de", "2", "kein Paar", "doch"),
        ("de", "1", "eine Katze", "ein Hund"),
    ]
    columns = ("language", "example_id", "text", "text_pair")
    examples = pl.DataFrame(rows, columns, orient="row").with_columns(words=pl.lit(None, pl.List(pl.String)))
    found = sentence_pairs(examples, "de", "en")
    assert sorted(found) == [
        (["ein", "Hund"], ["a", "dog"]),
        (["eine", "Katze"], ["a", "cat"]),
        (["hier"], ["here"]),
    ]
    both = examples.filter(language="en").head(1)
    assert sentence_pairs(both, "de", "en", "en") == [(["a", "dog"], ["a", "cat"])]
    assert sentence_pairs(both, "en", "de", "en") == [(["a", "cat"], ["a", "dog"])]
