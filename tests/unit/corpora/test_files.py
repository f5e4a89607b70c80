from __future__ import annotations

import gzip
import hashlib
import io
import os
import time
import zipfile
from pathlib import Path

import pytest

from xlwh import corpora, digests
from xlwh.corpora import content, files
from xlwh.corpora.files import Document, members
from xlwh.errors import CorpusError, StudyError

from .conftest import Read, study_of

ROWS = "A man.\tA person.\tentailment\nA man.\tA cat.\tcontradiction\n"


def zipped(**entries: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("files", "dataset", "source"),
    [
        ({"dev-en.tsv": ROWS}, {}, "dev-en.tsv"),
        ({"dev-en.tsv.gz": gzip.compress(ROWS.encode(), mtime=0)}, {}, "dev-en.tsv.gz"),
        ({"dev-en.tsv": gzip.compress(ROWS.encode(), mtime=0)}, {}, "dev-en.tsv"),
        ({"dev-en.tsv.gz": ROWS}, {}, "dev-en.tsv.gz"),
        ({"dev-en.tsv.zip": zipped(a=ROWS)}, {}, "dev-en.tsv.zip/a"),
        ({"x.zip": zipped(in__de_=ROWS, in__dev_en=ROWS)}, {"path": "x.zip", "options": {"file": "in/dev_en"}}, "x.zip/in/dev_en"),
        ({"x.zip": zipped(**{"in__dev-en.tsv": ROWS, "in__dev-de.tsv": "-"})}, {"path": "x.zip"}, "x.zip/in/dev-en.tsv"),
        ({"x.zip": zipped(**{"in__any.txt": ROWS, "in___about.txt": "-"})}, {"path": "x.zip"}, "x.zip/in/any.txt"),
        ({"a/b/XEN.tsv": ROWS}, {"options": {"file": "*/b/X{language}.tsv", "names": {"en": "EN"}}}, "a/b/XEN.tsv"),
        ({"en/valid.tsv": ROWS}, {"path": "{language}/{split}.tsv", "options": {"splits": {"dev": "valid"}}}, "en/valid.tsv"),
        ({"any.tsv": ROWS}, {"path": "any.tsv"}, "any.tsv"),
    ],
)  # fmt: skip
def test_files_are_found_and_unpacked(
    read: Read, files: dict[str, str | bytes], dataset: dict[str, object], source: str
) -> None:
    reading = read(files, reader="xnli", **dataset)
    assert reading.examples.height == 2
    assert reading.examples["source_file"].to_list() == [source] * 2
    assert reading.files == (source,)


