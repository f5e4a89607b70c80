from __future__ import annotations

import io
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlwh.errors import CorpusError

from .conftest import Read

TABLE = pl.DataFrame({"s": ["good", "bad", 'odd, \n"so"'], "y": [1, 0, 1], "key": ["k1", "k2", "k3"]})


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dev-en.csv", TABLE.write_csv().encode()),
        ("dev.jsonl", TABLE.write_ndjson().encode()),
        ("en/dev.json", json.dumps(TABLE.to_dicts()).encode()),
        ("dev.en.parquet", parquet(TABLE.to_arrow())),
        ("dev-en.tsv", b's\ty\tkey\ngood\t1\tk1\nbad\t0\tk2\n"odd, ""so"""\t1\tk3\n'),
    ],
)
def test_every_format_gives_the_same_rows(read: Read, name: str, content: bytes) -> None:
    options = {"text": "s", "label": "y", "id": "key", "labels": {"0": "negative", "1": "positive"}}
    if name.endswith("tsv"):
        options["quoting"] = "csv"
    reading = read({name: content}, reader="text_classification", options=options)
    assert reading.examples.select("example_id", "label", "task").rows() == [
        ("k1", "positive", "sequence_classification"),
        ("k2", "negative", "sequence_classification"),
        ("k3", "positive", "sequence_classification"),
    ]
    assert reading.examples["text"][2].replace("\n", "") == 'odd, "so"'


def test_positions_without_a_header(read: Read) -> None:
    options = {"text": 1, "text_pair": 2, "label": 0}
    text = '1\t"a\tb"\n\n0\tc\n1\td\te'
    reading = read({"dev.tsv": text}, reader="text_classification", options=options)
    assert reading.examples.select("example_id", "text", "text_pair", "label", "task").rows() == [
        ("00000", '"a', 'b"', "1", "sentence_pair"),
        ("00003", "d", "e", "1", "sentence_pair"),
    ]
    assert reading.rejected.select("row_number", "reason").rows() == [
        (1, "empty line"),
        (2, "2 columns instead of 3"),
    ]


def test_json_lines_are_refused_one_by_one(read: Read) -> None:
    lines = [
        '{"s": "a", "y": true}',
        "{",
        "",
        "3",
        '{"s": 1}',
        '{"y": 1}',
        '{"s": "b", "y": 1.5}',
        '{"s": "c"}',
    ]
    lines += ['{"s": "d", "y": 2.0}', '{"s": "e", "y": ' + "9" * 5000 + "}", "[" * 100_000]
    reading = read(
        {"dev.jsonl": "\n".join(lines)}, reader="text_classification", options={"text": "s", "label": "y"}
    )
    assert reading.examples.select("text", "label").rows() == [("a", "true"), ("c", None), ("d", "2")]
    assert reading.rejected.select("row_number", "reason").rows() == [
        (1, "not JSON"),
        (2, "empty line"),
        (3, "not a JSON object"),
        (4, "no string `s`"),
        (5, "no string `s`"),
        (6, "no string or integer `y`"),
        (9, "not JSON"),
        (10, "not JSON"),
    ]


def test_parquet_strings_that_are_not_utf8(read: Read) -> None:
    bad = pa.array([b"good", b"caf\xe9", b"fine"]).cast(pa.binary()).view(pa.string())
    reading = read(
        {"dev.parquet": parquet(pa.table({"s": bad, "y": [1, 2, 3]}))},
        reader="text_classification",
        options={"text": "s", "label": "y"},
    )
    assert reading.examples["text"].to_list() == ["good", "fine"]
    assert reading.rejected.select("row_number", "reason", "raw").rows() == [(1, "not UTF-8", "caf\\xe9")]


