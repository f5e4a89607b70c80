"""Where words stand in their texts: by what a source states, whatever else the text holds."""

from __future__ import annotations

import random

import polars as pl
import pytest

from xlwh.corpora import Reading
from xlwh.corpora.spans import aligned, column, disagreement, flaw, joined
from xlwh.tables import Examples

from .conftest import Read
from .test_tagged import conllu

PIECES = ["a", "ab", "b", "aa", "10 000", "e\u0301", "\U0001f469\u200d\U0001f680", "ß", "من", "c d"]
BLANKS = ["", " ", "\u00a0", "  ", "\u3000", "\t"]


def surfaces(reading: Reading, row: int = 0) -> list[tuple[str, str]]:
    """(word, what stands at its place) of one example."""
    text, words, spans = reading.examples.select("text", "words", "word_spans").row(row)
    return [(word, text[span["start"] : span["end"]]) for word, span in zip(words, spans, strict=True)]


def test_places_are_known_whatever_is_repeated() -> None:
    generator = random.Random(7)
    for _ in range(300):
        words = generator.choices(PIECES, k=generator.randint(1, 9))
        text, wanted = generator.choice(BLANKS), []
        for word in words:
            # The text may have other white space inside a word, or none.
            written = word.replace(" ", generator.choice(BLANKS))
            wanted.append((len(text), len(text) + len(written)))
            text += written + generator.choice(BLANKS)
        found = aligned(text, words)
        assert found == wanted
        assert flaw(text, words, found) == ""
        plain = " ".join(words)
        assert [plain[start:end] for start, end in joined(words)] == words
        assert aligned(text + "x", words) is None
        assert aligned(text, [*words, "x"]) is None


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("ab c", ["ab", "d"], "from character 3 on the text has `c`, the words `d`"),
        ("ab", ["ab", "d"], "from character 2 on the text has `nothing`, the words `d`"),
        ("ab cd", ["ab"], "from character 3 on the text has `cd`, the words `nothing`"),
    ],
)
def test_where_text_and_words_differ_is_told(text: str, words: list[str], told: str) -> None:
    assert disagreement(text, words) == told


@pytest.mark.parametrize(
    ("spans", "part"),
    [
        ([(0, 1)], "2 words but 1 places"),
        ([(0, 1), (2, 2)], "word 1 has no place in the text: 2 to 2 of 3"),
        ([(0, 1), (2, 4)], "word 1 has no place"),
        ([(-1, 1), (2, 3)], "word 0 has no place"),
        ([(2, 3), (0, 1)], "words 0 and 1 overlap"),
        ([(0, 2), (1, 3)], "words 0 and 1 overlap"),
        ([(0, 3), (0, 1)], "words 0 and 1 overlap"),
    ],
)
def test_places_that_cannot_be(spans: list[tuple[int, int]], part: str) -> None:
    assert part in flaw("a b", ["a", "b"], spans)
    assert flaw("a b", ["a", "b"], [(0, 3), (0, 3)]) == ""


def test_the_column_holds_what_it_was_given() -> None:
    rows = [[(0, 1), (2, 5)], None, [], [(3, 4)]]
    made = column(rows).to_list()
    assert made == [
        row and [{"start": a, "end": b} for a, b in row] if row is not None else None for row in rows
    ]
    assert column([None, None]).to_list() == [None, None]


