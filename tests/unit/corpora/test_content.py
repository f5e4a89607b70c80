"""Archives and packed files by content, members that are never merged, and what stands in the place of data."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from xlwh.corpora import content
from xlwh.errors import CorpusError, StudyError

from .conftest import Read

ROWS = "A man.\tA person.\tentailment\nA man.\tA cat.\tcontradiction\n"
TAGS = {split: f"{split}\tB-LOC\nis\tO\n\n{split}\tO\n" for split in ("train", "dev", "test", "extra")}


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: Mapping[str, str | bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in members.items():
            raw = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return out.getvalue()


ARCHIVES: Mapping[str, Callable[[Mapping[str, str | bytes]], bytes]] = {
    "zip": zipped,
    "tar": tarred,
    "ustar": lambda members: tarred(members, tarfile.USTAR_FORMAT),
    "gnu tar": lambda members: tarred(members, tarfile.GNU_FORMAT),
    "tar.gz": lambda members: gzip.compress(tarred(members)),
    "tar.bz2": lambda members: bz2.compress(tarred(members)),
    "tar.xz": lambda members: lzma.compress(tarred(members)),
}


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("name", ["de.tar.gz", "de.tgz", "de.zip", "de", "de.tsv"])
def test_the_member_of_the_split_is_read_whatever_the_archive_is_called(
    read: Read, kind: str, name: str
) -> None:
    """WikiANN's own layout: train, dev, test and extra in one archive a language."""
    archive = ARCHIVES[kind]({**TAGS, "README": "x", "._dev": "junk", "__MACOSX/dev": "junk"})
    for split in ("train", "dev", "test"):
        reading = read(
            {name: archive}, "de", ["de", "en"], reader="panx", path="{language}" + name[2:], split=split
        )
        assert reading.examples["words"].to_list() == [[split, "is"], [split]]
        assert reading.files == (f"{name}/{split}",)
    with pytest.raises(
        CorpusError, match=r"is an archive.*has: README, dev, extra, test, train.*options\.member"
    ):
        read({name: archive}, "de", reader="panx", path=name, split="val")
    options = {"member": "extra"}
    assert read({name: archive}, "de", reader="panx", path=name, split="val", options=options).files == (
        f"{name}/extra",
    )


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_named_by_a_pattern(read: Read, kind: str) -> None:
    files = {"de.tar.gz": ARCHIVES[kind](TAGS), "en.tar.gz": ARCHIVES[kind](TAGS)}
    options = {"file": "{language}.tar.gz"}
    assert read(files, "de", ["de", "en"], reader="panx", options=options).files == ("de.tar.gz/dev",)
    assert read(files, "de", ["de", "en"], reader="panx").files == ("de.tar.gz/dev",), (
        "the reader knows the name"
    )
    options = {"file": "{language}.tar.gz", "member": "ext*"}
    assert read(files, "de", ["de", "en"], reader="panx", options=options).files == ("de.tar.gz/extra",)
    with pytest.raises(CorpusError, match=r"2 files match `t\*`.*test, train.*options\.member"):
        read(files, "de", reader="panx", options={"file": "{language}.tar.gz", "member": "t*"})


def test_an_archive_in_an_archive(read: Read) -> None:
    """XTREME's download of PAN-X: a zip of a packed tar a language."""
    inner = {f"panx/{language}.tar.gz": gzip.compress(tarred(TAGS)) for language in ("de", "en")}
    files = {"panx.zip": zipped(inner)}
    for options in ({"file": "{language}.tar.gz"}, {"file": "panx/{language}.tar.gz", "member": "{split}"}):
        reading = read(files, "de", ["de", "en"], reader="panx", path="panx.zip", options=options)
        assert reading.files == ("panx.zip/panx/de.tar.gz/dev",)
        assert reading.examples.height == 2


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: gzip.compress(gzip.compress(data))]
)
def test_packed_files_and_members(read: Read, pack: Callable[[bytes], bytes]) -> None:
    for name in ("dev-en.tsv", "dev-en.tsv.gz", "dev-en.tsv.bz2", "dev-en.tsv.xz"):
        assert read({name: pack(ROWS.encode())}, reader="xnli", path=name).examples.height == 2
    files = {"x.zip": zipped({"in/dev-en.tsv.gz": pack(ROWS.encode()), "in/dev-de.tsv.gz": b""})}
    assert read(files, reader="xnli", path="x.zip").files == ("x.zip/in/dev-en.tsv.gz",)


