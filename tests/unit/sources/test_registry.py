"""The registry of addresses: what fits an entry, what is refused, and the one that ships."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from xlwh.errors import SourceError
from xlwh.sources.needs import file_needs
from xlwh.sources.registry import SHIPPED, Registry, Source, registry_of
from xlwh.study import Study

FASTTEXT = "https://dl.fbaipublicfiles.com/fasttext/vectors-aligned/wiki.de.align.vec"
SHIPPED_PATHS = {
    "vectors/fasttext-aligned/wiki.de.align.vec": FASTTEXT,
    "dictionaries/muse/en-de.txt": "https://dl.fbaipublicfiles.com/arrival/dictionaries/en-de.txt",
    "ud/r2.14/UD_German-GSD/de_gsd-ud-dev.conllu": "https://raw.githubusercontent.com/UniversalDependencies/UD_German-GSD/r2.14/de_gsd-ud-dev.conllu",
    "wikimatrix/WikiMatrix.de-en.tsv.gz": "https://dl.fbaipublicfiles.com/laser/WikiMatrix/v1/WikiMatrix.de-en.tsv.gz",
    "ted/TED2020.de-en.zip": "https://object.pouta.csc.fi/OPUS-TED2020/v1/moses/de-en.txt.zip",
    "umsab/arabic/val_labels.txt": "https://raw.githubusercontent.com/cardiffnlp/xlm-t/874214d64d96599eb869a033c22ec2cc57d19256/data/sentiment/arabic/val_labels.txt",
}


@pytest.mark.parametrize("path", SHIPPED_PATHS)
def test_the_shipped_registry_knows_what_studies_name(path: str, tmp_path: Path) -> None:
    address = registry_of(tmp_path).find(path)
    assert address is not None
    assert address.url == SHIPPED_PATHS[path]
    assert address.licence


def test_known_digests_of_the_shipped_registry_are_of_files_that_it_has(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    known = [name for source in registry.sources for name in source.files]
    assert len(known) == len(set(known)) > 50
    assert all((found := registry.find(name)) is not None and found.known.sha256 for name in known)
    assert SHIPPED.read_text().count("[[source]]") == len(registry.sources)


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("a/{x}.vec", "a/de.vec", {"x": "de"}),
        ("a/{x}.vec", "a/b/de.vec", None),
        ("a/{x}.vec", "a/.vec", None),
        ("a/{x}-{y}.txt", "a/en-de.txt", {"x": "en", "y": "de"}),
        ("{x}/{x}.txt", "de/de.txt", {"x": "de"}),
        ("{x}/{x}.txt", "de/en.txt", None),
        ("a+b/{x}", "aab/c", None),
        ("a/{x}/b.txt", "a/../b.txt", None),
        ("a/{x}/b.txt", "a/./b.txt", None),
        ("a/{x}.txt", "a/...txt", {"x": ".."}),
    ],
)
def test_what_fits_a_pattern(pattern: str, path: str, values: dict[str, str] | None) -> None:
    assert Source(path=pattern, url="http://u", licence="l").match(path) == values


def test_an_address_may_write_values_differently() -> None:
    source = Source(path="{l}.vec", url="http://x/{l}", licence="l", rename={"l": {"zh": "zh-CN"}})
    assert [source.address({"l": each}) for each in ("zh", "de")] == ["http://x/zh-CN", "http://x/de"]


def test_a_value_stays_one_part_of_an_address() -> None:
    source = Source(path="{l}.vec", url="http://x/{l}", licence="l")
    assert source.address({"l": "d e#?%"}) == "http://x/d%20e%23%3F%25"


@pytest.mark.parametrize("path", ["../x.txt", "a/../x.txt", "a/./x.txt", "a//x.txt", "..", "."])
def test_no_value_leads_out_of_the_data_root(path: str) -> None:
    sources = [Source(path=each, url="http://x", licence="l") for each in ("{a}", "{a}/{b}", "{a}/{b}/{c}")]
    assert Registry(sources).find(path) is None


def test_names_of_a_dataset_do_not_lead_out_of_the_data_root() -> None:
    registry = Registry([Source(path="{language}/{split}.txt", url="http://x", licence="l")])
    assert registry.below("", {"language": "..", "split": "dev"}) == []
    assert [a.path for a in registry.below("", {"language": "de", "split": "dev"})] == ["de/dev.txt"]


def test_the_entries_of_a_study_come_first(tmp_path: Path) -> None:
    path = "dictionaries/muse/en-de.txt"
    (tmp_path / "sources.toml").write_text(
        f'[[source]]\npath = "{path}"\nurl = "http://mine/{{0}}"\nlicence = "mine"\n'.replace("{0}", "x")
    )
    found = registry_of(tmp_path).find(path)
    assert found is not None
    assert (found.url, found.licence) == ("http://mine/x", "mine")


WRONG = {
    "[[source]": "cannot be read",
    'x = 1\n[[source]]\npath = "a"\nurl = "u"\nlicence = "l"\n': "unknown key `x`",
    '[[source]]\npath = "a"\nurl = "u"\n': r"entry 1 of `\[\[source\]\]`, `licence`: Field required",
    "source = 5": r"write `\[\[source\]\]`",
    '[source]\npath = "a"\n': r"write `\[\[source\]\]`",
    '[[source]]\npath = "a{0}"\nurl = "u/{0}"\nlicence = "l"\n': r"`\{0\}` in `a\{0\}` is no name",
    '[[source]]\npath = "a{b c}"\nurl = "u"\nlicence = "l"\n': "a brace that belongs to no name",
    '[[source]]\npath = "a"\nurl = "file:///etc/passwd"\nlicence = "l"\n': "has to begin with https://",
    '[[source]]\npath = "a"\nurl = "ftp://x/y"\nlicence = "l"\n': "has to begin with https://",
    '[[source]]\npath = "a"\nurl = "http:///x"\nlicence = "l"\n': "and a host",
    '[[source]]\npath = "a"\nurl = "u/{x}"\nlicence = "l"\n': "`x` is no name in the path `a`",
    '[[source]]\npath = "../a"\nurl = "u"\nlicence = "l"\n': "is not below the data root",
    '[[source]]\npath = "a"\nurl = "u"\nlicence = "l"\nmd5 = "x"\n': "`md5`: Extra inputs",
    '[[source]]\npath = "a"\nurl = "u"\nlicence = "l"\n[source.files.b]\nbytes = 1\n': "the file `b` is none of `a`",
    '[[source]]\npath = "a"\nurl = "u"\nlicence = "l"\n[source.files.a]\nsha256 = "x"\n': "`files.a.sha256`",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_registry_that_cannot_be_used_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(text)
    with pytest.raises(SourceError, match=WRONG[text]) as raised:
        registry_of(tmp_path)
    assert re.match(rf"The registry {tmp_path}/sources.toml", str(raised.value))


def test_a_registry_that_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").mkdir()
    with pytest.raises(SourceError, match=r"sources\.toml cannot be read"):
        registry_of(tmp_path)


def _study(folder: Path, datasets: dict[str, Any], **more: Any) -> Study:
    said = {"name": "t", "languages": ["de", "en"], "folder": folder, "data_root": folder / "data"}
    return Study.model_validate({**said, "datasets": datasets, **more})


TREEBANKS = {
    "reader": "conllu",
    "path": "ud/r2.14",
    "options": {
        "file": "{language}-ud-{split}.conllu",
        "names": {"de": "UD_German-GSD/de_gsd", "en": "UD_English-EWT/en_ewt"},
    },
}
TWEETS = {
    "reader": "umsab",
    "path": "umsab",
    "options": {"names": {"de": "german", "en": "english"}, "splits": {"dev": "val"}},
}


def _lacking(study: Study) -> dict[str, bool]:
    return {
        str(need.relative): need.address is not None
        for need in file_needs(study, registry_of(study.folder))
        if not need.is_there
    }


def test_files_that_datasets_lack_are_found_in_the_registry(tmp_path: Path) -> None:
    study = _study(tmp_path, {"t": TREEBANKS, "s": TWEETS, "x": {"reader": "xnli", "path": "xnli"}})
    assert _lacking(study) == {
        "ud/r2.14/UD_German-GSD/de_gsd-ud-dev.conllu": True,
        "ud/r2.14/UD_English-EWT/en_ewt-ud-dev.conllu": True,
        "umsab/german/val_text.txt": True,
        "umsab/german/val_labels.txt": True,
        "umsab/english/val_text.txt": True,
        "umsab/english/val_labels.txt": True,
        "xnli": False,
    }


def test_files_of_spaces_and_lexica_are_needs_where_they_are_used(tmp_path: Path) -> None:
    space = {
        "kind": "vec",
        "files": {each: f"vectors/fasttext-aligned/wiki.{each}.align.vec" for each in ("de", "en")},
    }
    lexicon = {"files": [{"source": "en", "target": "de", "path": "dictionaries/muse/en-de.txt"}]}
    more: dict[str, Any] = {"spaces": {"words": space}, "lexica": {"muse": lexicon}}
    vectors = {f"vectors/fasttext-aligned/wiki.{each}.align.vec": True for each in ("de", "en")}
    muse = {"dictionaries/muse/en-de.txt": True}
    assert _lacking(_study(tmp_path, {}, **more)) == muse
    assert _lacking(_study(tmp_path, {}, **more, consistency={"space": "words"})) == vectors | muse
    file = tmp_path / "data/dictionaries/muse/en-de.txt"
    file.parent.mkdir(parents=True)
    file.write_text("the der\n")
    assert _lacking(_study(tmp_path, {}, **more)) == {}


def test_no_entry_is_hidden_by_another_that_ships() -> None:
    registry = Registry(registry_of(Path("/nonexistent")).sources)
    for source in registry.sources:
        path = re.sub(r"\{\w+\}", "x", source.path)
        found = registry.find(path)
        assert found is not None
        assert found.licence == source.licence
