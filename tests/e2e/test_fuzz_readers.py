"""Damaged input through every reader: a `CorpusError`, or rows in quarantine; nothing else, and nothing lost."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlwh import corpora
from xlwh.errors import CorpusError
from xlwh.study import Study
from xlwh.tables import Examples, RejectedRows


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"s": ["good film", "bád film"] * 3, "y": ["1", "0"] * 3}), out)
    return out.getvalue()


def _zipped(content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/data.txt", content)
    return out.getvalue()


_XTREME = "".join(
    f"A mañana {i}.\tB “{i}”\t{label}\n" for i, label in enumerate(["neutral", "entailment"] * 3)
)
_ORIGINAL = (
    "language\tgold_label\tsentence1\tsentence2\tpairID\n"
    "en\tneutral\tone é\ttwo\t1\nde\tneutral\teins\tzwei\t1\nen\tentailment\tthree\tfour\t2\n"
)
_PAWS = 'a “b\tb\t0\n"he said ""no"""\tb\t1\nNS\tb\t0\n' * 3
_SQUAD = json.dumps(
    {"data": [{"paragraphs": [{"context": "é fine text", "qas": [
        {"id": str(i), "question": "What?", "answers": [{"text": "fine", "answer_start": 2}]} for i in range(4)
    ]}]}]},
    ensure_ascii=False,
)  # fmt: skip
_CONLLU = "".join(
    f"# sent_id = {i}\n# text = im Wald\n1-2\tim\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + "".join(
        f"{n}\t{w}\t_\t{t}\t_\t_\t_\t_\t_\t_\n"
        for n, w, t in ((1, "in", "ADP"), (2, "dém", "DET"), (3, "Wald", "NOUN"))
    )
    + "\n"
    for i in range(3)
)
_TMX = "<tmx><body>" + "".join(
    f'<tu tuid="{i}"><tuv xml:lang="de"><seg>Éins</seg></tuv><tuv xml:lang="en"><seg>One</seg></tuv></tu>'
    for i in range(3)
) + "</body></tmx>"  # fmt: skip
_PAIRS = json.dumps([{"id": str(i), "de": "Größe", "en": "size"} for i in range(3)])
_LINES = "Größe eins\nzwei\ndrei\n"
_TEXT = {"text": "s", "label": "y"}
_DOCS = "".join(
    json.dumps({"docid": f"d{i}", "document": "a fine film"}, ensure_ascii=False) + "\n" for i in range(3)
)
_RATIONALES = "".join(
    json.dumps({"annotation_id": f"a{i}", "classification": "POS", "query": "what?", "evidences": [
        [{"docid": f"d{i}", "start_token": 1, "end_token": 2, "text": "fine"}]]}) + "\n"
    for i in range(3)
)  # fmt: skip

# name -> configuration of the dataset, good files (the first one is damaged), records in them.
CASES: Mapping[str, tuple[dict[str, Any], dict[str, str | bytes], int]] = {
    "xnli-xtreme": ({"reader": "xnli"}, {"dev-en.tsv": _XTREME}, 6),
    "xnli-header": ({"reader": "xnli"}, {"dev-en.tsv": "premise\thypo\tlabel\n" + _XTREME}, 6),
    "xnli-original": ({"reader": "xnli"}, {"xnli.dev.tsv": _ORIGINAL}, 2),
    "xnli-gz": ({"reader": "xnli"}, {"dev-en.tsv.gz": gzip.compress(_XTREME.encode())}, 6),
    "xnli-zip": ({"reader": "xnli"}, {"dev-en.tsv.zip": _zipped(_XTREME)}, 6),
    "pawsx-xtreme": ({"reader": "pawsx"}, {"dev-en.tsv": _PAWS}, 9),
    "pawsx-original": (
        {"reader": "pawsx", "options": {"id": "column"}},
        {"dev-en.tsv": "id\tsentence1\tsentence2\tlabel\n1\ta\té\t1\n2\tNS\td\t0\n3\te\tf\t0\n4\tg\th\t1\n"},
        4,
    ),
    "xquad": ({"reader": "xquad"}, {"xquad.en.json": _SQUAD}, 4),
    "conllu": ({"reader": "conllu"}, {"en_x-ud-dev.conllu": _CONLLU}, 3),
    "udpos": ({"reader": "udpos"}, {"dev-en.tsv": "The\tDET\ncät\tNOUN\n\nIt\tPRON\n\n"}, 2),
    "panx": ({"reader": "panx"}, {"dev-en.tsv": "en:Pärís\tB-LOC\nen::\tO\n\nen:x\tO\n"}, 2),
    "umsab-text": (
        {"reader": "umsab"}, {"english/val_text.txt": _LINES, "english/val_labels.txt": "0\n1\n2"}, 3
    ),
    "umsab-labels": (
        {"reader": "umsab"}, {"english/val_labels.txt": "0\n1\n2", "english/val_text.txt": _LINES}, 3
    ),
    "text-tsv": ({"reader": "text_classification", "options": _TEXT}, {"dev.tsv": "s\ty\ngood é\t1\nbad\t0\n"}, 2),
    "text-positions": (
        {"reader": "text_classification", "options": {"text": 0, "label": 1}},
        {"dev.tsv": "good é\t1\nbad\t0\n"},
        2,
    ),
    "text-csv": (
        {"reader": "text_classification", "options": _TEXT}, {"dev.csv": 's,y\n"go,od\né",1\nbad,0\n'}, 2
    ),
    "text-jsonl": (
        {"reader": "text_classification", "options": _TEXT},
        {"dev.jsonl": '{"s": "good é", "y": 1}\n{"s": "bad", "y": 0}\n'},
        2,
    ),
    "text-json": (
        {"reader": "text_classification", "options": _TEXT},
        {"dev.json": '[{"s": "good é", "y": 1}, {"s": "bad", "y": 0}]'},
        2,
    ),
    "text-parquet": ({"reader": "text_classification", "options": _TEXT}, {"dev.parquet": _parquet()}, 6),
    "parallel-source": ({"reader": "parallel", "options": {"source": "de"}}, {"dev.de": _LINES, "dev.en": "a\nb\nc\n"}, 3),
    "parallel-target": ({"reader": "parallel", "options": {"source": "de"}}, {"dev.en": "a\nb\nc\n", "dev.de": _LINES}, 3),
    "parallel-tsv": ({"reader": "parallel", "options": {"source": "de"}}, {"dev.de-en.tsv": "Größe\tsize\nb\tc\n"}, 2),
    "parallel-tmx": ({"reader": "parallel", "options": {"source": "de"}}, {"de-en.tmx": _TMX}, 3),
    "parallel-json": ({"reader": "parallel", "options": {"source": "de"}}, {"dev.json": _PAIRS}, 3),
    "eraser": ({"reader": "eraser"}, {"val.jsonl": _RATIONALES, "docs.jsonl": _DOCS}, 3),
    "eraser-docs": ({"reader": "eraser"}, {"docs.jsonl": _DOCS, "val.jsonl": _RATIONALES}, 3),
    "hub-jsonl": ({"reader": "hub", "options": _TEXT}, {"validation.jsonl": '{"s": "good é", "y": 1}\n{"s": "bad", "y": 0}\n'}, 2),
    "hub-parquet": ({"reader": "hub", "options": _TEXT}, {"data/validation-0.parquet": _parquet()}, 6),
}  # fmt: skip