def test_treebanks_in_one_archive_are_never_merged(read: Read) -> None:
    word = "1\tHaus\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n"
    members = {f"ud/UD_German-{name.upper()}/de_{name}-ud-{split}.conllu": word * n
               for n, name in enumerate(("gsd", "hdt"), start=1) for split in ("dev", "test")}  # fmt: skip
    files = {"ud.tgz": gzip.compress(tarred(members))}
    with pytest.raises(CorpusError, match=r"2 files match .*de_gsd-ud-dev\.conllu, .*de_hdt-ud-dev\.conllu"):
        read(files, "de", reader="conllu", path="ud.tgz")
    options = {"file": "{language}_hdt-ud-{split}.conllu"}
    assert read(files, "de", reader="conllu", path="ud.tgz", options=options).examples.height == 2


def test_splits_in_one_archive_are_never_merged(read: Read) -> None:
    rows = {
        split: f'{{"s": "{split} one"}}\n{{"s": "{split} two"}}\n'
        for split in ("train", "validation", "test")
    }
    files = {"d.zip": zipped({f"data/{split}-0.jsonl": text for split, text in rows.items()})}
    reading = read(files, reader="hub", path="d.zip", options={"text": "s"})
    assert reading.examples["text"].to_list() == ["validation one", "validation two"]
    for pattern in ("*.jsonl", "data/t*"):
        with pytest.raises(CorpusError, match=r"different splits .* never merged"):
            read(files, reader="hub", path="d.zip", options={"text": "s", "file": pattern})
        # A folder is no other than an archive.
        folder = {f"f/{name}.jsonl": text for name, text in rows.items()}
        with pytest.raises(CorpusError, match=r"different splits .* never merged"):
            read(folder, reader="hub", path="f", options={"text": "s", "file": pattern.removeprefix("data/")})
    shards = {f"data/validation-{i}.jsonl": f'{{"s": "part {i}"}}\n' for i in range(2)}
    assert (
        read({"s.zip": zipped(shards)}, reader="hub", path="s.zip", options={"text": "s"}).examples.height
        == 2
    )


def test_a_single_member_of_another_split_is_not_taken(read: Read) -> None:
    files = {"x.zip": zipped({"train.tsv": ROWS, "README.md": "x"})}
    assert read(files, reader="xnli", path="x.zip", split="train").examples.height == 2
    with pytest.raises(CorpusError, match=r"has: README\.md, train\.tsv"):
        read(files, reader="xnli", path="x.zip", split="dev")
    assert (
        read(files, reader="xnli", path="x.zip", split="dev", options={"member": "train.tsv"}).examples.height
        == 2
    )


def test_line_pairs_in_an_archive(read: Read) -> None:
    """OPUS: both sides and a licence in one zip."""
    files = {
        "t.zip": zipped(
            {"T.de-en.de": "Eins\nZwei\n", "T.de-en.en": "One\nTwo\n", "LICENSE": "x", "README": "x"}
        )
    }
    reading = read(files, "de", reader="parallel", path="t.zip", options={"file": "T.de-en.{side}"})
    assert reading.examples.select("text", "text_pair").rows() == [("One", "Eins"), ("Two", "Zwei")]
    with pytest.raises(CorpusError, match=r"t\.zip has: LICENSE, README, T\.de-en\.de, T\.de-en\.en"):
        read(files, "de", reader="parallel", path="t.zip")


def test_options_that_name_no_archive(read: Read) -> None:
    for files, path in (({"dev-en.tsv": ROWS}, "."), ({"dev-en.tsv": ROWS}, "dev-en.tsv")):
        with pytest.raises(StudyError, match="no archive"):
            read(files, reader="xnli", path=path, options={"member": "dev"})


