"""Bilingual dictionaries in their five forms, made up and real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xlwh.corpora.dictionaries import DictionaryEntry, read_dictionary, read_entries
from xlwh.errors import CorpusError


@pytest.fixture
def write(tmp_path):
    def build(content: str | bytes) -> Path:
        path = tmp_path / "d.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return build


@pytest.mark.parametrize(
    "content",
    [
        "the\tder\nthe\tdie\nhouse\thaus\n",
        "the der\nthe  die\nhouse haus\r\n",
        "der @ the\ndie @ the\nhaus @ house\n",
    ],
)
def test_forms(write, content):
    read = read_dictionary(write(content))
    assert read.pairs == (("the", "der"), ("the", "die"), ("house", "haus"))
    assert (read.rows, read.duplicates) == (3, 0)


def test_entries_with_blanks_need_a_tab(write):
    assert read_dictionary(write("new york\tNueva York\n")).pairs == (("new york", "Nueva York"),)
    assert read_dictionary(write("Nueva York @ new york\n")).pairs == (("new york", "Nueva York"),)


def test_foreign_word_first(write):
    assert read_dictionary(write("haus\thouse\n"), foreign_first=True).pairs == (("house", "haus"),)
    assert read_dictionary(write("house @ haus\n"), foreign_first=True).pairs == (("house", "haus"),)


def test_duplicates_are_counted_and_kept_once(write):
    read = read_dictionary(write("\ufeffa\tb\n\na\tb\na\tc\n"))
    assert read.pairs == (("a", "b"), ("a", "c"))
    assert (read.rows, read.duplicates) == (3, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "holds no entries"),
        ("# English-German\nthe\tder\n", "line 1: a comment"),
        ("the\tder\n// nouns\nhouse\thaus\n", "line 2: a comment"),
        ("source\ttarget\nthe\tder\n", "line 1: names of columns"),
        ("English German\nthe der\n", "line 1: names of columns"),
        ("the\t23135851162\nof\t13151942776\n", "have no letter on one side"),
        ("A man saw the red ball.\tEin Mann sah den roten Ball.\n", "are sentences"),
        ("# a\t# b\n", None),
        ("a\tb\nc\n", "line 2"),
        ("a\tb\tc\n", "line 1"),
        ("a b c\n", "line 1"),
        ("b @ a\nc\td\n", "line 2"),
        ("b @ a\n@ a\n", "line 2"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_other_files_are_refused(write, content, message):
    if message is None:
        assert read_dictionary(write(content)).rows == 1
        return
    with pytest.raises(CorpusError, match=message):
        read_dictionary(write(content))


def test_missing_file(tmp_path):
    with pytest.raises(CorpusError, match="No dictionary"):
        read_dictionary(tmp_path / "none")


REAL = {
    "muse_hunalign/en-ar.dict": (33663, ("the", "the"), ("the", "ال")),
    "muse_hunalign/en-zh.dict": (39334, ("and", "和"), None),
    "muse_pos/en-de.5000-6500.n.txt": (1976, None, None),
    "muse_pos/de-en.5000-6500.n.txt": (1352, ("ursachen", "causes"), None),
    "muse_pos/en-es.5000-6500.o.txt": (3883, None, None),
    "muse_pos/hi-en.5000-6500.nw.txt": (347, None, None),
    "xling_eval/yacle.train.freq.5k.en-de.tsv": (5000, None, None),
    "xling_eval/yacle.test.freq.2k.en-fr.tsv": (2000, None, None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_dictionaries(shared, name):
    rows, first, second = REAL[name]
    read = read_dictionary(shared / "data" / "dictionaries" / name)
    assert read.rows == rows
    assert len(read.pairs) + read.duplicates == rows
    assert {first, second} - {None} <= set(read.pairs)


def test_real_duplicates(shared):
    read = read_dictionary(shared / "data/dictionaries/muse_pos/de-en.5000-6500.n.txt")
    assert read.duplicates == 26


def test_moses_lines_name_the_target_first_and_null_is_no_word(write):
    path = write("der the 0.6000000\nNULL the 0.1\ndie NULL 0.2\ndie the 0.3\n")
    assert read_entries(path) == [DictionaryEntry("the", "der", 0.6), DictionaryEntry("the", "die", 0.3)]
    assert read_dictionary(path).pairs == (("the", "der"), ("the", "die"))
    assert read_dictionary(path, foreign_first=True).pairs == (("der", "the"), ("die", "the"))


def test_counted_entries(write):
    path = write(
        "the -> der: Probability = 0.6, Count = 12\nnew york -> Nueva York: Probability = 1, Count = 3\n"
    )
    assert read_entries(path) == [
        DictionaryEntry("the", "der", 0.6, 12),
        DictionaryEntry("new york", "Nueva York", 1.0, 3),
    ]


def test_the_other_direction_has_no_probability(write):
    path = write("the -> der: Probability = 0.6, Count = 12\n")
    assert read_entries(path, swapped=True) == [DictionaryEntry("der", "the", None, 12)]
    assert read_entries(write("der @ the\n"), swapped=True) == [DictionaryEntry("der", "the")]


@pytest.mark.parametrize(
    "content",
    [
        "der the 0.6\ndie the 1.5\n",
        "der the 0.6\ndie the\n",
        "the -> der: Probability = 0.6, Count = 12\nthe -> die\n",
    ],
)
def test_other_forms_further_down_are_errors(write, content):
    with pytest.raises(CorpusError, match="line 2"):
        read_entries(write(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat Katze\na\0 b\n", "line 2: a NUL character"),
        ("cat, Katze\ndog, Hund\n", "every entry ends with `,` on one side"),
        ("cat;\tKatze\ndog;\tHund\n", "every entry ends with `;` on one side"),
        ("cat\tKatze|\ndog\tHund|\n", "every entry ends with `|` on one side"),
    ],
)
def test_marks_between_columns_are_no_part_of_words(write, content, message):
    with pytest.raises(CorpusError, match=re.escape(message)):
        read_dictionary(write(content))