def read(folder: Path, dataset: Mapping[str, Any]) -> corpora.Reading:
    """Read what lies in a folder; the contracts and the balance of records hold for whatever comes out."""
    study = Study.model_validate(
        {"name": "t", "languages": ["en"], "data_root": folder, "folder": folder, "datasets": {"d": {"path": ".", **dataset}}}
    )  # fmt: skip
    reading = corpora.read(study, "d", "en")
    Examples.validate(reading.examples)
    RejectedRows.validate(reading.rejected)
    assert reading.records == reading.examples.height + reading.rejected.height
    assert reading.records + reading.elsewhere > 0
    for frame, contract in ((reading.examples, Examples), (reading.rejected, RejectedRows)):
        assert not frame.select(contract.key).is_duplicated().any()
    for raw in reading.rejected["raw"]:
        assert len(raw) <= 10_000
    return reading


def survive(case: str, damage: Callable[[bytes], bytes]) -> corpora.Reading | None:
    """Read a case with its first file damaged; None where the whole file was refused."""
    dataset, files, _ = CASES[case]
    with TemporaryDirectory() as name:
        folder = Path(name)
        for i, (file, content) in enumerate(files.items()):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            path.write_bytes(damage(data) if i == 0 else data)
        try:
            return read(folder, dataset)
        except CorpusError as error:
            message = str(error)
    assert "datasets.d" in message or "/" in message, message
    return None


def test_every_reader_is_here() -> None:
    assert {dataset["reader"] for dataset, _, _ in CASES.values()} == {
        info.name for info in corpora.readers()
    }


@pytest.mark.parametrize("case", CASES)
def test_undamaged(case: str) -> None:
    reading = survive(case, lambda data: data)
    assert reading is not None
    assert reading.records == CASES[case][2]
    assert set(reading.reasons()) <= {"untranslated: a side is only `NS`"}