@pytest.mark.parametrize("in_place", [True, False])
def test_other_bytes_of_the_same_size_and_date_are_another_file(
    tmp_path: Path, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the hash and the members of the former bytes are remembered."""
    monkeypatch.setattr(digests, "SETTLED_S", 0.05)
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(a="1"))
    state = path.stat()
    time.sleep(0.1)
    first = Document(path, "x.zip").sha256(), members(path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256", lambda *_: pytest.fail("hashed again"))
        patch.setattr(content, "members", lambda *_: pytest.fail("listed again"))
        assert (Document(path, "x.zip").sha256(), members(path)) == first
    other = path if in_place else tmp_path / "new"
    other.write_bytes(zipped(b="1"))
    other.rename(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert members(path) == ("b",)
    assert Document(path, "x.zip").sha256() == hashlib.sha256(path.read_bytes()).hexdigest() != first[0]


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    """It could be written again within the same tick of the kernel's clock."""
    path, document = tmp_path / "x", Document(tmp_path / "x", "x")
    for text in ("one", "two", "six"):
        path.write_text(text)
        os.utime(path, ns=(1, 1))
        assert document.sha256() == hashlib.sha256(text.encode()).hexdigest()


def test_a_missing_language_names_path_files_and_key(read: Read) -> None:
    with pytest.raises(CorpusError) as error:
        read({"sub/dev-en.tsv": ROWS, "sub/dev-de.tsv": ROWS}, "sw", reader="xnli", path="sub")
    message = str(error.value)
    for part in ("`d`", "dev-sw.tsv", "`sw`", "/sub", "dev-de.tsv, dev-en.tsv", "`datasets.d.path`"):
        assert part in message


def test_a_missing_folder_names_what_exists(read: Read) -> None:
    with pytest.raises(CorpusError) as error:
        read({"xnli/dev-en.tsv": ROWS}, reader="xnli", path="xlni")
    assert "xlni does not exist" in str(error.value)
    assert "has: xnli/" in str(error.value)
    assert "`datasets.d.path`" in str(error.value)


def test_two_matches_are_refused(read: Read) -> None:
    with pytest.raises(CorpusError, match=r"2 files match .*datasets\.d\.options\.file"):
        read({"a/en.tsv": ROWS, "b/en.tsv": ROWS}, reader="xnli", options={"file": "*/{language}.tsv"})


def test_one_file_is_not_read_as_two_languages(read: Read) -> None:
    with pytest.raises(CorpusError, match=r"x\.tsv would be read as each of en, de"):
        read({"x.tsv": ROWS}, "de", ["en", "de"], reader="xnli", path="x.tsv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dev-en.tsv.gz", gzip.compress(ROWS.encode(), mtime=0)[:-9]),
        ("dev-en.tsv.gz", b"\x1f\x8b" + b"\0" * 40),
        ("dev-en.tsv.gz", b""),
        ("dev-en.tsv.zip", zipped(a=ROWS)[:-30]),
        ("dev-en.tsv.zip", zipped(a=ROWS).replace(b"A man.", b"B man.", 1)),
        ("dev-en.tsv.zip", b""),
        ("dev-en.tsv.zip", zipped(a=ROWS, b=ROWS)),
    ],
)
def test_damaged_archives_are_refused(read: Read, name: str, content: bytes) -> None:
    with pytest.raises(CorpusError, match=r"dev-en\.tsv"):
        read({name: content}, reader="xnli")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"reader": "xnIi"}, r"`datasets\.d\.reader`: no reader `xnIi`; there are: conllu, eraser, hub, .*xquad"),
        ({"reader": "xnli", "options": {"qoting": "csv"}}, r"`datasets\.d\.options\.qoting`.*accepted: file, names, splits, member, where, labels"),
        ({"reader": "pawsx", "options": {"quoting": "raw"}}, r"`datasets\.d\.options\.quoting`: .*'auto', 'csv' or 'none'"),
        ({"reader": "xnli", "options": {"file": "{langauge}.tsv"}}, r"no placeholder \{langauge\}.*accepted: \{split\}, \{language\}"),
        ({"reader": "xnli", "options": {"file": "/etc/hosts"}}, "is absolute"),
        ({"reader": "xnli", "path": None, "hub": "a/b", "revision": "0" * 40}, "needs `path`"),
        ({"reader": "text_classification"}, r"`datasets\.d\.options\.text`: Field required"),
        ({"reader": "hub"}, "give the column `text`"),
    ],
)  # fmt: skip
def test_options_are_checked(read: Read, dataset: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read({"dev-en.tsv": ROWS}, **dataset)


def test_check_lists_every_flaw_of_a_study(tmp_path: Path) -> None:
    study = study_of(tmp_path, ["en"], reader="pawsx", path="p", options={"colour": 1})
    with pytest.raises(StudyError, match=r"options\.colour"):
        corpora.check(study)
    corpora.check(study_of(tmp_path, ["en"], reader="pawsx", path="p"))


def test_readers_describe_themselves() -> None:
    infos = {info.name: info for info in corpora.readers()}
    assert list(infos) == sorted(infos)
    assert {"xnli", "pawsx", "xquad", "hub", "conllu", "parallel"} <= set(infos)
    for info in infos.values():
        assert info.description
        assert "\n" not in info.description
        for option in info.options:
            assert option.description, (info.name, option.name)
            assert bool(option.default) != option.required
    assert {o.name: o.default for o in infos["pawsx"].options}["quoting"] == '"auto"'


def test_identity_follows_the_bytes_and_parameters_the_options(tmp_path: Path) -> None:
    path = tmp_path / "dev-en.tsv"
    path.write_text(ROWS)
    study = study_of(tmp_path, ["en"], reader="xnli", path=".")
    corpus = corpora.locate(study, "d", "en")
    (first,) = corpus.identity()
    assert first.startswith("dev-en.tsv:")
    path.write_text(ROWS + ROWS)
    assert corpora.locate(study, "d", "en").identity() != [first]
    other = study_of(tmp_path, ["en"], seed=7, reader="xnli", path=".")
    assert corpora.locate(other, "d", "en").parameters() == corpus.parameters()
    fewer = study_of(tmp_path, ["en"], seed=7, reader="xnli", path=".", max_examples=3)
    assert corpora.locate(fewer, "d", "en").parameters() != corpus.parameters()


def test_a_language_outside_the_dataset_is_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path, ["de"], reader="xnli", path=".")
    with pytest.raises(StudyError, match="not read in `en` but in: de"):
        corpora.locate(study, "d", "en")
    assert "not in `en`" in corpora.inapplicable(study, "d", "en")
    assert corpora.inapplicable(study, "d", "de") == ""
    with pytest.raises(StudyError, match="No dataset `e`"):
        corpora.read(study, "e", "de")


