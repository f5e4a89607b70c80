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