MULTIWORD = {
    # (lines, comments) -> (word, what is written for it)
    "parts are not searched for": (
        ("1/Le/DET", "2/prix/NOUN", "3-4/du/_", "3/de/ADP", "4/le/DET", "5/pain/NOUN", "6/et/CCONJ", "7/le/DET", "8/sel/NOUN"),
        "Le prix du pain et le sel",
        [("Le", "Le"), ("prix", "prix"), ("de", "du"), ("le", "du"), ("pain", "pain"), ("et", "et"), ("le", "le"), ("sel", "sel")],
    ),
    "parts that make up the token have their own": (
        ("1-2/don't/_/SpaceAfter=No", "1/do/AUX", "2/n't/PART", "3/!/PUNCT"),
        "don't!",
        [("do", "do"), ("n't", "n't"), ("!", "!")],
    ),
    "another case is another form": (
        ("1-2/Don't/_/SpaceAfter=No", "1/do/AUX", "2/n't/PART", "3/!/PUNCT"),
        "Don't!",
        [("do", "Don't"), ("n't", "Don't"), ("!", "!")],
    ),
    "three words, an accent": (
        ("1-3/dámelo/_", "1/da/VERB", "2/me/PRON", "3/lo/PRON", "4/ya/ADV"),
        "dámelo ya",
        [("da", "dámelo"), ("me", "dámelo"), ("lo", "dámelo"), ("ya", "ya")],
    ),
    "spacing of the words of a range does not count": (
        ("1-2/zum/_", "1/zu/ADP/SpaceAfter=No", "2/dem/DET/SpaceAfter=No", "3/x/NOUN"),
        "zum x",
        [("zu", "zum"), ("dem", "zum"), ("x", "x")],
    ),
    "empty nodes are not written": (
        ("0.1/he/PRON", "1/a/DET", "1.1/a/DET", "2/b/NOUN/SpaceAfter=No", "3/b/NOUN"),
        "a bb",
        [("a", "a"), ("b", "b"), ("b", "b")],
    ),
    "forms with blanks": (
        ("1/20 000/NUM/SpaceAfter=No", "2/,/PUNCT", "3/New York/PROPN"),
        "20 000, New York",
        [("20 000", "20 000"), (",", ","), ("New York", "New York")],
    ),
    "UDPipe's spaces": (
        ("1/a/DET/SpacesAfter=\\s\\s", "2/b/NOUN/SpacesAfter=", "3/c/NOUN/SpacesAfter=\\p\\n", "4/d/NOUN/SpacesBefore=\\t", "5/1 000/NUM/SpacesInToken=1\\s\\s000|SpacesAfter=\\n"),
        "a  bc|\n\td 1  000",
        [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d"), ("1 000", "1  000")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("name", MULTIWORD)
def test_conllu_places(read: Read, name: str, stated: bool) -> None:
    lines, text, wanted = MULTIWORD[name]
    if stated and "\n" in text:
        pytest.skip("a comment is one line")
    comments = (f"# text = {text}",) if stated else ()
    reading = read({"fr_x-ud-dev.conllu": conllu(*lines, comments=comments)}, "fr", reader="conllu")
    assert reading.rejected.is_empty()
    assert reading.examples["text"].to_list() == [text]
    assert surfaces(reading) == wanted


def test_the_texts_own_spacing_counts(read: Read) -> None:
    lines = ("1/a/DET", "2-3/du/_", "2/de/ADP", "3/le/DET", "4/10 000/NUM", "5/a/DET")
    texts = ["a\u00a0du 10\u00a0000a", "adu 10000 a", " a  du  10 000  a "]
    content = "".join(conllu(*lines, comments=(f"# text = {text}",)) for text in texts)
    reading = read({"fr_x-ud-dev.conllu": content}, "fr", reader="conllu")
    assert reading.examples["text"].to_list() == texts
    for row, number in enumerate(("10\u00a0000", "10000", "10 000")):
        assert [written for _, written in surfaces(reading, row)] == ["a", "du", "du", number, "a"]


@pytest.mark.parametrize(
    ("lines", "comments", "reason"),
    [
        (("1/a/DET", "2/b/NOUN"), ("# text = a c",), "the forms are not the text of `# text`: from character 2 on"),
        (("1/a/DET", "2/b/NOUN"), ("# text = a b b",), "the forms are not the text"),
        (("1-2/ab/_", "1/a/DET", "2-3/bc/_", "2/b/NOUN", "3/c/NOUN"), (), "multiword ranges that overlap"),
        (("1-3/ab/_", "1/a/DET", "2/b/NOUN"), (), "a multiword range that ends past the last word"),
        (("1-2//_", "1/a/DET", "2/b/NOUN"), (), "a multiword range without a form"),
    ],
)  # fmt: skip
def test_conllu_that_contradicts_itself(
    read: Read, lines: tuple[str, ...], comments: tuple[str, ...], reason: str
) -> None:
    good = conllu("1/x/DET")
    reading = read({"en_x-ud-dev.conllu": good + conllu(*lines, comments=comments)}, reader="conllu")
    assert reading.examples.height == 1
    assert reading.rejected["reason"][0].startswith(reason)


def test_words_beside_a_text(read: Read) -> None:
    """Records that have both: the words are placed where the text has them, or the row is refused."""
    rows = [
        '{"s": "Don\\u2019t, don\\u2019t!", "t": ["Don\\u2019t", ",", "don\\u2019t", "!"]}',
        '{"s": "He said \\"no\\"", "t": ["He", "said", "``", "no", "\'\'"]}',
    ]
    options = {"text": "s", "words": "t"}
    reading = read({"validation.jsonl": "\n".join(rows)}, reader="hub", options=options)
    assert surfaces(reading) == [("Don’t", "Don’t"), (",", ","), ("don’t", "don’t"), ("!", "!")]
    assert [span["start"] for span in reading.examples["word_spans"][0]] == [0, 5, 7, 12]
    assert reading.rejected["reason"].to_list() == [
        "the words are not the text: from character 8 on the text has `\"no\"`, the words ```no''`"
    ]


@pytest.mark.parametrize(
    ("spans", "rule"),
    [
        ([(0, 2), (3, 4)], None),
        ([(0, 2), (0, 2)], None),
        (None, "spans_of_words"),
        ([(0, 2)], "spans_of_words"),
        ([(0, 2), (1, 3)], "spans_in_text"),
        ([(3, 4), (0, 2)], "spans_in_text"),
        ([(0, 2), (3, 5)], "spans_in_text"),
        ([(0, 0), (3, 4)], "spans_in_text"),
        ([(-1, 2), (3, 4)], "spans_in_text"),
    ],
)
def test_the_contract_knows_what_places_are(spans: list[tuple[int, int]] | None, rule: str | None) -> None:
    keys = {
        "dataset": "d",
        "split": "dev",
        "language": "en",
        "example_id": "1",
        "task": "token_classification",
    }
    row = {**keys, "text": "ab c", "words": ["ab", "c"], "source_file": "f", "row_number": 0}
    columns = Examples.create_empty().schema
    frame = pl.DataFrame([{name: row.get(name) for name in columns}], schema=columns)
    _, failure = Examples.filter(frame.with_columns(column([spans])))
    assert failure.counts() == ({rule: 1} if rule else {})
