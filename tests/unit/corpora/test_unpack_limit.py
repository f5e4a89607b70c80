"""Small files that unpack to very much: refused at a limit, in every packing and by every reader."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlwh.consistency.vectors import read_vectors
from xlwh.corpora.content import LIMIT_VARIABLE, unpack_limit
from xlwh.corpora.dictionaries import read_dictionary
from xlwh.corpora.files import Document, members
from xlwh.corpora.records import read_records
from xlwh.errors import CorpusError
from xlwh.sources.packed import is_whole

LIMIT = 3_000_000
LARGE = b"word\tWort\n" * 1_000_000


@pytest.fixture(autouse=True)
def limit(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, str(LIMIT))


def _zip(data, name="a.tsv"):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return made.getvalue()


def _tar(data, mode, name="a.tsv"):
    made = io.BytesIO()
    # The unpacker of xz needs memory of its own, as much as the packer asks for.
    preset = {"preset": 0} if mode == "w:xz" else {}
    with tarfile.open(fileobj=made, mode=mode, **preset) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


PACKED = {
    "a.tsv.gz": (gzip.compress, ()),
    "a.tsv.bz2": (bz2.compress, ()),
    "a.tsv.xz": (lzma.compress, ()),
    "twice.gz": (lambda data: gzip.compress(gzip.compress(data)), ()),
    "a.zip": (_zip, ("a.tsv",)),
    "b.zip": (lambda data: _zip(gzip.compress(data), "a.tsv.gz"), ("a.tsv.gz",)),
    "c.zip": (lambda data: _zip(_zip(data), "a.zip"), ("a.zip", "a.tsv")),
    "a.tar": (lambda data: _tar(data, "w"), ("a.tsv",)),
    "a.tar.gz": (lambda data: _tar(data, "w:gz"), ("a.tsv",)),
    "a.tar.xz": (lambda data: _tar(data, "w:xz"), ("a.tsv",)),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_unpacks_to_more_than_the_limit_is_refused_in_little_memory(name, tmp_path, monkeypatch):
    pack, inside = PACKED[name]
    path = tmp_path / name
    path.write_bytes(pack(LARGE))
    document = Document(path, name, inside)
    tracemalloc.start()
    with pytest.raises(CorpusError, match=rf"{name}.*unpacks to more than 3,000,000 bytes.*{LIMIT_VARIABLE}"):
        document.read()
    assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT
    tracemalloc.stop()
    if not inside:
        with pytest.raises(CorpusError, match="unpacks to more"):
            read_dictionary(path)
    monkeypatch.setenv(LIMIT_VARIABLE, "20MB")
    assert document.read() == LARGE


def test_members_of_an_archive_that_hold_too_much_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "100kB")
    (tmp_path / "a.tar.gz").write_bytes(_tar(LARGE, "w:gz"))
    with pytest.raises(CorpusError, match="unpacks to more than 5,000,000 bytes"):
        members(tmp_path / "a.tar.gz")


def test_vectors_and_downloads_are_read_as_streams_with_a_limit_of_their_own(tmp_path, monkeypatch):
    rows = "".join(f"w{i} {i} 1 2\n" for i in range(200_000)).encode()
    path = tmp_path / "a.vec.gz"
    path.write_bytes(gzip.compress(rows))
    monkeypatch.setenv(LIMIT_VARIABLE, "1MB")
    assert read_vectors(path, ["w7"]).vectors.tolist() == [[7.0, 1.0, 2.0]]
    assert is_whole(path, "a.vec.gz")
    monkeypatch.setenv(LIMIT_VARIABLE, "20kB")
    with pytest.raises(CorpusError, match="unpacks to more than 1,000,000 bytes"):
        read_vectors(path, ["w7"])
    with pytest.raises(CorpusError, match="unpacks to more than 1,000,000 bytes"):
        is_whole(path, "a.vec.gz")


def test_a_parquet_file_that_says_much_in_few_bytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["y" * 1000]))
    pq.write_table(pa.table({"text": text.cast(pa.string())}), path)
    assert path.stat().st_size < LIMIT / 50
    document = Document(path, path.name)
    with pytest.raises(CorpusError, match=r"a\.parquet: unpacks to more than 3,000,000 bytes"):
        read_records(document, "parquet", False, "none")
    monkeypatch.setenv(LIMIT_VARIABLE, "100MB")
    assert sum(1 for _ in read_records(document, "parquet", False, "none").rows) == 20_000


@pytest.mark.parametrize(
    ("asked", "bytes_"), [("", 2 * 10**9), ("8GB", 8 * 10**9), ("500", 500), ("1.5 mb", 1_500_000)]
)
def test_the_limit(asked, bytes_, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, asked)
    assert unpack_limit() == bytes_


@pytest.mark.parametrize("asked", ["much", "-1", "1e9", "9" * 40])
def test_a_limit_that_is_none(asked, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, asked)
    with pytest.raises(CorpusError, match=LIMIT_VARIABLE):
        unpack_limit()
