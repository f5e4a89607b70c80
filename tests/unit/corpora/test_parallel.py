from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from xlwh import corpora
from xlwh.errors import CorpusError, StudyError

from .conftest import Read, study_of

TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu tuid="A:1"><prop>x</prop><tuv xml:lang="en"><seg>Hello <bpt i="1">&lt;b&gt;</bpt><hi>big</hi><ept i="1">&lt;/b&gt;</ept> world<ph x="1">{0<sub>x</sub>}</ph></seg></tuv>
<tuv xml:lang="ar"><seg>مرحبا</seg></tuv></tu>
<tu tuid="A:2"><tuv xml:lang="EN-gb"><seg>Only English</seg></tuv></tu>
<tu><tuv lang="en"><seg>No id</seg></tuv><tuv lang="ar-EG"><seg>بلا</seg></tuv></tu>
<tu tuid="A:1"><tuv lang="en"><seg>Again</seg></tuv><tuv lang="ar"><seg>بلا</seg></tuv></tu>
</body></tmx>"""


def zipped(name: str, content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def test_line_pairs(read: Read) -> None:
    files = {
        "val.en.gz": gzip.compress(b"One.\n\nThree \nFour\n"),
        "val.de.gz": gzip.compress(b"Eins.\nZwei\n\xc2\xa0Drei \ncaf\xe9\n"),
    }
    reading = read(files, "de", ["en", "de"], reader="parallel", options={"splits": {"dev": "val"}})
    assert reading.examples.select("example_id", "text", "text_pair", "task").rows() == [
        ("00000", "One.", "Eins.", "translation"),
        ("00002", "Three ", "\u00a0Drei ", "translation"),
    ]
    assert reading.reasons() == {"empty text": 1, "not UTF-8": 1}
    assert reading.files == ("val.en.gz", "val.de.gz")


SGM = """<?xml version="1.0" encoding="UTF-8"?>
<mteval><refset setid="tst" srclang="de" trglang="en"><doc docid="767" genre="lectures">
<title>A title &amp; more</title>
<seg id="1"> Research & development &lt;now&gt; </seg>
<seg id="2">
 Two
 lines </seg></doc>
