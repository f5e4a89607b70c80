"""Vectors of the words of corpora, from a file, and how languages lie in a space of embeddings."""

from __future__ import annotations

import polars as pl

from xlwh.consistency.words import alignment_of, embedded, from_file, vocabulary
from xlwh.study import Space

TOKENS = pl.LazyFrame({"word": ["The", "cat", None, "cat", "zzz"]})


def test_words_of_a_file_under_the_spelling_that_it_has(tmp_path):
    path = tmp_path / "en.vec"
    path.write_text("the 1 0\ncat 0 1\nunasked 1 1\n")
    assert vocabulary(TOKENS) == ["The", "cat", "zzz"]
    rows, facts = from_file(TOKENS, path, "en", "space", 0.5)
    assert rows.rows() == [("The", "the", [1.0, 0.0]), ("cat", "cat", [0.0, 1.0])]
    assert (facts["asked"], facts["found"], facts["rows"], facts["dimension"]) == (3, 2, 3, 2)


def test_only_the_first_dictionary_and_a_languages_own_decide_how_it_lies():
    files = {"de": "de.txt", "es": "es.txt", "en": "en.txt"}
    space = Space(kind="input_embeddings", pivot="en", dictionaries=files, reversed_dictionaries=("es",))
    ways = {language: embedded(space, language, "word") for language in ("en", "de", "es", "fr")}
    assert {language: how.alignment for language, how in ways.items()} == {
        "en": "pivot",
        "de": "procrustes",
        "es": "procrustes",
        "fr": "none",
    }
    assert [how.dictionaries for how in ways.values()] == [("de",), ("de",), ("de", "es"), ("de",)]
    assert [how.foreign_first for how in ways.values()] == [(), (), ("es",), ()]
    assert alignment_of(Space(kind="vec", files={"en": "en.vec"}), "en") == "given"
