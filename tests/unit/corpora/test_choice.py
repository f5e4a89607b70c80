"""The filter `where`, and mixtures of languages or splits that a column shows."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlwh.errors import CorpusError, StudyError

from .conftest import Read

LANGUAGES = ("de", "en", "fr")
ROWS = [
    {
        "s": f"{language} {split} text {i}",
        "y": "ab"[i % 2],
        "language": language,
        "partition": split,
        "year": 2000 + i % 3,
    }
    for language in LANGUAGES
    for split in ("train", "dev")
    for i in range(4)
]


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), out)
    return out.getvalue()


def delimited(rows: Sequence[Mapping[str, Any]], sep: str) -> str:
    return "".join(sep.join(map(str, row)) + "\n" for row in (list(rows[0]), *(row.values() for row in rows)))


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES = {
    "data.tsv": delimited(ROWS, "\t"),
    "data.csv": delimited(ROWS, ","),
    "data.jsonl": lines(ROWS),
    "data.json": json.dumps(ROWS),
    "data.parquet": parquet(ROWS),
}
BOTH = {"language": "{language}", "partition": "{split}"}


@pytest.mark.parametrize("reader", ["text_classification", "hub"])
@pytest.mark.parametrize("name", FILES)
class TestEveryFormat:
    def read(
        self,
        read: Read,
        reader: str,
        name: str,
        where: Mapping[str, Any],
        language: str = "de",
        split: str = "dev",
    ) -> Any:
        options = {"text": "s", "label": "y", "file": name, "splits": {}, "where": where}
        return read({name: FILES[name]}, language, LANGUAGES, reader=reader, split=split, options=options)

    def test_rows_are_chosen_and_numbered_alike_in_every_language(
        self, read: Read, reader: str, name: str
    ) -> None:
        for language in LANGUAGES:
            reading = self.read(read, reader, name, BOTH, language)
            assert reading.examples["text"].to_list() == [f"{language} dev text {i}" for i in range(4)]
            assert reading.examples["example_id"].to_list() == [f"0000{i}" for i in range(4)]
            assert (reading.records, reading.elsewhere) == (4, 20)

    def test_lists_and_numbers(self, read: Read, reader: str, name: str) -> None:
        assert self.read(read, reader, name, {**BOTH, "partition": ["{split}", "train"]}).examples.height == 8
        reading = self.read(read, reader, name, {**BOTH, "year": 2000})
        assert reading.examples["text"].to_list() == ["de dev text 0", "de dev text 3"]

    def test_what_is_not_there(self, read: Read, reader: str, name: str) -> None:
        with pytest.raises(CorpusError, match=r"`lang`.*there are: s, y, language, partition, year") as error:
            self.read(read, reader, name, {"lang": "{language}"})
        assert "`datasets.d.options.where`" in str(error.value)
        with pytest.raises(CorpusError) as error:
            self.read(read, reader, name, BOTH, split="test")
        assert "matches none of 24 rows: `partition` is never 'test' but 'train' (12), 'dev' (12)" in str(
            error.value
        )
        with pytest.raises(CorpusError, match="`language` is never 'dex' or 'xx'"):
            self.read(read, reader, name, {"language": ["xx", "{language}x"]})

    def test_mixtures_are_refused(self, read: Read, reader: str, name: str) -> None:
        with pytest.raises(CorpusError, match=r"would be read as each of de, en, fr.*options\.where"):
            self.read(read, reader, name, {})
        with pytest.raises(CorpusError) as error:
            self.read(read, reader, name, {"language": "{language}"})
        assert "as split `dev`, but its column `partition` holds 'train' (4), 'dev' (4)" in str(error.value)
        assert 'where = { partition = "{split}" }' in str(error.value)
        options = {"text": "s", "file": name, "splits": {}, "where": {"partition": "{split}"}}
        with pytest.raises(CorpusError) as error:
            read({name: FILES[name]}, "de", reader=reader, options=options)
        assert "as language `de`, but its column `language` holds 'de' (4), 'en' (4), 'fr' (4)" in str(
            error.value
        )
        assert 'where = { language = "{language}" }' in str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "asked", "split"),
    [
        ("language", ["de", "en"], "de", "dev"),
        ("Lang", ["en", "en"], "de", "dev"),
        ("locale", ["de-DE", "fr-FR"], "de", "dev"),
        ("locale", ["zh-CN", "zh-TW"], "zh", "dev"),
        ("lang_code", ["fra", "fra"], "de", "dev"),
        ("Language", ["German", "English"], "de", "dev"),
        ("split_name", ["dev", "test"], "de", "dev"),
        # Whatever the column is called, where its values say what it is.
        ("usage", ["train", "dev"], "de", "dev"),
        ("data_type", ["Test", "Test"], "de", "dev"),
        ("lg", ["de", "en"], "de", "dev"),
        ("iso639-3", ["deu", "eng"], "de", "dev"),
        ("of", ["de_DE", "fr_FR"], "de", "dev"),
        ("split", ["train", "dev"], "de", "dev"),
        ("split", ["test", "test"], "de", "dev"),
        ("partition", ["train", "test"], "de", "train"),
        ("set", ["A", "B"], "de", "dev"),
        ("fold", [1, 2], "de", "dev"),
    ],
)
def test_a_column_that_says_otherwise(
    read: Read, column: str, values: list[Any], asked: str, split: str
) -> None:
    rows = [{"s": "one text", column: values[0]}, {"s": "another", column: values[1]}]
    options = {"text": "s", "splits": {}}
    with pytest.raises(
        CorpusError,
        match=rf"column `{column}` holds {values[0]!r}.*where = \{{ {column} = ".replace(
            "holds 1", "holds '1'"
        ),
    ):
        read(
            {f"{split}.jsonl": lines(rows)}, asked, reader="text_classification", split=split, options=options
        )
    # Said in the study, it is a choice.
    options["where"] = {column: values}
    assert (
        read(
            {f"{split}.jsonl": lines(rows)}, asked, reader="text_classification", split=split, options=options
        ).examples.height
        == 2
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [("language", "de"), ("language", "DE"), ("locale", "de-DE"), ("lang", "de_Latn"), ("language", ""), ("language", None),
     ("split", "dev"), ("split", "validation"), ("subset", "news"), ("set", "A"), ("language_model", "mbert"), ("settings", "x")],
)  # fmt: skip
def test_columns_that_agree_or_say_nothing(read: Read, column: str, value: str | None) -> None:
    rows = [{"s": "one text", column: value}, {"s": "another", column: value}]
    reading = read({"dev.jsonl": lines(rows)}, "de", reader="text_classification", options={"text": "s"})
    assert reading.examples.height == 2


def test_a_nested_column_that_says_otherwise(read: Read) -> None:
    rows = [{"s": "ein Text", "meta": {"lang": "de"}}, {"s": "a text", "meta": {"lang": "en"}}]
    options = {"text": "s"}
    with pytest.raises(
        CorpusError, match=r"column `meta\.lang` holds 'de' \(1\), 'en' \(1\).*where = \{ \"meta\.lang\" = "
    ):
        read({"dev.jsonl": lines(rows)}, "en", reader="text_classification", options=options)
    reading = read(
        {"dev.jsonl": lines(rows)},
        "en",
        reader="text_classification",
        options={**options, "where": {"meta.lang": "{language}"}},
    )
    assert reading.examples["text"].to_list() == ["a text"]


def test_an_empty_list_is_no_choice(read: Read) -> None:
    with pytest.raises(StudyError, match=r"options\.where"):
        read({"dev.jsonl": "{}"}, reader="text_classification", options={"text": "s", "where": {"lang": []}})


def test_a_column_that_is_the_label_says_nothing(read: Read) -> None:
    rows = [{"s": "ein Text", "language": "de"}, {"s": "a text", "language": "en"}]
    options = {"text": "s", "label": "language"}
    assert (
        read({"dev.jsonl": lines(rows)}, "en", reader="text_classification", options=options).examples.height
        == 2
    )


def test_names_and_splits_are_filled_in_as_the_data_writes_them(read: Read) -> None:
    rows = [
        {"s": f"{a} {b} text", "locale": a, "partition": b}
        for a in ("de-DE", "en-US")
        for b in ("train", "dev")
    ]
    options = {
        "text": "s", "names": {"de": "de-DE"}, "splits": {"validation": "dev"}, "file": "all.jsonl",
        "where": {"partition": "{split}", "locale": "{language}"},
    }  # fmt: skip
    reading = read(
        {"all.jsonl": lines(rows)}, "de", reader="text_classification", split="validation", options=options
    )
    assert reading.examples["text"].to_list() == ["de-DE dev text"]


def test_a_record_that_cannot_be_placed_does_not_shift_the_others(read: Read) -> None:
    """Nobody knows whose row it is: numbered rows behind it would be joined wrongly in one language."""
    text = lines(ROWS[:6]) + "{broken\n" + lines(ROWS[6:])
    options = {"text": "s", "file": "all.jsonl", "where": BOTH}
    with pytest.raises(CorpusError, match=r"cannot be numbered alike.*options\.id"):
        read({"all.jsonl": text}, "de", LANGUAGES, reader="text_classification", options=options)
    named = lines([{**row, "id": str(i)} for i, row in enumerate(ROWS)]) + "{broken\n"
    reading = read(
        {"all.jsonl": named}, "de", LANGUAGES, reader="text_classification", options={**options, "id": "id"}
    )
    assert (reading.examples.height, reading.rejected["reason"].to_list()) == (4, ["not JSON"])


def test_a_record_without_the_field_is_refused(read: Read) -> None:
    text = lines([*ROWS, {"s": "a text", "partition": "dev", "id": "z"}])
    options = {"text": "s", "file": "all.jsonl", "where": BOTH}
    with pytest.raises(CorpusError, match="no field `language`"):
        read({"all.jsonl": text}, "de", LANGUAGES, reader="text_classification", options=options)


def test_positions_of_a_file_without_a_header(read: Read) -> None:
    text = "".join(f"{row['language']}\t{row['s']}\t{row['y']}\n" for row in ROWS)
    options = {"text": 1, "label": 2, "file": "all.tsv", "where": {"0": "{language}"}}
    assert (
        read(
            {"all.tsv": text}, "fr", LANGUAGES, reader="text_classification", options=options
        ).examples.height
        == 8
    )


def test_class_names_of_the_data(tmp_path: Any, read: Read) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    features = datasets.Features(s=datasets.Value("string"), language=datasets.ClassLabel(names=["de", "en"]))
    saved = datasets.Dataset.from_dict({"s": ["ein Text", "a text"], "language": [0, 1]}, features=features)
    saved.save_to_disk(tmp_path / "ds")
    options = {"text": "s", "where": {"language": "{language}"}}
    reading = read({}, "en", ["de", "en"], reader="hub", path="ds", options=options)
    assert reading.examples["text"].to_list() == ["a text"]
    with pytest.raises(CorpusError, match=r"column `language` holds 'de' \(1\), 'en' \(1\)"):
        read({}, "en", reader="hub", path="ds", options={"text": "s"})


PAIRS = [
    {"en": f"text {i}", "de": f"Text {i}", "split": split} for split in ("train", "dev") for i in range(3)
]


def test_translations(read: Read) -> None:
    options = {"where": {"split": "{split}"}, "file": "all.json"}
    reading = read({"all.json": json.dumps(PAIRS)}, "de", reader="parallel", options=options)
    assert (reading.examples.height, reading.elsewhere) == (3, 3)
    with pytest.raises(CorpusError, match=r"column `split` holds 'train' \(3\), 'dev' \(3\)"):
        read({"all.json": json.dumps(PAIRS)}, "de", reader="parallel", options={"file": "all.json"})
    table = delimited(
        [{"en": f"a text {i}", "de": f"ein Text {i}", "lang": c} for c in ("de", "fr") for i in range(3)],
        "\t",
    )
    options = {"header": True, "where": {"lang": "{language}"}, "file": "all.tsv"}
    reading = read({"all.tsv": table}, "fr", ["de", "fr"], reader="parallel", options=options)
    assert reading.examples["example_id"].to_list() == ["00000", "00001", "00002"]
    with pytest.raises(CorpusError, match=r"column `lang` holds 'de' \(3\), 'fr' \(3\)"):
        read({"all.tsv": table}, "fr", reader="parallel", options={"header": True, "file": "all.tsv"})
    with pytest.raises(CorpusError, match="line 1 holds names of columns"):
        read({"all.tsv": "source\ttarget\none\teins\n"}, "de", reader="parallel", options={"file": "all.tsv"})
    files = {"dev.en": "a\n", "dev.de": "b\n"}
    with pytest.raises(StudyError, match=r"no (columns to choose rows by|other columns than)"):
        read(files, "de", reader="parallel", options={"where": {"lang": "de"}, "file": "dev.{side}"})


def test_layouts_of_their_own(read: Read) -> None:
    pawsx = "id\tsentence1\tsentence2\tlabel\tlang\n" + "".join(
        f"{i}\ta text\tanother\t{i % 2}\t{c}\n" for c in ("de", "fr") for i in range(2)
    )
    options = {"file": "all.tsv", "where": {"lang": "{language}"}}
    reading = read({"all.tsv": pawsx}, "fr", ["de", "fr"], reader="pawsx", options=options)
    assert reading.examples["example_id"].to_list() == ["00000", "00001"]
    with pytest.raises(CorpusError, match="column `lang` holds"):
        read({"all.tsv": pawsx}, "fr", reader="pawsx", options={"file": "all.tsv"})
    xnli = "language\tgold_label\tsentence1\tsentence2\tpairID\tgenre\n" + "".join(
        f"{c}\tneutral\ta text\tanother\t{i}\t{'ab'[i]}\n" for c in ("de", "fr") for i in range(2)
    )
    options = {"where": {"genre": "b"}}
    reading = read({"xnli.dev.tsv": xnli}, "fr", ["de", "fr"], reader="xnli", options=options)
    assert (reading.examples["example_id"].to_list(), reading.elsewhere) == (["1"], 3)
    for reader in ("xnli", "pawsx"):
        rows = "a text\tanother\t1\n"
        with pytest.raises(StudyError, match=r"no (columns to choose rows by|other columns than)"):
            read(
                {"dev-fr.tsv": rows},
                "fr",
                reader=reader,
                path="dev-fr.tsv",
                options={"where": {"lang": "fr"}},
            )


@pytest.mark.parametrize("reader", ["conllu", "udpos", "panx", "xquad", "umsab", "eraser"])
def test_readers_without_columns_have_no_filter(read: Read, reader: str) -> None:
    with pytest.raises(StudyError, match=r"options\.where`: reader .* has no such option"):
        read({"dev-en.tsv": "x"}, reader=reader, options={"where": {"a": "b"}})


@pytest.mark.parametrize("value", ["de", "de-DE", "deu", "ger", "deu_Latn"])
def test_codes_of_three_letters_are_the_same_language(read: Read, value: str) -> None:
    rows = [{"s": f"some text {n}", "lang": value, "of": value} for n in range(3)]
    content = "\n".join(map(json.dumps, rows))
    assert (
        read({"dev.jsonl": content}, "de", reader="text_classification", options={"text": "s"}).records == 3
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [
        # One value of a column of another name may say where a text comes from.
        ("translated_from", ["en", "en"]),
        ("usage", ["Validation", "Validation"]),
        ("usage", ["dev", "other"]),
        ("code", ["fr", "es"]),
        ("code", ["de", "German text"]),
        ("label", ["train", "test"]),
    ],
)
def test_columns_that_say_nothing(read: Read, column: str, values: list[str]) -> None:
    rows = [{"s": f"some text {n}", column: value} for n, value in enumerate(values)]
    options = {"text": "s", **({"label": "label"} if column == "label" else {})}
    content = "\n".join(map(json.dumps, rows))
    assert read({"dev.jsonl": content}, "de", reader="text_classification", options=options).records == 2


@pytest.mark.parametrize(
    ("column", "values", "advice"),
    [
        ("lang", ["bar", "bar"], r'where = \{ lang = "bar" \}` \(a list'),
        ("Language", ["German", "English"], r'Name the value that is meant, .*\{ Language = "..." \}'),
        ("of", ["train", "test"], r'Name the value that is meant, .*\{ of = "..." \}'),
        ("of", ["train", "dev"], r'where = \{ of = "\{split\}" \}'),
        ("of", ["deu", "eng"], r'where = \{ of = "deu" \}'),
    ],
)
def test_what_is_advised_would_work(read: Read, column: str, values: list[str], advice: str) -> None:
    rows = [{"s": f"some text {n}", column: value} for n, value in enumerate(values)]
    content = "\n".join(map(json.dumps, rows))
    with pytest.raises(CorpusError, match=advice):
        read({"dev.jsonl": content}, "de", reader="text_classification", options={"text": "s"})
