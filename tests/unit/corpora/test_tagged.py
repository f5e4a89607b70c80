"""UDPOS, PAN-X and CoNLL-U: sentences in blocks of lines."""

from __future__ import annotations

import pytest

from xlwh.errors import CorpusError

from .conftest import Read


def conllu(*words: str, comments: tuple[str, ...] = ()) -> str:
    lines = [*comments]
    for word in words:
        number, form, tag, *misc = word.split("/")
        lines.append("\t".join([number, form, "_", tag, "_", "_", "_", "_", "_", misc[0] if misc else "_"]))
    return "\n".join(lines) + "\n\n"


def test_udpos(read: Read) -> None:
    text = "The\tDET\ncat\tNOUN\n\n\n\nIt\tPRON\nsat\tVRB\n\nOn\tADP\textra\n\n\tDET\n\nOh\tINTJ\n\tDET\n\nMat\tNOUN"
    reading = read({"dev-en.tsv": text}, reader="udpos")
    assert reading.examples.select("example_id", "text", "words", "word_labels").rows() == [
        ("00000", "The cat", ["The", "cat"], ["DET", "NOUN"]),
        ("00005", "Mat", ["Mat"], ["NOUN"]),
    ]
    assert reading.rejected.select("row_number", "reason", "raw").rows() == [
        (1, "unknown tag `VRB`", "It\tPRON\nsat\tVRB"),
        (2, "3 columns instead of 2", "On\tADP\textra"),
        (3, "empty text", "\tDET"),
        (4, "empty token", "Oh\tINTJ\n\tDET"),
    ]


def test_a_broken_line_refuses_its_sentence_only(read: Read) -> None:
    reading = read({"dev-en.tsv": b"a\tDET\n\nb\tDET\ncaf\xe9\tNOUN\nc\0\tDET\n\nd\tDET\n"}, reader="udpos")
    assert reading.examples["text"].to_list() == ["a", "d"]
    assert reading.rejected.select("row_number", "reason", "raw").rows() == [
        (1, "not UTF-8", "b\tDET\ncaf\\xe9\tNOUN\nc\\x00\tDET")
    ]


def test_withheld_tags_are_null(read: Read) -> None:
    reading = read({"test-en.tsv": "a\nb\n\nc\tO\n\nd\n"}, reader="panx", split="test")
    assert reading.examples.select("words", "word_labels").rows() == [(["a", "b"], None), (["d"], None)]
    assert reading.rejected["reason"].to_list() == ["2 columns instead of 1"]


def test_panx_prefixes_are_cut_at_the_first_colon(read: Read) -> None:
    text = "en:Paris\tB-LOC\nen::\tO\nen:en:x\tO\n\nde:Rom\tB-LOC\n\nen:a\tB-MISC\n\nen:\tO\n"
    reading = read({"en/test": text}, reader="panx", split="test")
    assert reading.examples["words"].to_list() == [["Paris", ":", "en:x"]]
    assert reading.notes["prefix"] == "en:"
    assert list(reading.reasons()) == [
        "a token without the language prefix of the others",
        "unknown tag `B-MISC`",
        "empty text",
    ]


def test_panx_without_prefixes(read: Read) -> None:
    reading = read({"dev-en.tsv": "en:x\tO\nParis\tB-LOC\n!\tO\n"}, reader="panx")
    assert reading.examples["words"].to_list() == [["en:x", "Paris", "!"]]
    text = "en:x\tO\nParis\tB-LOC\n!\tO\n\nen:y\tO\n"
    forced = read({"dev-en.tsv": text}, reader="panx", options={"prefix": "yes"})
    assert forced.rejected.height == 1


def test_only_blank_lines(read: Read) -> None:
    for reader in ("udpos", "panx", "conllu"):
        with pytest.raises(CorpusError):
            read({"dev-en.tsv": "\n\n\n"}, reader=reader, path="dev-en.tsv")


def test_conllu_words_ranges_and_empty_nodes(read: Read) -> None:
    text = conllu(
        "1-2/im/_", "1/in/ADP", "2/dem/DET", "3/20 000/NUM/SpaceAfter=No", "3.1/x/VERB", "4/!/PUNCT",
        comments=("# newdoc", "# sent_id = s-1 ", "# text_en = no", "# text = im\u00a020 000!"),
    )  # fmt: skip
    text += conllu("1-2/im/_", "1/in/ADP", "2/dem/DET", "3/20 000/NUM/SpaceAfter=No", "4/!/PUNCT")
    reading = read({"de_x-ud-dev.conllu": text}, "de", reader="conllu")
    assert reading.examples.select("example_id", "text").rows() == [
        ("s-1", "im\u00a020 000!"),
        ("00001", "im 20 000!"),
    ]
    assert reading.examples["words"].to_list() == [["in", "dem", "20 000", "!"]] * 2
    assert reading.examples["word_labels"].to_list() == [["ADP", "DET", "NUM", "PUNCT"]] * 2


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (conllu("1/a/DET", "3/b/NOUN"), "word ids do not run 1, 2, ..."),
        (conllu("1/a/DET", "x/b/NOUN"), "word ids do not run 1, 2, ..."),
        (conllu("1/a/DET", "3-4/b/_"), "a multiword range that does not start at the next word"),
        (conllu("1/a/_"), "unknown tag `_`"),
        ("# sent_id = 1\n\n", "a sentence without words"),
        ("1\ta\tDET\n\n", "3 columns instead of 10"),
        (conllu("1//DET"), "empty text"),
        (conllu("1/a/DET", comments=("# sent_id = s",)), "the id occurs a second time"),
    ],
)
def test_conllu_refuses_sentences(read: Read, sentence: str, reason: str) -> None:
    good = conllu("1/a/DET", comments=("# sent_id = s",))
    reading = read({"UD_X/en_x-ud-dev.conllu": good + sentence}, reader="conllu")
    assert reading.examples["example_id"].to_list() == ["s"]
    assert reading.rejected.select("row_number", "reason").rows() == [(1, reason)]