def test_damaged_archives(read: Read) -> None:
    for make in ARCHIVES.values():
        whole = make({"dev.tsv": ROWS * 500, "test.tsv": ROWS * 500})
        for size in (len(whole) // 2, len(whole) // 3):
            with pytest.raises(CorpusError, match=r"x\.arc"):
                read({"x.arc": whole[:size]}, reader="xnli", path="x.arc")
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("dev.tsv"))
    with pytest.raises(CorpusError, match="twice"):
        read({"x.tar": twice.getvalue()}, reader="xnli", path="x.tar")


PLACEHOLDERS: Mapping[str, tuple[bytes, str]] = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "Git LFS, CRLF": (b"version https://git-lfs.github.com/spec/v1\r\noid sha256:4d7a\r\nsize 12345\r\n", "git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s1--ab.tsv\n", "git annex get"),
    "git-annex link": (b"../.git/annex/objects/x1/2y/SHA256E-s1--ab.tsv/SHA256E-s1--ab.tsv", "git annex get"),
    "HTML": (b"\n<!DOCTYPE html>\n<html><head><title> Sign in </title></head></html>", "HTML page .*Sign in"),
    "HTML without doctype": (b"<html lang=en><body>404</body></html>", "HTML page"),
    "HTML behind a comment": (b"\xef\xbb\xbf<!-- x -->\n<HTML><body>", "HTML page"),
    "XHTML": (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html/>', "HTML page"),
    "XML error": (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>', "XML error document"),
    "XML error without head": (b"<Error><Code>NoSuchKey</Code></Error>", "XML error document"),
    "JSON error": (b'{"message": "Not Found", "documentation_url": "https://x"}', "error answer"),
    "JSON error, other": (b'{"error": {"code": 401, "message": "Invalid credentials"}}\n', "error answer"),
    "JSON detail": (b'{"detail": "Rate limit"}', "error answer"),
    "phrase": (b"404: Not Found", "error answer"),
    "phrase of the hub": (b"Entry not found\n", "error answer"),
    "phrase, access": (b"Access denied.", "error answer"),
    "HTTP": (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\na\tb\tneutral\n", "header lines"),
    "nothing": (b"", "empty"),
    "zeros": (b"\0" * 5000, "5000 of its 5000 bytes are zero"),
    "one zero": (b"\0", "are zero"),
    "zeros at the end": (ROWS.encode() * 9 + b"\0" * 4096, "4096 of its .* are zero"),
    "zeros within": (ROWS.encode() + b"\0" * 4096 + ROWS.encode(), "are zero"),
    "part of gzip": (gzip.compress(ROWS.encode() * 50)[:-20], "part of a download"),
    "part of bzip2": (bz2.compress(ROWS.encode() * 50)[:-20], "part of a download"),
    "part of xz": (lzma.compress(ROWS.encode() * 50)[:-20], "part of a download"),
    "pointer in gzip": (gzip.compress(b"version https://git-lfs.github.com/spec/v1\noid x\n"), "git lfs pull"),
    "PDF": (b"%PDF-1.7\nx", "PDF"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "7z archive"),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x04", "zstd -d"),
    "old Office": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office document"),
    "pickle": (b"\x80\x04\x95\x10\0\0", "pickle"),
}  # fmt: skip

PLACES = {
    "xnli": ({"reader": "xnli"}, "dev-en.tsv"),
    "xquad": ({"reader": "xquad"}, "xquad.en.json"),
    "parallel": ({"reader": "parallel"}, "en-de.tmx"),
    "lines": ({"reader": "parallel"}, "dev.en"),
    "conllu": ({"reader": "conllu"}, "dev-de.conllu"),
    "text": ({"reader": "text_classification", "options": {"text": "s"}}, "dev.jsonl"),
    "parquet": ({"reader": "hub", "options": {"text": "s"}}, "validation.parquet"),
}


@pytest.mark.parametrize("what", PLACEHOLDERS)
def test_what_stands_in_the_place_of_data_is_named(read: Read, what: str) -> None:
    data, message = PLACEHOLDERS[what]
    for place, (dataset, name) in PLACES.items():
        language = (
            "en" if name in ("dev-en.tsv", "xquad.en.json", "dev.jsonl", "validation.parquet") else "de"
        )
        files = {name: data, "dev.de": "x\n"} if name == "dev.en" else {name: data}
        with pytest.raises(CorpusError, match=message) as error:
            read({f"{place}/{file}": text for file, text in files.items()}, language, path=place, **dataset)
        assert name in str(error.value)
    with pytest.raises(CorpusError, match=message):
        read({"x.zip": zipped({"in/dev-en.tsv": data, "a": "b"})}, reader="xnli", path="x.zip")


@pytest.mark.parametrize("suffix", content.PARTS)
def test_parts_of_downloads(read: Read, tmp_path: Path, suffix: str) -> None:
    with pytest.raises(CorpusError, match="is part of a download"):
        read({f"dev-en.tsv{suffix}": ROWS}, reader="xnli", path=f"dev-en.tsv{suffix}")
    with pytest.raises(CorpusError, match=rf"there is only dev-en\.tsv{suffix}"):
        read({}, reader="xnli")
    with pytest.raises(CorpusError, match=rf"dev-en\.tsv{suffix} lies beside it"):
        read({"dev-en.tsv": ROWS}, reader="xnli")


def test_links_to_nothing(read: Read, tmp_path: Path) -> None:
    (tmp_path / "dev-en.tsv").symlink_to("../.git/annex/objects/a/b/c")
    with pytest.raises(CorpusError, match=r"is a link to \.\./\.git/annex/objects/a/b/c.*git annex get"):
        read({}, reader="xnli")
    with pytest.raises(CorpusError, match="git annex get"):
        read({}, reader="xnli", path="dev-en.tsv")


def test_data_that_only_resembles_a_placeholder_is_read(read: Read) -> None:
    rows = "<b>not</b> found\t404: Not Found\tneutral\nversion https://x\t<html>\tneutral\nError\tAccess denied\tneutral\n"
    assert read({"dev-en.tsv": rows}, reader="xnli").examples.height == 3
    lines = '{"message": "Not Found", "label": 1}\n{"message": "Fine", "label": 0}\n'
    options = {"text": "message", "label": "label"}
    assert (
        read(
            {"dev.jsonl": lines}, reader="text_classification", path="dev.jsonl", options=options
        ).examples.height
        == 2
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_by_name(read: Read, encoding: str) -> None:
    with pytest.raises(CorpusError, match=r"UTF-16.*iconv"):
        read({"dev-en.tsv": (ROWS * 5).encode(encoding)}, reader="xnli")
    with pytest.raises(CorpusError, match="UTF-16"):
        read({"xquad.en.json": '{"data": []}'.encode(encoding)}, reader="xquad")
    tmx = '<?xml version="1.0" encoding="UTF-16"?><tmx><tu><tuv lang="en"><seg>a</seg></tuv><tuv lang="de"><seg>b</seg></tuv></tu></tmx>'
    if encoding == "utf-16":
        assert read({"en-de.tmx": tmx.encode(encoding)}, "de", reader="parallel").examples.height == 1


def test_a_packed_file_that_is_called_a_zip_is_read(read: Read) -> None:
    files = {"dev-en.tsv.zip": gzip.compress(ROWS.encode())}
    assert read(files, reader="xnli", options={"file": "dev-en.tsv.zip"}).records == 2
    with pytest.raises(CorpusError, match=r"is no zip archive, whatever its name says"):
        read({"dev-en.tsv.zip": ROWS}, reader="xnli", options={"file": "dev-en.tsv.zip"})


@pytest.mark.parametrize("name", ["/data/dev-en.tsv", "../../dev-en.tsv", "./dev-en.tsv"])
def test_members_may_have_any_name_since_none_is_unpacked_to_disk(
    read: Read, name: str, tmp_path: Path
) -> None:
    assert read({"x/a.tar": tarred({name: ROWS})}, reader="xnli", path="x/a.tar").records == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.tar"]


@pytest.mark.parametrize("member", ["dev-de.tsv", "de.tsv", "data/xnli.de.tsv"])
def test_the_only_member_is_not_read_as_a_language_that_its_name_denies(read: Read, member: str) -> None:
    files = {"x.zip": zipped({member: ROWS, "README": "no data"})}
    with pytest.raises(CorpusError, match="no single member is the one of language `en`"):
        read(files, "en", reader="xnli", path="x.zip")
    assert read(files, "de", reader="xnli", path="x.zip").records == 2
    assert read(files, "en", reader="xnli", path="x.zip", options={"member": member}).records == 2