<DOC docid="8"><seg id="1"> {}</seg></DOC></refset></mteval>"""


def test_segments_of_test_sets_are_joined_by_document_and_number(read: Read) -> None:
    files = {
        "tst.de-en.de.xml": SGM.format("Eins").replace('id="2"', 'id="3"'),
        "tst.de-en.en.xml": SGM.format("One"),
    }
    options = {"file": "tst.{source}-{language}.{side}.xml", "source": "de"}
    reading = read(files, "en", reader="parallel", options=options)
    assert reading.examples.select("example_id", "text", "text_pair").rows() == [
        ("767:1", "Research & development <now>", "Research & development <now>"),
        ("8:1", "Eins", "One"),
    ]
    assert reading.reasons() == {"no such segment on the other side": 2}
    with pytest.raises(CorpusError, match="segment 1 of document `8` is there twice"):
        read(
            {"tst.de-en.en.xml": SGM.format("One").replace('"767"', '"8"')},
            "en",
            reader="parallel",
            options=options,
        )
    with pytest.raises(CorpusError, match="no <seg id="):
        read({"tst.de-en.en.xml": "One\n"}, "en", reader="parallel", options=options)
    with pytest.raises(CorpusError, match="line 2: not UTF-8"):
        read({"tst.de-en.en.xml": b'<seg id="1">\ncaf\xe9</seg>\n'}, "en", reader="parallel", options=options)
    one = {"file": "tst.de-en.en.xml", "source": "de", "layout": "sgm"}
    with pytest.raises(StudyError, match="`lines` and `sgm` take two files"):
        read({}, "en", reader="parallel", options=one)


def test_other_names_for_sides(read: Read) -> None:
    files = {"t/tatoeba.deu-eng.deu": "Eins\n", "t/tatoeba.deu-eng.eng": "One\n"}
    names = {"names": {"de": "deu", "en": "eng"}}
    assert read(files, "de", reader="parallel", path="t", options=names).examples["text"].to_list() == ["One"]
    options = {"file": "tatoeba.{language}-{source}.{side}", **names}
    assert read(files, "de", reader="parallel", path="t", options=options).examples.height == 1


def test_lines_that_do_not_pair_up(read: Read) -> None:
    with pytest.raises(CorpusError, match=r"has 2 lines, .*has 1"):
        read({"dev.en": "a\nb\n", "dev.de": "c\n"}, "de", reader="parallel")
    with pytest.raises(CorpusError, match=r"no file `dev\.fr`"):
        read({"dev.en": "a\nb\n"}, "fr", reader="parallel")


def test_anki_with_and_without_attribution(read: Read) -> None:
    text = "Go.\tVe.\tCC-BY\nHi.\tHola.\tCC-BY\nbroken\n"
    reading = read({"spa.zip": zipped("in/spa.txt", text)}, "es", reader="parallel", path="spa.zip")
    assert reading.examples["text_pair"].to_list() == ["Ve.", "Hola."]
    assert reading.rejected["reason"].to_list() == ["1 column instead of 3"]
    options = {"source_column": 1, "target_column": 0}
    turned = read({"spa.txt": "Ve.\tGo.\n"}, "es", reader="parallel", path="spa.txt", options=options)
    assert turned.examples.select("text", "text_pair").rows() == [("Go.", "Ve.")]


def test_one_table_of_pairs_with_its_source_among_the_languages(read: Read) -> None:
    """The source counts among the languages of the words, but has no pairs; two targets of one table are refused."""
    files = {"spa.txt": "Go.\tVe.\n"}
    options = {"source": "es", "source_column": 1, "target_column": 0}
    reading = read(files, "en", ["en", "es"], reader="parallel", path="spa.txt", options=options)
    assert reading.examples.select("text", "text_pair").rows() == [("Ve.", "Go.")]
    with pytest.raises(CorpusError, match="would be read as each of en, de"):
        read(files, "en", ["en", "es", "de"], reader="parallel", path="spa.txt", options=options)


def test_two_tsv_files(read: Read) -> None:
    files = {
        "t-en.tsv": "One.\tx\tl\nTwo\tx\tl\nThree\nFour\t\tl\n",
        "t-de.tsv": "a\tEins\nb\tZwei\nc\tDrei\nd\n",
    }
    options = {"file": "t-{side}.tsv", "layout": "tsv"}
    reading = read(files, "de", ["en", "de"], reader="parallel", options=options)
    assert reading.examples.select("example_id", "text", "text_pair", "task").rows() == [
        ("00000", "One.", "Eins", "translation"),
        ("00001", "Two", "Zwei", "translation"),
    ]
    assert reading.reasons() == {"1 column instead of 3": 1, "1 column instead of 2": 1}
    turned = read(files, "de", reader="parallel", options={**options, "target_column": 0})
    assert turned.examples["text_pair"].to_list() == ["a", "b"]
    with pytest.raises(CorpusError, match=r"has 4 lines, .*has 1"):
        read({**files, "t-de.tsv": "a\tb\n"}, "de", reader="parallel", options=options)
    with pytest.raises(StudyError, match="`tmx` and `json` one"):
        read(files, "de", reader="parallel", options={**options, "layout": "tmx"})


def test_tmx(read: Read) -> None:
    reading = read({"all.en-ar.tmx.zip": zipped("all.en-ar.tmx", TMX)}, "ar", reader="parallel")
    assert reading.examples.select("example_id", "text", "text_pair").rows() == [
        ("A:1", "Hello big world", "مرحبا"),
        ("00002", "No id", "بلا"),
    ]
    assert reading.rejected.select("row_number", "reason").rows() == [
        (1, "no segment in `ar`"),
        (3, "the id occurs a second time"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        TMX[:-40],
        " ",
        "plain text",
        '<?xml version="1.0" encoding="no-such"?><tmx/>',
        "<!DOCTYPE x [" + '<!ENTITY a "' + "x" * 5000 + '"><!ENTITY b "' + "&a;" * 5000 + '">]><tmx><tu>&b;</tu></tmx>',
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hosts">]><tmx><tu><tuv lang="en"><seg>&f;</seg></tuv></tu></tmx>',
    ],
)  # fmt: skip
def test_what_is_no_tmx(read: Read, content: str) -> None:
    with pytest.raises(CorpusError, match="not TMX"):
        read({"en-ar.tmx": content}, "ar", reader="parallel")


def test_json_pairs(read: Read) -> None:
    text = '[{"id": "m1", "en": "a", "ar": "ب"}, {"en": "a", "ar": "ب"}, {"id": 3, "en": "a"}, 4]'
    reading = read({"train.json": text}, "ar", ["en", "ar"], reader="parallel", split="train")
    assert reading.examples["example_id"].to_list() == ["m1", "00001"]
    assert reading.rejected["reason"].to_list() == ["no string `ar`", "not a JSON object"]


def test_the_source_has_no_pairs_of_its_own(read: Read, tmp_path: object) -> None:
    study = study_of(tmp_path, ["en", "de"], reader="parallel", path=".")  # type: ignore[arg-type]
    assert "source side" in corpora.inapplicable(study, "d", "en")
    with pytest.raises(StudyError, match=r"datasets\.d\.languages"):
        read({"dev.en": "a\n", "dev.de": "b\n"}, "en", ["en", "de"], reader="parallel")
    with pytest.raises(StudyError, match=r"put \{side\} into"):
        read({"x.tsv": "a\tb\n"}, "de", reader="parallel", options={"file": "x.tsv", "layout": "lines"})