def test_skipped_examples_are_the_ones_that_another_part_keeps(read: Read) -> None:
    rows = "".join(f"p{i}\th{i}\tneutral\n" for i in range(30))
    files = {"dev-en.tsv": rows}
    whole = read(files, reader="xnli").examples["example_id"].to_list()
    kept = read(files, reader="xnli", max_examples=20).examples["example_id"].to_list()
    rest = read(files, reader="xnli", skip_examples=20)
    assert rest.left_out == 20
    assert rest.examples["example_id"].to_list() == [i for i in whole if i not in kept]
    some = read(files, reader="xnli", skip_examples=20, max_examples=4).examples["example_id"].to_list()
    assert len(some) == 4
    assert not set(some) & set(kept)


@pytest.mark.parametrize("pair", ["\th{}", ""])
def test_copies_of_skipped_examples_are_left_out_too(read: Read, pair: str) -> None:
    texts = [f"text {n % 20}" + pair.format(n % 20) for n in range(40)]
    options = {"text": 0, "text_pair": 1 if pair else None, "label": 2 if pair else 1}
    files = {"dev-en.tsv": "".join(f"{text}\t{n % 2}\n" for n, text in enumerate(texts))}
    settings = {"reader": "text_classification", "options": options}
    columns = ["text", "text_pair"]
    trained = set(read(files, **settings, max_examples=10).examples.select(columns).rows())
    rest = read(files, **settings, skip_examples=10)
    evaluated = rest.examples.select(columns).rows()
    assert evaluated
    assert not trained & set(evaluated)
    assert len(evaluated) == 2 * (20 - len(trained))
    assert rest.left_out == 40 - len(evaluated)


def test_max_examples_keeps_the_same_ids_in_every_language(read: Read) -> None:
    rows = "".join(f"p{i}\th{i}\tneutral\n" for i in range(50))
    files = {"dev-en.tsv": rows, "dev-de.tsv": rows.replace("p7\t", "\t")}
    kept = {language: read(files, language, reader="xnli", max_examples=20) for language in ("en", "de")}
    assert [r.examples.height for r in kept.values()] == [20, 20]
    assert kept["en"].left_out == 30
    assert (kept["de"].left_out, kept["de"].rejected["row_number"].to_list()) == (29, [7])
    english, german = (set(r.examples["example_id"]) for r in kept.values())
    assert len(english & german) >= 19