def test_positions_count_through_a_header_that_is_said_to_be_there(read: Read) -> None:
    options = {"header": True, "text": 1, "label": 0}
    reading = read({"dev.csv": "y,s\n1,a\n"}, reader="text_classification", options=options)
    assert reading.examples.select("example_id", "text", "label").rows() == [("00000", "a", "1")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dev.tsv", "a\tb\n1\t2\n", r"no column `s`; there are: a, b.*datasets\.d\.options"),
        ("dev.tsv", "s\ts\n1\t2\n", "a name occurs twice"),
        ("dev.tsv", b"\xff\n1\n", "line 1 is no header: not UTF-8"),
        ("dev.csv", '"s\nt",b\n1,2\n', "a name spans lines"),
        ("dev.csv", "s\n", "no records"),
        ("dev.json", '{"s": 1}', "neither a JSON array nor"),
        ("dev.parquet", "PAR1", "not a readable Parquet file"),
    ],
)
def test_what_is_no_table(read: Read, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read({name: content}, reader="text_classification", options={"text": "s"})


@pytest.mark.parametrize(
    "ids", ["ha_train_{:05d}", "n/118200.{}", "sw-{}", "GEN_{}"], ids=["names", "paths", "dashes", "capitals"]
)
def test_ids_are_no_text(read: Read, ids: str) -> None:
    rows = "".join(f"{ids.format(n)}\tsome text {n}\t{n % 2}\n" for n in range(12))
    options = {"text": 0, "label": 2}
    with pytest.raises(CorpusError, match=r"the text of 12 of 12 rows is an id"):
        read({"dev.tsv": rows}, reader="text_classification", options=options)
    with pytest.raises(CorpusError, match=r"the second text of 12 of 12 rows is an id"):
        read({"dev.tsv": rows}, reader="text_classification", options={"text": 1, "text_pair": 0})
    assert (
        read({"dev.tsv": rows}, reader="text_classification", options={"text": 1, "label": 2}).records == 12
    )


@pytest.mark.parametrize("other", ["positive ", "Positive", " POSITIVE", "positive\u00a0"])
def test_labels_that_only_look_like_two_are_refused(read: Read, other: str) -> None:
    rows = "good text\tpositive\nbad text\tnegative\nfine text\t" + other + "\n"
    options: dict[str, object] = {"text": 0, "label": 1}
    with pytest.raises(CorpusError, match="one class would be counted as two"):
        read({"dev.tsv": rows}, reader="text_classification", options=options)
    options["labels"] = {"positive": "positive", other: "positive", "negative": "negative"}
    labels = read({"dev.tsv": rows}, reader="text_classification", options=options).examples["label"]
    assert labels.to_list() == ["positive", "negative", "positive"]


@pytest.mark.parametrize("marks", ["\ufeff", "\ufeff\ufeff"])
def test_byte_order_marks_are_no_text(read: Read, marks: str) -> None:
    found = read({"dev.tsv": marks + "a text\t1\n"}, reader="text_classification", options={"text": 0})
    assert found.examples["text"].to_list() == ["a text"]


@pytest.mark.parametrize("withheld", [None, -1])
def test_labels_that_are_withheld(read: Read, withheld: int | None) -> None:
    content = "\n".join(json.dumps({"s": f"a text {n}", "y": withheld}) for n in range(3))
    options = {"text": "s", "label": "y"}
    with pytest.raises(CorpusError, match="no row has a label"):
        read({"dev.jsonl": content}, reader="text_classification", options=options)
    tested = read({"test.jsonl": content}, split="test", reader="text_classification", options=options)
    assert tested.examples["label"].to_list() == [None] * 3
    assert tested.notes["labels"] == "withheld"
    # Among other classes, -1 is one of them.
    mixed = content + '\n{"s": "good", "y": 1}'
    labels = read({"dev.jsonl": mixed}, reader="text_classification", options=options).examples["label"]
    assert labels[0] == (None if withheld is None else "-1")


def test_one_text_in_all_rows_is_no_text(read: Read) -> None:
    rows = "".join(f"nan,{n},{n % 2}\n" for n in range(12))
    options = {"text": 0, "label": 2}
    with pytest.raises(CorpusError, match=r"all 12 rows have the same text \('nan'\)"):
        read({"dev.csv": rows}, reader="text_classification", options=options)
    pairs = "".join(f"one premise\tsome hypothesis {n}\t{n % 2}\n" for n in range(12))
    assert read({"dev.tsv": pairs}, reader="text_classification", options={**options, "text_pair": 1}).records


@pytest.mark.parametrize("text", ["Das sch\ufffdne Buch {}", "Das schÃ¶ne Buch {}"])
def test_characters_that_a_conversion_lost(read: Read, text: str) -> None:
    rows = [f"{text.format(n)}\t{n % 2}\n" for n in range(12)]
    options = {"text": 0, "label": 1}
    with pytest.raises(CorpusError, match="lost in a conversion"):
        read({"dev.tsv": "".join(rows)}, reader="text_classification", options=options)
    # A damaged row now and then is the source's own.
    few = rows[:2] + [f"Das schöne Buch {n}\t{n % 2}\n" for n in range(10)]
    assert read({"dev.tsv": "".join(few)}, reader="text_classification", options=options).records == 12


def test_a_key_that_occurs_twice_is_not_overwritten(read: Read) -> None:
    line = '{"s": "one", "s": "two"}'
    options = {"text": "s"}
    found = read({"dev.jsonl": line + '\n{"s": "a text"}\n'}, reader="text_classification", options=options)
    assert found.rejected.select("row_number", "reason").rows() == [(0, "the key `s` occurs twice")]
    with pytest.raises(CorpusError, match="the key `s` occurs twice"):
        read({"dev.json": f"[{line}]"}, reader="text_classification", options=options, path="dev.json")


def test_a_header_in_quotes_is_told(read: Read) -> None:
    rows = {"dev.tsv": '"s"\t"y"\n"a text"\t"1"\n'}
    with pytest.raises(CorpusError, match='quoting = "csv"` takes the quotes off'):
        read(rows, reader="text_classification", options={"text": "s", "label": "y"})
    options = {"text": "s", "label": "y", "quoting": "csv"}
    assert read(rows, reader="text_classification", options=options).examples["text"].to_list() == ["a text"]
