"""Every reader is given every other format's file: it has to refuse it, or to read it right.

The files are made here, in the form in which corpora are published. `READABLE` holds what a reader may accept: its own
format, and those that nothing in a file tells from it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlwh import corpora
from xlwh.consistency.vectors import read_vectors
from xlwh.corpora.dictionaries import read_dictionary
from xlwh.errors import CorpusError

from .conftest import checked, study_of

N = 24
LABELS = ("neutral", "entailment", "contradiction")
SENTENCES = [
    f"{who} {what} the {thing} today." for who in ("She", "The child", "Nobody")
    for what in ("saw", "took") for thing in ("red ball", "house", "river", "last train")
]  # fmt: skip
OTHERS = [
    f"{who} {what} {thing} heute." for who in ("Sie", "Das Kind", "Niemand")
    for what in ("sah", "nahm") for thing in ("den roten Ball", "das Haus", "den Fluss", "den letzten Zug")
]  # fmt: skip
PAIRS = list(zip(SENTENCES, OTHERS, strict=True))
WORDS = [("the", "der"), ("house", "haus"), ("river", "fluss"), ("ball", "ball"), ("train", "zug"), ("child", "kind"),
         ("today", "heute"), ("red", "rot"), ("last", "letzte"), ("she", "sie"), ("nobody", "niemand"), ("saw", "sah")]  # fmt: skip
TAGGED = [[("The", "DET"), ("child", "NOUN"), ("saw", "VERB"), (".", "PUNCT")]] * 3
NAMED = [[("Paris", "B-LOC"), ("is", "O"), ("old", "O")]] * 3


def table(*rows: Any, header: str = "", sep: str = "\t") -> str:
    return header + "".join(sep.join(map(str, row)) + "\n" for row in rows)


def sentences(blocks: list[list[tuple[str, ...]]], sep: str) -> str:
    return "\n".join("".join(sep.join(row) + "\n" for row in block) for block in blocks) + "\n"


def lines(*records: Mapping[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"sentence": SENTENCES, "label": [i % 2 for i in range(N)]}), out)
    return out.getvalue()


NLI = [(a, b, LABELS[i % 3]) for i, (a, b) in enumerate(PAIRS)]
TU = '<tu><tuv xml:lang="en"><seg>{}</seg></tuv><tuv xml:lang="de"><seg>{}</seg></tuv></tu>'
SQUAD = {"data": [{"paragraphs": [{"context": "A fine text.", "qas": [
    {"id": str(i), "question": text, "answers": [{"text": "fine", "answer_start": 2}]} for i, text in enumerate(SENTENCES)
]}]}]}  # fmt: skip

FORMATS: Mapping[str, str | bytes] = {
    "xnli": table(*NLI),
    "xnli test": table(*PAIRS),
    "xnli header": table(*NLI, header="premise\thypothesis\tlabel\n"),
    "xnli test header": table(*PAIRS, header="sentence1\tsentence2\n"),
    "xnli original": table(
        *(("en", label, a, b, i) for i, (a, b, label) in enumerate(NLI)),
        header="language\tgold_label\tsentence1\tsentence2\tpairID\n",
    ),
    "xnli jsonl": lines(*({"gold_label": c, "sentence1": a, "sentence2": b} for a, b, c in NLI)),
    "pawsx": table(*((a, b, i % 2) for i, (a, b) in enumerate(PAIRS))),
    "pawsx original": table(
        *((i, a, b, i % 2) for i, (a, b) in enumerate(PAIRS)), header="id\tsentence1\tsentence2\tlabel\n"
    ),
    "sst2": table(*((a, i % 2) for i, a in enumerate(SENTENCES))),
    "sst2 header": table(*((a, i % 2) for i, a in enumerate(SENTENCES)), header="sentence\tlabel\n"),
    "csv": table(*((f'"{a}"', i % 2) for i, a in enumerate(SENTENCES)), header="sentence,label\n", sep=","),
    "jsonl": lines(*({"sentence": a, "label": i % 2} for i, a in enumerate(SENTENCES))),
    "json": json.dumps([{"sentence": a, "label": i % 2} for i, a in enumerate(SENTENCES)]),
    "parquet": parquet(),
    "labels": table(*((i % 3,) for i in range(N))),
    "word labels": table(*((LABELS[i % 3],) for i in range(N))),
    "plain": table(*((a,) for a in SENTENCES)),
    "one sentence": SENTENCES[0] + "\n",
    "words": table(*((a,) for a, _ in WORDS)),
    "anki": table(*((a, b, "CC-BY 2.0 (France) Attribution: tatoeba.org") for a, b in PAIRS)),
    "tmx": "<?xml version='1.0'?><tmx><body>" + "".join(TU.format(*pair) for pair in PAIRS) + "</body></tmx>",
    "pairs json": json.dumps([{"en": a, "de": b} for a, b in PAIRS]),
    "pairs jsonl": lines(*({"en": a, "de": b} for a, b in PAIRS)),
    "xquad": json.dumps(SQUAD),
    "eraser": lines(
        *({"annotation_id": str(i), "classification": "POS",
           "evidences": [[{"docid": "d", "start_token": 0, "end_token": 1}]]} for i in range(N))
    ),
    "documents": lines({"docid": "d", "document": "a fine text"}),
    "conllu": "\n".join(
        f"# sent_id = {s}\n# text = The child saw .\n"
        + "".join(f"{i}\t{w}\t_\t{t}\t_\t_\t0\t_\t_\t_\n" for i, (w, t) in enumerate(block, start=1))
        for s, block in enumerate(TAGGED)
    ) + "\n",
    "conllu withheld": "\n".join(
        "# text = _ _\n" + "".join(f"{i}\t_\t_\t{t}\t_\t_\t0\t_\t_\t_\n" for i, (_, t) in enumerate(block, start=1))
        for block in TAGGED
    ) + "\n",
    "udpos": sentences(TAGGED, "\t"),
    "panx": sentences(NAMED, "\t"),
    "panx prefixed": sentences([[(f"en:{w}", t) for w, t in block] for block in NAMED], "\t"),
    "tokens": sentences([[(w,) for w, _ in block] for block in NAMED], "\t"),
    "conll2003": "-DOCSTART- -X- -X- O\n\n" + sentences([[(w, "NN", "B-NP", t) for w, t in block] for block in NAMED], " "),
    "conll2003 tabs": "-DOCSTART-\t-X-\t-X-\tO\n\n" + sentences(
        [[(w, "NN", "B-NP", t) for w, t in block] for block in NAMED], "\t"),
    "masakhaner": sentences([[*block, ("yau", "B-DATE")] for block in NAMED], " "),
    "spaced pos": sentences(TAGGED, " "),
    "muse": table(*WORDS),
    "muse blanks": table(*WORDS, sep=" "),
    "muse header": table(*WORDS, header="source\ttarget\n"),
    "muse comment": table(*WORDS, header="# English-German\n"),
    "hunalign": table(*((b, a) for a, b in WORDS), sep=" @ "),
    "moses": table(*((b, a, 0.25) for a, b in WORDS), sep=" "),
    "vec": f"{len(WORDS)} 4\n" + table(*((a, 0.1, -0.2, 0.3, 1e-2 * i) for i, (a, _) in enumerate(WORDS)), sep=" "),
    "glove": table(*((a, 0.1, -0.2, 0.3, 1e-2 * i) for i, (a, _) in enumerate(WORDS)), sep=" "),
    "vec tabs": table(*((f"{a}\t0.1", -0.2, 0.3, 1e-2 * i) for i, (a, _) in enumerate(WORDS)), sep=" "),
    "vec all tabs": table(*((a, 0.1, -0.2, 0.3, 1e-2 * i) for i, (a, _) in enumerate(WORDS))),
    "frequencies": table(*((a, 1000 - i) for i, (a, _) in enumerate(WORDS)), sep=" "),
    "alignments": table(*(("0-0 1-1 2-3",) for _ in range(N))),
    "bars": table(*PAIRS, sep=" ||| "),
}  # fmt: skip

TEXT = {"text": "sentence", "label": "label"}
GOLD = "0\n1\n2\n" * (N // 3)

# name -> the dataset, the file that is put there, the files beside it, and the language.
READERS: Mapping[str, tuple[dict[str, Any], str, dict[str, str], str]] = {
    "xnli": ({"reader": "xnli"}, "dev-en.tsv", {}, "en"),
    "xnli of test": ({"reader": "xnli", "split": "test"}, "test-en.tsv", {}, "en"),
    "pawsx": ({"reader": "pawsx"}, "dev-en.tsv", {}, "en"),
    "pawsx of test": ({"reader": "pawsx", "split": "test"}, "test-en.tsv", {}, "en"),
    "xquad": ({"reader": "xquad"}, "xquad.en.json", {}, "en"),
    "conllu": ({"reader": "conllu"}, "dev-en.conllu", {}, "en"),
    "conllu of test": ({"reader": "conllu", "split": "test"}, "test-en.conllu", {}, "en"),
    "udpos": ({"reader": "udpos"}, "dev-en.tsv", {}, "en"),
    "udpos of test": ({"reader": "udpos", "split": "test"}, "test-en.tsv", {}, "en"),
    "panx": ({"reader": "panx"}, "dev-en.tsv", {}, "en"),
    "panx of test": ({"reader": "panx", "split": "test"}, "test-en.tsv", {}, "en"),
    "umsab, texts": ({"reader": "umsab"}, "english/val_text.txt", {"english/val_labels.txt": GOLD}, "en"),
    "umsab, labels": ({"reader": "umsab"}, "english/val_labels.txt", {"english/val_text.txt": str(FORMATS["plain"])}, "en"),
    "text, TSV by names": ({"reader": "text_classification", "options": TEXT}, "dev.tsv", {}, "en"),
    "text, TSV by positions": (
        {"reader": "text_classification", "options": {"text": 0, "label": 1}}, "dev.tsv", {}, "en"),
    "text, CSV": ({"reader": "text_classification", "options": TEXT}, "dev.csv", {}, "en"),
    "text, JSON": ({"reader": "text_classification", "options": TEXT}, "dev.json", {}, "en"),
    "text, JSON lines": ({"reader": "text_classification", "options": TEXT}, "dev.jsonl", {}, "en"),
    "text, Parquet": ({"reader": "text_classification", "options": TEXT}, "dev.parquet", {}, "en"),
    "hub, JSON lines": ({"reader": "hub", "options": TEXT}, "validation.jsonl", {}, "en"),
    "hub, Parquet": ({"reader": "hub", "options": TEXT}, "validation.parquet", {}, "en"),
    "parallel, lines": ({"reader": "parallel"}, "dev.en", {"dev.de": table(*((b,) for b in OTHERS))}, "de"),
    "parallel, TSV": ({"reader": "parallel"}, "dev.en-de.tsv", {}, "de"),
    "parallel, TMX": ({"reader": "parallel"}, "en-de.tmx", {}, "de"),
    "parallel, JSON": ({"reader": "parallel"}, "dev.json", {}, "de"),
    "eraser": ({"reader": "eraser"}, "val.jsonl", {"docs.jsonl": str(FORMATS["documents"])}, "en"),
    "eraser, documents": ({"reader": "eraser"}, "docs.jsonl", {"val.jsonl": str(FORMATS["eraser"])}, "en"),
}  # fmt: skip

UNLABELLED = {"xnli test", "xnli test header", "muse", "muse comment"}
RECORDS = {"jsonl", "json"}
# What nothing tells apart: labelled pairs with the classes 0 and 1 are PAWS-X and, under other names, XNLI; two columns
# of sentences or of words are a test set of pairs as well as translations (of which a comment is a refused row).
READABLE: Mapping[str, set[str]] = {
    "xnli": {"xnli", "xnli header", "xnli original", "pawsx"},
    "xnli of test": {"xnli", "xnli header", "xnli original", "pawsx"} | UNLABELLED,
    "pawsx": {"pawsx", "pawsx original"},
    "pawsx of test": {"pawsx", "pawsx original"} | UNLABELLED,
    "xquad": {"xquad"},
    "conllu": {"conllu"},
    "conllu of test": {"conllu"},
    "udpos": {"udpos"},
    "udpos of test": {"udpos", "tokens"},
    "panx": {"panx", "panx prefixed"},
    "panx of test": {"panx", "panx prefixed", "tokens"},
    "umsab, texts": {"plain"},
    "umsab, labels": {"labels"},
    "text, TSV by names": {"sst2 header"},
    "text, TSV by positions": {"sst2"},
    "text, CSV": {"csv"},
    "text, JSON": RECORDS,
    "text, JSON lines": RECORDS,
    "text, Parquet": {"parquet"},
    "hub, JSON lines": RECORDS,
    "hub, Parquet": {"parquet"},
    "parallel, lines": {"plain"},
    "parallel, TSV": {"anki", "xnli test", "muse", "muse comment"},
    "parallel, TMX": {"tmx"},
    "parallel, JSON": {"pairs json", "pairs jsonl"},
    "eraser": {"eraser"},
    "eraser, documents": {"documents"},
}


def content(name: str) -> bytes:
    data = FORMATS[name]
    return data if isinstance(data, bytes) else data.encode()


def refusal(folder: Path, reader: str, name: str) -> str | None:
    """Why a reader refuses a format's file; None where it reads it."""
    dataset, file, beside, language = READERS[reader]
    for path, data in (
        {path: text.encode() for path, text in beside.items()} | {file: content(name)}
    ).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    try:
        reading = checked(
            corpora.read(study_of(folder, [language], **{"path": ".", **dataset}), "d", language)
        )
    except CorpusError as error:
        return str(error)
    assert reading.examples.height > 0
    return None