HANDMADE: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "only a mark": lambda data: b"\xef\xbb\xbf",
    "only line ends": lambda data: b"\n\r\n\n",
    "latin-1": lambda data: data.decode("utf-8", "replace").encode("latin-1", "replace").replace(b"?", b"\xe9"),
    "utf-16": lambda data: data.decode("utf-8", "replace").encode("utf-16"),
    "utf-16 without mark": lambda data: data.decode("utf-8", "replace").encode("utf-16-le"),
    "with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "mixed line ends": lambda data: data.replace(b"\n", b"\r\n", 1).replace(b"\t", b"\r\t", 1),
    "cr only": lambda data: data.replace(b"\n", b"\r"),
    "no final newline": lambda data: data.removesuffix(b"\n"),
    "doubled": lambda data: data + data,
    "more columns": lambda data: data.replace(b"\n", b"\tx\n"),
    "fewer columns": lambda data: data.replace(b"\t", b" ", 1),
    "no columns": lambda data: data.replace(b"\t", b""),
    "quotes": lambda data: data.replace(b" ", b'"').replace(b"\t", b'\t"'),
    "NUL bytes": lambda data: data.replace(b"e", b"\0"),
    "other line separators": lambda data: data.replace(b" ", "\x1c\x85\u2028\x0b\x0c".encode()),
    "binary": lambda data: bytes(range(256)) * 40,
    "random-looking": lambda data: bytes((i * i * 31 + i) % 251 for i in range(5000)),
    "half": lambda data: data[: len(data) // 2],
    "all but one byte": lambda data: data[:-1],
    "second half": lambda data: data[len(data) // 2 :],
    "10 MB line": lambda data: b"x" * 10_000_000,
    "10 MB of columns": lambda data: b"x\t" * 5_000_000,
    "10 MB of quotes": lambda data: b'"' * 10_000_001,
    "10 MB in a field": lambda data: data.replace(b"\t", b"\t" + b"y" * 10_000_000, 1),
    "deep JSON": lambda data: b"[" * 100_000,
    "deep XML": lambda data: b"<a>" * 50_000,
    "JSON scalar": lambda data: b"3",
    "JSON of other things": lambda data: b'{"data": [null, {"paragraphs": [1, {"context": "c", "qas": [2, {}]}]}]}',
    "surrogates": lambda data: data.replace(b"e", b"\\ud800"),
    "gzip of it": lambda data: gzip.compress(data),
    "half a gzip of it": lambda data: gzip.compress(data)[:-12],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_handmade_damage(case: str) -> None:
    for name, damage in HANDMADE.items():
        try:
            survive(case, damage)
        except Exception as error:
            error.add_note(f"damage: {name}")
            raise


# What has to come through although it is unusual, for every format made of lines.
HARMLESS = ("crlf", "with a mark", "no final newline", "gzip of it")
BY_LINES = [
    case for case in CASES if not case.endswith(("gz", "zip", "json", "parquet", "tmx")) and case != "xquad"
]


@pytest.mark.parametrize("case", BY_LINES)
def test_harmless_variants_read_the_same(case: str) -> None:
    good = survive(case, lambda data: data)
    assert good is not None
    for name in HARMLESS:
        reading = survive(case, HANDMADE[name])
        assert reading is not None, name
        assert reading.examples.equals(good.examples), name


@pytest.mark.parametrize("case", BY_LINES)
def test_a_broken_byte_costs_one_record(case: str) -> None:
    good = survive(case, lambda data: data)
    assert good is not None
    for accent in ("é", "ä", "ö", "ñ"):
        if accent in str(next(iter(CASES[case][1].values()))):
            reading = survive(case, lambda data, a=accent: data.replace(a.encode(), b"\xff", 1))  # type: ignore[misc]
            assert reading is not None
            assert reading.records == good.records
            assert reading.examples.height == good.examples.height - 1
            assert any("\\xff" in raw for raw in reading.rejected["raw"])
            return


_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "drop", "insert", "repeat", "flip"]),
        st.floats(0, 1),
        st.floats(0, 0.2),
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from(
                [b"\n", b"\r\n", b"\t", b'"', b"\0", b"\xff", b"\xef\xbb\xbf", b"\n\n", b"{", b"]", b"-", b"\xed\xa0\x80"]
            ),
        ),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def edited(data: bytes, edits: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, place, length, extra in edits:
        start = int(place * len(data))
        stop = min(len(data), start + 1 + int(length * len(data)))
        if kind == "cut":
            data = data[:start]
        elif kind == "drop":
            data = data[:start] + data[stop:]
        elif kind == "insert":
            data = data[:start] + extra + data[start:]
        elif kind == "repeat":
            data = data[:stop] + data[start:stop] + data[stop:]
        else:
            data = data[:start] + bytes(byte ^ 0x55 for byte in data[start:stop]) + data[stop:]
    return data


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=_EDITS)
def test_random_edits(case: str, edits: list[tuple[str, float, float, bytes]]) -> None:
    survive(case, lambda data: edited(data, edits))


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(min_size=0, max_size=400))
def test_random_bytes(case: str, data: bytes) -> None:
    survive(case, lambda _: data)


def test_a_damaged_saved_dataset(tmp_path: Path) -> None:
    """Folders of Hugging Face `datasets`: any byte of any file may be wrong."""
    datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    rows = {"s": [f"good é {i}" for i in range(40)], "y": [str(i % 2) for i in range(40)]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "good")
    files = sorted(path.name for path in (tmp_path / "good").iterdir())
    draw = random.Random(0)
    whole = 0
    for _ in range(60):
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        path = tmp_path / "bad" / draw.choice(files)
        data = bytearray(path.read_bytes())
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data))]
        else:
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(CorpusError):
            read(tmp_path / "bad", {"reader": "hub", "options": _TEXT})
            whole += 1
        shutil.rmtree(tmp_path / "bad")
    assert whole > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=_EDITS)
def test_many_random_edits(case: str, edits: list[tuple[str, float, float, bytes]]) -> None:
    survive(case, lambda data: edited(data, edits))