def test_every_reader_has_a_row() -> None:
    assert {dataset["reader"] for dataset, *_ in READERS.values()} == {
        info.name for info in corpora.readers()
    }
    assert set(READABLE) == set(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_on_every_format(tmp_path: Path, reader: str) -> None:
    refused = {}
    for number, name in enumerate(FORMATS):
        folder = tmp_path / str(number)
        refused[name] = refusal(folder, reader, name)
    assert {name for name, reason in refused.items() if reason is None} == READABLE[reader]
    for reason in refused.values():
        assert reason is None or Path(READERS[reader][1]).name in reason, "the file is named"


def readable(path: Path, read: Callable[[Path], object]) -> set[str]:
    """The formats whose file is read."""
    accepted = set()
    for name in FORMATS:
        path.write_bytes(content(name))
        try:
            read(path)
        except CorpusError as error:
            if str(path) not in str(error):
                raise
        else:
            accepted.add(name)
    return accepted


def test_dictionaries_on_every_format(tmp_path: Path) -> None:
    assert readable(tmp_path / "d.txt", read_dictionary) == {"muse", "muse blanks", "hunalign", "moses"}


def test_vectors_on_every_format(tmp_path: Path) -> None:
    found = readable(tmp_path / "d.vec", lambda path: read_vectors(path, ["the", "house"]))
    assert found == {"vec", "glove"}


def rows(count: int, form: str) -> str:
    return "".join(form.format(i=i, label=LABELS[i % 3], bit=i % 2) + "\n" for i in range(count))


# What is nearly right: reader, file, content, and the message.
NEARLY: Mapping[str, tuple[dict[str, Any], str, str | bytes, str]] = {
    "a header of two columns": (
        {"reader": "xnli", "split": "test"}, "test-en.tsv", "label\tpremise\n" + rows(9, "a {i}\tb {i}"), "the header names"),
    "columns in another order": (
        {"reader": "xnli"}, "dev-en.tsv", "label\tpremise\ttext\n" + rows(9, "{label}\ta {i}\tb {i}"), "the header names"),
    "a header that is taken for data": (
        {"reader": "text_classification", "options": {"text": 0, "label": 1}}, "dev.tsv",
        "utterance_text\tintent_name\n" + rows(30, "a text {i}\t{bit}"), "line 1 holds names of columns"),
    "a header of one column": (
        {"reader": "text_classification", "options": {"text": 0}}, "dev.tsv", "text\n" + rows(9, "a text {i}"),
        "line 1 holds names of columns"),
    "a header of tokens": ({"reader": "udpos"}, "dev-en.tsv", "token\ttag\nThe\tDET\n\ncat\tNOUN\n", "line 1 names columns"),
    "a header of line pairs": ({"reader": "parallel", "options": {"source": "de"}}, "dev.en", "english\none\n", "line 1 names columns"),
    "a label that no record has": (
        {"reader": "text_classification", "options": {"text": "s", "label": "gold"}}, "dev.jsonl", rows(3, '{{"s": "text {i}"}}'),
        "no record has the field `gold`; there are: s"),
    "another language's prefix": ({"reader": "panx"}, "dev-en.tsv", "de:Rom\tB-LOC\nde:ist\tO\n", "begin with `de:`"),
    "old Mac's line ends": ({"reader": "xnli"}, "dev-en.tsv", rows(9, "a {i}\tb\t{label}").replace("\n", "\r"), "CR alone"),
    "Latin-1": (
        {"reader": "xnli"}, "dev-en.tsv", (rows(500, "a {i}\tb\t{label}") + rows(20, "caf\u00e9 {i}\tb\t{label}")).encode("latin-1"),
        "20 of 520 lines are not UTF-8"),
    "labels as many as rows": (
        {"reader": "text_classification", "options": {"text": 0, "label": 1}}, "dev.tsv", rows(30, "a text {i}\t3.{i}"),
        "30 different labels in 30 rows"),
    "labels as text": (
        {"reader": "text_classification", "options": {"text": 1, "label": 0}}, "dev.tsv", rows(30, "a text\tneutral"),
        "every row is a label"),
    "numbers as text": (
        {"reader": "text_classification", "options": {"text": 1}}, "dev.tsv", rows(30, "a text\t{i}"), "holds no letter"),
    "CSV with semicolons": (
        {"reader": "text_classification", "options": {"text": "s"}}, "dev.csv", "s;y\n" + rows(9, "a text {i};{bit}"),
        "no commas, but semicolons"),
    "CSV with semicolons, by position": (
        {"reader": "text_classification", "options": {"text": 0}}, "dev.csv", rows(9, "a text {i};{bit}"), "semicolons"),
    "TSV under the name of CSV": (
        {"reader": "text_classification", "options": {"text": 0}}, "dev.csv", rows(9, "a text {i}\t{bit}"), "no commas, but TABs"),
    "CSV under the name of TSV": (
        {"reader": "text_classification", "options": {"text": 0}}, "dev.tsv", "text,label\n" + rows(9, "a text {i},{bit}"),
        "no TABs, but commas"),
    "one language twice": ({"reader": "parallel", "options": {"source": "de"}}, "dev.en", rows(12, "ein Text {i}"), "one language twice"),
    "a shard is missing": (
        {"reader": "hub", "options": {"text": "s"}}, "data/validation-00000-of-00002.jsonl", '{"s": "text"}\n', "00001"),
    "tags partly withheld": ({"reader": "conllu", "split": "test"}, "test-en.conllu", "1\ta\t_\t_" + "\t_" * 6 + "\n2\tb\t_\tDET" + "\t_" * 6 + "\n", "unknown tag `_`"),
    "no tags in a training set": ({"reader": "conllu"}, "dev-en.conllu", "1\ta\t_\t_" + "\t_" * 6 + "\n", "no word has a part of speech"),
    "other columns": ({"reader": "conllu"}, "dev-en.conllu", "# global.columns = ID FORM UPOS\n1\ta\tDET\n", "other columns"),
}  # fmt: skip


@pytest.mark.parametrize("what", NEARLY)
def test_what_is_nearly_right_is_refused(tmp_path: Path, what: str) -> None:
    dataset, name, data, message = NEARLY[what]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (tmp_path / "dev.de").write_text(rows(12, "ein Text {i}") if "twice" in what else "german\neins\n")
    with pytest.raises(CorpusError, match=message):
        corpora.read(study_of(tmp_path, ["en"], **{"path": ".", **dataset}), "d", "en")


def test_withheld_tags_of_a_test_set_are_no_tags(tmp_path: Path) -> None:
    word = "{}\ta\t_\t_" + "\t_" * 6 + "\n"
    (tmp_path / "test-en.conllu").write_text(word.format(1) + word.format(2) + "\n" + word.format(1))
    (tmp_path / "test-en.tsv").write_text("a\t_\nb\t_\n\nc\t_\n")
    for reader in ("conllu", "udpos", "panx"):
        reading = checked(
            corpora.read(study_of(tmp_path, ["en"], reader=reader, path=".", split="test"), "d", "en")
        )
        assert reading.examples["word_labels"].to_list() == [None, None]
        assert reading.notes["tags"] == "withheld"


def test_a_header_that_is_said_to_be_none_is_data(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("text\tlabel\nmore text\tlabel\n")
    options = {"text": 0, "label": 1, "header": False}
    study = study_of(tmp_path, ["en"], reader="text_classification", path=".", options=options)
    assert corpora.read(study, "d", "en").examples["text"].to_list() == ["text", "more text"]


def test_a_header_in_the_middle_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("text\tlabel\none\ta\ntext\tlabel\ntwo\tb\n")
    study = study_of(
        tmp_path, ["en"], reader="text_classification", path=".", options={"text": "text", "label": "label"}
    )
    reading = corpora.read(study, "d", "en")
    assert reading.examples["text"].to_list() == ["one", "two"]
    assert reading.reasons() == {"the header a second time": 1}


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_json_is_told_by_its_content(tmp_path: Path, suffix: str) -> None:
    """An array, an object with `data`, an object a line, also spread over lines: the suffix says nothing."""
    items = [{"s": f"text {i}", "y": "a"} for i in range(3)]
    forms = [json.dumps(items), json.dumps(items, indent=1), json.dumps({"version": 1, "data": items}),
             json.dumps({"data": items}, indent=1), lines(*items), "\ufeff" + lines(*items), "\n" + lines(*items).replace("\n", "\r\n")]  # fmt: skip
    for content_ in forms:
        (tmp_path / f"dev.{suffix}").write_text(content_, encoding="utf-8")
        study = study_of(
            tmp_path, ["en"], reader="text_classification", path=".", options={"text": "s", "label": "y"}
        )
        assert corpora.read(study, "d", "en").examples["text"].to_list() == ["text 0", "text 1", "text 2"]
    study = study_of(
        tmp_path, ["en"], reader="text_classification", path=".", options={"text": "s", "label": "y"}
    )
    for content_ in (
        json.dumps({"s": ["a", "b"], "y": ["c", "d"]}, indent=1),
        json.dumps(items, indent=1)[:-3],
    ):
        (tmp_path / f"dev.{suffix}").write_text(content_)
        with pytest.raises(CorpusError, match=r"neither a JSON array|not JSON"):
            corpora.read(study, "d", "en")
    (tmp_path / f"dev.{suffix}").write_text(lines(*items) + '{"s": "text 3", "y')
    reading = corpora.read(study, "d", "en")
    assert (reading.examples.height, reading.reasons()) == (3, {"not JSON": 1}), "one damaged line of several"
